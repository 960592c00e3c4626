"""Character state: by hand on small games, whole columns against frame by frame, and only the past.

Ids and durations in the games below are the game's: the charging loop of Samus's Charge Shot is
action 344, 17 frames a level; her shot (346) leaves on its second frame.
"""

from itertools import chain

import numpy as np
import pytest

from exphil_tf.features.character_state import (
    COLUMNS,
    SOURCES,
    CharacterTracker,
    character_columns,
)
from exphil_tf.features.item_slots import Items, ItemTracker, item_columns
from exphil_tf.melee import specials
from exphil_tf.melee.enums import ACTION_COUNT, Character

STANDING, FALLING, HIT, DEAD, GRABBED = 14, 29, 88, 0, 223


def play(character: int, /, *parts: tuple, **facts: list) -> dict[str, np.ndarray]:
    """Columns of a player who goes through (action, frames) on the ground; the other stands.

    `facts` replace other columns of that player by a value for each frame.
    """
    actions = list(chain.from_iterable([part[0]] * part[1] for part in parts))
    frames = list(chain.from_iterable(range(1, part[1] + 1) for part in parts))
    columns = {name: np.zeros((len(actions), 2), np.int32) for name in SOURCES}
    columns["p.character"] += np.array([character, Character.FOX])
    columns["p.action"] += STANDING
    columns["p.action"][:, 0], columns["p.action_frame"][:, 0] = actions, frames
    columns["p.on_ground"] += 1
    for name, values in facts.items():
        columns[f"p.{name}"][:, 0] = values
    return columns


def derived(name: str, columns: dict[str, np.ndarray]) -> list[int]:
    """A derived column of the player; the other keeps nothing."""
    result = character_columns(columns)
    assert not any(result[other][:, 1].any() for other in COLUMNS)
    return result[f"p.{name}"][:, 0].tolist()


def changes(values: list[int]) -> list[tuple[int, int]]:
    """(frame, value) of the first frame and of those with another value than before."""
    return [(i, v) for i, v in enumerate(values) if i == 0 or v != values[i - 1]]


# -- By hand ---------------------------------------------------------------------------------------


def test_charge_shot_gains_a_level_every_17_frames_and_leaves_with_the_shot():
    columns = play(
        Character.SAMUS, (STANDING, 3), (343, 13), (344, 40), (345, 8), (STANDING, 20), (343, 13),
        (344, 90), (345, 8), (343, 13), (346, 30),
    )  # fmt: skip
    # 40 frames of the loop are two levels of seven and six frames that are lost.
    first, again = 3 + 13, 3 + 13 + 40 + 8 + 20 + 13
    shot = again + 90 + 8 + 13
    want = [(0, 0), (first + 17, 14), (first + 34, 29), (again + 17, 43), (again + 34, 57)]
    want += [(again + 51, 71), (again + 68, 86), (again + 85, 100), (shot + 1, 0)]
    assert changes(derived("charge", columns)) == want


def test_a_charge_is_lost_by_a_hit_that_interrupts_by_death_and_not_by_a_laser_or_a_grab():
    loop = [(343, 13), (344, 20)]
    hurt = [0.0] * 20 + [3.0] * 13  # on frame 20, in the loop
    assert derived("charge", play(Character.SAMUS, *loop, percent=hurt))[-1] == 14
    hurt = [0.0] * 33 + [9.0] * 5
    assert derived("charge", play(Character.SAMUS, *loop, (HIT, 5), percent=hurt))[-5:] == [0] * 5
    later = [0.0] * 41 + [9.0] * 5  # stored before the hit came
    columns = play(Character.SAMUS, *loop, (345, 8), (HIT, 5), percent=later)
    assert derived("charge", columns)[-1] == 0, "putting it away is still the move"
    columns = play(Character.SAMUS, *loop, (345, 8), (STANDING, 1), (HIT, 5), percent=[0, *later])
    assert derived("charge", columns)[-1] == 14
    assert derived("charge", play(Character.SAMUS, *loop, (GRABBED, 5)))[-1] == 14
    columns = play(Character.SAMUS, *loop, (345, 8), (STANDING, 5), (DEAD, 2), (STANDING, 2))
    assert derived("charge", columns)[-4:] == [0] * 4


def test_no_time_passes_in_hitlag():
    """Mewtwo's ball hits while it charges: 3 frames of hitlag take two frames of charging."""
    hitlag = [0] * 10 + [3, 2, 1] + [0] * 17
    values = derived("charge", play(Character.MEWTWO, (342, 30), hitlag=hitlag))
    assert changes(values) == [(0, 0), (17 + 2, 14)]


