"""The number of files, and so of connections, that this process may have open."""

import logging
import sys

_log = logging.getLogger(__name__)
_BESIDE_CONNECTIONS = 256


def allow_connections(connections: int) -> None:
    """Raise this process's own limit as far as it needs to be, and may be.

    Many systems start a process with a soft limit of 1,024 for the sake of select(2), and a far
    higher hard one. See getrlimit(2).
    """
    if sys.platform == "win32":
        return
    import resource

    wanted = connections + _BESIDE_CONNECTIONS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        _log.warning(
            "%d connections need %d open files, and this process may have %d: "
            "raise the limit (ulimit -n), or lower --max-connections",
            connections,
            wanted,
            hard,
        )
        wanted = hard
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
