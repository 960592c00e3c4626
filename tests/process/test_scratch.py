"""What is temporary lies in one folder, and the next command sweeps what the dead left."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from exphil_tf.process import scratch

HOLD = """
import multiprocessing, os, sys, tempfile
from exphil_tf.process import scratch
with scratch.held():
    kept = tempfile.mkdtemp()
    lock = multiprocessing.get_context("forkserver").Lock()
    print(tempfile.gettempdir(), lock._semlock.name, flush=True)
    if sys.argv[1:] == ["die"]:
        os.killpg(os.getpid(), 9)
    sys.stdin.read()
"""


@pytest.fixture
def base(tmp_path_factory, monkeypatch):
    """A short path: sockets lie in there."""
    with tempfile.TemporaryDirectory() as place:
        monkeypatch.setenv("TMPDIR", place)
        monkeypatch.setattr(tempfile, "tempdir", None)
        yield Path(place)


def start(*argv):
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, *argv],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )


def test_a_killed_process_group_leaves_nothing_after_the_next_command(base):
    process = start("die")
    out, _ = process.communicate()
    folder, semaphore = out.split()
    assert Path(folder).parent == base
    assert Path(folder).is_dir()
    with scratch.held():
        assert not Path(folder).exists()
        assert tempfile.gettempdir().startswith(str(base))
        assert [path.name for path in base.iterdir()] == [Path(tempfile.gettempdir()).name]
    assert not list(base.iterdir())
    if scratch._SEMAPHORES.is_dir():
        assert not (scratch._SEMAPHORES / f"sem.{semaphore.lstrip('/')}").exists()


def test_a_living_process_keeps_its_folder(base):
    process = start()
    assert process.stdout is not None and process.stdin is not None
    folder, semaphore = process.stdout.readline().split()
    with scratch.held():
        assert Path(folder).is_dir()
        if scratch._SEMAPHORES.is_dir():
            assert (scratch._SEMAPHORES / f"sem.{semaphore.lstrip('/')}").exists()
    process.communicate("")
    assert process.returncode == 0
    assert not Path(folder).exists()


def test_everything_is_given_back(base):
    before = tempfile.gettempdir(), os.environ["TMPDIR"], dict(scratch._config())
    with scratch.held(), scratch.held():
        assert Path(tempfile.gettempdir()).parent == base, "not nested"
    assert (tempfile.gettempdir(), os.environ["TMPDIR"], dict(scratch._config())) == before


@pytest.mark.parametrize("name", ["missing", "file"])
def test_no_place_for_temporary_files_is_no_reason_to_stop(base, name, monkeypatch):
    (base / "file").write_text("")
    monkeypatch.setattr(tempfile, "tempdir", str(base / name))
    with scratch.held():
        pass


def test_sockets_fit_under_a_long_path(base, monkeypatch):
    long = base / ("x" * 90)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with scratch.held():
        assert len(tempfile.gettempdir()) + len("/listener-12345678") < 108
