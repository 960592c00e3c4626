"""One item's crash, hang or panic costs that item and nothing else."""

import contextlib
import multiprocessing
import multiprocessing.forkserver
import os
import random
import signal
import subprocess
import sys
import time
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import pytest
from isolation_targets import (
    die_once,
    double,
    double_in_a_pool,
    environment,
    identity,
    large_result,
    misbehave,
    modules,
    note_times,
    slow_then_fast,
)

from exphil_tf.replays.isolation import IsolatedPool, Limits
from exphil_tf.replays.refusals import Reason, ReplayError

WANT = {
    "segfault": Reason.CRASHED, "abort": Reason.CRASHED, "exit": Reason.CRASHED,
    "kill": Reason.CRASHED,
    "hang": Reason.TIMEOUT, "spin": Reason.TIMEOUT, "memory": Reason.MEMORY,
    "panic": Reason.PARSER_PANIC,
    "system_exit": Reason.INTERNAL,
    "value_error": Reason.INTERNAL, "rejected": Reason.NO_FRAMES,
}  # fmt: skip


def _reasons(results: list) -> list:
    return [result.reason if isinstance(result, ReplayError) else result for result in results]


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_neighbours_of_bad_items_are_unharmed(workers: int) -> None:
    items, want = [], []
    for kind, reason in WANT.items():
        items += [f"before {kind}", kind, f"after {kind}"]
        want += [f"before {kind}", reason, f"after {kind}"]
    with IsolatedPool(workers, limits=Limits(timeout_s=0.5)) as pool:
        assert _reasons(list(pool.map_ordered(misbehave, items))) == want


def test_results_come_in_order_and_input_is_taken_as_needed() -> None:
    taken = []

    def items():
        for index in range(20):
            taken.append(index)
            yield index

    with IsolatedPool(2, in_flight=4) as pool:
        results = pool.map_ordered(slow_then_fast, items())
        assert next(results) == 0
        assert len(taken) == 4
        assert list(results) == list(range(1, 20))


def test_an_abandoned_iterator_leaves_the_pool_usable() -> None:
    with IsolatedPool(1) as pool:
        assert next(pool.map_ordered(double, range(100))) == 0
        assert pool.call(double, 21) == 42
    assert pool.call(double, 4) == 8, "a closed pool starts anew"
    pool.close()


def test_workers_are_lean_recycled_and_see_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("B2_APPLICATION_KEY", "canary")
    with IsolatedPool(1, limits=Limits(max_tasks=3)) as pool:
        assert pool.call(modules, 0) == [], "a worker imports the reader and nothing heavy"
        assert "B2_APPLICATION_KEY" not in pool.call(environment, 0)
        assert len(set(pool.map_ordered(identity, range(9)))) >= 3


def test_daemonic_processes_may_have_a_pool() -> None:
    """Dask's workers and multiprocessing pools are daemonic, which normally forbids children."""
    with multiprocessing.get_context("spawn").Pool(1) as daemons:
        assert daemons.apply(double_in_a_pool, (21,)) == 42


def test_errors_cross_process_borders_whole() -> None:
    sent = ForkingPickler.dumps(ReplayError(Reason.FRAME_GAP, "frame 7 is missing"))
    error = ForkingPickler.loads(sent)
    assert (error.reason, error.detail) == (Reason.FRAME_GAP, "frame 7 is missing")
    assert str(error) == "frame_gap: frame 7 is missing"


@pytest.mark.parametrize("limits", [{"timeout_s": 0}, {"memory_bytes": -1}, {"max_tasks": 0}])
def test_impossible_limits_are_refused(limits: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="want positive limits"):
        Limits(**limits)
    with pytest.raises(ValueError, match="workers"):
        IsolatedPool(0)


def test_a_killed_parent_leaves_no_worker_behind(tmp_path: Path, project_root: Path) -> None:
    """The parent dies without a word while its worker hangs; the worker's alarm ends it."""
    script = tmp_path / "parent.py"
    script.write_text(
        "import exphil_tf.replays.isolation as isolation\n"
        "from isolation_targets import announce_and_hang\n"
        "if __name__ == '__main__':\n"
        "    isolation._BACKSTOP_S = 0\n"
        "    with isolation.IsolatedPool(1, limits=isolation.Limits(timeout_s=2)) as pool:\n"
        f"        pool.call(announce_and_hang, {str(tmp_path / 'pid')!r})\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{project_root}:{project_root / 'tests'}"}
    parent = subprocess.Popen([sys.executable, str(script)], env=environment)
    pid = int(_wait_for((tmp_path / "pid").read_text))
    parent.kill()
    parent.wait()
    _wait_for(lambda: not Path(f"/proc/{pid}").exists())


# -- Whoever dies through no fault of its item is asked again --------------------------------------


@pytest.mark.parametrize(
    "deed", ["kill", pytest.param("stop", marks=pytest.mark.slow), "spin", "hang", "memory"]
)
def test_one_death_does_not_count(deed: str, tmp_path: Path) -> None:
    """The OOM killer, a stopped process, a starved one: the second attempt decides."""
    marker = str(tmp_path / "marker")
    with IsolatedPool(2, limits=Limits(timeout_s=0.5)) as pool:
        items = [(deed, str(tmp_path / "before")), (deed, marker), (deed, str(tmp_path / "after"))]
        assert list(pool.map_ordered(die_once, items)) == [True] * 3


def test_second_attempts_run_alone(tmp_path: Path) -> None:
    items = [(str(tmp_path / "times"), index == 3) for index in range(8)]
    with IsolatedPool(3, in_flight=8) as pool:
        assert list(pool.map_ordered(note_times, items)) == [None] * 8
    spans = [line.split() for line in (tmp_path / "times").read_text().splitlines()]
    (retried,) = [span for span in spans if span[2] == "1"]
    others = [span for span in spans if span[2] == "0"]
    assert len(others) == 7
    for began, ended, _ in others:
        assert float(ended) <= float(retried[0]) or float(began) >= float(retried[1])


def test_killed_workers_never_hang_the_pool() -> None:
    """Also those that have sent half a result or are waiting for work."""
    draw = random.Random(0)
    with IsolatedPool(2, limits=Limits(timeout_s=5.0)) as pool:

        def items():
            for index in range(60):
                workers = [worker.pid for worker in (*pool._busy, *pool._idle)]
                if workers and index % 3 == 0:
                    time.sleep(draw.random() * 0.01)
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(draw.choice(workers), signal.SIGKILL)
                yield index

        results = list(pool.map_ordered(large_result, items()))
    assert [result[0] for result in results] == list(range(60))


def test_a_dead_fork_server_is_replaced() -> None:
    server = multiprocessing.forkserver._forkserver
    with IsolatedPool(2, limits=Limits(max_tasks=2)) as pool:
        results = []
        for index, result in enumerate(pool.map_ordered(double, range(20))):
            results.append(result)
            if index % 5 == 0:
                os.kill(server._forkserver_pid, signal.SIGKILL)
        assert results == list(range(0, 40, 2))
    with IsolatedPool(1) as pool:
        os.kill(server._forkserver_pid, signal.SIGKILL)
        assert pool.call(double, 4) == 8


def _wait_for(probe, timeout_s: float = 120):
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, ValueError):
            if result := probe():
                return result
        time.sleep(0.05)
    raise AssertionError("nothing happened in time")
