"""An S3 server on loopback, where the packages for it are installed."""

import pytest

from tests.moto_s3 import moto_s3
from tests.small_s3 import new_bucket, small_s3


@pytest.fixture(scope="session", params=["small", pytest.param("moto", marks=pytest.mark.slow)])
def s3_server(request):
    """Its address: a server of ours, and with `-m slow` moto's too."""
    pytest.importorskip("obstore", reason="the extra `cloud`")
    with small_s3() if request.param == "small" else moto_s3() as address:
        yield address


@pytest.fixture
def bucket(s3_server):
    """The name of a new bucket there."""
    return new_bucket(s3_server)


@pytest.fixture
def keys(s3_server):
    """The environment that leads to the server, under the names of each service."""
    return {
        "B2_KEY_ID": "canary-key-id", "B2_APP_KEY": "canary-app-key", "B2_ENDPOINT": s3_server,
        "R2_ACCESS_KEY": "canary-access", "R2_SECRET_KEY": "canary-secret",
        "R2_ENDPOINT": s3_server, "AWS_ACCESS_KEY_ID": "canary-aws",
        "AWS_SECRET_ACCESS_KEY": "canary-aws-secret", "AWS_ENDPOINT_URL": s3_server,
    }  # fmt: skip
