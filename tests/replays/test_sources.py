"""Finding replays in folders and zips: no extraction, no hang, everything counted."""

import bz2
import errno
import gzip
import json
import lzma
import os
import subprocess
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard
from replay_archives import REPLAY, reasons, write_zip

from exphil_tf.replays import slp, sources
from exphil_tf.replays.refusals import Reason, ReplayError

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


# -- What cannot be looked at ---------------------------------------------------------------------


def as_nobody(function: Callable[[], None]) -> None:
    """Runs in a child for whom no permission is waived, as they are for root."""
    child = os.fork()
    if not child:
        code = 1
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            function()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0


@pytest.fixture
def hostile() -> Iterator[Path]:
    """A folder that anybody may enter; permissions inside are mended afterwards."""
    bases = [Path(tempfile.gettempdir()).resolve(), Path("/tmp")]
    opened = [at for at in bases if all(one.stat().st_mode & 1 for one in (at, *at.parents))]
    if not opened:
        pytest.skip("no folder for temporary files that anybody may enter")
    with tempfile.TemporaryDirectory(dir=opened[0]) as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        for path in sorted(folder.iterdir()):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o755)


def test_locked_things_cost_a_line_each_and_the_rest_goes_on(hostile):
    locked, listed = hostile / "locked", hostile / "listed"
    for folder in (locked, listed):
        (folder / "inner").mkdir(parents=True)
        (folder / "1.slp").write_bytes(REPLAY)
        write_zip(folder / "2.zip", {"1.slp": REPLAY})
    (hostile / "into").symlink_to(locked / "inner")
    (hostile / "into.slp").symlink_to(locked / "1.slp")
    (hostile / "into.zip").symlink_to(locked / "2.zip")
    (hostile / "nowhere").symlink_to(hostile / "nothing")
    (hostile / "secret.slp").write_bytes(REPLAY)
    (hostile / "ok.slp").write_bytes(REPLAY)
    (hostile / "secret.slp").chmod(0)
    locked.chmod(0)  # neither listed nor entered
    listed.chmod(0o444)  # listed, but nothing in it can be looked at

    def check() -> None:
        found = sources.find([hostile])
        refused = sorted(label.removeprefix(f"{hostile}/") for label, _, _ in found.refused)
        assert refused == ["into", "into.zip", "listed/2.zip", "listed/inner", "locked"]
        assert {one.reason for one in found.refused} == {Reason.UNREADABLE}
        outcome = {
            source.path.removeprefix(f"{hostile}/"): bytes_or_reason(source)
            for source in found.sources
        }
        bad = ["into.slp", "listed/1.slp", "secret.slp"]
        assert outcome == {"ok.slp": REPLAY} | dict.fromkeys(bad, "unreadable")
        given = sources.find([hostile / "locked" / "1.slp", hostile / "ok.slp"])
        assert len(given.sources) == 1 and len(given.refused) == 1

    as_nobody(check)


def bytes_or_reason(source: sources.Source) -> bytes | str:
    try:
        return sources.read_bytes(source)
    except ReplayError as error:
        return str(error.reason)


def test_a_tree_of_1100_levels_is_searched(tmp_path):
    folder = str(tmp_path)
    for _ in range(1100):
        folder += "/d"
        Path(folder).mkdir()
    Path(folder, "deep.slp").write_bytes(REPLAY)
    (tmp_path / "ok.slp").write_bytes(REPLAY)
    found = sources.find([tmp_path])
    assert [Path(source.path).name for source in found.sources] == ["deep.slp", "ok.slp"]
    assert all(sources.read_bytes(source) == REPLAY for source in found.sources)
    subprocess.run(["rm", "-r", tmp_path / "d"], check=True)  # pytest's own sweep is recursive


def test_paths_longer_than_the_system_takes_cost_one_line(tmp_path):
    """Made from inside, as a backup nested into itself makes them."""
    (tmp_path / "ok.slp").write_bytes(REPLAY)
    descriptors = [os.open(tmp_path, os.O_RDONLY)]
    for _ in range(25):
        os.mkdir("x" * 200, dir_fd=descriptors[-1])
        descriptors.append(os.open("x" * 200, os.O_RDONLY, dir_fd=descriptors[-1]))
    file = os.open("1.slp", os.O_CREAT | os.O_WRONLY, dir_fd=descriptors[-1])
    for descriptor in (file, *descriptors):
        os.close(descriptor)
    found = sources.find([tmp_path])
    assert [Path(source.path).name for source in found.sources] == ["ok.slp"]
    refused = [(one.reason, one.detail) for one in found.refused]
    assert refused == [(Reason.UNREADABLE, "ENAMETOOLONG")]
    subprocess.run(["rm", "-r", tmp_path / ("x" * 200)], check=True)


def test_chains_of_links_end(tmp_path):
    (tmp_path / "0.slp").write_bytes(REPLAY)
    for index in range(1, 1500):
        (tmp_path / f"{index}.slp").symlink_to(tmp_path / f"{index - 1}.slp")
    found = sources.find([tmp_path])
    assert REPLAY in {bytes_or_reason(source) for source in found.sources}


