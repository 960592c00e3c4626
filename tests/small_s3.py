"""As much of S3 as the client asks for: objects, listings, uploads in parts. Checks no keys."""

import contextlib
import hashlib
import re
import time
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import ClassVar
from urllib.parse import parse_qs, unquote, urlparse
from urllib.request import Request, urlopen
from xml.sax.saxutils import escape

from tests.loopback import serving


class Handler(BaseHTTPRequestHandler):
    buckets: ClassVar[dict]
    parts: ClassVar[dict]
    protocol_version = "HTTP/1.1"

    def log_message(self, format, *args):
        pass

    def place(self):
        """Bucket, key and query of the request."""
        parsed = urlparse(self.path)
        bucket, _, key = unquote(parsed.path).lstrip("/").partition("/")
        return bucket, key, parse_qs(parsed.query, keep_blank_values=True)

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def answer(self, status, data=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        with contextlib.suppress(OSError):
            if self.command != "HEAD":
                self.wfile.write(data)

    def do_PUT(self):
        bucket, key, query = self.place()
        data = self.body()
        etag = f'"{hashlib.md5(data).hexdigest()}"'
        if not key:
            self.buckets.setdefault(bucket, {})
        elif "partNumber" in query:
            self.parts[query["uploadId"][0]][int(query["partNumber"][0])] = data
        else:
            self.buckets[bucket][key] = (data, etag, time.time())
        self.answer(200, ETag=etag)

    def do_POST(self):
        bucket, key, query = self.place()
        self.body()
        if "uploads" in query:
            name = f"upload{len(self.parts)}"
            self.parts[name] = {}
            xml = f"<InitiateMultipartUploadResult><UploadId>{name}</UploadId>"
            self.answer(200, f"{xml}</InitiateMultipartUploadResult>".encode())
            return
        made = self.parts.pop(query["uploadId"][0])
        blocks = [made[number] for number in sorted(made)]
        digest = hashlib.md5(b"".join(hashlib.md5(b).digest() for b in blocks)).hexdigest()
        etag = f'"{digest}-{len(blocks)}"'
        self.buckets[bucket][key] = (b"".join(blocks), etag, time.time())
        xml = f"<CompleteMultipartUploadResult><ETag>{escape(etag)}</ETag>"
        self.answer(200, f"{xml}</CompleteMultipartUploadResult>".encode())

    def do_GET(self):
        bucket, key, query = self.place()
        if bucket not in self.buckets or (key and key not in self.buckets[bucket]):
            self.answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        elif key:
            data, etag, put_s = self.buckets[bucket][key]
            put = self.date_time_string(put_s)
            asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range") or "")
            if asked is None:
                self.answer(200, data, ETag=etag, Last_Modified=put)
            else:
                start, end = int(asked[1]), min(int(asked[2]), len(data) - 1)
                told = f"bytes {start}-{end}/{len(data)}"
                part = data[start : end + 1]
                self.answer(206, part, ETag=etag, Last_Modified=put, Content_Range=told)
        else:
            self.answer(200, listing(self.buckets[bucket], query.get("prefix", [""])[0]))

    do_HEAD = do_GET


def listing(objects, prefix):
    rows = "".join(
        f"<Contents><Key>{escape(key)}</Key><Size>{len(data)}</Size><ETag>{escape(etag)}</ETag>"
        f"<LastModified>{time.strftime('%Y-%m-%dT%H:%M:%S.000Z', time.gmtime(put_s))}"
        "</LastModified></Contents>"
        for key, (data, etag, put_s) in sorted(objects.items())
        if key.startswith(prefix)
    )
    return f"<ListBucketResult><IsTruncated>false</IsTruncated>{rows}</ListBucketResult>".encode()


@contextlib.contextmanager
def small_s3() -> Iterator[str]:
    """The address of a server on loopback."""
    own = type("Own", (Handler,), {"buckets": {}, "parts": {}})
    with serving(own) as address:
        yield address


def new_bucket(server: str) -> str:
    """Makes a bucket on a server of ours or moto's; returns its name."""
    name = f"bucket-{uuid.uuid4().hex[:12]}"
    urlopen(Request(f"{server}/{name}", method="PUT", data=b"")).close()
    return name
