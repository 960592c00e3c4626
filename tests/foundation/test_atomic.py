"""Files and folders are whole or absent, errors name them, and a killed writer's rest is swept."""

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys

import pytest

from exphil_tf.foundation import atomic
from exphil_tf.foundation.atomic import TEMPORARY, naming, write_file


def fill(folder, text="new"):
    (folder / "a.txt").write_text(text)
    (folder / "b.bin").write_bytes(bytes(range(256)) * 40)


def contents(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def test_published_folder_is_whole_and_checked(tmp_path):
    with atomic.publish(tmp_path / "out") as folder:
        fill(folder)
        assert not (tmp_path / "out").exists()
    assert atomic.problems(tmp_path / "out") == []
    assert sorted(contents(tmp_path / "out")) == ["a.txt", "b.bin", atomic.CHECKSUMS]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("exchange", [True, False])
def test_replacing_keeps_one_whole_folder(tmp_path, monkeypatch, exchange):
    if not exchange:
        monkeypatch.setattr(atomic, "_exchange", lambda one, two: False)
    for text in ("old", "new"):
        with atomic.publish(tmp_path / "out") as folder:
            fill(folder, text)
    assert (tmp_path / "out/a.txt").read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("name", ["a.txt", "b.bin", atomic.CHECKSUMS])
@pytest.mark.parametrize("damage", ["flip", "cut", "delete", "add"])
def test_every_damage_is_found(tmp_path, name, damage):
    with atomic.publish(tmp_path / "out") as folder:
        fill(folder)
    path = tmp_path / "out" / name
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    elif damage == "cut":
        path.write_bytes(data[:-1])
    elif damage == "delete":
        path.unlink()
    else:
        path.with_name(name + ".more").write_bytes(b"")
    # A list of checksums that is cut behind its last brace is still the same list.
    if (name, damage) != (atomic.CHECKSUMS, "cut"):
        assert atomic.problems(tmp_path / "out")


class Fault:
    """Fails the n-th call of any of the wrapped functions with ENOSPC."""

    def __init__(self, at):
        self.at, self.calls = at, 0

    def wrap(self, function):
        def wrapped(*args, **kwargs):
            self.calls += 1
            if self.calls == self.at:
                raise OSError(errno.ENOSPC, "No space left on device")
            return function(*args, **kwargs)

        return wrapped


def inject(monkeypatch, fault):
    for name in ("fsync", "rename", "replace"):
        monkeypatch.setattr(os, name, fault.wrap(getattr(os, name)))


def test_a_failure_at_any_call_leaves_the_old_folder_or_the_new(tmp_path, monkeypatch):
    outcomes, at = set(), 0
    while True:
        at += 1
        root = tmp_path / str(at)
        with atomic.publish(root / "out") as folder:
            fill(folder, "old")
        with monkeypatch.context() as patch:
            fault = Fault(at)
            inject(patch, fault)
            try:
                with atomic.publish(root / "out") as folder:
                    fill(folder, "new")
                failed = False
            except OSError as error:
                failed = True
                assert error.errno == errno.ENOSPC
        atomic.sweep(root)
        assert atomic.problems(root / "out") == []
        assert [p.name for p in root.iterdir()] == ["out"]
        outcomes.add((failed, (root / "out/a.txt").read_text()))
        if not failed:
            break
    assert at > 5
    # A failing fsync of the parent comes after the rename: the new folder is there by then.
    assert outcomes <= {(True, "old"), (True, "new"), (False, "new")}
    assert (True, "old") in outcomes


def test_a_full_disk_leaves_the_old_folder(tmp_path):
    with atomic.publish(tmp_path / "out") as folder:
        fill(folder, "old")
    before = contents(tmp_path / "out")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limits[1]))
        with pytest.raises(OSError), atomic.publish(tmp_path / "out") as folder:
            fill(folder, "new")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert contents(tmp_path / "out") == before
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_sweep_undoes_a_replacement_cut_between_its_two_renames(tmp_path, monkeypatch):
    with atomic.publish(tmp_path / "out") as folder:
        fill(folder, "old")
    shutil.copytree(tmp_path / "out", tmp_path / f"{atomic.TEMPORARY}out-1234abcd")
    (tmp_path / "out").rename(tmp_path / f"{atomic.REPLACED}out-1234abcd")
    atomic.sweep(tmp_path)
    assert (tmp_path / "out/a.txt").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_json_refuses_nan_and_keeps_the_old_file(tmp_path):
    atomic.write_json(tmp_path / "x.json", {"a": 1.5})
    with pytest.raises(ValueError):
        atomic.write_json(tmp_path / "x.json", {"a": float("nan")})
    assert "1.5" in (tmp_path / "x.json").read_text()
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


# -- Lists and values from elsewhere ---------------------------------------------------------------


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "a\nb", "x\x1b[31m", "\0"])
def test_names_that_lead_out_of_the_folder_are_not_followed(tmp_path, name):
    (tmp_path / "x").write_bytes(b"x")
    folder = tmp_path / "folder"
    folder.mkdir()
    listed = {name: {"sha256": atomic.sha256(tmp_path / "x"), "bytes": 1}}
    atomic.write_json(folder / atomic.CHECKSUMS, {"files": listed})
    (found,) = atomic.problems(folder)
    assert "is no file of this folder" in found
    assert found.isprintable()


