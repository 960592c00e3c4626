"""Rewards of whoever learns by playing: hand-made situations, one or more for every term."""

import numpy as np
import pytest

from exphil_tf.features.schema import SCHEMA
from exphil_tf.melee.enums import Character, Stage
from exphil_tf.rewards.playing import COLUMNS, GROUPS, REWARDS, rewards, weights_of

OWN, OPPONENT = 0, 1
STANDING = 14


def frame(**changed):
    """Columns `[1, …]` of a still moment on Final Destination; `own_x=…`, `other_x=…`."""
    columns = {name: column.copy() for name, column in SCHEMA.zeros(1).items()}
    columns["s.stage"][:] = Stage.FINAL_DESTINATION
    columns["p.stock"][:], columns["p.on_ground"][:], columns["p.facing"][:] = 4, 1, 1
    columns["p.x"][:], columns["p.action"][:] = (-20, 20), STANDING
    for key, value in changed.items():
        side, _, name = key.partition("_")
        columns[f"p.{name}"][0, OWN if side == "own" else OPPONENT] = value
    return columns


def value(term, before, after):
    found = REWARDS[term].function(frame(**before), frame(**after))
    assert found.shape == (1,) and np.asarray(found).dtype == np.float32
    return float(found[0])


OUT = {"other_x": 120, "other_on_ground": 0}
MEWTWO, GAMEANDWATCH, LINK, GANONDORF, ZELDA = (
    {"own_character": Character[name]}
    for name in ("MEWTWO", "GAMEANDWATCH", "LINK", "GANONDORF", "ZELDA")
)
HURT = {"other_percent": 12}
SITUATIONS = [
    # term, before, after, what it is worth
    ("stocks", {}, {"other_stock": 3}, 1),
    ("stocks", {}, {"own_stock": 3, "other_stock": 3}, 0),
    ("damage", {"own_percent": 5}, {"own_percent": 9, "other_percent": 12}, 8),
    ("damage", {"other_percent": 90}, {"other_percent": 0, "other_stock": 3}, 0),
    ("win", {"other_stock": 1}, {"other_stock": 0}, 1),
    ("win", {"own_stock": 1}, {"own_stock": 0}, -1),
    ("win", {"own_stock": 1, "other_stock": 1}, {"own_stock": 0, "other_stock": 0}, 0),
    ("win", {"other_stock": 0}, {"other_stock": 0}, 0),
    ("approach", {}, {"own_x": -18.5}, 0.5),
    ("approach", {}, {"own_x": -21.5}, -0.5),
    ("distance", {}, {"own_x": -100, "other_x": 20}, 1),
    ("distance", {}, {"own_x": -40, "other_x": 20}, 0.5),
    ("distance", {}, {"own_x": 0, "other_x": 20}, 0),
    ("distance", {}, {"other_x": 200, "other_action": 1}, 0),
    ("lead", {}, {"own_percent": 10, "other_percent": 11}, 1),
    ("lead", {}, {"other_percent": 99, "own_stock": 3}, -1),
    ("lead", {}, {"own_percent": 5, "other_percent": 5}, 0),
    ("dealt", {"own_percent": 5}, {"own_percent": 9, "other_percent": 12}, 12),
    ("dealt", {"other_percent": 90}, {"other_percent": 0, "other_stock": 3}, 0),
    ("approach", {"own_x": -200}, {"own_x": 0, "own_stock": 3}, 0),
    ("combo", {}, {"other_hitstun": 15}, 0.5),
    ("combo", {}, {"other_hitstun": 60}, 1),
    ("combo", {"other_hitstun": 15}, {"other_hitstun": 14}, 0.1),
    ("combo", {"other_hitstun": 1}, {}, 0),
    ("edge_guard", OUT, OUT | HURT, 1),
    ("edge_guard", {}, HURT, 0),
    ("edge_guard", OUT, OUT | HURT | {"own_x": -120, "own_on_ground": 0}, 0),
    # 25 units beyond the edge of 85.57, 40 below the stage.
    ("recovery_risk", {}, {"own_x": 110.5657, "own_y": -40, "own_on_ground": 0}, 0.9),
    ("recovery_risk", {}, {"own_x": 40, "own_y": -50, "own_on_ground": 0}, 0.5),
    ("recovery_risk", {}, {"own_x": 85, "own_y": 30, "own_on_ground": 0}, 0),
    ("recovery_risk", {}, {"own_y": -150, "own_on_ground": 0, "own_action": 0}, 0),
    ("mewtwo_teleport", MEWTWO | {"own_action": 357}, MEWTWO | {"own_action": 43}, 1),
    (
        "mewtwo_teleport",
        MEWTWO | {"own_action": 357},
        MEWTWO | {"own_action": 35, "own_x": 120, "own_on_ground": 0},
        -1,
    ),
    ("mewtwo_teleport", {"own_action": 357}, {"own_action": 43}, 0),
    ("mewtwo_tail", MEWTWO | {"other_x": -40}, MEWTWO | {"own_percent": 9}, -1),
    ("mewtwo_tail", MEWTWO | {"other_x": 0}, MEWTWO | {"own_percent": 9}, 0),
    ("mewtwo_confusion", MEWTWO | {"own_action": 351}, MEWTWO | HURT, 1),
    ("mewtwo_confusion", MEWTWO | {"own_action": 44}, MEWTWO | HURT, 0),
    ("gameandwatch_bucket", GAMEANDWATCH, GAMEANDWATCH | {"own_charge": 33}, 1),
    ("gameandwatch_bucket", GAMEANDWATCH | {"own_charge": 100}, GAMEANDWATCH, 0),
    (
        "gameandwatch_hammer",
        GAMEANDWATCH,
        GAMEANDWATCH | HURT | {"own_action": 363, "own_judge_last": 9},
        1,
    ),
    ("gameandwatch_hammer", GAMEANDWATCH, GAMEANDWATCH | HURT | {"own_judge_last": 9}, 0),
    (
        "link_bomb",
        LINK | {"own_held_item": 2, "own_held_frames": 1},
        LINK | {"own_percent": 6},
        -1,
    ),
    ("link_bomb", LINK | {"own_held_item": 2, "own_held_frames": 90}, LINK, 0),
    ("link_zoning", LINK | {"other_x": 60}, LINK | HURT, 1),
    ("link_zoning", LINK | {"other_x": -10}, LINK | HURT, 0),
    (
        "link_tether",
        LINK,
        LINK | {"own_special_state": 2, "own_x": 100, "own_on_ground": 0},
        1,
    ),
    ("link_tether", LINK, LINK | {"own_special_state": 2, "own_on_ground": 0}, 0),
    ("ganondorf_spacing", GANONDORF, GANONDORF | {"other_x": 0}, 1),
    ("ganondorf_spacing", GANONDORF, GANONDORF | {"other_x": -15}, 0),
    ("ganondorf_spacing", GANONDORF, GANONDORF | {"other_x": -40}, 0),
    ("ganondorf_stomp", GANONDORF, GANONDORF | HURT | {"own_action": 69}, 1),
    (
        "ganondorf_stomp",
        GANONDORF | {"other_hitstun": 4},
        GANONDORF | HURT | {"own_action": 69},
        2,
    ),
    ("ganondorf_edge_guard", GANONDORF | OUT, GANONDORF | OUT | HURT, 1),
    ("ganondorf_edge_guard", OUT, OUT | HURT, 0),
    ("zelda_lightning_kick", ZELDA, ZELDA | {"own_action": 66, "other_percent": 20}, 1),
    ("zelda_lightning_kick", ZELDA, ZELDA | {"own_action": 67, "other_percent": 8}, -0.2),
    ("zelda_transform", ZELDA, ZELDA | {"own_special_state": 3, "other_x": 70}, 1),
    ("zelda_transform", ZELDA, ZELDA | {"own_special_state": 3}, -1),
    ("zelda_transform", ZELDA, ZELDA | {"own_special_state": 3, "other_hitstun": 20}, 1),
    ("zelda_dins_fire", ZELDA | {"own_action": 344}, ZELDA | HURT, 1),
    ("zelda_dins_fire", ZELDA | {"own_action": 66}, ZELDA | HURT, 0),
]


