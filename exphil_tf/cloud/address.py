"""Addresses of stores: `b2:BUCKET/PREFIX`, `r2:…`, `s3:…` or a folder; keys from the environment.

Keys come from the environment alone, never from an address, an option or a file of ours: command
lines and configurations are seen by others. Each variable may also name a file that holds the value
(`B2_APP_KEY_FILE`), as Docker's secrets do.
"""

from __future__ import annotations

import base64
import json
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlparse

from exphil_tf.cloud.bucket import BucketAccess, BucketStore
from exphil_tf.cloud.store import FolderStore, Store
from exphil_tf.foundation.errors import UserError
from exphil_tf.process.exit_codes import EXIT_IO

_REMOTE = re.compile(
    r"(?P<kind>b2|r2|s3):(//)?(?P<bucket>[A-Za-z0-9][A-Za-z0-9._-]{1,62})(?P<rest>(/.*)?)"
)
_B2_API = "https://api.backblazeb2.com"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_NAMES = {
    "b2": ("B2_KEY_ID", "B2_APP_KEY"),
    "r2": ("R2_ACCESS_KEY", "R2_SECRET_KEY"),
    "s3": ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
}


class Address(NamedTuple):
    """A place on a store."""

    kind: str
    """`b2`, `r2`, `s3` or `folder`."""
    bucket: str
    """Empty for a folder."""
    path: str
    """Prefix of keys, or the folder."""

    def join(self, *parts: str) -> Address:
        """A place under this one."""
        if not self.path:
            return self._replace(path="/".join(parts))
        return self._replace(path="/".join([self.path.rstrip("/"), *parts]))

    def __str__(self) -> str:
        """As it is written."""
        if self.kind == "folder":
            return self.path
        return f"{self.kind}:{self.bucket}/{self.path}".rstrip("/")


def parse(text: str) -> Address:
    """Reads an address.

    Raises: UserError: if it is none.
    """
    match = _REMOTE.fullmatch(text)
    if match is not None:
        return Address(match["kind"], match["bucket"], match["rest"].strip("/"))
    if not text or re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", text):
        raise UserError(
            f"{_without_keys(text)!r}: no address of a store",
            "Want b2:BUCKET/PREFIX, r2:BUCKET/PREFIX, s3:BUCKET/PREFIX or a folder.",
        )
    return Address("folder", "", text)


def _without_keys(text: str) -> str:
    """What is no address, without what may be keys before an @ or in a query."""
    before, at, rest = text.rpartition("@")
    return f"{before and '…'}{at}{rest.partition('?')[0]}"


def open_store(address: Address, environ: Mapping[str, str]) -> Store:
    """The store of an address.

    Args:
      address: of a place.
      environ: the environment, with the keys.

    Raises: UserError: if keys are missing, or the extra `cloud` is not installed.
    """
    if address.kind == "folder":
        return FolderStore(Path(address.path).expanduser())
    access = access_of(address, environ)
    try:
        return BucketStore(access, address.path)
    except ImportError as error:
        raise UserError(
            f"{address}: obstore is not installed", "pip install 'exphil-tf[cloud]'."
        ) from error


def require_apart(address: Address, folder: Path) -> None:
    """Refuses a copy that would lie in what it is a copy of, and grow with each copy.

    Args:
      address: of the copy, or of what is copied.
      folder: the other one of the two.

    Raises: UserError: if one is a folder in the other, as that other is copied whole.
    """
    if address.kind != "folder":
        return
    place = Path(address.path).expanduser().resolve()
    if place.is_relative_to(folder.resolve()):
        raise UserError(f"{folder} and {address}: want a copy outside of what it is a copy of")


def access_of(
    address: Address, environ: Mapping[str, str], *, b2_api: str = _B2_API
) -> BucketAccess:
    """How to get into a bucket.

    Args:
      address: of a place in it.
      environ: the environment.
      b2_api: of Backblaze, which tells in which region an account is.

    Raises: UserError: names the variables that are missing.
    """
    kind, bucket = address.kind, address.bucket
    keys = [setting(name, environ) for name in _NAMES[kind]]
    missing = [name for name, key in zip(_NAMES[kind], keys, strict=True) if not key]
    endpoint = setting(
        {"b2": "B2_ENDPOINT", "r2": "R2_ENDPOINT"}.get(kind, "AWS_ENDPOINT_URL"), environ
    )
    if kind == "r2" and not endpoint:
        missing.append("R2_ENDPOINT")
    if missing and (kind != "s3" or len(missing) == 1):
        raise UserError(
            f"{address}: {' and '.join(missing)} not set in the environment",
            "Set them, or NAME_FILE to a file that holds the value.",
        )
    access, secret = keys
    if kind == "b2":
        endpoint = endpoint or _b2_endpoint(access or "", secret or "", b2_api)
    _check_endpoint(endpoint)
    region = setting("AWS_REGION", environ) if kind == "s3" else None
    token = setting("AWS_SESSION_TOKEN", environ) if kind == "s3" else None
    return BucketAccess(bucket, endpoint, region or _region(kind, endpoint), access, secret, token)


def setting(name: str, environ: Mapping[str, str]) -> str | None:
    """A variable's value, or what the file that `NAME_FILE` names holds; None if there is none.

    Raises: UserError: if that file can't be read.
    """
    if environ.get(name):
        return environ[name].strip()
    path = environ.get(f"{name}_FILE")
    if not path:
        return None
    try:
        return Path(path).read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{name}_FILE: cannot be read: {type(error).__name__}") from error


def _check_endpoint(endpoint: str | None) -> None:
    """Refuses to send keys in the clear to another machine."""
    if not endpoint:
        return
    parts = urlparse(endpoint)
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    if not is_safe or parts.username or parts.password:
        host = parts.hostname or "?"
        raise UserError(f"endpoint {parts.scheme}://{host}: want https://HOST without keys in it")


def _region(kind: str, endpoint: str | None) -> str:
    if kind == "r2":
        return "auto"
    match = re.search(r"//s3[.-]([a-z0-9-]+)\.", endpoint or "")
    return match[1] if match else "us-east-1"


def _b2_endpoint(key_id: str, app_key: str, api: str) -> str:
    """The S3 address of an account, which Backblaze tells whoever has its keys."""
    told = base64.b64encode(f"{key_id}:{app_key}".encode()).decode()
    request = urllib.request.Request(
        f"{api}/b2api/v3/b2_authorize_account", headers={"Authorization": f"Basic {told}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            values = json.loads(answer.read(1 << 20))
        return str(values["apiInfo"]["storageApi"]["s3ApiUrl"])
    except urllib.error.HTTPError as error:
        raise UserError(
            f"Backblaze refuses the keys (HTTP {error.code})",
            "Check B2_KEY_ID and B2_APP_KEY, or set B2_ENDPOINT.",
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"Backblaze does not answer ({type(error).__name__})",
            "Try again, or set B2_ENDPOINT (https://s3.REGION.backblazeb2.com).",
            exit_code=EXIT_IO,
        ) from None
