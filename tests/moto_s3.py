"""moto's S3 server, of the extra `dev`; `small_s3` is ours and starts at once."""

import contextlib
from collections.abc import Iterator

import pytest


@contextlib.contextmanager
def moto_s3() -> Iterator[str]:
    """The address of a server on loopback; skips the test where moto is not installed."""
    server = pytest.importorskip("moto.server", reason="moto[server], of the extra `dev`")
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()
