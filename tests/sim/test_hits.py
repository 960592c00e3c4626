"""Who is hit and what becomes of them, against published formulas worked out by hand.

Fox's up smash: 18 damage at 80 degrees, growth 112, base 30; Marth weighs 87. At 0 % that is
((18/10 + 18·18/20)·1.4·200/187 + 18)·1.12 + 30 = 80.35 of knockback: 2.410 units a frame, 32 frames
of hitstun, and 18/3 + 3 = 9 of hitlag.
"""

import math

import numpy as np
import pytest

from exphil_tf.melee.enums import Character, Stage
from exphil_tf.sim import actions as act
from exphil_tf.sim.attributes import data_file, read_rows
from exphil_tf.sim.hit_events import StaleQueue
from exphil_tf.sim.hit_fidelity import hit_table
from exphil_tf.sim.hit_tables import hit_tables
from exphil_tf.sim.replay_state import SEEN
from exphil_tf.sim.rules import controls
from exphil_tf.sim.state import PLAYER
from exphil_tf.sim.world import World, controllers

FOX, MARTH = int(Character.FOX), int(Character.MARTH)
UP_SMASH = {"c_y": 1.0}
KNOCKBACK = ((18 / 10 + 18 * 18 / 20) * 1.4 * 200 / 187 + 18) * 1.12 + 30


def face_to_face(apart=5.0, first=FOX, second=MARTH):
    """Two players who stand so far from one another, on flat ground."""
    world = World(np.array([[first, second]]), [Stage.FINAL_DESTINATION])
    world.players["x"][0] = [-apart / 2, apart / 2]
    return world


def play(world, frames, first=None, second=None):
    """Steps with both controllers held; rows of both players, `[frames, 2]`."""
    pads = controllers(1)
    for seat, held in enumerate((first or {}, second or {})):
        for name, value in held.items():
            pads[name][0, seat] = value
    rows = []
    for _ in range(frames):
        world.step(pads)
        rows.append(world.players[0].copy())
    return np.array(rows)


def until(world, name, value, first=None, second=None, most=200):
    """Steps until a field of the second player is a value."""
    for _ in range(most):
        row = play(world, 1, first, second)[0]
        if row[name][1] == value:
            return row
    raise AssertionError(f"{name} never was {value}")


def smash(world, second=None):
    """The up smash, until it hits; the frame of the hit."""
    play(world, 1, UP_SMASH, second)
    before = float(world.players["percent"][0, 1])
    for _ in range(20):
        row = play(world, 1, second=second)[0]
        if row["percent"][1] > before:
            return row
    raise AssertionError("no hit")


def test_a_hit_does_what_the_published_formulas_say():
    hit = smash(face_to_face())[1]
    assert hit["percent"] == pytest.approx(18)
    assert hit["hitlag"] == 9 and hit["hitstun"] == 32 == math.floor(0.4 * KNOCKBACK)
    assert math.hypot(hit["kx"], hit["ky"]) == pytest.approx(0.03 * KNOCKBACK, rel=1e-5)
    assert math.degrees(math.atan2(hit["ky"], hit["kx"])) == pytest.approx(80, abs=1e-3)
    assert hit["facing"] == -1 and not hit["grounded"] and hit["action"] == act.DAMAGE_FLY_TOP


@pytest.mark.parametrize(("held", "charged"), [(1, 0), (12, 10), (80, 60)])
def test_a_smash_grows_stronger_while_a_is_held(held, charged):
    """Fox's stands still at its second frame; 60 frames there add 36.71 % of the damage."""
    world = face_to_face()
    play(world, held, {"stick_y": 1.0, "buttons": controls.A})
    row = until(world, "action", act.DAMAGE_FLY_TOP, most=30)
    assert row["percent"][1] == pytest.approx(18 * (1 + 0.3671 * charged / 60), rel=1e-5)


def test_what_is_no_move_does_not_stale():
    queue = StaleQueue()
    queue.push(13, 0)
    queue.push(1, 1)
    assert queue.push(13, 2)[0] == pytest.approx(0.91)


def test_who_falls_at_the_camera_loses_the_stock_there():
    world = face_to_face()
    world.players["action"][0, 1], world.players["grounded"][0, 1] = act.DEAD_TOWARDS, 0
    world.players["y"][0, 1] = 150
    rows = play(world, 51 + 43)
    assert rows["stock"][-2, 1] == 4 and rows["stock"][-1, 1] == 3
    assert rows["action"][-1, 1] == act.DEAD_AHEAD
    until(world, "action", act.REBIRTH, most=40)


