"""Projectiles: when they leave, how they fly, whom they hit, and how that is read off games.

Falco's laser: 3 damage at 361 degrees, growth 100, as if it did 5 whatever the percent. Marth
weighs 87: (1 + 5/2)·1.4·200/187 + 18 = 23.24 of knockback, too little to leave the ground.
"""

import numpy as np
import pytest

from exphil_tf.melee.enums import Character, Stage
from exphil_tf.sim import actions as act
from exphil_tf.sim.fit_shots import fit_shots
from exphil_tf.sim.flights import flights, shot_hits
from exphil_tf.sim.observe import observe
from exphil_tf.sim.recorded import Recorded
from exphil_tf.sim.rules import controls
from exphil_tf.sim.shot_fidelity import shot_counts
from exphil_tf.sim.shot_tables import kind_of, shot_tables
from exphil_tf.sim.state import SHOT, SHOTS
from exphil_tf.sim.tables import tables
from exphil_tf.sim.world import World, controllers

FALCO, FOX, MARTH = (int(Character[name]) for name in ("FALCO", "FOX", "MARTH"))
SHEIK = int(Character.SHEIK)
LOOP, HALF = 342, 30.0
LASER, FOX_LASER = 0x37, 0x36
LAUNCH = ((1 + 5 / 2) * 1.4 * 200 / 187 + 18) * 0.03


def facing(shooter=FALCO, apart=2 * HALF):
    world = World(np.array([[shooter, MARTH]]), [Stage.FINAL_DESTINATION])
    world.players["x"][0] = [-apart / 2, apart / 2]
    return world


def shoots(world, action=LOOP, age=15.0):
    """The first player, a frame before something leaves."""
    p = world.players[0, 0:1]
    p["action"], p["age"], p["rate"] = action, age, 1
    p["use"] += 1


def play(world, frames, **second):
    """Steps; shots `[frames, SHOTS]` and players `[frames, 2]`."""
    pads = controllers(1)
    for name, value in second.items():
        pads[name][0, 1] = value
    rows = []
    for _ in range(frames):
        world.step(pads)
        rows.append((world.matches["shots"][0].copy(), world.players[0].copy()))
    shots, players = zip(*rows, strict=True)
    return np.array(shots), np.array(players)


def test_a_laser_leaves_flies_and_hits():
    world = facing()
    shoots(world)
    shots, players = play(world, 12)
    flying = shots["kind"][:, 0] > 0
    assert flying.tolist() == [True] * 9 + [False] * 3
    # 10.577 forwards and 8.133 up, then 5 a frame; Marth's body is some 3.5 wide at 30.
    np.testing.assert_allclose(shots["x"][:9, 0], -HALF + 10.577 + 5 * np.arange(9), atol=1e-3)
    np.testing.assert_allclose(shots["y"][:9, 0], 8.133, atol=1e-3)
    hit = players[9, 1]
    assert hit["percent"] == pytest.approx(3) and hit["hitlag"] == 4 and hit["kx"] > 0
    assert hit["kx"] == pytest.approx(LAUNCH, rel=1e-5) and hit["grounded"]
    assert players["hitlag"][9, 0] == 0, "who shoots does not stand still"
    assert players["percent"][-1, 1] == hit["percent"], "one hit"


def test_each_laser_is_a_stale_move_and_foxs_is_not_felt():
    world = facing(FOX)
    for dealt in (3, 3 + 3 * 0.91, 3 + 3 * 0.91 + 3 * (1 - 0.09 - 0.08)):
        shoots(world, age=4.0)
        players = play(world, 12)[1]
        assert players["percent"][-1, 1] == pytest.approx(dealt, rel=1e-5)
        assert (players["action"][:, 1] == act.WAIT).all() and not players["hitlag"].any()


def test_shields_stop_lasers_and_who_is_safe_lets_them_through():
    world = facing()
    guard = {"buttons": controls.R, "trigger": 1.0}
    play(world, 10, **guard)
    shoots(world)
    shots, players = play(world, 14, **guard)
    assert players["percent"][-1, 1] == 0 and act.GUARD_STUN in players["action"][:, 1]
    assert players["shield"][-1, 1] < 60 - 0.7 * 3 and not shots["kind"][-1].any()
    world = facing()
    world.players["safe_frames"][0, 1] = 100
    shoots(world)
    shots, players = play(world, 20)
    assert players["percent"][-1, 1] == 0 and shots["x"][-1, 0] > HALF


def test_what_flies_ends_with_its_life_and_at_the_blast_zone():
    world = facing(FOX)
    world.players["safe_frames"][0, 1] = 100
    shoots(world, age=4.0)
    shots = play(world, 36)[0]
    assert shots["life"][0, 0] == 34 and (shots["kind"][:, 0] > 0).sum() == 34
    world = facing()
    world.players["x"][0, 0], world.players["facing"][0, 0] = -60, -1
    shoots(world)
    shots = play(world, 60)[0]
    assert shots["life"][(shots["kind"][:, 0] > 0).sum(), 0] > 40, "246 is not far"


def test_only_as_many_needles_as_there_are():
    for needles in (1, 3):
        world = facing(SHEIK, apart=120)
        shoots(world, action=344, age=1.0)
        world.players["levels"][0, 0] = needles
        world.players["was_code"][0, 0] = tables()["codes"][0, SHEIK, 344]
        world.players["was_character"][0, 0] = SHEIK
        shots = play(world, 18)[0]
        assert (shots["fresh"] == 0).all() and (shots["kind"] > 0).any(0).sum() == needles


