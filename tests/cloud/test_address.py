"""Addresses and keys; without a server."""

import json
from http.server import BaseHTTPRequestHandler

import pytest

from exphil_tf.cloud.address import access_of, open_store, parse, setting
from exphil_tf.foundation.errors import UserError
from tests.loopback import serving


@pytest.mark.parametrize(
    ("text", "written", "parts"),
    [
        ("b2:my-bucket", "b2:my-bucket", ("b2", "my-bucket", "")),
        ("b2:my-bucket/a/b/", "b2:my-bucket/a/b", ("b2", "my-bucket", "a/b")),
        ("s3://my-bucket/a", "s3:my-bucket/a", ("s3", "my-bucket", "a")),
        ("/mnt/volume", "/mnt/volume", ("folder", "", "/mnt/volume")),
        ("runs/x", "runs/x", ("folder", "", "runs/x")),
    ],
)
def test_addresses(text, written, parts):
    assert (str(parse(text)), tuple(parse(text))) == (written, parts)


def test_places_under_an_address():
    assert str(parse("b2:bucket").join("runs", "a")) == "b2:bucket/runs/a"
    assert str(parse("/mnt").join("a")) == "/mnt/a"


@pytest.mark.parametrize(
    "text",
    ["", "gs://bucket", "http://x/y", "b2:", "b2:b?key=canary", "s3:u:canary@host/x",
     "https://u:canary@host/x?y", "b2:canary@"],
)  # fmt: skip
def test_what_is_no_address(text):
    with pytest.raises(UserError, match="no address") as caught:
        parse(text)
    assert "canary" not in str(caught.value)


def test_missing_keys_are_named(tmp_path):
    with pytest.raises(UserError, match="B2_KEY_ID and B2_APP_KEY not set"):
        access_of(parse("b2:bucket"), {})
    with pytest.raises(UserError, match="R2_ENDPOINT not set"):
        access_of(parse("r2:bucket"), {"R2_ACCESS_KEY": "a", "R2_SECRET_KEY": "b"})
    assert access_of(parse("s3:bucket"), {}).access_key is None  # AWS' own places are asked
    open_store(parse(str(tmp_path)), {})


def test_keys_from_files_and_never_shown(tmp_path):
    (tmp_path / "key").write_text("canary\n")
    environ = {"R2_ACCESS_KEY": "a", "R2_SECRET_KEY_FILE": str(tmp_path / "key"),
               "R2_ENDPOINT": "https://x.r2.cloudflarestorage.com"}  # fmt: skip
    access = access_of(parse("r2:bucket"), environ)
    assert access.secret_key == "canary"
    assert access.region == "auto"
    assert "canary" not in repr(access)
    with pytest.raises(UserError, match="X_FILE: cannot be read"):
        setting("X", {"X_FILE": str(tmp_path)})


@pytest.mark.parametrize("endpoint", ["http://example.org", "ftp://x", "https://user:canary@x"])
def test_keys_go_over_https_only(endpoint):
    environ = {"R2_ACCESS_KEY": "a", "R2_SECRET_KEY": "b", "R2_ENDPOINT": endpoint}
    with pytest.raises(UserError, match="want https://HOST") as caught:
        access_of(parse("r2:bucket"), environ)
    assert "canary" not in str(caught.value)


def test_backblaze_tells_the_region():
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format, *args):
            pass

        def do_GET(self):
            is_known = self.headers["Authorization"] == "Basic aWQ6a2V5"  # id:key
            told = {"s3ApiUrl": "https://s3.us-west-004.backblazeb2.com"}
            self.send_response(200 if is_known else 401)
            self.end_headers()
            self.wfile.write(json.dumps({"apiInfo": {"storageApi": told}}).encode())

    with serving(Handler) as api:
        access = access_of(parse("b2:b1b"), {"B2_KEY_ID": "id", "B2_APP_KEY": "key"}, b2_api=api)
        assert access.region == "us-west-004"
        assert access.endpoint == "https://s3.us-west-004.backblazeb2.com"
        with pytest.raises(UserError, match="refuses the keys"):
            access_of(parse("b2:b1b"), {"B2_KEY_ID": "id", "B2_APP_KEY": "no"}, b2_api=api)
