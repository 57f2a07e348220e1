"""The event loop first: the threads that compute have a lower priority than the loop's thread."""

import os
import sys
import threading
from contextlib import suppress

STEP = 10
LOWEST = 19


def lower_thread_priority() -> None:
    """Lower the calling thread's priority below the event loop's, on systems with one per thread.

    On Linux each thread has its own niceness and passes it on to the threads that it starts, those
    of ONNX Runtime among them; see setpriority(2), "C library/kernel differences". A higher
    niceness is a lower priority. The loop's may be above 0 already, under ``nice`` or systemd.
    A priority is a hint: a system that refuses to change it is left as it is.
    """
    if sys.platform.startswith("linux"):
        thread = threading.get_native_id()
        with suppress(OSError):
            loop = os.getpriority(os.PRIO_PROCESS, os.getpid())
            own = os.getpriority(os.PRIO_PROCESS, thread)
            os.setpriority(os.PRIO_PROCESS, thread, max(own, min(loop + STEP, LOWEST)))