@pytest.mark.parametrize(("term", "before", "after", "worth"), SITUATIONS)
def test_a_situation_is_worth_what_the_term_says(term, before, after, worth):
    assert value(term, before, after) == pytest.approx(worth, abs=1e-3)


def test_every_term_has_a_situation_that_pays_and_one_that_does_not():
    paying = {term for term, _, _, worth in SITUATIONS if worth}
    still = {name: REWARDS[name].function(frame(), frame()) for name in REWARDS}
    assert paying == set(REWARDS)
    assert {name for name, found in still.items() if found.any()} == {"distance"}, "40 apart"


def test_terms_of_characters_pay_nobody_else():
    own = {"mewtwo": MEWTWO, "gameandwatch": GAMEANDWATCH, "link": LINK}
    own |= {"ganondorf": GANONDORF, "zelda": ZELDA}
    for term, before, after, _ in SITUATIONS:
        if REWARDS[term].group in own:
            others = {"own_character": Character.FOX}
            assert value(term, before | others, after | others) == 0


def test_the_total_is_weighted_clipped_and_told_by_term():
    before = frame(other_stock=1)
    total, parts = rewards(before, frame(other_stock=0), weights_of(["standard"], {}))
    np.testing.assert_allclose(total, [6])
    assert {name: float(part[0]) for name, part in parts.items()} == {
        "stocks": 1, "damage": 0, "win": 5,
    }  # fmt: skip
    total, _ = rewards(before, frame(other_stock=0), {"win": 50.0, "stocks": 1.0})
    np.testing.assert_array_equal(total, [10])


def test_weights_are_of_groups_and_single_terms():
    assert weights_of(["standard"], {}) == {"stocks": 1.0, "damage": 0.01, "win": 5.0}
    assert weights_of(["standard"], {"win": 0.0, "combo": 0.2}) == {
        "stocks": 1.0, "damage": 0.01, "combo": 0.2,
    }  # fmt: skip
    assert {name for group in GROUPS for name in weights_of([group], {})} == set(REWARDS)
    for groups, changed in ((["fancy"], {}), (["standard"], {"fancy": 1.0})):
        with pytest.raises(ValueError, match=r"Received: \['fancy'\]"):
            weights_of(groups, changed)
    with pytest.raises(ValueError, match="at least one term"):
        weights_of([], {})


def test_terms_read_only_what_is_kept_for_them():
    kept = {name: column for name, column in frame().items() if name in COLUMNS}
    assert rewards(kept, kept, weights_of(GROUPS, {}))[0].shape == (1,)
