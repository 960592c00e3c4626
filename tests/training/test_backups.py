"""A run that gives way to another is there afterwards, whatever happens in between."""

import contextlib
import errno
import itertools
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import time

import pytest

from exphil_tf.foundation import atomic
from exphil_tf.foundation.errors import UserError
from exphil_tf.training import backups, run_folder
from exphil_tf.training.run_folder import RunLocation, runs_in
from exphil_tf.training.run_options import read_run
from exphil_tf.training.run_summary import summarise
from exphil_tf.training.train_config import TrainConfig


def make_run(folder, mark):
    (folder / "checkpoints/step-00000012").mkdir(parents=True)
    (folder / "checkpoints/step-00000012/state").write_text(mark)
    (folder / "log.jsonl").write_text(mark)
    (folder / "config.json").write_text('{"config": {}}')
    (folder / "config.yaml").write_text(mark)


def contents(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in files
        if not path.name.startswith(".tmp-")  # of a writer that was killed; training sweeps
    }


def overwrite(folder, keep=3):
    return run_folder.claim(
        RunLocation(folder, is_resuming=False), overwrite=True, backup_count=keep
    )


def test_each_run_becomes_a_backup_and_the_oldest_goes(tmp_path):
    run, wanted = tmp_path / "runs/[a]*", {}
    for mark in "12345":
        make_run(run, mark)
        wanted[mark] = {n: t for n, t in contents(run).items() if n != "notes.txt"}
        (run / "notes.txt").write_text("mine")
        made = overwrite(run)
        assert made == tmp_path / "runs/[a]*.bak"
        assert contents(run) == {"notes.txt": "mine"}
    found = {path.name: contents(path) for path in run.parent.iterdir() if path != run}
    names = ("[a]*.bak", "[a]*.bak.1", "[a]*.bak.2")
    assert found == dict(zip(names, (wanted[mark] for mark in "543"), strict=True))
    assert runs_in(run.parent) == []  # backups are no runs to go on with
    make_run(run, "6")
    assert overwrite(run, keep=0) is None
    assert contents(run) == {"notes.txt": "mine"}
    assert len(list(run.parent.iterdir())) == 4  # earlier backups stay


class Killed(BaseException):
    """What nothing catches."""


@pytest.mark.parametrize("fault", [Killed, OSError(errno.ENOSPC, "No space left on device")])
def test_nothing_is_lost_at_any_moment(tmp_path, monkeypatch, fault):
    """Every rename, and every file that is written, fails once; then the command is run again."""
    for moment in itertools.count():
        run = tmp_path / f"{moment}/run"
        for mark in "12":
            make_run(run, mark)
            overwrite(run)
        make_run(run, "3")
        whole, calls = contents(run), itertools.count()

        def failing(act, calls=calls, moment=moment):
            def run_or_fail(*args, **kwargs):
                if next(calls) == moment:
                    raise fault
                return act(*args, **kwargs)

            return run_or_fail

        with monkeypatch.context() as patch:
            patch.setattr(os, "rename", failing(os.rename))
            patch.setattr(atomic, "write_bytes", failing(atomic.write_bytes))
            try:
                overwrite(run)
                break
            except (Killed, OSError):
                pass
        if isinstance(fault, OSError):
            assert contents(run) == whole
        backups.recover(run)
        assert contents(run) == whole
        overwrite(run)
        marks = [contents(path)["log.jsonl"] for path in backups.backups(run).values()]
        assert marks == ["3", "2", "1"]
    assert moment == 7  # three parts, the marker's copy, two older backups, and this one's name


def overwrite_for_ever(run, made):
    """Runs that give way to each other; of each that is whole its mark is noted."""
    before = int(made.read_text().split()[-1])  # the run after it may be there, unnoted
    for mark in itertools.count((before // 1000 + 1) * 1000):
        overwrite(run)
        for name in ("checkpoints/step-1/state", "log.jsonl", "config.json", "config.yaml"):
            (run / name).parent.mkdir(parents=True, exist_ok=True)
            (run / name).write_text(str(mark))
        with made.open("a") as file:
            file.write(f"{mark} ")


def in_child(act):
    """The process id of a fork that does something, and nothing else."""
    child = os.fork()
    if not child:
        with contextlib.suppress(OSError):
            act()
        os._exit(0)
    return child


def kill_many(folder, *, kills, seed):
    """Kills what overwrites runs, again and again; the newest two runs are whole each time.

    Between any two that are noted may lie one that was killed in the making.
    """
    run, made, moment = folder / "run", folder / "made", random.Random(seed)
    made.write_text("0 ")
    for _ in range(kills):
        size = made.stat().st_size
        child = in_child(lambda: overwrite_for_ever(run, made))
        while made.stat().st_size == size:
            time.sleep(0.001)
        time.sleep(moment.uniform(0, 0.02))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert_newest_are_whole(run, made)
    # A disk that takes not a byte more.
    overwrite(run)
    make_run(run, "last")
    whole = contents(run)
    full = in_child(lambda: (resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)), overwrite(run)))
    os.waitpid(full, 0)
    assert contents(run) == whole


def assert_newest_are_whole(run, made):
    backups.recover(run)
    places = [contents(place) for place in (run, *backups.backups(run).values())]
    # The last step of giving way is to drop the marker; alone it is no run, nor becomes a backup.
    places = [place for place in places if set(place) != {"config.yaml"}]
    for mark in made.read_text().split()[-2:]:
        parts = [list(place.values()) for place in places if place.get("config.yaml") == mark]
        assert mark == "0" or parts == [[mark] * 4], (mark, places)


def test_runs_survive_kills_at_random_moments(tmp_path, project_root):
    """In a process that forks: pytest has threads."""
    code = "import sys, pathlib; from tests.training.test_backups import kill_many; kill_many("
    code += "pathlib.Path(sys.argv[1]), kills=20, seed=1)"
    ended = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=project_root, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr


def test_a_folder_that_cannot_be_moved_is_refused(tmp_path, monkeypatch):
    make_run(tmp_path / "run", "1")
    whole = contents(tmp_path / "run")

    def across(source, target):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "rename", across)
    with pytest.raises(UserError, match="another file system") as caught:
        overwrite(tmp_path / "run")
    assert caught.value.exit_code == 73
    assert contents(tmp_path / "run") == whole


@pytest.mark.parametrize("name", ["", "..", "a/b", "a\nb", "-x"])
def test_a_name_that_is_none_is_told_from_a_defect(name):
    with pytest.raises(UserError, match="--name: want "):
        read_run(TrainConfig, ["--data", "d", "--name", name], prog="train")


def test_the_message_says_what_is_there(tmp_path):
    run = tmp_path / "run"
    make_run(run, "1")
    os.utime(run / "log.jsonl", (2e9, 2e9))
    with pytest.raises(UserError, match=r"step 12, unfinished") as caught:
        run_folder.claim(RunLocation(run, is_resuming=False), overwrite=False)
    assert "0.0 MB, changed 2033-05-18" in caught.value.message
    ended = '{"config": {}, "results": {"reason": "stopped early", "steps": 34, "best_nll": 1.5}}'
    (run / "config.json").write_text(ended)
    assert summarise(run).in_words().endswith("step 34, stopped early")
    assert summarise(run).best == ("best_nll", 1.5)
    (run / "config.json").write_text("[")
    atomic.write_json(run / "lock-owner.json", {"pid": os.getpid(), "host": socket.gethostname()})
    assert summarise(run).state == "training"
