"""What a server writes to the log when it listens: where the documentation is, and a request."""

import shlex
from collections.abc import Iterator

from service.settings import Settings

_ANY_ADDRESS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104  # not bound
_PHOTOGRAPH = "photo.jpg"


def greeting(settings: Settings, port: int) -> Iterator[str]:
    """Yield a sentence on the API's documentation, and one with a request to copy.

    Args:
        settings: the server's.
        port: the port that it listens on, which differs from the setting if that is 0.
    """
    host = settings.host
    host = _ANY_ADDRESS.get(host, f"[{host}]" if ":" in host else host)
    url = f"http{'s' if settings.tls_cert else ''}://{host}:{port}"
    yield f"The documentation of the API is at {url}/docs"
    yield f"To try it: {_request(settings, url)}"


def _request(settings: Settings, url: str) -> str:
    """A command that sends a photograph, as the server's protocol wants it."""
    words = ["curl", "-s"]
    if settings.api_keys is not None:
        words += ["-H", "X-API-Key: KEY"]
    if settings.predictor_host is None:
        return shlex.join([*words, "--data-binary", f"@{_PHOTOGRAPH}", f"{url}/v1/predict"])
    if settings.predictor_protocol == "v2":
        words += ["-H", "Inference-Header-Content-Length: 0", "--data-binary", f"@{_PHOTOGRAPH}"]
        words += ["-o", "answer.bin", "-w", "%{http_code}\\n"]  # outputs are binary
        return shlex.join([*words, f"{url}/v2/models/{settings.model_name}/infer"])
    words += ["--data-binary", "@-", f"{url}/v1/models/{settings.model_name}:predict"]
    instance = """printf '{"instances": [{"b64": "%s"}]}' "$(base64 -w 0 """ + _PHOTOGRAPH + ')"'
    return f"{instance} | {shlex.join(words)}"