def test_a_name_too_long_for_any_system_is_missing(tmp_path):
    listed = {"a" * 100_000: {"sha256": "0", "bytes": 1}}
    atomic.write_json(tmp_path / atomic.CHECKSUMS, {"files": listed})
    assert atomic.problems(tmp_path)[0].endswith(": missing")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / atomic.CHECKSUMS)
    assert "not readable" in atomic.problems(tmp_path)[0]
    with pytest.raises(ValueError, match="want a file"):
        atomic.read_json(tmp_path / atomic.CHECKSUMS)


@pytest.mark.parametrize(
    "text", ["", "{", "NaN", "[-Infinity]", "1e999", "[" * 100_000, "9" * 5000, '"\\ud800"', "\xff"]
)
def test_json_that_is_no_plain_value(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError):
        atomic.read_json(path)


def test_json_that_is_too_large(tmp_path):
    path = tmp_path / "x.json"
    with path.open("wb") as file:
        file.truncate(atomic.MAX_JSON + 1)
    with pytest.raises(ValueError, match="at most"):
        atomic.read_json(path)


# -- Files, and what killed writers left -----------------------------------------------------------


def test_sweep_takes_unfinished_things_only(tmp_path):
    (tmp_path / ".tmp-spill-1").mkdir()
    (tmp_path / ".tmp-spill-1" / "x").write_bytes(b"x")
    (tmp_path / ".tmp-shard").write_bytes(b"x")
    (tmp_path / "manifest.json").write_bytes(b"{}")
    (tmp_path / "keep").mkdir()
    (tmp_path / ".tmp-link").symlink_to(tmp_path / "keep")
    assert [path.name for path in atomic.sweep(tmp_path)] == [
        ".tmp-link",
        ".tmp-shard",
        ".tmp-spill-1",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["keep", "manifest.json"]


KILLED = """
import os, sys
from pathlib import Path
from exphil_tf.foundation import atomic
def parts():
    yield b"x" * 100_000
    os.kill(os.getpid(), 9)
target = Path(sys.argv[2])
if sys.argv[1] == "file":
    atomic.write_file(target, parts())
with atomic.publish(target) as folder:
    (folder / "part").write_bytes(next(p := parts()))
    next(p)
"""


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_killed_writer_left_goes_with_the_next(kind, tmp_path, project_root):
    target = tmp_path / "a[1]*"
    command = [sys.executable, "-c", KILLED, kind, str(target)]
    assert subprocess.run(command, cwd=project_root, check=False).returncode == -9
    (leftover,) = tmp_path.iterdir()
    assert leftover.name.startswith(TEMPORARY)
    other = tmp_path / f"{TEMPORARY}other-01234567"
    other.write_text("of another target")
    if kind == "file":
        write_file(target, [b"whole"])
    else:
        with atomic.publish(target) as folder:
            (folder / "part").write_bytes(b"whole")
    assert sorted(tmp_path.iterdir()) == sorted([target, other])


def test_a_living_writers_temporary_stays(tmp_path):
    def parts():
        write_file(tmp_path / "a", [b"second"])
        yield b"first"

    write_file(tmp_path / "a", parts())
    assert (tmp_path / "a").read_bytes() == b"first"
    with atomic.publish(tmp_path / "b") as outer:
        with atomic.publish(tmp_path / "b") as inner:
            (inner / "part").write_bytes(b"second")
        (outer / "part").write_bytes(b"first")
    assert (tmp_path / "b/part").read_bytes() == b"first"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG])
def test_errors_name_the_file(code, tmp_path, monkeypatch):
    def failing(descriptor):
        raise OSError(code, os.strerror(code))

    (tmp_path / "a").write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError) as caught:
        write_file(tmp_path / "a", [b"new"])
    assert caught.value.filename == str(tmp_path / "a")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_a_name_that_is_there_is_kept(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, naming(tmp_path / "a"):
        (tmp_path / "b").read_bytes()
    assert caught.value.filename == str(tmp_path / "b")


def test_a_device_a_pipe_or_a_link_to_one_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/null")
    for name in ("pipe", "link"):
        with pytest.raises(FileExistsError, match=name):
            atomic.write_bytes(tmp_path / name, b"x")
        assert not (tmp_path / name).is_file()
    assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_takes_the_place_of_a_folder_only(tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(FileExistsError, match="file"), atomic.publish(file):
        raise AssertionError("not reached")
    assert file.read_text() == "mine" and len(list(tmp_path.iterdir())) == 1


def test_a_published_folder_is_no_place_for_reports(tmp_path):
    with atomic.publish(tmp_path / "policy") as folder:
        atomic.write_bytes(folder / "weights", b"w")
    (tmp_path / "manifest.json").write_text("{}")
    atomic.require_unpublished(tmp_path)
    for place, seals in ((tmp_path / "policy", ()), (tmp_path, ("manifest.json",))):
        with pytest.raises(PermissionError, match="another file would damage it"):
            atomic.require_unpublished(place, (atomic.CHECKSUMS, *seals))
