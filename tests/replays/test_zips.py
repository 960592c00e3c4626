"""Replays in zips: read where they lie, bounded whatever the directory claims, all counted."""

import json
import lzma
import os
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import pytest
import zstandard
from replay_archives import REPLAY, reasons, write_raw_zip, write_zip

from exphil_tf.replays import archives, decompression, slp, sources
from exphil_tf.replays.refusals import Reason, ReplayError


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
