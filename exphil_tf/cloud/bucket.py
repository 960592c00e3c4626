"""A bucket of S3 or a service that speaks like it (Backblaze B2, Cloudflare R2), through obstore.

Retries with growing pauses, multipart uploads and signatures are obstore's. What it lacks is here:
errors without secrets in them, and a check that a download has the length that it was listed with.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO

from exphil_tf.cloud.store import MissingError, OnBytes, Stored, StoreError, require_key

PART_BYTES = 16 << 20
"""Larger files go up in parts of this size."""


@dataclass(frozen=True)
class BucketAccess:
    """Where a bucket is and how to get in; its secrets are in no `repr`."""

    bucket: str
    endpoint: str | None
    """URL of the service; None for that of AWS."""
    region: str
    access_key: str | None = field(default=None, repr=False)
    """None for what AWS' own places tell (its environment, the machine's role)."""
    secret_key: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)

    def secrets(self) -> list[str]:
        """What must be shown to nobody."""
        return [text for text in (self.access_key, self.secret_key, self.token) if text]


@dataclass(frozen=True)
class Patience:
    """How long a request is tried."""

    retries: int = 8
    total_s: float = 120.0
    request_s: float = 300.0
    """Of one request, such as a part of 16 MiB."""


class BucketStore:
    """A folder of keys in a bucket.

    Args:
      access: to the bucket.
      prefix: of every key.
      patience: with the service.

    Raises: ImportError: if obstore is not installed.
    """

    def __init__(self, access: BucketAccess, prefix: str = "", *, patience: Patience = Patience()):
        import obstore  # an optional extra  # type: ignore[import-not-found]
        from obstore import store  # type: ignore[import-not-found]

        self._obstore: Any = obstore
        self._secrets = access.secrets()
        self.prefix = prefix.strip("/")
        endpoint = access.endpoint or ""
        self._store: Any = store.S3Store(
            access.bucket,
            prefix=self.prefix or None,
            config=_config(access),
            client_options={
                "allow_http": endpoint.startswith("http://"),
                "connect_timeout": timedelta(seconds=min(15, patience.request_s)),
                "timeout": timedelta(seconds=patience.request_s),
            },
            retry_config={
                "max_retries": patience.retries,
                "retry_timeout": timedelta(seconds=patience.total_s),
                "backoff": {
                    "init_backoff": timedelta(milliseconds=200),
                    "max_backoff": timedelta(seconds=10),
                    "base": 2,
                },
            },
        )

    def list(self, prefix: str = "") -> list[Stored]:
        """See `Store`."""
        with self._named("listing"):
            pages = list(
                self._obstore.list(self._store, prefix.strip("/") or None, chunk_size=1000)
            )
        found = [
            Stored(one["path"], one["size"], _bare(one["e_tag"]), one["last_modified"].timestamp())
            for page in pages
            for one in page
        ]
        return sorted(found)

    def put_file(self, key: str, path: Path, on_bytes: OnBytes) -> str | None:
        """See `Store`."""
        require_key(key)
        size = path.stat().st_size
        with self._named(key):
            if size <= PART_BYTES:
                result = self._obstore.put(self._store, key, path.read_bytes(), use_multipart=False)
                on_bytes(size)
            else:
                with path.open("rb") as file:
                    result = self._obstore.put(
                        self._store, key, _parts(file, on_bytes), chunk_size=PART_BYTES,
                        max_concurrency=4,
                    )  # fmt: skip
        return _bare(result["e_tag"])

    def put_bytes(self, key: str, data: bytes) -> None:
        """See `Store`."""
        require_key(key)
        with self._named(key):
            self._obstore.put(self._store, key, data, use_multipart=False)

    def get_bytes(self, key: str) -> bytes:
        """See `Store`."""
        file = io.BytesIO()
        self.get_file(key, file, lambda count: None)
        return file.getvalue()

    def get_file(self, key: str, file: BinaryIO, on_bytes: OnBytes) -> None:
        """See `Store`."""
        require_key(key)
        with self._named(key):
            result = self._obstore.get(self._store, key)
            expected, received = result.meta["size"], 0
            for block in result.stream(min_chunk_size=1 << 20):
                data = bytes(block)
                received += len(data)
                on_bytes(len(data))
                file.write(data)
        if received != expected:
            raise StoreError(f"{key}: want {expected:,} bytes. Received: {received:,}")

    @contextlib.contextmanager
    def _named(self, what: str) -> Iterator[None]:
        """Errors of the library as ours: one line, without secrets."""
        try:
            yield
        except StoreError:
            raise
        except Exception as error:  # obstore's, and Rust's of any kind
            if isinstance(error, OSError) and error.errno is not None:
                raise  # of the disk
            told = str(error).partition("Debug source")[0]
            text = redacted(" ".join(told.split())[:300], self._secrets)
            if isinstance(error, FileNotFoundError):
                raise MissingError(f"{what}: not there") from None
            raise StoreError(f"{what}: {text}") from None


def redacted(text: str, secrets: list[str]) -> str:
    """A text with `…` for each of these secrets."""
    for secret in secrets:
        text = text.replace(secret, "…")
    return text


def _config(access: BucketAccess) -> Any:  # the library's own type, where it is installed
    found = {
        "endpoint": access.endpoint,
        "region": access.region,
        "access_key_id": access.access_key,
        "secret_access_key": access.secret_key,
        "session_token": access.token,
    }
    return {name: value for name, value in found.items() if value}


def _parts(file: BinaryIO, on_bytes: OnBytes) -> Iterator[bytes]:
    while block := file.read(PART_BYTES):
        yield block
        on_bytes(len(block))


def _bare(etag: str | None) -> str | None:
    return etag.strip('"') if etag else None


def has_obstore() -> bool:
    """Whether buckets can be reached from here."""
    import importlib.util

    return importlib.util.find_spec("obstore") is not None and os.name == "posix"