def test_full_shadow_ball_is_kept_when_hit():
    hurt = [0.0] * 5 + [9.0] * 5
    assert derived("charge", play(Character.MEWTWO, (343, 5), (HIT, 5), percent=hurt)) == [100] * 10
    columns = play(Character.MEWTWO, (343, 5), (350, 12), (STANDING, 2))
    assert derived("charge", columns) == [100] * 13 + [0] * 6, "it leaves on the ninth frame"


def test_giant_punch_counts_swings_and_is_gone_when_it_begins():
    columns = play(Character.DK, (369, 5), (370, 40), (371, 5), (STANDING, 5), (372, 30))
    values = derived("charge", columns)
    assert changes(values) == [(0, 0), (17, 10), (29, 20), (41, 30), (55, 0)]
    assert max(derived("charge", play(Character.DK, (370, 200)))) == 100


def test_needles_begin_with_one_and_leave_one_by_one():
    columns = play(Character.SHEIK, (345, 7), (346, 40), (348, 40), (STANDING, 3))
    values = derived("charge", columns)
    # 1 of 6, then 2 and 3 after 18 and 36 frames; thrown on frames 4, 7 and 10.
    want = [(0, 17), (7 + 18, 33), (7 + 36, 50), (47 + 3, 33), (47 + 6, 17), (47 + 9, 0)]
    assert changes(values) == want
    cut_short = play(Character.SHEIK, (345, 7), (346, 40), (348, 5), (42, 3))
    assert derived("charge", cut_short)[-4:] == [33, 0, 0, 0], "landing throws the rest away"


def test_transforming_empties():
    character = [Character.SHEIK] * 17 + [Character.ZELDA] * 3 + [Character.SHEIK] * 3
    columns = play(Character.SHEIK, (341, 7), (343, 10), (STANDING, 6), character=character)
    assert derived("charge", columns) == [17] * 17 + [0] * 6


def test_bucket_fills_once_a_catch_and_outlives_hits_and_death():
    columns = play(
        Character.GAMEANDWATCH, (375, 9), (376, 10), (376, 10), (379, 5), (HIT, 5), (DEAD, 5),
        (STANDING, 5), (376, 10), (376, 4), (377, 10),
        percent=[0] * 34 + [9] * 5 + [0] * 34,
    )  # fmt: skip
    columns["p.action_frame"][29:34, 0] = range(11, 16)  # the second goes on in the air
    values = derived("charge", columns)
    assert changes(values) == [(0, 0), (9, 33), (19, 67), (49, 100), (63, 0)]


def test_judge_remembers_two_numbers_until_death():
    columns = play(
        Character.GAMEANDWATCH, (STANDING, 2), (363, 5), (STANDING, 2), (369, 3), (360, 3),
        (358, 2), (DEAD, 2), (STANDING, 1), (357, 1),
    )  # fmt: skip
    pairs = zip(derived("judge_last", columns), derived("judge_before", columns), strict=True)
    found = [pair for i, pair in changes(list(pairs))]
    # 9; 6 in the air, which goes on when he lands; 4; a new stock; 3.
    assert found == [(2, 1), (9, 2), (6, 9), (4, 6), (2, 1), (3, 2)]


def test_a_lift_is_spent_until_landing():
    ground = [1] * 2 + [0] * 9 + [1] * 2
    parts = [(STANDING, 2), (FALLING, 2), (358, 5), (FALLING, 2), (42, 2)]
    for character in (Character.MARTH, Character.ROY):
        values = derived("lift_spent", play(character, *parts, on_ground=ground))
        assert values == [0] * 4 + [1] * 7 + [0] * 2
    # Luigi's comes back by a cyclone on the ground alone, or with a new stock.
    parts += [(357, 2), (STANDING, 1)]
    values = derived("lift_spent", play(Character.LUIGI, *parts, on_ground=[*ground, 1, 1, 1]))
    assert values == [0] * 4 + [1] * 9 + [0] * 3
    values = derived("lift_spent", play(Character.FOX, *parts, on_ground=[*ground, 1, 1, 1]))
    assert not any(values)


@pytest.mark.parametrize(
    ("character", "action", "state"),
    [
        (Character.MEWTWO, 354, specials.Special.TELEPORTING),
        (Character.ZELDA, 353, specials.Special.TELEPORTING),
        (Character.SHEIK, 361, specials.Special.TRANSFORMING),
        (Character.SAMUS, 358, specials.Special.TETHERED),
        (Character.LINK, 361, specials.Special.TETHERED),
        (Character.FOX, 354, specials.Special.NONE),
    ],
)
def test_special_states_are_of_character_and_action(character, action, state):
    assert derived("special_state", play(character, (action, 2))) == [state, state]


# -- One rule, two forms ---------------------------------------------------------------------------


