"""A file is whole or absent, its errors name it, and a killed writer's rest is swept."""

import errno
import os
import subprocess
import sys

import pytest

from exphil_tf.foundation import atomic
from exphil_tf.foundation.durable import TEMPORARY, naming, write_file

KILLED = """
import os, sys
from pathlib import Path
from exphil_tf.foundation import atomic
from exphil_tf.foundation.durable import write_file
def parts():
    yield b"x" * 100_000
    os.kill(os.getpid(), 9)
target = Path(sys.argv[2])
if sys.argv[1] == "file":
    write_file(target, parts())
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
