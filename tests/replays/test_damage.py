"""Thousands of damaged replays: none may crash or hang the job, and each ends as frames or with a
reason.

Mutations are seeded. They go through the worker pool, as untrusted files do everywhere else.
"""

import os
from collections import Counter
from pathlib import Path

import fixture_replays
import numpy as np
import pytest
from mutators import mutants
from replay_games import make_game

from exphil_tf.features.schema import SCHEMA
from exphil_tf.melee.enums import Character, Stage
from exphil_tf.replays import events, slp
from exphil_tf.replays.isolation import IsolatedPool, Limits
from exphil_tf.replays.parse import Replay, read_replay
from exphil_tf.replays.refusals import Reason, ReplayError
from exphil_tf.replays.writer import write_slp


def _originals(replays_dir: Path | None) -> list[bytes]:
    games = [
        make_game(1, length=100),
        make_game(2, length=100, picked=(Character.POPO, Character.POPO)),
        make_game(3, length=80, stage=Stage.FOUNTAIN_OF_DREAMS, moving_stage=True),
    ]
    names = ["peppi/v2.0.slp", "peppi/v3.12.slp", "peppi/v3.18.slp", "libmelee/test_game_1.slp"]
    real = [] if replays_dir is None else [(replays_dir / name).read_bytes() for name in names]
    cut = [fixture_replays.fixture(name).read_bytes() for name in fixture_replays.NAMES]
    return [*map(write_slp, games), *cut, *real]


def _run(count: int, replays_dir: Path | None) -> Counter:
    outcomes: Counter = Counter()
    files = mutants(_originals(replays_dir), count, 20260101)
    with IsolatedPool(2, limits=Limits(timeout_s=10.0)) as pool:
        for result in pool.map_ordered(read_replay, files):
            if isinstance(result, ReplayError):
                assert result.reason is not Reason.INTERNAL, result.detail
                outcomes[result.reason] += 1
            else:
                assert isinstance(result, Replay)
                assert SCHEMA.check(result.game.frames) == []
                assert len(result.game.frames)
                outcomes[result.route] += 1
    assert outcomes.total() == count
    assert not {Reason.TIMEOUT, Reason.CRASHED, Reason.MEMORY} & set(outcomes), outcomes
    return outcomes


def test_damaged_written_and_real_replays() -> None:
    outcomes = _run(600, None)
    assert outcomes["repaired"] > 60, outcomes
    assert outcomes[Reason.NESTING] > 20, outcomes


@pytest.mark.slow
def test_two_thousand_damaged_replays(replays_dir: Path) -> None:
    """With those beside the checkout."""
    outcomes = _run(2000, replays_dir)
    assert outcomes["repaired"] > 300, outcomes


def test_special_files_do_not_disturb_their_neighbours(tmp_path: Path) -> None:
    good = tmp_path / "good.slp"
    write_slp(make_game(0, length=50), good)
    pipe, empty, folder = tmp_path / "pipe.slp", tmp_path / "empty.slp", tmp_path / "folder.slp"
    os.mkfifo(pipe)
    empty.touch()
    folder.mkdir()
    bad = {
        pipe: "not_a_file",
        empty: "too_small",
        folder: "not_a_file",
        tmp_path / "absent.slp": "not_a_file",
    }
    paths = [path for each in bad for path in (good, each)] + [good]
    with IsolatedPool(1) as pool:
        results = list(pool.map_ordered(read_replay, paths))
    for path, result in zip(paths, results, strict=True):
        assert result.reason == bad[path] if path in bad else result.route == "strict"


@pytest.mark.slow
def test_every_cut_of_the_first_two_kilobytes() -> None:
    data = write_slp(make_game(6, length=40))
    for cut in [*range(2048), *range(len(data) - 64, len(data))]:
        try:
            read_replay(data[:cut])
        except ReplayError as error:
            assert error.reason in (Reason.TOO_SMALL, Reason.BAD_HEADER, Reason.NO_FRAMES)


def _declaring(data: bytes, sizes: dict[int, int]) -> bytes:
    """The file with other sizes (after the command byte) declared; events as they are."""
    found = slp.scan(data)
    table = {code: size - 1 for code, size in found.sizes.items()} | sizes
    return events.container(events.payload_table(table) + data[found.start : found.stop], b"{}")


@pytest.mark.parametrize("code", events.LEAST_SIZES)
def test_events_declared_too_short_are_a_bad_header(code: int) -> None:
    data = write_slp(make_game(1, length=60, stage=Stage.DREAMLAND, moving_stage=True))
    for size in range(11):
        if size + 1 >= events.LEAST_SIZES[code]:
            continue
        with pytest.raises(ReplayError) as caught:
            read_replay(_declaring(data, {code: size}))
        assert caught.value.reason is Reason.BAD_HEADER


@pytest.mark.parametrize(
    "codes",
    [
        pytest.param(sorted({*events.LEAST_SIZES, *range(0, 256, 16)}), id="known"),
        pytest.param(list(range(256)), id="all", marks=pytest.mark.slow),
    ],
)
def test_no_declared_size_of_any_event_is_a_defect(codes: list[int]) -> None:
    """Sizes 0 to 10 and around what the events need, one or two at a time."""
    data = write_slp(make_game(1, length=60, stage=Stage.DREAMLAND, moving_stage=True))
    rng = np.random.default_rng(5)
    for code in codes:
        for size in {*range(11), events.LEAST_SIZES.get(code, 40) - 1}:
            other = int(rng.choice([*events.LEAST_SIZES, code]))
            for sizes in ({code: size}, {code: size, other: int(rng.integers(0, 100))}):
                try:
                    replay = read_replay(_declaring(data, sizes))
                except ReplayError as error:
                    assert error.reason is not Reason.INTERNAL
                else:
                    assert SCHEMA.check(replay.game.frames) == []


def test_short_events_of_a_real_table(cases_dir: Path) -> None:
    for path in sorted((cases_dir / "table-short-events").glob("*.slp")):
        with pytest.raises(ReplayError) as caught:
            read_replay(path)
        assert caught.value.reason is Reason.BAD_HEADER
