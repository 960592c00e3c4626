"""Replays in tars, packed or not: each read once, in any order afterwards, all counted."""

import io
import os
import random
import tarfile
import tracemalloc

import pytest
from replay_archives import REPLAY, TARS, games, reasons, write_tar

from exphil_tf.process import scratch
from exphil_tf.replays import archives, decompression, sources, tar_copies
from exphil_tf.replays.refusals import Reason, ReplayError


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
    (own,) = (one for one in tmp_path.iterdir() if one.is_dir())
    assert not list(own.iterdir())
    tar_copies.release()
    assert [one.name for one in tmp_path.iterdir()] == ["games.tar.gz"]


def test_copies_are_swept_when_released_and_after_a_kill(tmp_path, monkeypatch):
    monkeypatch.setattr(tar_copies.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(tar_copies, "_folders", [])
    killed, lock = scratch.claim(tmp_path)
    (killed / "copy").write_bytes(b"x")
    os.close(lock)
    found = sources.find([write_tar(tmp_path / "games.tar.gz", games(3))])
    assert not killed.exists()
    (own,) = (one for one in tmp_path.iterdir() if one.is_dir())
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
