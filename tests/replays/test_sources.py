"""Finding replays in folders and zips: no extraction, no hang, everything counted."""

import contextlib
import io
import json
import os
import struct
import zipfile
import zlib
from pathlib import Path

import pytest

from exphil_tf.replays import slp, sources
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


# -- Folders -------------------------------------------------------------------------------------


def test_folders_are_searched_deeply_in_order_and_without_hidden_files(tmp_path):
    for name in ("b/2.slp", "a/1.SLP", "a/deep/er/3.slp", ".hidden/4.slp", "a/.5.slp", "a/x.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(REPLAY)
    write_zip(tmp_path / "b" / "more.ZIP", {"in/6.slp": REPLAY})
    found = sources.find([tmp_path])
    names = [source.label.removeprefix(f"{tmp_path}/") for source in found.sources]
    assert names == ["a/1.SLP", "a/deep/er/3.slp", "b/2.slp", "b/more.ZIP!in/6.slp"]
    assert found.refused == []
    assert all(sources.read_bytes(source) == REPLAY for source in found.sources)
    assert all(source.size == len(REPLAY) for source in found.sources)


def test_the_same_replay_given_twice_counts_once(tmp_path):
    (tmp_path / "games").mkdir()
    path = tmp_path / "games" / "1.slp"
    path.write_bytes(REPLAY)
    once = sources.find([tmp_path])
    assert sources.find([path, tmp_path, tmp_path / "games", tmp_path]) == once
    assert sources.find([tmp_path, path]) == once
    assert len(once.sources) == 1


def test_loops_of_links_end_and_links_are_followed(tmp_path):
    games = tmp_path / "games"
    games.mkdir()
    (games / "1.slp").write_bytes(REPLAY)
    (games / "loop").symlink_to(tmp_path)
    (games / "self.slp").symlink_to(games / "self.slp")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "2.slp").write_bytes(REPLAY)
    (games / "linked").symlink_to(elsewhere)
    found = sources.find([games])
    names = sorted({Path(source.path).name for source in found.sources})
    assert names == ["1.slp", "2.slp", "self.slp"]
    broken = next(source for source in found.sources if source.path.endswith("self.slp"))
    with pytest.raises(ReplayError) as error:
        sources.read_bytes(broken)
    assert error.value.reason is Reason.NOT_A_FILE


def test_a_pipe_neither_hangs_nor_disappears(tmp_path):
    os.mkfifo(tmp_path / "pipe.slp")
    os.mkfifo(tmp_path / "pipe.zip")
    found = sources.find([tmp_path])
    assert reasons(found) == {"pipe.zip": Reason.NOT_A_FILE}
    with pytest.raises(ReplayError) as error:
        sources.read_bytes(found.sources[0])
    assert error.value.reason is Reason.NOT_A_FILE


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_folder_is_counted(tmp_path):
    (tmp_path / "secret").mkdir(mode=0)
    assert reasons(sources.find([tmp_path])) == {"secret": Reason.UNREADABLE}


def test_a_missing_path_is_an_error_that_names_it(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        sources.find([tmp_path / "nowhere"])
    assert error.value.filename == str(tmp_path / "nowhere")


def test_other_archives_are_refused_when_given(tmp_path):
    (tmp_path / "games.7z").write_bytes(REPLAY)
    found = sources.find([tmp_path / "games.7z"])
    assert reasons(found) == {"games.7z": Reason.BAD_ARCHIVE} and not found.sources


def test_sources_survive_json(tmp_path):
    path = write_zip(tmp_path / "games.zip", {"ü/1.slp": REPLAY})
    source = sources.find([path]).sources[0]
    assert sources.Source(*json.loads(json.dumps(source))) == source
    assert len(json.dumps(source)) < 200 + len(str(path))


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


@pytest.mark.parametrize("name", ["../1.slp", "a/../../1.slp", "/etc/1.slp", "C:\\1.slp", "a\n.slp",
                                  "..\\..\\1.slp", "x" * 300 + ".slp"])  # fmt: skip
def test_names_that_would_escape_are_refused(tmp_path, name):
    found = sources.find([write_zip(tmp_path / "games.zip", {name: REPLAY, "ok.slp": REPLAY})])
    assert [source.name for source in found.sources] == ["ok.slp"]
    assert [refused.reason for refused in found.refused] == [Reason.BAD_NAME]
    assert all(letter.isprintable() for letter in found.refused[0].label)


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


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compression_is_refused(tmp_path, method):
    found = sources.find([write_zip(tmp_path / "games.zip", {"1.slp": REPLAY}, method)])
    assert reasons(found) == {"1.slp": Reason.BAD_ARCHIVE}


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

    source = lying(tmp_path, 2048, bytes(48 << 20))
    monkeypatch.setattr(sources.zlib, "decompressobj", Counting)
    with pytest.raises(ReplayError):
        sources.read_bytes(source)
    assert inflated == [2049]


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
    monkeypatch.setattr(sources, "MAX_ENTRIES", 3)
    members = {f"{i}.slp": REPLAY for i in range(4)}
    found = sources.find([write_zip(tmp_path / "games.zip", members)])
    assert [refused.reason for refused in found.refused] == [Reason.ZIP_BOMB]


def test_a_directory_too_big_for_memory_is_refused_unread(tmp_path):
    path = write_zip(tmp_path / "games.zip", {"1.slp": REPLAY})
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, data.index(b"PK\x05\x06") + 12, 1 << 30)
    path.write_bytes(data)
    assert reasons(sources.find([path])) == {"games.zip": Reason.ZIP_BOMB}


def test_random_damage_to_archives_never_raises_anything_else(tmp_path):
    import random

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for index in range(3):
            archive.writestr(f"{index}.slp", REPLAY)
    data, path, rng = buffer.getvalue(), tmp_path / "games.zip", random.Random(5)
    for _ in range(400):
        damaged = bytearray(data[: rng.randrange(len(data) // 2, len(data) + 1)])
        for _ in range(rng.randrange(6)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(damaged)
        found = sources.find([path])
        for source in found.sources:
            with contextlib.suppress(ReplayError):
                sources.read_bytes(source)


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