def test_both_stand_still_in_hitlag_and_a_use_hits_once():
    world = face_to_face()
    row = smash(world)
    still = play(world, 8)
    assert (still["x"] == row["x"]).all() and (still["action"][:, 1] == act.DAMAGE_FLY_TOP).all()
    assert (still["hitlag"][:, 0] == np.arange(8, 0, -1)).all()
    going = play(world, 30)
    assert (going["percent"][:, 1] == row["percent"][1]).all()
    # The launch loses 0.051 a frame.
    speed = np.hypot(going["kx"][:3, 1], going["ky"][:3, 1])
    np.testing.assert_allclose(speed, 0.03 * KNOCKBACK - 0.051 * np.arange(1, 4), rtol=1e-4)


def test_a_repeated_move_is_weaker():
    world = face_to_face()
    smash(world)
    play(world, 60)
    world.players["percent"][0, 1] = 0
    for name, value in (("x", 2.5), ("y", 1e-4), ("grounded", 1), ("action", act.WAIT), ("kx", 0),
                        ("ky", 0), ("vx", 0), ("vy", 0), ("hitstun", 0)):  # fmt: skip
        world.players[name][0, 1] = value
    assert smash(world)["percent"][1] == pytest.approx(18 * 0.91, rel=1e-5)


def test_crouching_takes_a_third_of_a_launch():
    world = face_to_face()
    play(world, 12, second={"stick_y": -1.0})
    hit = smash(world, {"stick_y": -1.0})[1]
    assert math.hypot(hit["kx"], hit["ky"]) == pytest.approx(0.02 * KNOCKBACK, rel=1e-5)
    assert hit["hitlag"] == 6


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_the_stick_bends_a_launch(side):
    world = face_to_face()
    smash(world)
    row = play(world, 9, second={"stick_x": side})[-1][1]
    turned = math.degrees(math.atan2(row["ky"], row["kx"])) - 80
    # 18 degrees times the square of what is across the launch.
    assert turned == pytest.approx(-side * 18 * math.sin(math.radians(80)) ** 2, abs=0.05)


def test_hard_hits_take_a_stock_off_the_top():
    world = face_to_face()
    world.players["percent"][0, 1] = 150
    smash(world)
    row = until(world, "stock", 3, most=400)
    assert row["action"][1] == act.DEAD_STAR and row["percent"][1] == 0


def test_a_shield_takes_the_damage():
    world = face_to_face()
    guard = {"buttons": controls.R, "trigger": 1.0}
    play(world, 10, second=guard)
    play(world, 1, UP_SMASH, guard)
    row = until(world, "action", act.GUARD_STUN, second=guard)[1]
    before = 60 - 0.28 * (10 + 8)
    assert row["percent"] == 0 and row["hitlag"] == 9
    assert row["shield"] == pytest.approx(before - 0.7 * 18, abs=0.3)
    assert row["ground_speed"] == pytest.approx(0.24 + 0.054 * 18, rel=1e-5)
    # (18 + 4.45) / 2.235 = 10.04 frames of stun after the hitlag.
    rows = play(world, 30, second=guard)
    assert np.count_nonzero(rows["action"][:, 1] == act.GUARD_STUN) == pytest.approx(9 + 10, abs=1)


def test_a_shield_comes_back_and_breaks():
    world = face_to_face(apart=40)
    world.players["shield"][0] = [50, 1]
    rows = play(world, 6, second={"buttons": controls.R, "trigger": 1.0})
    np.testing.assert_allclose(rows["shield"][:, 0], 50 + 0.07 * np.arange(1, 7), rtol=1e-5)
    assert rows["action"][-1, 1] == act.SHIELD_BREAK_FLY
    until(world, "action", act.DIZZY)


def grabbed(world):
    """The first player grabs the second; the frame of the touch."""
    play(world, 1, {"buttons": controls.Z})
    for _ in range(12):
        row = play(world, 1)[0]
        if row["action"][0] == act.GRAB_PULL:
            return row
    raise AssertionError("nobody is held")


def test_a_grab_holds_pummels_and_throws():
    world = face_to_face(8, MARTH, FOX)
    assert grabbed(world)["action"][1] == act.HELD_PULL_LOW
    until(world, "action", act.HELD_WAIT_LOW)
    play(world, 1, {"buttons": controls.A})
    row = until(world, "action", act.HELD_HURT_LOW)
    assert row["percent"][1] == pytest.approx(3) and row["x"][1] > row["x"][0]
    until(world, "action", act.HELD_WAIT_LOW)
    play(world, 1, {"stick_x": 1.0})
    assert world.players["action"][0].tolist() == [act.THROW_F, act.THROWN_F]
    row = until(world, "grounded", 0)
    assert row["percent"][1] == pytest.approx(3 + 4) and row["kx"][1] > 0 and row["ky"][1] > 0


