"""An S3 server on loopback, where the packages for it are installed."""

import uuid

import pytest

from tests.small_s3 import small_s3


@pytest.fixture(scope="session", params=["small", pytest.param("moto", marks=pytest.mark.slow)])
def s3_server(request):
    """Its address: a server of ours, and with `-m slow` moto's too."""
    pytest.importorskip("obstore", reason="the extra `cloud`")
    if request.param == "small":
        with small_s3() as address:
            yield address
        return
    server = pytest.importorskip("moto.server", reason="moto[server], of the extra `dev`")
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def bucket(s3_server):
    """The name of a new bucket there."""
    from urllib.request import Request, urlopen

    name = f"bucket-{uuid.uuid4().hex[:12]}"
    urlopen(Request(f"{s3_server}/{name}", method="PUT", data=b"")).close()
    return name


@pytest.fixture
def keys(s3_server):
    """The environment that leads to the server, under the names of each service."""
    return {
        "B2_KEY_ID": "canary-key-id", "B2_APP_KEY": "canary-app-key", "B2_ENDPOINT": s3_server,
        "R2_ACCESS_KEY": "canary-access", "R2_SECRET_KEY": "canary-secret",
        "R2_ENDPOINT": s3_server, "AWS_ACCESS_KEY_ID": "canary-aws",
        "AWS_SECRET_ACCESS_KEY": "canary-aws-secret", "AWS_ENDPOINT_URL": s3_server,
    }  # fmt: skip