def test_projectiles_are_seen_as_items():
    world = facing()
    shoots(world)
    play(world, 2)
    seen = observe(world.matches)
    assert seen["i.exists"].tolist() == [[1, 0, 0, 0, 0]] and seen["i.type"][0, 0] == LASER
    assert seen["i.x"][0, 0] == pytest.approx(-HALF + 15.577, abs=1e-3)
    assert seen["i.speed_x"][0, 0] == 5 and seen["i.timer"][0, 0] == 98
    assert seen["p.items_owned"].tolist() == [[1, 0]]


# -- Read off games --------------------------------------------------------------------------------


def recording(launches=5, every=40):
    """Falco shoots again and again from x 10 to the left; the last one hits."""
    frames = launches * every
    two, slots = (frames, 2), (frames, 5)
    columns = {name: np.zeros(two) for name in (
        "y", "speed_x_attack", "speed_y_attack", "hitlag", "misc", "stock", "invulnerable",
        "items_owned", "facing", "percent", "last_attack")}  # fmt: skip
    columns |= {name: np.zeros(two, int) for name in ("on_ground", "items_owned")}
    columns["frame"] = np.arange(frames)
    columns["action"], columns["character"] = np.full(two, LOOP), np.full(two, MARTH)
    columns["action"][:, 1] = act.WAIT
    columns["character"][:, 0], columns["stock"][:] = FALCO, 4
    columns["state_age"] = np.stack([np.arange(frames) % every, np.arange(frames)], 1) * 1.0
    columns["x"] = np.tile([10.0, -170.0], (frames, 1))
    columns |= {f"i.{name}": np.zeros(slots) for name in (
        "x", "y", "speed_x", "speed_y", "type", "state", "timer", "exists")}  # fmt: skip
    for start in range(16, frames, every):
        at = slice(start, start + 20)
        columns["i.x"][at, 0] = 10 - 10.5 - 5 * np.arange(20)
        columns["i.timer"][at, 0] = 99 - np.arange(20)
        for name, value in (("y", 8), ("speed_x", -5), ("type", LASER), ("exists", 1)):
            columns[f"i.{name}"][at, 0] = value
        columns["items_owned"][at, 0] = 1
    columns["percent"][start + 20 :, 1], columns["last_attack"][start + 20 :, 0] = 3, 18
    columns["hitlag"][start + 20, 1], columns["speed_x_attack"][start + 20, 1] = 4, -LAUNCH
    return Recorded(int(Stage.FINAL_DESTINATION), columns, (False, False))


def test_flights_and_what_they_hit_are_told():
    game = recording()
    found = flights(game)
    assert found["first"].tolist() == [16, 56, 96, 136, 176]
    assert (found["after"] - found["first"] == 20).all() and (found["owner"] == 0).all()
    assert np.flatnonzero(shot_hits(game, 1)).tolist() == [196] and not shot_hits(game, 0).any()


def test_what_comes_off_a_shield_hits_nobody():
    game = recording(launches=1)
    game["i.speed_x"][26:36, 0], game["i.speed_y"][26:36, 0] = -2, 4.5
    game["percent"][26:, 1] = 3
    found = flights(game)
    assert found["first"].tolist() == [16, 26] and found["bounced"].tolist() == [0, 1]
    assert np.flatnonzero(shot_hits(game, 1)).tolist() == [26]


def test_a_launch_is_estimated():
    (row,) = fit_shots([recording()])
    assert (row["character"], row["action"], row["age"]) == (FALCO, LOOP, 16)
    assert (row["x"], row["y"], row["speed_x"], row["life"]) == (10.5, 8, 5, 99)
    assert (row["damage"], row["flinches"], row["hits"]) == (3, 1, 1)
    assert row["gain_x"] == row["gain_y"] == row["keeps_y"] == 0


def test_the_table_holds_what_is_known():
    kinds = shot_tables()["shots"]
    falco, fox = (kinds[kind_of(who, item, 0) - 1]
                  for who, item in ((FALCO, LASER), (FOX, FOX_LASER)))  # fmt: skip
    assert (falco["speed_x"], falco["hit"]["damage"], falco["flinches"]) == (5, 3, 1)
    assert (fox["speed_x"], fox["hit"]["damage"], fox["flinches"]) == (7, 3, 0)
    assert kind_of(FALCO, 1, 0) == 0


def test_flight_launches_and_ends_are_counted():
    truth, made = np.zeros((4, SHOTS), SHOT), np.zeros((4, SHOTS), SHOT)
    kind = kind_of(FALCO, LASER, 0)
    for at, x in ((1, 10.0), (2, 15.0)):
        truth[at, 2]["kind"], truth[at, 2]["x"], truth[at, 2]["life"] = kind, x, 100 - at
    made[1, 0]["kind"], made[1, 0]["x"], made[1, 0]["life"] = kind, 10.5, 99
    made[2, 2] = truth[2, 2]
    (counts,) = shot_counts(truth, made, judged=np.ones((3, 2), bool)).values()
    assert (counts.frames, counts.near, counts.lost) == (1, 1, 0)
    assert (counts.launches, counts.launched, counts.placed, counts.imagined) == (1, 1, 1, 0)
    assert (counts.ends, counts.ended) == (1, 1)


def test_projectiles_of_one_action_are_one_use_of_their_move():
    world = facing(FOX)
    shoots(world, age=4.0)
    use = int(world.players["use"][0, 0])
    play(world, 12)
    for same_action, entries in ((True, 1), (False, 2)):
        shoots(world, age=4.0)
        if same_action:
            world.players["use"][0, 0] = use
        play(world, 12)
        assert (world.players["stale"][0, 0] != 0).sum() == entries
