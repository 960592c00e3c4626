"""Zips, tars and packed files for tests: sound ones, crafted ones and damaged ones."""

import bz2
import gzip
import io
import lzma
import random
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import zstandard

from exphil_tf.replays import sources
from exphil_tf.replays.refusals import Reason

REPLAY = b"{U\x03raw" + bytes(range(256)) * 8
"""Bytes of a plausible size; what they hold is not this module's business."""


def write_zip(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def write_raw_zip(path: Path, members: list[tuple[str, int, bytes, bytes]]) -> Path:
    """A zip of (name, method, packed bytes, bytes), without asking zipfile; zip64 if it must be."""
    body, directory = io.BytesIO(), io.BytesIO()
    for name, method, packed, data in members:
        raw, offset = name.encode(), body.tell()
        facts = (method, 0, 0, zlib.crc32(data), len(packed), len(data), len(raw))
        body.write(struct.pack("<4sHHHHHIIIHH", b"PK\x03\x04", 20, 0x800, *facts, 0))
        body.write(raw + packed)
        head = struct.pack("<4sHHHHHHIIIHHHHHII", b"PK\x01\x02", 20, 20, 0x800, *facts,
                           0, 0, 0, 0, 0, offset)  # fmt: skip
        directory.write(head + raw)
    size, start, count = directory.tell(), body.tell(), len(members)
    body.write(directory.getvalue())
    if count >= 0xFFFF:
        at = body.tell()
        body.write(struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size,
                               start))  # fmt: skip
        body.write(struct.pack("<4sIQI", b"PK\x06\x07", 0, at, 1))
        count = 0xFFFF
    body.write(struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, count, count, size, start, 0))
    path.write_bytes(body.getvalue())
    return path


TARS = {"tar": bytes, "tar.gz": gzip.compress, "tgz": gzip.compress,
        "tar.xz": lzma.compress,
        "tar.bz2": bz2.compress,
        "tar.zst": zstandard.compress, "TAR.GZ": gzip.compress}  # fmt: skip


def write_tar(path: Path, members: dict[str, bytes], format_: int = tarfile.PAX_FORMAT) -> Path:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format_) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    path.write_bytes(TARS["".join(path.suffixes[-2:])[1:]](buffer.getvalue()))
    return path


def games(count: int) -> dict[str, bytes]:
    """Name → bytes, all different, of sizes at and around the block size."""
    return {f"g/{i}.slp": REPLAY + bytes([i]) * (i % 3 * 511) for i in range(count)}


def reasons(found: sources.Found) -> dict[str, Reason]:
    return {
        refused.label.split("!")[-1].split("/")[-1]: refused.reason for refused in found.refused
    }


def _zip_bytes(method: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for index in range(3):
            archive.writestr(f"{index}.slp", REPLAY)
    return buffer.getvalue()


def _tar_bytes() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in ("1.slp", "ü" * 90 + ".slp", "2.slp.gz"):
            info = tarfile.TarInfo(name)
            info.size = len(REPLAY)
            archive.addfile(info, io.BytesIO(REPLAY))
    return buffer.getvalue()


CONTAINERS = {
    "stored.zip": lambda: _zip_bytes(zipfile.ZIP_STORED),
    "deflated.zip": lambda: _zip_bytes(zipfile.ZIP_DEFLATED),
    "lzma.zip": lambda: _zip_bytes(zipfile.ZIP_LZMA),
    "bzip2.zip": lambda: _zip_bytes(zipfile.ZIP_BZIP2),
    "1.tar": _tar_bytes,
    **{f"1.{kind}": lambda kind=kind: TARS[kind](_tar_bytes()) for kind in
       ("tar.gz", "tar.xz", "tar.bz2", "tar.zst")},
    **{f"1.slp.{kind}": lambda kind=kind: TARS[f"tar.{kind}"](REPLAY) for kind in
       ("gz", "xz", "bz2", "zst")},
}  # fmt: skip


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Cut, doubled, spliced and flipped."""
    whole = rng.random() < 0.7
    damaged = bytearray(data[: len(data) if whole else rng.randrange(len(data) // 2, len(data))])
    for _ in range(rng.randrange(6)):
        at = rng.randrange(len(damaged))
        damaged[at : at + rng.choice([1, 1, 4])] = rng.randbytes(rng.choice([1, 1, 4]))
    if rng.random() < 0.2:
        at = rng.randrange(len(damaged))
        damaged[at:at] = damaged[: rng.randrange(len(damaged))]
    return bytes(damaged)