def random_games(seed: int, num_frames: int = 900) -> dict[str, np.ndarray]:
    """Two players of those who keep something, in their own actions more often than not."""
    rng = np.random.default_rng(seed)
    codes = specials.action_codes().reshape(-1, ACTION_COUNT) & np.uint16(0xFFFF - specials.JUDGES)
    busy = np.flatnonzero(codes.any(axis=1))
    shape = (num_frames, 2)
    character = np.repeat(rng.choice(busy, (num_frames // 300, 2)), 300, axis=0)
    own = np.array([[rng.choice(np.flatnonzero(codes[c])) for c in pair] for pair in character])
    action = np.where(rng.random(shape) < 0.7, own, rng.choice([STANDING, HIT, DEAD], shape))
    stays = np.maximum.accumulate(
        np.where(rng.random(shape) < 0.1, np.arange(num_frames)[:, None], 0), axis=0
    )
    action = np.take_along_axis(action, stays, axis=0)
    return {
        "p.character": character.astype(np.uint8),
        "p.action": action.astype(np.uint16),
        "p.action_frame": (np.arange(num_frames)[:, None] - stays + 1).astype(np.int16),
        "p.percent": np.cumsum(rng.random(shape) < 0.02, axis=0).astype(np.float32),
        "p.hitlag": rng.choice([0, 0, 0, 1, 3], shape).astype(np.uint8),
        "p.on_ground": rng.choice([0, 0, 0, 1], shape).astype(np.uint8),
    }


@pytest.mark.parametrize("seed", range(6))
def test_frame_by_frame_is_the_same(seed):
    columns = random_games(seed)
    whole, tracker = character_columns(columns), CharacterTracker()
    steps = [
        tracker.step({n: c[i] for n, c in columns.items()}) for i in range(len(whole[COLUMNS[0]]))
    ]
    for name in COLUMNS:
        stepped = np.stack([step[name] for step in steps])
        assert stepped.dtype == whole[name].dtype == np.uint8
        np.testing.assert_array_equal(stepped, whole[name], err_msg=name)
    assert sum(whole[name].any() for name in COLUMNS) >= 2, "comparing nothing proves nothing"


def test_games_side_by_side_do_not_touch():
    games = [random_games(seed) for seed in range(3)]
    joined = {name: np.stack([game[name] for game in games], axis=1) for name in SOURCES}
    together = character_columns(joined)
    for index, game in enumerate(games):
        for name, column in character_columns(game).items():
            np.testing.assert_array_equal(together[name][:, index], column, err_msg=name)


@pytest.mark.parametrize("length", [1, 250, 899])
def test_only_the_past_counts(length):
    columns = random_games(11)
    before = character_columns({name: column[:length] for name, column in columns.items()})
    for name, column in character_columns(columns).items():
        np.testing.assert_array_equal(before[name], column[:length], err_msg=name)


# -- What is held ----------------------------------------------------------------------------------


def held_items() -> Items:
    """A turnip that player 1 throws and player 0 catches; then a bomb; a crowd of lasers."""
    entries = [(row, 7, 99, state, 140, owner) for row, (state, owner) in enumerate(
        [(0, 1), (0, 1), (2, 1), (4, 0), (4, 0)])]  # fmt: skip
    entries += [(row, 20, 59, 0, 300 - row, 1) for row in range(2, 5)]
    entries += [(row, item, 54, 0, 30, 2) for row in range(5) for item in range(6)]
    row, spawn_id, kind, state, timer, owner = np.array(entries).T
    zero = np.zeros(len(entries))
    return Items(
        row=row, spawn_id=spawn_id, type=kind, state=state, timer=timer, x=zero, y=zero,
        speed_x=zero, speed_y=zero, owner=owner,
    )  # fmt: skip


def test_held_items_are_told_though_they_wait_for_a_slot():
    items = held_items()
    columns = item_columns(items, 6, [0, 1])
    assert not np.isin(columns["i.type"], [59, 99]).any(), "six lasers fill the slots"
    turnip, bomb = specials.Held.TURNIP, specials.Held.BOMB
    want = [[0, turnip], [0, turnip], [0, bomb], [turnip, bomb], [turnip, bomb], [0, 0]]
    assert columns["p.held_item"].tolist() == want
    assert columns["p.held_frames"][:, 1].tolist() == [0, 0, 298, 297, 296, 0]
    assert not columns["p.held_frames"][:, 0].any()
    tracker = ItemTracker([0, 1])
    for row in range(5):
        here = Items(*(part[items.row == row] for part in items))
        step = tracker.step(here._replace(row=here.row * 0))
        for name in ("p.held_item", "p.held_frames"):
            np.testing.assert_array_equal(step[name], columns[name][row], err_msg=name)
