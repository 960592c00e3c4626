"""Replays in zips and tars: read where they lie, bounded whatever they claim, all counted."""

import bz2
import contextlib
import gzip
import io
import json
import lzma
import os
import random
import struct
import tarfile
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import pytest
import zstandard

from exphil_tf.replays import archives, decompression, slp, sources, tar_copies
from exphil_tf.replays.errors import Reason, ReplayError

REPLAY = b"{U\x03raw" + bytes(range(256)) * 8
"""Bytes of a plausible size; what they hold is not this module's business."""


def write_zip(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def reasons(found: sources.Found) -> dict[str, Reason]:
    return {
        refused.label.split("!")[-1].split("/")[-1]: refused.reason for refused in found.refused
    }


# -- Zips ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_read_back_and_only_replays_are_listed(tmp_path, method):
    other = REPLAY[::-1] + b"!"
    members = {"a/1.slp": REPLAY, "2.SLP": other, "notes.txt": b"hello", "__MACOSX/a/._1.slp": b"x",
               "folder/": b"", ".hidden/3.slp": REPLAY, "win\\4.slp": REPLAY}  # fmt: skip
    found = sources.find([write_zip(tmp_path / "games.zip", members, method)])
    assert [source.name for source in found.sources] == ["2.SLP", "a/1.slp", "win/4.slp"]
    assert [sources.read_bytes(s) for s in found.sources] == [other, REPLAY, REPLAY]
    assert not found.refused
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["games.zip"]


def test_two_members_of_one_name_are_two_replays(tmp_path):
    path = tmp_path / "games.zip"
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "w") as archive:
        archive.writestr("1.slp", REPLAY)
        archive.writestr("1.slp", REPLAY[::-1])
    found = sources.find([path])
    assert [sources.read_bytes(source) for source in found.sources] == [REPLAY, REPLAY[::-1]]


def test_a_zip_behind_other_bytes_reads(tmp_path):
    inner = write_zip(tmp_path / "inner.zip", {"1.slp": REPLAY}).read_bytes()
    (tmp_path / "games.zip").write_bytes(b"#!/bin/sh\n" * 40 + inner)
    (tmp_path / "inner.zip").unlink()
    found = sources.find([tmp_path])
    assert sources.read_bytes(found.sources[0]) == REPLAY


NAMES = ["../1.slp", "a/../../1.slp", "/etc/1.slp", "C:\\1.slp", "a\n.slp", "..\\..\\1.slp",
         "x" * 300 + ".slp", "folder\u3000two/1.slp", "a\u00a0b\u202fc/1.slp",
         "Round 1: A vs B/1.slp", "soft\u00adhyphen/1.slp", "\u202eabc/1.slp", "\x1b[2J.slp",
         "a\u2028b.slp", "é/1.slp"]  # fmt: skip
"""A name is only a label: none of these is a reason to lose a game."""


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_a_member_of_any_name_is_read(tmp_path, name, kind):
    write = write_zip if kind == "zip" else write_tar
    found = sources.find([write(tmp_path / f"games.{kind}", {name: REPLAY, "ok.slp": REPLAY})])
    assert not found.refused
    wanted = name.replace("\\", "/") if kind == "zip" else name
    assert sorted(source.name for source in found.sources) == sorted([wanted, "ok.slp"])
    assert all(sources.read_bytes(source) == REPLAY for source in found.sources)
    assert json.loads(json.dumps(found.sources[0].label)) == found.sources[0].label
    assert not [path for path in tmp_path.rglob("*") if path.suffix == ".slp"]


def test_member_names_in_other_encodings_are_read(tmp_path):
    """Python writes UTF-8 with its flag or ASCII; others write cp437, or UTF-8 that is none."""
    path = write_zip(tmp_path / "games.zip", {"ab.slp": REPLAY})
    for raw, flag in ((b"\x81\xff", 0), (b"\xff\xfe", 0x800)):
        data = bytearray(path.read_bytes().replace(b"ab.slp", raw + b".slp"))
        struct.pack_into("<H", data, data.index(b"PK\x01\x02") + 8, flag)
        path.write_bytes(data)
        (source,) = sources.find([path]).sources
        assert sources.read_bytes(source) == REPLAY
        assert sources.Source(*json.loads(json.dumps(source))) == source


def test_nested_archives_are_refused_and_counted(tmp_path):
    inner = write_zip(tmp_path / "inner.zip", {"1.slp": REPLAY}).read_bytes()
    (tmp_path / "inner.zip").unlink()
    members = {"inner.zip": inner, "more.7z": b"7z" * 1000, "games.tar.gz": b"x" * 1000}
    found = sources.find([write_zip(tmp_path / "games.zip", members)])
    assert not found.sources
    assert set(reasons(found).values()) == {Reason.NESTED_ARCHIVE} and len(found.refused) == 3