def test_who_struggles_is_free_sooner():
    frames = []
    for press in (0, controls.A):
        world = face_to_face(8, MARTH, FOX)
        grabbed(world)
        for frame in range(150):
            play(world, 1, second={"buttons": press * (frame % 2)})
            if world.players["action"][0, 1] == act.HELD_FREE:
                break
        frames.append(frame)
    assert frames[0] == pytest.approx(90, abs=4) and frames[1] < frames[0] / 2


def test_invulnerable_bodies_are_not_hit():
    world = face_to_face()
    world.players["safe_frames"][0, 1] = 100
    play(world, 1, UP_SMASH)
    assert (play(world, 20)["percent"][:, 1] == 0).all()


def test_who_lies_gets_up_as_asked():
    for held, action in (({"stick_y": 1.0}, act.DOWN_STAND_UP), ({"stick_x": -1.0}, 196),
                         ({"buttons": controls.A}, act.DOWN_ATTACK_UP)):  # fmt: skip
        world = face_to_face(60)
        world.players["action"][0, 1] = act.DOWN_BOUND_UP
        row = until(world, "action", action, second=held, most=30)
        assert row["grounded"][1]


# -- Tables ----------------------------------------------------------------------------------------

PUBLISHED = {
    ("FOX", act.USMASH): (18, 80, 112, 30), ("FOX", act.BAIR): (15, 361, 100, 0),
    ("FOX", act.UAIR): (13, 85, 116, 40), ("FALCO", act.DAIR): (12, 290, 100, 10),
    ("FALCO", act.BAIR): (15, 361, 100, 0), ("MARTH", act.FSMASH): (20, 361, 70, 80),
    ("CPTFALCON", act.FAIR): (18, 32, 100, 24), ("FOX", act.UTILT): (12, 110, 140, 18),
    ("CPTFALCON", act.DAIR): (16, 270, 100, 40),
}  # fmt: skip
"""Damage, angle, growth and base as SmashWiki and FightCore give them."""


@pytest.mark.parametrize("move", PUBLISHED)
def test_recorded_hits_say_what_is_published(move):
    who, action = int(Character[move[0]]), move[1]
    kinds = {
        tuple(float(row[name]) for name in ("damage", "angle", "growth", "base"))
        for row in read_rows(data_file("hits.csv"))
        if (int(row["character"]), int(row["action"])) == (who, action)
    }
    assert PUBLISHED[move] in kinds


def test_every_hitbox_does_something():
    found = hit_tables()
    boxes = found["boxes"]
    out = boxes["kind"] >= 0
    kinds = found["kinds"][boxes["kind"][out]]
    assert out.any(1).sum() > 5_000 and (kinds["damage"] > 0).all()
    assert (boxes["size"][out] > 0).all() and (found["bodies"]["radius"] > 0).all()
    assert (found["throws"]["length"] > found["throws"]["age"]).all()


def test_a_move_is_stale_for_each_of_the_last_nine():
    queue = StaleQueue()
    shares = [queue.push(13, use)[0] for use in range(3)]
    np.testing.assert_allclose(shares, [1, 0.91, 0.83])
    assert queue.push(13, 2)[0] == pytest.approx(0.76), "its own use is in the queue"
    for use in range(9):
        queue.push(14, use)
    assert queue.push(13, 3)[0] == 1


def test_hits_are_counted_as_made_early_and_imagined():
    truth, ahead = np.zeros((8, 2), SEEN), np.zeros((8, 2), PLAYER)
    truth["stock"] = ahead["stock"] = 4
    truth["character"], truth["action"] = FOX, act.WAIT
    truth["action"][:, 0] = act.BAIR
    truth["percent"][4:, 1] = ahead["percent"][4:, 1] = 15
    truth["hitlag"][4, 1] = ahead["hitlag"][4, 1] = 8
    truth["kx"][4, 1], ahead["kx"][4, 1] = 2.0, 2.03
    ahead["percent"][3, 1] = 15  # a frame early
    counts = hit_table(truth, ahead, judged=np.ones((7, 2), bool)).kinds["aerial"]
    assert (counts.recorded, counts.made, counts.imagined, counts.early) == (1, 1, 1, 1)
    assert (counts.percent, counts.hitlag, counts.stun) == (1, 1, 1)
    assert (counts.launched, counts.speed) == (1, 0), "1.5 % are too many"
