"""What batches tell a policy besides frames: players, returns, and what training hides."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from exphil_tf.data import input as data_input
from exphil_tf.data.condition_source import ConditionSource
from exphil_tf.data.input_config import InputConfig
from exphil_tf.rewards.coming_second import SECOND, ReturnLevels
from tests.data.conftest import CHUNK, OVERLAP, Games
from tests.data.test_input import BATCH, SMALL, split_batches

LEVELS = ReturnLevels((-100.0, -1.0, 1.0, 100.0), 20.0)


def batches(games: Games, config: InputConfig, *, training: bool, count: int) -> list[dict]:
    build = tf.autograph.experimental.do_not_convert(data_input.build)
    data = build(games.folder, config, split="train", batch_size=BATCH, seed=3, training=training)
    return list(data.take(count).as_numpy_iterator())


@pytest.mark.parametrize("delay", [0, 5])
def test_returns_are_those_of_the_whole_game(games, delay):
    """Each labelled frame has its level, from rows behind the unroll, or none behind the record."""
    config = InputConfig(
        window_size=20, frame_delay=delay, conditions=ConditionSource(returns=LEVELS), **SMALL
    )
    wants = {}
    unknown = checked = 0
    for unroll in split_batches(batches(games, config, training=False, count=99)):
        labelled = np.flatnonzero(unroll["weight"] > 0)
        if not labelled.size:
            continue
        game, player = divmod(int(unroll["name"]) - 1, 2)
        if (game, player) not in wants:
            rows = {n: c[None] for n, c in games.rows(game, player).items()}
            length = len(games.frames[game])
            wants[game, player] = LEVELS.levels(
                rows, valid=np.array([length]), is_end=np.array([True])
            )[0]
        row = unroll["columns"]["frame"][labelled] + 123 + delay
        start = (unroll["columns"]["frame"][0] + 123) // CHUNK * CHUNK
        is_cut = (row + SECOND >= start + CHUNK + OVERLAP) & (
            start + CHUNK + OVERLAP <= len(games.frames[game])
        )
        want = np.where(is_cut, 0, wants[game, player][row])
        np.testing.assert_array_equal(unroll["return"][labelled], want)
        unknown, checked = unknown + is_cut.sum(), checked + len(row)
    assert 0 < unknown < checked > 500
    assert {level for want in wants.values() for level in want.tolist()} == {1, 2, 3, 4, 5}


def test_players_are_translated(games):
    ids = tuple(10 * number for number in range(6))
    config = InputConfig(window_size=20, conditions=ConditionSource(players=ids), **SMALL)
    plain = InputConfig(window_size=20, **SMALL)
    for one, other in zip(
        batches(games, config, training=False, count=5),
        batches(games, plain, training=False, count=5),
        strict=True,
    ):
        want = np.where(other["name"] < 6, 10 * other["name"], 0)
        np.testing.assert_array_equal(one["name"], want)
        np.testing.assert_array_equal(one["state"], other["state"])
        assert "return" not in other


def test_training_hides_a_share_and_evaluation_nothing(games):
    told = ConditionSource(returns=LEVELS, dropout=0.5)
    config = InputConfig(window_size=20, conditions=told, **SMALL)
    everything = dataclasses.replace(config, conditions=dataclasses.replace(told, dropout=0.0))
    names, returns, pairs = [], [], set()
    shown, hidden = (batches(games, one, training=True, count=30) for one in (everything, config))
    for one, other in zip(shown, hidden, strict=True):
        np.testing.assert_array_equal(one["state"], other["state"])
        is_named, is_told = other["name"] > 0, (other["return"] > 0).any(1)
        np.testing.assert_array_equal(other["name"][is_named], one["name"][is_named])
        np.testing.assert_array_equal(other["return"][is_told], one["return"][is_told])
        has_levels = (one["return"] > 0).any(1) & (one["name"] > 0)
        names += is_named[has_levels].tolist()
        returns += is_told[has_levels].tolist()
        pairs |= set(zip(is_named[has_levels], is_told[has_levels], strict=True))
    assert 0.3 < np.mean(names) < 0.7 and 0.3 < np.mean(returns) < 0.7
    assert len(pairs) == 4  # one is hidden without the other
    for one in batches(games, config, training=False, count=3):
        assert ((one["name"] > 0) | ~(one["weight"] > 0).any(1)).all()


def test_training_asks_for_no_more_than_was_gained(games):
    """A view is told a share of its levels, and each share of a level as often."""
    told = ConditionSource(returns=LEVELS, dropout=0.0)
    config = InputConfig(window_size=20, conditions=told, **SMALL)
    whole = {
        (int(unroll["name"]), int(unroll["columns"]["frame"][0])): unroll["return"]
        for unroll in split_batches(batches(games, config, training=False, count=99))
    }
    asked: dict[int, list[int]] = {level: [] for level in range(6)}
    for unroll in split_batches(batches(games, config, training=True, count=200)):
        own = whole.get((int(unroll["name"]), int(unroll["columns"]["frame"][0])))
        if own is None or not (unroll["weight"] > 0).any():
            continue
        shares = {(int(a), int(b)) for a, b in zip(own, unroll["return"], strict=True)}
        assert len({a for a, _ in shares}) == len(shares)  # one share throughout
        for level, one in shares:
            asked[level].append(one)
    assert set(asked[0]) == {0} and set(asked[1]) == {1}
    for level in range(2, 6):
        assert set(asked[level]) <= set(range(1, level + 1))
    assert set(asked[3]) == {1, 2, 3}