def test_encrypted_members_are_refused(tmp_path):
    path = write_zip(tmp_path / "games.zip", {"1.slp": REPLAY})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1  # general purpose flag of the central directory
    path.write_bytes(data)
    assert reasons(sources.find([path])) == {"1.slp": Reason.ENCRYPTED}


def recompressed(path: Path, method: int, packed: bytes) -> Path:
    """A zip of one member whose bytes Python's zipfile can't write."""
    return write_raw_zip(path, [("1.slp", method, packed, REPLAY)])


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_members_packed_in_other_ways_are_read(tmp_path, method):
    (source,) = sources.find([write_zip(tmp_path / "games.zip", {"1.slp": REPLAY}, method)]).sources
    assert sources.read_bytes(source) == REPLAY


@pytest.mark.parametrize(("method", "pack"), [(93, zstandard.compress), (95, lzma.compress)])
def test_members_packed_with_zstd_and_xz_are_read(tmp_path, method, pack):
    path = recompressed(tmp_path / "games.zip", method, pack(REPLAY))
    (source,) = sources.find([path]).sources
    assert sources.read_bytes(source) == REPLAY


def test_an_unknown_method_has_a_reason(tmp_path):
    found = sources.find([recompressed(tmp_path / "games.zip", 9, b"deflate64" * 99)])
    assert [refused.reason for refused in found.refused] == [Reason.BAD_ARCHIVE]
    assert "9" in found.refused[0].detail and "zip" in found.refused[0].detail


def test_a_dictionary_that_lzma_claims_is_not_believed(tmp_path):
    path = write_zip(tmp_path / "games.zip", {"1.slp": REPLAY}, zipfile.ZIP_LZMA)
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, 30 + len("1.slp") + 5, 0xFFFFFFFF)
    path.write_bytes(data)
    assert sources.read_bytes(sources.find([path]).sources[0]) == REPLAY


def test_a_bomb_is_refused_by_its_declared_ratio(tmp_path):
    found = sources.find([write_zip(tmp_path / "games.zip", {"1.slp": bytes(32 << 20)})])
    assert not found.sources and found.refused[0].reason is Reason.ZIP_BOMB


def test_a_member_beyond_the_cap_is_refused(tmp_path):
    incompressible = os.urandom(slp.MAX_BYTES // 64)
    data = incompressible * 64 + b"x"
    members = {"1.slp": data, "2.slp": incompressible}
    path = write_zip(tmp_path / "games.zip", members, zipfile.ZIP_STORED)
    assert reasons(sources.find([path])) == {"1.slp": Reason.TOO_BIG}


def test_overlapping_members_are_refused(tmp_path):
    """A quoted bomb: many directory entries that point at the same compressed bytes."""
    path = write_zip(tmp_path / "games.zip", {"1.slp": REPLAY}, zipfile.ZIP_STORED)
    data = path.read_bytes()
    start, end = data.index(b"PK\x01\x02"), data.index(b"PK\x05\x06")
    count = 50
    directory = data[start:end] * count
    tail = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, count, count, len(directory), start, 0)
    path.write_bytes(data[:start] + directory + tail)
    found = sources.find([path])
    assert not found.sources and found.refused[0].reason is Reason.ZIP_BOMB


def lying(tmp_path: Path, declared: int, payload: bytes) -> sources.Source:
    """A deflated member whose headers declare another size than it has."""
    path = write_zip(tmp_path / "games.zip", {"1.slp": payload})
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        struct.pack_into("<I", data, data.index(signature) + offset, declared)
    path.write_bytes(data)
    return sources.find([path]).sources[0]


@pytest.mark.parametrize("declared", [len(REPLAY) - 1, len(REPLAY) + 1, 2000])
def test_a_lying_size_is_caught_when_reading(tmp_path, declared):
    with pytest.raises(ReplayError) as error:
        sources.read_bytes(lying(tmp_path, declared, REPLAY))
    assert error.value.reason is Reason.BAD_ARCHIVE


def test_a_lying_bomb_is_inflated_no_further_than_it_declares(tmp_path, monkeypatch):
    inflated = []
    real = zlib.decompressobj

    class Counting:
        def __init__(self, *args):
            self.inner = real(*args)

        def decompress(self, data, limit):
            out = self.inner.decompress(data, limit)
            inflated.append(len(out))
            return out

        def __getattr__(self, name):
            return getattr(self.inner, name)

    source = lying(tmp_path, 2048, bytes(48 << 20))
    monkeypatch.setattr(decompression.zlib, "decompressobj", Counting)
    with pytest.raises(ReplayError):
        sources.read_bytes(source)
    assert inflated == [2048]


