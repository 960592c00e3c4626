"""A job that is killed or runs out of disk leaves an unfinished folder, never a wrong dataset."""

import contextlib
import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from replay_collection import build_small, folder_bytes, small_config

from beam_pipelines.build_dataset import build_dataset
from exphil_tf.foundation.atomic import TEMPORARY
from exphil_tf.process.exit_codes import EXIT_IO
from exphil_tf.records.manifest import MANIFEST
from exphil_tf.records.verify import verify

Collection = tuple[Path, dict]
OPTIONS = [
    "--min-frames=100", "--val-split=0.3", "--test-split=0.2", "--chunk-frames=128",
    "--overlap-frames=32", "--num-shards=2", "--workers=2", "--variants", "original", "mirrored",
]  # fmt: skip


def start(replays: Path, output: Path, *flags: str, **options) -> subprocess.Popen:
    command = [sys.executable, "-m", "exphil_tf.preprocess", f"--replays={replays}"]
    return subprocess.Popen(
        [*command, f"--output={output}", *OPTIONS, *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        **options,
    )


Moment = Callable[[float], bool]
"""Whether to kill now, given the seconds since the start."""


def kill_at(moment: Moment, replays: Path, output: Path) -> bool:
    """Whether the job was still running when it was killed, with all its processes."""
    job, started_s = start(replays, output), time.monotonic()
    while job.poll() is None and not moment(time.monotonic() - started_s):
        time.sleep(0.01)
    was_running = job.poll() is None
    with contextlib.suppress(ProcessLookupError):
        os.killpg(job.pid, signal.SIGKILL)
    job.communicate()
    return was_running


def check_kills(collection: Collection, dataset: Path, output: Path, moments: list[Moment]) -> None:
    want = folder_bytes(dataset)
    for moment in moments:
        was_running = kill_at(moment, collection[0], output)
        finished = (output / MANIFEST).exists()
        assert not finished or folder_bytes_without_temporaries(output) == want
        assert was_running or finished
    job = start(collection[0], output)
    log, _ = job.communicate()
    assert job.returncode == 0, log
    assert folder_bytes(output) == want, "same bytes, and nothing left over"


def folder_bytes_without_temporaries(folder: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes()
        for path in sorted(folder.iterdir())
        if not path.name.startswith(TEMPORARY)
    }


def test_killed_twice(collection: Collection, dataset: Path, tmp_path: Path) -> None:
    output = tmp_path / "data"

    def is_encoding(_: float) -> bool:
        return bool(list(output.glob(f"{TEMPORARY}*/*.part")))

    def is_writing(_: float) -> bool:
        return bool(list(output.glob("*.tfrecord")))

    check_kills(collection, dataset, output, [is_encoding, is_writing])


@pytest.mark.slow
def test_killed_ten_times(collection: Collection, dataset: Path, tmp_path: Path) -> None:
    started_s = time.monotonic()
    start(collection[0], tmp_path / "first").communicate()
    length_s = time.monotonic() - started_s
    draw = random.Random(0)
    for attempt in range(10):
        limit_s = draw.uniform(0.4, 1.0) * length_s
        check_kills(
            collection,
            dataset,
            tmp_path / f"data_{attempt}",
            [lambda elapsed_s, limit_s=limit_s: elapsed_s >= limit_s],
        )


PROCESSES = "--direct_running_mode=multi_processing", "--direct_num_workers=2"


@pytest.mark.parametrize(
    ("flags", "count"), [((), 3), pytest.param(PROCESSES, 2, marks=pytest.mark.slow)]
)
def test_workers_end_with_the_job(
    flags: tuple[str, ...], count: int, collection: Collection, tmp_path: Path
) -> None:
    """The fork server and two parsers; Beam's workers while they have not yet called the job."""
    job = start(collection[0], tmp_path / "data", *flags)
    children: dict[int, psutil.Process] = {}
    while job.poll() is None and len(children) < count:
        for child in psutil.Process(job.pid).children(recursive=True):
            children[child.pid] = child
        time.sleep(0.02)
    job.kill()  # only the job itself
    job.communicate()
    gone, alive = psutil.wait_procs(list(children.values()), timeout=240)
    for process in alive:
        process.kill()
    assert not alive
    assert gone


@pytest.mark.parametrize(
    "deed", [signal.SIGKILL, pytest.param(signal.SIGSTOP, marks=pytest.mark.slow)]
)
def test_a_killed_parser_costs_no_game(
    deed: signal.Signals, collection: Collection, dataset: Path, tmp_path: Path
) -> None:
    """Nor does a stopped one, or a killed fork server."""
    output = tmp_path / "data"
    job = start(collection[0], output, "--parse-timeout-s=1")
    while job.poll() is None and not list(output.glob(f"{TEMPORARY}*/*.part")):
        time.sleep(0.005)
    for child in psutil.Process(job.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.ppid() != job.pid:
                child.send_signal(deed)  # a parser
            elif child.children():
                child.kill()  # the fork server
    log, _ = job.communicate()
    assert job.returncode == 0, log
    assert folder_bytes(output) == folder_bytes(dataset)


class Failing:
    """An os function whose n-th call finds the disk full."""

    def __init__(self, function, at: int):
        self.function, self.at, self.calls = function, at, 0

    def __call__(self, *args, **kwargs):
        self.calls += 1
        if self.calls == self.at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.function(*args, **kwargs)


@pytest.mark.parametrize(("name", "at"), [("fsync", 1), ("fsync", 9), ("replace", 4)])
def test_full_disk_at_a_system_call(
    name: str,
    at: int,
    collection: Collection,
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failing = Failing(getattr(os, name), at)
    monkeypatch.setattr(os, name, failing)
    with pytest.raises(OSError, match="No space left") as caught:
        build_small(collection[0], tmp_path / "data")
    assert caught.value.errno == errno.ENOSPC
    assert failing.calls >= at
    monkeypatch.undo()
    assert not (tmp_path / "data" / MANIFEST).exists()
    assert not list((tmp_path / "data").glob(f"{TEMPORARY}*"))
    build_small(collection[0], tmp_path / "data")
    assert folder_bytes(tmp_path / "data") == folder_bytes(dataset)


def test_full_spill_file(collection: Collection, tmp_path: Path) -> None:
    """The limit on file size stands for a full disk: every write beyond it fails."""
    resource = pytest.importorskip("resource")
    limit = 50_000

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    job = start(collection[0], tmp_path / "data", preexec_fn=limited)
    log, _ = job.communicate()
    assert job.returncode == EXIT_IO, log
    assert log.count("error: ") == 1
    assert not (tmp_path / "data" / MANIFEST).exists()
    assert not list((tmp_path / "data").glob(f"{TEMPORARY}*"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB, where mounting one is permitted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    command = [str(mount), "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a tmpfs is not permitted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_full_disk(collection: Collection, small_disk: Path) -> None:
    job = start(collection[0], small_disk / "data")
    log, _ = job.communicate()
    assert job.returncode == EXIT_IO, log
    assert "No space left on device" in log
    assert "Free some space" in log
    assert not (small_disk / "data" / MANIFEST).exists()


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.slow), signal.SIGINT]
)
def test_a_signal_leaves_nothing(number: int, collection: Collection, tmp_path: Path) -> None:
    output, scratch = tmp_path / "data", Path(tempfile.mkdtemp())
    job = start(collection[0], output, env={**os.environ, "TMPDIR": str(scratch)})
    while job.poll() is None and not list(output.glob(f"{TEMPORARY}*")):
        time.sleep(0.01)
    job.send_signal(number)
    log, _ = job.communicate()
    assert job.returncode == (130 if number == signal.SIGINT else 75), log
    assert "error: interrupted" in log
    assert not list(output.glob(f"{TEMPORARY}*"))
    assert not list(scratch.iterdir())
    scratch.rmdir()


def test_what_a_kill_left_is_swept(collection: Collection, dataset: Path, tmp_path: Path) -> None:
    output = tmp_path / "data"
    (output / ".tmp-spill-1").mkdir(parents=True)
    (output / ".tmp-spill-1" / "a.part").write_bytes(b"x")
    (output / "train-original-00000-of-00099.tfrecord").write_bytes(b"old")
    (output / "games.jsonl").write_bytes(b"old")
    (output / "notes.txt").write_bytes(b"the user's own")
    build_dataset(small_config(collection[0], output))
    assert folder_bytes(output) == folder_bytes(dataset) | {"notes.txt": b"the user's own"}
    assert not verify(output).problems
