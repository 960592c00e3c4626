"""Moving stages: what the events say holds from their own frame on, whatever was rolled back."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from replay_games import make_game

from exphil_tf.melee.enums import Stage
from exphil_tf.replays import columns, events, libmelee_reader
from exphil_tf.replays.parse import parse
from exphil_tf.replays.writer import write_slp

PHASES = (2, 3, 4, 5, 6, 0)
"""Of one transformation; 1 (loading) comes before those that are not the normal stage."""


def both_readers(data: bytes) -> np.ndarray:
    """`s.stadium` by peppi, which libmelee's must equal."""
    game = parse(data)
    slow = libmelee_reader.read_frames(data, game.info)
    np.testing.assert_array_equal(slow["s.stadium"], game.frames["s.stadium"])
    return game.frames["s.stadium"]


def test_announced_is_not_yet_there(cases_dir: Path) -> None:
    data = (cases_dir / "stadium_announced/rock_announced_at_300.slp").read_bytes()
    kind, frame = both_readers(data), parse(data).frames["frame"]
    assert (kind[frame < 784] == 5).all() and (kind[frame >= 784] == 6).all()
    assert (kind == 6).sum() > 500


def stadium_game(seed: int) -> tuple[bytes, np.ndarray]:
    """A game that goes through whole transformations, and what stands on each frame."""
    game = make_game(seed, length=900, stage=Stage.POKEMON_STADIUM, moving_stage=True)
    data = bytearray(write_slp(game))
    kinds = game.frames["s.stadium"]
    rows = np.flatnonzero(np.diff(np.concatenate([[5], kinds])))
    rng = np.random.default_rng(seed)
    stands, kind, at, want = 5, 5, 0, np.full(len(kinds), 5)
    for index, row in enumerate(rows):
        event = bytes([events.STADIUM]) + int(row - 123).to_bytes(4, "big", signed=True)
        at = data.index(event, at)
        phase = PHASES[index % len(PHASES)]
        kind = int(rng.choice([3, 4, 6, 9])) if phase == PHASES[0] else kind
        data[at + 5 : at + 9] = bytes([0, phase, 0, kind])
        stands = kind if phase in (5, 6, 0) else stands
        want[row:] = stands
    return bytes(data), want


@pytest.mark.parametrize("seed", range(5))
def test_the_ground_is_what_has_risen(seed: int) -> None:
    data, want = stadium_game(seed)
    assert len(np.unique(want)) > 1
    np.testing.assert_array_equal(both_readers(data), want)


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 5)), max_size=40), st.booleans())
def test_a_rollback_takes_events_back(steps: list[tuple[int, int]], repeats: bool) -> None:
    """A game that goes back now and then and plays on, and whose file repeats events or does not.

    What an event tells depends on its frame alone, as a transformation's clock does.
    """
    tells = {frame: frame * 10.0 for frame in range(3, 400, 5)}
    now, told, seen = -1, [], set()
    for back, ahead in steps:
        now = max(now - back, -1)
        for _ in range(ahead + 1):
            now += 1
            if now in tells and (repeats or now not in seen):
                told.append(now)
                seen.add(now)
    frames = np.arange(now + 1)
    values = np.array([tells[frame] for frame in told])
    got = columns.carry(np.array(told, int), values, frames, start=-1)
    want, holds = [], -1.0
    for frame in frames:
        holds = tells.get(int(frame), holds)
        want.append(holds)
    np.testing.assert_array_equal(got, want)


def test_the_last_of_a_frames_events_counts() -> None:
    got = columns.carry(np.array([5, 5, 3]), np.array([1, 2, 9]), np.arange(8), start=0)
    np.testing.assert_array_equal(got, [0, 0, 0, 9, 9, 9, 9, 9])
    got = columns.carry(np.array([3, 5, 5]), np.array([9, 1, 2]), np.arange(8), start=0)
    np.testing.assert_array_equal(got, [0, 0, 0, 9, 9, 2, 2, 2])