def test_damaged_members_and_archives_have_a_reason(tmp_path):
    path = write_zip(tmp_path / "games.zip", {"1.slp": REPLAY, "2.slp": REPLAY})
    source = sources.find([path]).sources[0]
    data = bytearray(path.read_bytes())
    data[40:60] = b"\xff" * 20
    path.write_bytes(data)
    with pytest.raises(ReplayError) as error:
        sources.read_bytes(source)
    assert error.value.reason is Reason.BAD_ARCHIVE
    path.write_bytes(data[:-30])
    assert reasons(sources.find([path])) == {"games.zip": Reason.BAD_ARCHIVE}
    path.write_bytes(b"PK\x03\x04")
    assert reasons(sources.find([path])) == {"games.zip": Reason.BAD_ARCHIVE}
    path.unlink()
    with pytest.raises(ReplayError) as error:
        sources.read_bytes(source)
    assert error.value.reason is Reason.NOT_A_FILE


def test_too_many_entries_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_ENTRIES", 3)
    members = {f"{i}.slp": REPLAY for i in range(4)}
    found = sources.find([write_zip(tmp_path / "games.zip", members)])
    assert [refused.reason for refused in found.refused] == [Reason.ZIP_BOMB]


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


def test_an_archive_of_the_size_that_collections_have_is_listed(tmp_path):
    packed = zlib.compress(REPLAY, 9)[2:-4]
    members = [(f"games/{i}.slp", 8, packed, REPLAY) for i in range(130_000)]
    found = sources.find([write_raw_zip(tmp_path / "games.zip", members)])
    assert len(found.sources) == 130_000 and not found.refused
    assert sources.read_bytes(found.sources[-1]) == REPLAY


def sparse_zip(path: Path, *, size: int, zip64: bool) -> Path:
    """A few bytes on disk whose directory claims gigabytes, most of them a hole."""
    entry = struct.pack("<4sHHHHHHIIIHHHHHII", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, 2000, 2000, 1,
                        0, 0xFFFF, 0, 0, 0, 0)  # fmt: skip
    with path.open("wb") as file:
        file.write(entry + b"x")
        file.seek(size)
        if zip64:
            file.write(struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, 1 << 40,
                                   1 << 40, size, 0))  # fmt: skip
            file.write(struct.pack("<4sIQI", b"PK\x06\x07", 0, size, 1))
        short = min(size, 0xFFFFFFFF)
        file.write(struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, short, 0, 0))
    return path


@pytest.mark.parametrize(("size", "zip64"), [(3 << 30, False), (1 << 36, True)])
def test_memory_is_bounded_whatever_a_directory_claims(tmp_path, size, zip64):
    path = sparse_zip(tmp_path / "games.zip", size=size, zip64=zip64)
    tracemalloc.start()
    found = sources.find([path])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20
    assert not found.sources and reasons(found) == {"games.zip": Reason.BAD_ARCHIVE}


def test_a_damaged_directory_leaves_what_was_read_before(tmp_path):
    path = write_zip(tmp_path / "games.zip", {f"{i}.slp": REPLAY for i in range(4)})
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02")
    for _ in range(2):
        at = data.index(b"PK\x01\x02", at + 4)
    data[at] = 0
    path.write_bytes(data)
    found = sources.find([path])
    assert [source.name for source in found.sources] == ["0.slp", "1.slp"]
    assert reasons(found) == {"games.zip": Reason.BAD_ARCHIVE}


def test_packed_replays_in_archives_are_read(tmp_path):
    members = {"1.slp.gz": gzip.compress(REPLAY), "2.SLP.XZ": lzma.compress(REPLAY), "a.txt": b"x"}
    for path in (write_zip(tmp_path / "a.zip", members), write_tar(tmp_path / "a.tar", members)):
        found = sources.find([path])
        assert [sources.read_bytes(source) for source in found.sources] == [REPLAY, REPLAY]
        assert not found.refused


# -- Tars ------------------------------------------------------------------------------------------

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


