"""The quality score against games whose components were worked out by hand."""

import numpy as np
import pytest
from fixture_replays import NAMES

from exphil_tf.features.schema import SCHEMA
from exphil_tf.melee.types import Frames, Game, GameInfo, PlayerInfo
from exphil_tf.replays import quality
from exphil_tf.replays.parse import parse
from exphil_tf.replays.quality import QualityConfig, assess

GO = 84
"""Index of frame -39."""


def good(length: int = 4000, *, is_cpu: bool = False) -> Game:
    """Both active on every second frame, 60 actions, over 100 % dealt each way, no stock lost."""
    columns = SCHEMA.empty(length)
    columns["p.stock"][:] = 4
    columns["p.action"][:] = (np.arange(length) % 60 + 20)[:, None]
    columns["c.main_x"][GO::2] = 0.5
    columns["p.percent"][:] = np.linspace(0, 150, length)[:, None]
    players = (PlayerInfo(1, 1), PlayerInfo(2, 22, is_cpu=is_cpu))
    return Game(GameInfo(stage=31, players=players), Frames(columns))


def test_a_good_game_has_all_points():
    result = assess(good())
    assert result == quality.Quality(25, 20, 20, 15, 20)
    assert result.score == 100 and result.label == "excellent"


@pytest.mark.parametrize(
    ("length", "points"),
    [
        (1000, 15),
        (2999, 15),
        (3000, 25),
        (8000, 25),
        (8001, 20),
        (15_000, 20),
        (15_001, 15),
        (28_923, 15),
    ],
)
def test_length(length, points):
    result = assess(good(length))
    assert (result.length, result.failure) == (points, "")


@pytest.mark.parametrize(("length", "failure"), [(999, "short"), (28_924, "long")])
def test_lengths_that_fail(length, failure):
    result = assess(good(length))
    assert (result.failure, result.score, result.label) == (failure, 0, "poor")


@pytest.mark.parametrize("name", NAMES)
def test_seconds_of_real_games(real_replay, name):
    """Too short to teach, and else good: both act, hit and are hit."""
    game = parse(real_replay(name))
    assert assess(game).failure == "short"
    found = assess(game, QualityConfig(quality_min_frames=100))
    assert (found.failure, found.length, found.self_destructs) == ("", 15, 15)
    assert found.damage >= 4 and found.activity >= 12


def test_the_ceiling_can_be_set():
    assert assess(good(15_001), QualityConfig(quality_max_frames=15_000)).failure == "long"
    assert assess(good(999), QualityConfig(quality_min_frames=500)).failure == ""
    with pytest.raises(ValueError, match="quality_min_frames"):
        QualityConfig(quality_min_frames=2, quality_max_frames=1)


def test_a_computer_player_is_known_from_the_start_block():
    assert assess(good(is_cpu=True)).failure == "cpu"


@pytest.mark.parametrize(
    ("taken", "points"),
    [((100, 0), 20), ((0, 99), 10), ((20, 20), 10), ((19, 5), 4), ((0.5, 0), 4)],
)
def test_damage_is_that_of_the_player_who_was_hit_more(taken, points):
    game = good()
    game.frames["p.percent"][:] = 0
    game.frames["p.percent"][2000:] = taken
    assert assess(game).damage == points


def test_no_damage_fails():
    game = good()
    game.frames["p.percent"][:] = 0
    assert assess(game).failure == "no_damage"


def test_damage_counts_rises_over_several_stocks():
    percent = np.array([[0, 0], [30, 0], [50, 10], [0, 0], [25, 0]], np.float32)
    assert quality.damage_taken(percent).tolist() == [75, 10]


@pytest.mark.parametrize(
    ("every", "points"), [(4, 20), (5, 12), (10, 12), (11, 0)]
)  # shares of 1/4, 1/5, 1/10, 1/11
def test_activity_is_that_of_the_less_active_player(every, points):
    game = good(4000 + GO)
    game.frames["c.main_x"][:, 1] = 0
    game.frames["c.main_x"][GO::every, 1] = -0.5
    # 4,000 frames do not divide by 11, but neither limit is that close.
    assert assess(game).activity == points


def test_resting_and_barely_tilted_sticks_are_no_activity():
    game = good()
    game.frames["c.main_x"][:] = 0.3
    assert assess(game).activity == 0
    game.frames["c.buttons"][GO::3] = 1
    assert assess(game).activity == 20


def test_inputs_before_go_do_not_count():
    game = good()
    game.frames["c.main_x"][GO:] = 0
    game.frames["c.main_x"][:GO] = 1
    assert assess(game).activity == 0


@pytest.mark.parametrize(
    ("actions", "points"), [(50, 20), (49, 14), (30, 14), (29, 8), (15, 8), (14, 0)]
)
def test_diversity_is_that_of_the_less_varied_player(actions, points):
    game = good()
    game.frames["p.action"][:, 1] = np.arange(len(game.frames)) % actions + 20
    assert assess(game).diversity == points


def lose(
    game: Game, player: int, at: int, *, hit_before: int | None = None, dying: int = 0
) -> None:
    """Takes a stock at frame index `at`; the player was hit so many frames before it died."""
    columns = game.frames
    columns["p.stock"][at:, player] -= 1
    columns["p.action"][at - dying : at + 60, player] = 4
    if hit_before is not None:
        columns["p.hitstun"][at - dying - hit_before, player] = 1


def flat() -> Game:
    game = good()
    game.frames["p.percent"][:] = np.array([50, 50], np.float32)
    return game


def stocks(game: Game) -> list[list[int]]:
    return [array.tolist() for array in quality.stocks_lost(game.frames, 120)]


def test_a_stock_lost_without_a_hit_is_a_self_destruct():
    game = flat()
    lose(game, 0, 1000)
    lose(game, 0, 2000, hit_before=120)
    lose(game, 0, 3000, hit_before=121)
    lose(game, 1, 1500, hit_before=30)
    assert stocks(game) == [[3, 1], [2, 0]]


def test_a_rise_of_percent_is_a_hit_even_without_hitstun():
    game = flat()
    lose(game, 0, 1000)
    game.frames["p.percent"][950:, 0] += 3
    assert stocks(game) == [[1, 0], [0, 0]]


def test_percent_falling_to_zero_is_no_hit():
    game = flat()
    lose(game, 0, 1000)
    game.frames["p.percent"][1000:, 0] = 0
    lose(game, 0, 1100)
    assert stocks(game) == [[2, 0], [2, 0]]


def test_the_window_ends_where_dying_begins():
    """A star KO takes the stock long after the hit."""
    game = flat()
    lose(game, 0, 1000, hit_before=100, dying=90)
    assert stocks(game) == [[1, 0], [0, 0]]


@pytest.mark.parametrize(
    ("hits", "points"), [((True, True, True, True), 15), ((False, True, True, True), 0)]
)
def test_self_destructs_cost_points_by_the_worse_players_rate(hits, points):
    game = flat()
    game.frames["p.percent"][2000:, 0] += 100
    for index, hit in enumerate(hits):
        lose(game, 1, 500 * (index + 1), hit_before=10 if hit else None)
    assert assess(game).self_destructs == points


@pytest.mark.parametrize(
    ("score", "label"),
    [
        (100, "excellent"),
        (80, "excellent"),
        (79, "good"),
        (60, "good"),
        (59, "fair"),
        (40, "fair"),
        (39, "poor"),
    ],
)
def test_labels(score, label):
    assert quality.Quality(score, 0, 0, 0, 0).label == label
