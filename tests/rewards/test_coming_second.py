"""Returns of the coming second: by hand, against plain sums, in numpy and in graphs."""

import keras
import numpy as np
import pytest

from exphil_tf.rewards.coming_second import SECOND, ReturnLevels, sum_ahead

LEVELS = ReturnLevels((-8.0, -1.0, 1.0, 8.0), 30.0)


def play(frames=200):
    """The opponent takes 10 % at frame 21 and 5 % at 150; the own player a stock's loss at 51."""
    time = np.arange(frames)
    percent = np.stack([np.zeros(frames), 10.0 * (time >= 21) + 5.0 * (time >= 150)], 1)
    stock = np.stack([4 - (time >= 51), np.full(frames, 4)], 1)
    return {
        "p.percent": percent[None].astype(np.float32),
        "p.stock": stock[None].astype(np.uint8),
        "frame": time[None].astype(np.int32),
        "absent": np.zeros((1, frames), np.uint8),
    }


@pytest.mark.parametrize("frames", [1, 7, 60, 500])
def test_sums_ahead_are_plain_sums(frames):
    values = np.random.default_rng(0).normal(size=(2, 90)).astype(np.float32)
    padded = np.pad(values.astype(np.float64), [(0, 0), (0, frames)])
    want = [sum(0.98**k * padded[:, t + k] for k in range(frames)) for t in range(values.shape[1])]
    found = sum_ahead(values, frames=frames, discount=0.98)
    np.testing.assert_allclose(found, np.stack(want, 1), atol=1e-4)


def test_returns_by_hand():
    found = LEVELS.returns(play(), valid=np.array([200]))[0]
    half = 0.5 ** (1 / 30)
    # The transition into frame 21 is the 21st from frame 0 on, so discounted 20 times.
    assert found[0] == pytest.approx(10 * half**20 - 100 * half**50, rel=1e-4)
    assert found[20] == pytest.approx(10 - 100 * half**30, rel=1e-4)
    assert found[21] == pytest.approx(-100 * half**29, rel=1e-4)
    assert found[51] == 0
    # The 60th transition from frame 90 on is that into 150; from 89 on it is out of sight.
    assert found[90] == pytest.approx(5 * half**59, rel=1e-3)
    assert found[89] == 0
    assert LEVELS.returns(play(), valid=np.array([150]))[0, 140] == 0


def test_levels_are_known_where_the_second_is_there_or_the_game_ends():
    going_on, ending = (
        LEVELS.levels(play(), valid=np.array([180]), is_end=np.array([end]))[0]
        for end in (False, True)
    )
    assert (going_on[180 - SECOND :] == 0).all() and (going_on[: 180 - SECOND] > 0).all()
    assert (ending[:180] > 0).all() and (ending[180:] == 0).all()
    assert ending[0] == LEVELS.level_of(10 * 0.5 ** (20 / 30) - 100 * 0.5 ** (50 / 30)) == 1
    assert ending[60] == 3 and ending[149] == 4


@pytest.mark.parametrize(
    ("percent", "level"), [(-50, 1), (-8, 2), (-7.9, 2), (0, 3), (1, 4), (7.9, 4), (8, 5), (99, 5)]
)
def test_a_return_lies_in_one_level(percent, level):
    assert LEVELS.level_of(percent) == level


def test_levels_in_words():
    words = [LEVELS.describe(level) for level in range(1, LEVELS.count + 1)]
    assert words == ["any", *(f"at least {edge} %" for edge in (-8, -1, 1, 8))]


def test_graphs_give_the_same_levels():
    columns = {name: np.concatenate([value] * 3) for name, value in play().items()}
    ends = np.array([False, True, False])
    valid = np.array([200, 155, 61], np.int32)
    want = LEVELS.levels(columns, valid=valid, is_end=ends)
    tensors = {name: keras.ops.convert_to_tensor(value) for name, value in columns.items()}
    found = LEVELS.levels(
        tensors,
        valid=keras.ops.convert_to_tensor(valid),
        is_end=keras.ops.convert_to_tensor(ends),
        xp=keras.ops,
    )
    np.testing.assert_array_equal(np.asarray(found), want)
    assert set(want.ravel().tolist()) >= {0, 1, 3, 4}


@pytest.mark.parametrize("edges", [(), (1.0, 1.0), (2.0, 1.0), (float("nan"),)])
def test_levels_out_of_order_are_refused(edges):
    with pytest.raises(ValueError, match="return_edges: want"):
        ReturnLevels(edges, 30.0)