@pytest.mark.parametrize("kind", TARS)
@pytest.mark.parametrize("format_", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_tars_are_read_in_any_order(tmp_path, kind, format_):
    members = games(9) | {"long" * 24 + "/" + "x" * 90 + ".slp": REPLAY, "notes.txt": b"hi",
                          ".hidden/1.slp": REPLAY, "./dot/1.slp": REPLAY}  # fmt: skip
    found = sources.find([write_tar(tmp_path / f"games.{kind}", members, format_)])
    wanted = {name: members[name] for name in members if name not in ("notes.txt", ".hidden/1.slp")}
    assert not found.refused and {source.name for source in found.sources} == set(wanted)
    shuffled = random.Random(1).sample(found.sources, len(found.sources))
    assert all(sources.read_bytes(source) == wanted[source.name] for source in shuffled)
    assert all(source.path.endswith(kind) for source in found.sources)


def test_a_compressed_tar_is_decompressed_once(tmp_path, monkeypatch):
    path = write_tar(tmp_path / "games.tar.gz", games(40))
    opened = []
    real = decompression.open_packed
    monkeypatch.setattr(
        archives.decompression, "open_packed", lambda *a: opened.append(1) or real(*a)
    )
    for source in reversed(sources.find([path]).sources):
        sources.read_bytes(source)
    assert opened == [1]


def test_two_members_of_one_name_in_a_tar_are_two_replays(tmp_path):
    other = write_tar(tmp_path / "b.tar", {"1.slp": REPLAY[::-1]}).read_bytes()
    path = write_tar(tmp_path / "a.tar", {"1.slp": REPLAY})
    path.write_bytes(path.read_bytes() + other)  # as `cat` joins them
    (tmp_path / "b.tar").unlink()
    found = sources.find([path])
    assert [sources.read_bytes(source) for source in found.sources] == [REPLAY, REPLAY[::-1]]


def test_members_without_bytes_of_their_own_have_a_reason(tmp_path):
    path = tmp_path / "games.tar"
    with tarfile.open(path, "w") as archive:
        for name, kind in (("link.slp", tarfile.SYMTYPE), ("hard.slp", tarfile.LNKTYPE),
                           ("pipe.slp", tarfile.FIFOTYPE), ("dir.slp", tarfile.DIRTYPE),
                           ("dev.slp", tarfile.CHRTYPE)):  # fmt: skip
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        info = tarfile.TarInfo("ok.slp")
        info.size = len(REPLAY)
        info.pax_headers = {"GNU.sparse.major": "1"}
        archive.addfile(info, io.BytesIO(REPLAY))
        info = tarfile.TarInfo("nested.zip")
        archive.addfile(info)
    found = sources.find([path])
    assert not found.sources
    names = ["link.slp", "hard.slp", "pipe.slp", "dev.slp", "ok.slp"]
    wanted = dict.fromkeys(names, Reason.NOT_A_FILE) | {"nested.zip": Reason.NESTED_ARCHIVE}
    assert reasons(found) == wanted


@pytest.mark.parametrize("kind", ["tar", "tar.gz"])
def test_a_tar_that_is_cut_off_leaves_what_came_before(tmp_path, kind):
    members = {f"{i}.slp": os.urandom(100_000) for i in range(4)}
    path = write_tar(tmp_path / f"games.{kind}", members)
    path.write_bytes(path.read_bytes()[:250_000])
    found = sources.find([path])
    assert [source.name for source in found.sources] == ["0.slp", "1.slp"]
    assert all(len(sources.read_bytes(source)) == 100_000 for source in found.sources)
    assert reasons(found) == {path.name: Reason.BAD_ARCHIVE}


@pytest.mark.parametrize("kind", ["tar", "tar.gz"])
@pytest.mark.parametrize(("field", "value"), [(0, 1 << 39), (0, (1 << 62)), (1, 1 << 33)])
def test_huge_claims_of_a_tar_cost_no_memory(tmp_path, kind, field, value):
    """A member's size, or that of the extended header that should hold its name."""
    info = tarfile.TarInfo("1.slp")
    info.size, info.type = value, tarfile.XHDTYPE if field else tarfile.REGTYPE
    path = tmp_path / f"games.{kind}"
    path.write_bytes(TARS[kind](info.tobuf(tarfile.GNU_FORMAT) + REPLAY))
    tracemalloc.start()
    found = sources.find([path])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20
    assert not found.sources and found.refused


def test_a_tar_bomb_is_refused(tmp_path):
    path = write_tar(tmp_path / "games.tar.gz", {f"{i}.txt": bytes(64 << 20) for i in range(2)})
    found = sources.find([path])
    assert not found.sources and reasons(found) == {"games.tar.gz": Reason.ZIP_BOMB}


def test_no_room_for_a_copy_has_a_reason_and_leaves_nothing(tmp_path, monkeypatch):
    path = write_tar(tmp_path / "games.tar.gz", games(3))
    monkeypatch.setattr(tar_copies, "_KEPT_FREE_BYTES", 1 << 62)
    monkeypatch.setattr(tar_copies.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(tar_copies, "_folders", [])
    found = sources.find([path])
    assert not found.sources and reasons(found) == {"games.tar.gz": Reason.UNREADABLE}
    assert "TMPDIR" in found.refused[0].detail and "zip" in found.refused[0].detail
    (own,) = tmp_path.glob(f"{tar_copies.PREFIX}*")
    assert [one.name for one in own.iterdir()] == ["lock"]
    tar_copies.release()
    assert [one.name for one in tmp_path.iterdir()] == ["games.tar.gz"]


def test_copies_are_swept_when_released_and_after_a_kill(tmp_path, monkeypatch):
    monkeypatch.setattr(tar_copies.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(tar_copies, "_folders", [])
    killed = tmp_path / f"{tar_copies.PREFIX}killed"
    killed.mkdir()
    (killed / "copy").write_bytes(b"x")
    os.utime(killed, (1, 1))
    found = sources.find([write_tar(tmp_path / "games.tar.gz", games(3))])
    assert not killed.exists()
    (own,) = tmp_path.glob(f"{tar_copies.PREFIX}*")
    os.utime(own, (1, 1))
    tar_copies.sweep()
    assert own.exists() and sources.read_bytes(found.sources[0])
    tar_copies.release()
    assert not own.exists()
    with pytest.raises(ReplayError, match="repack it as zip") as error:
        sources.read_bytes(found.sources[0])
    assert error.value.reason is Reason.UNREADABLE


def test_a_compressed_tar_for_a_cluster_is_refused_with_the_remedy(tmp_path):
    write_tar(tmp_path / "games.tar.gz", games(3))
    write_tar(tmp_path / "plain.tar", games(3))
    found = sources.find([tmp_path], copy=False)
    assert len(found.sources) == 3 and reasons(found) == {"games.tar.gz": Reason.BAD_ARCHIVE}
    assert "zip" in found.refused[0].detail


# -- Damage ----------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("name", CONTAINERS)
def test_random_damage_never_raises_anything_else(tmp_path, name):
    data, path, rng = CONTAINERS[name](), tmp_path / name, random.Random(5)
    for _ in range(150):
        path.write_bytes(mutated(data, rng))
        found = sources.find([path])
        assert found.sources or found.refused or name.endswith(("tar", "zip", "zst")), path
        for source in found.sources:
            with contextlib.suppress(ReplayError):
                sources.read_bytes(source)
        tar_copies.release()


def test_real_replays_zip_and_read_back(tmp_path, replays_dir):
    files = sources.find([replays_dir])
    path = tmp_path / "all.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for source in files.sources[::4]:
            archive.write(source.path, Path(source.path).name)
    zipped = {source.name: source for source in sources.find([path]).sources}
    assert zipped
    for source in files.sources[::4]:
        if source.size >= slp.MIN_BYTES:
            name = Path(source.path).name
            assert sources.read_bytes(zipped[name]) == Path(source.path).read_bytes()


# -- What went wrong once --------------------------------------------------------------------------


def test_every_container_of_the_case_is_accounted_for(cases_dir):
    found = sources.find([cases_dir / "other_containers_skipped_silently"])
    assert not found.refused
    outcome = {}
    for source in found.sources:
        try:
            outcome[source.label.rpartition("/")[2]] = len(sources.read_bytes(source))
        except ReplayError as error:
            outcome[source.label.rpartition("/")[2]] = str(error.reason)
    tar = "FOX_master-master_a1.tar.gz"
    assert outcome == {
        "Game_0.slp": 221287,
        "Game_1.slp.gz": 221287,
        "Game_2.slpz": "bad_archive",  # only its name is slpz
        **{f"{tar}!g{i}.slp": 221287 for i in range(3)},
        "pack.zip!Game_3.slpz": "bad_archive",
        "pack.zip!Game_4.slp.gz": 221287,
        "pack.zip!Game_5.slp": 221287,
    }


def test_every_name_of_the_case_is_read(cases_dir):
    found = sources.find([cases_dir / "zip_member_names"])
    assert len(found.sources) == 8 and not found.refused
    assert {len(sources.read_bytes(source)) for source in found.sources} == {221287}


def test_the_corpus_is_listed_from_its_zips(corpus_dir):
    found = sources.find([corpus_dir])
    assert len(found.sources) == 356 and not found.refused
    assert all(sources.read_bytes(source) for source in found.sources[::60])
