"""A batch holds whole games with the right answer to each frame, whatever lies beside them."""

import numpy as np
import pytest

from exphil_tf.evaluation.episodes import (
    Perspective,
    batch_games,
    dataset_perspectives,
    long_game,
    perspectives_of,
)
from exphil_tf.features.controller import COMPONENTS, ControllerCodec, to_bytes
from exphil_tf.foundation.errors import UserError
from exphil_tf.melee.types import Game, GameInfo
from tests.data.conftest import player_id, write_games

LENGTHS = (150, 64, 391)
CODEC = ControllerCodec(axis_buckets=161)
"""A bucket for every stick reading."""


@pytest.fixture(scope="module")
def games(tmp_path_factory):
    """Games whose main stick spells the row; the second one's first player may not be imitated."""
    folder = tmp_path_factory.mktemp("batch")
    return write_games(folder, LENGTHS, perspectives=[3, 2, 3])


def perspectives_by_name(games):
    return {
        int(perspective.columns["name"][0]): perspective
        for perspective in dataset_perspectives(games.folder, "train")
    }


def test_views_are_the_games_as_each_imitated_player_saw_them(games):
    found = perspectives_by_name(games)
    wanted = [(0, 0), (0, 1), (1, 1), (2, 0), (2, 1)]
    assert set(found) == {player_id(game, player) for game, player in wanted}
    for game, player in wanted:
        perspective = found[player_id(game, player)]
        rows = games.rows(game, player)
        assert len(perspective.actions) == LENGTHS[game]
        for name, column in rows.items():
            np.testing.assert_array_equal(perspective.columns[name], column, err_msg=name)
        own = {name[2:]: column[:, 0] for name, column in rows.items() if name.startswith("c.")}
        bits = np.unpackbits(own["buttons"][:, None], axis=1, bitorder="little")
        np.testing.assert_array_equal(perspective.actions, to_bytes(own | {"buttons": bits}))


def test_games_in_memory_give_the_same_views(games):
    made = list(
        perspectives_of(Game(GameInfo(stage=31, players=()), frames) for frames in games.frames)
    )
    assert len(made) == 6
    found = perspectives_by_name(games)
    for index, perspective in enumerate(made):
        game, player = divmod(index, 2)
        if (game, player) == (1, 0):
            continue
        same = found[player_id(game, player)]
        np.testing.assert_array_equal(perspective.actions, same.actions)
        for name, column in perspective.columns.items():
            if name != "name":
                np.testing.assert_array_equal(column, same.columns[name], err_msg=name)


def test_a_split_without_games_is_refused(games):
    with pytest.raises(UserError, match="no games in split 'test'") as error:
        list(dataset_perspectives(games.folder, "test"))
    assert error.value.exit_code == 66


@pytest.mark.parametrize("delay", [0, 18])
def test_each_frame_has_the_input_that_answers_it(games, delay):
    by_name = perspectives_by_name(games)
    perspectives = list(by_name.values())
    batch = batch_games(perspectives, CODEC, delay=delay, rows=3)
    previous = batch.previous(CODEC)
    seen, counted = [], 0
    for row in range(batch.num_rows):
        starts = np.flatnonzero(batch.is_resetting[row])
        assert starts[0] == 0
        for start in starts:
            name = int(batch.columns["name"][row, start])
            length = LENGTHS[(name - 1) // 2] - 1 - delay
            seen.append(name)
            here = slice(start, start + length)
            frame = batch.columns["frame"][row, here]
            np.testing.assert_array_equal(frame, np.arange(length) - 123)
            # The stick of number r stands in bucket r % 160 (main_x) and r // 160 (main_y).
            number = np.arange(length) + 1 + delay
            np.testing.assert_array_equal(batch.targets["main_x"][row, here], number % 160)
            np.testing.assert_array_equal(batch.targets["main_y"][row, here], number // 160)
            before = previous["main_x"][row, here]
            assert before[0] == 80  # neutral
            np.testing.assert_array_equal(before[1:], (number[1:] - 1) % 160)
            # Players may act from number 84 on (frame -39).
            # Spoiled frames give no label, be they the state or the answer.
            spoiled = by_name[name].columns["absent"] >= 0x80
            is_sound = ~spoiled[:length] & ~spoiled[number]
            np.testing.assert_array_equal(batch.counted[row, here], (number >= 84) & is_sound)
            counted += int(((number >= 84) & is_sound).sum())
    assert sorted(seen) == sorted(
        int(perspective.columns["name"][0]) for perspective in perspectives
    )
    assert batch.frames == counted > 300


def test_rows_are_of_about_equal_length_and_filled_up_with_what_does_not_count(games):
    perspectives = list(perspectives_by_name(games).values())
    batch = batch_games(perspectives, CODEC, rows=2, multiple=100)
    # 390 + 149 and 390 + 149 + 63 frames, up to the next hundred.
    assert (batch.num_rows, batch.num_steps) == (2, 700)
    ends = sorted(int(np.flatnonzero(number)[-1]) + 1 for number in batch.columns["name"])
    assert ends == [539, 602]
    assert not batch.counted[:, 602:].any()
    assert batch_games(perspectives, CODEC, rows=99).num_rows == len(perspectives)
    assert batch_games(perspectives, CODEC, rows=99, max_frames=200).num_rows == 2


def test_a_game_too_short_for_an_answer_is_left_out(games):
    perspective = next(dataset_perspectives(games.folder, "train"))
    short = Perspective({n: c[:1] for n, c in perspective.columns.items()}, perspective.actions[:1])
    with pytest.raises(ValueError, match="want at least one frame with an answer"):
        batch_games([short], CODEC)
    with pytest.raises(ValueError, match="want at least one frame with an answer"):
        long_game([short], CODEC, frames=5)
    assert batch_games([short, perspective], CODEC).num_rows == 1


def test_a_long_stream_goes_through_games_without_a_reset(games):
    perspectives = [
        perspective
        for perspective in dataset_perspectives(games.folder, "train")
        if len(perspective.actions) == 150
    ]
    long = long_game(perspectives, CODEC, frames=1000)
    assert (long.num_rows, long.num_steps) == (1, 1000)
    assert np.flatnonzero(long.is_resetting[0]).tolist() == [0]
    assert long.columns["frame"][0, 149] == -123  # the second game begins
    names = long.columns["name"][0, ::149]
    assert set(names[:2].tolist()) == {1, 2}  # both players
    np.testing.assert_array_equal(names[:4], [*names[:2], *names[:2]])  # and over again


def test_targets_side_by_side(games):
    batch = batch_games(dataset_perspectives(games.folder, "train"), CODEC, rows=2)
    joined = batch.joined_targets()
    assert joined.shape == (2, batch.num_steps, 13)
    np.testing.assert_array_equal(joined[..., :8], batch.targets["buttons"])
    for place, name in enumerate(COMPONENTS[1:], start=8):
        np.testing.assert_array_equal(joined[..., place], batch.targets[name])