NAMES = [b"\xff\xfe.slp", b"new\nline.slp", "a\u3000b.slp".encode(), b"\x1b[2J.slp", b"a!b.slp",
         b"-x.slp", b" .slp", b"C:\\x.slp"]  # fmt: skip


def test_files_of_any_name_are_read(tmp_path):
    for index, name in enumerate(map(os.fsdecode, NAMES)):
        folder = tmp_path / name.replace(".slp", f"_{index}")
        folder.mkdir()
        (folder / name).write_bytes(REPLAY)
    found = sources.find([tmp_path])
    assert len(found.sources) == len(NAMES) and not found.refused
    for source in found.sources:
        assert sources.read_bytes(source) == REPLAY
        assert sources.Source(*json.loads(json.dumps(source))) == source


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.ESTALE, errno.ELOOP, errno.ENOENT])
@pytest.mark.parametrize("call", ["stat", "scandir", "lstat", "readlink"])
def test_no_error_of_the_system_leaves_the_search(tmp_path, monkeypatch, call, code):
    """Whatever fails for one folder, the other files are found and nothing is raised."""
    for name in ("bad/1.slp", "good/2.slp", "good/more/3.slp.gz", "4.zip"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(gzip.compress(REPLAY))
    (tmp_path / "bad" / "link.slp").symlink_to(tmp_path / "good" / "2.slp")
    real = getattr(os, call)

    def failing(path=".", *args, **kwargs):
        if "/bad" in str(path):
            raise OSError(code, os.strerror(code), path)
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, call, failing)
    found = sources.find([tmp_path])
    names = {Path(source.path).name for source in found.sources}
    assert {"2.slp", "3.slp.gz"} <= names
    assert "1.slp" in names or str(tmp_path / "bad") in {one.label for one in found.refused}


def test_a_missing_path_is_an_error_that_names_it(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        sources.find([tmp_path / "nowhere"])
    assert error.value.filename == str(tmp_path / "nowhere")


OTHERS = ["a.7z", "a.RAR", "a.zlp", "a.7z.001", "a.zip.001", "a.z01", "a.part1.rar", "a.slp.lz4",
          "a.slp.Z", "a.tar.lz"]  # fmt: skip


def test_what_may_hold_replays_and_is_not_read_has_a_line(tmp_path):
    """In a folder, given by name and in a zip alike; and what holds none has no line."""
    for name in [*OTHERS, "notes.txt", "cover.png", "x.slippi"]:
        (tmp_path / name).write_bytes(REPLAY)
    write_zip(tmp_path / "in.zip", dict.fromkeys(OTHERS, REPLAY))
    found = sources.find([tmp_path])
    assert not found.sources
    labels = sorted(one.label.removeprefix(f"{tmp_path}/") for one in found.refused)
    assert labels == sorted([*OTHERS, *(f"in.zip!{name}" for name in OTHERS)])
    assert all(one.detail for one in found.refused)
    given = sources.find([tmp_path / name for name in OTHERS])
    assert len(given.refused) == len(OTHERS) and not given.sources


PACKED = {"gz": gzip.compress, "xz": lzma.compress, "bz2": bz2.compress, "zst": zstandard.compress,
          "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE)}  # fmt: skip


@pytest.mark.parametrize("packing", PACKED)
def test_packed_replays_are_read(tmp_path, packing):
    pack = PACKED[packing]
    whole = pack(REPLAY)
    good = {"1": whole}
    if packing != "lzma":  # which has no members
        good["2"] = pack(REPLAY[:900]) + pack(REPLAY[900:])
    bad = {"cut": whole[:-5], "garbage": whole + b"garbage", "empty": b"", "no": b"no such thing",
           "bomb": pack(bytes(slp.MAX_BYTES + 1)), "short": pack(b"short")}  # fmt: skip
    for name, data in (good | bad).items():
        (tmp_path / f"{name}.slp.{packing}").write_bytes(data)
    found = sources.find([tmp_path])
    assert not found.refused
    got = {Path(one.path).name.split(".")[0]: bytes_or_reason(one) for one in found.sources}
    wanted = dict.fromkeys(good, REPLAY) | dict.fromkeys(bad, "bad_archive")
    assert got == wanted | {"bomb": "zip_bomb", "short": "too_small"}


def test_a_flipped_checksum_is_noticed(tmp_path):
    data = bytearray(gzip.compress(REPLAY))
    data[-6] ^= 1
    (tmp_path / "1.slp.gz").write_bytes(data)
    assert bytes_or_reason(sources.find([tmp_path]).sources[0]) == "bad_archive"


def test_sources_survive_json(tmp_path):
    path = write_zip(tmp_path / "games.zip", {"ü/1.slp": REPLAY})
    source = sources.find([path]).sources[0]
    assert sources.Source(*json.loads(json.dumps(source))) == source
    assert len(json.dumps(source)) < 200 + len(str(path))
