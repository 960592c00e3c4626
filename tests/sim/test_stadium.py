"""Pokémon Stadium's forms: lines, how they sink and rise, and who stands on them."""

import itertools
import zipfile

import numpy as np
import pytest

from exphil_tf.melee.enums import Character, Stage
from exphil_tf.melee.types import GO_FRAME
from exphil_tf.replays.physics_columns import read_physics
from exphil_tf.sim import actions as act
from exphil_tf.sim import stadium_changes
from exphil_tf.sim.environment import Environment
from exphil_tf.sim.observe import observe
from exphil_tf.sim.random_pads import RandomPads
from exphil_tf.sim.recorded import Recorded, from_game
from exphil_tf.sim.replay_state import forms_of
from exphil_tf.sim.rules import stadium
from exphil_tf.sim.stadium_lines import FIRE, FIRST, FORMS, GRASS, KINDS, ROCK, WATER
from exphil_tf.sim.stage_lines import GAP, STAGES, line_table, side_table
from exphil_tf.sim.world import World, controllers

FOX, MARTH = int(Character.FOX), int(Character.MARTH)
LINES = line_table()[STAGES.index(Stage.POKEMON_STADIUM)]


def world_of(count=1, *, forms=True, **options):
    stages = [Stage.POKEMON_STADIUM] * count
    world = World(np.array([[FOX, MARTH]] * count), stages, stadium_forms=forms, **options)
    world.reset(np.arange(count), np.arange(count, dtype=np.uint64))
    return world


def row_of(line_id):
    return int(np.flatnonzero(LINES["id"] == line_id)[0])


def put(world, seat, line_id, x, *, action=act.WAIT):
    """Stands a player on a line that is at its usual height."""
    line = LINES[row_of(line_id)]
    part = (x - line["x0"]) / (line["x1"] - line["x0"])
    height = line["y0"] + part * (line["y1"] - line["y0"])
    for name, value in {"x": x, "y": height + GAP, "line": row_of(line_id), "grounded": 1,
                        "action": action}.items():  # fmt: skip
        world.players[name][:, seat] = value


def stand(world, form, *, coming=None, wait=1000):
    """A form that stands, or sinks with so many frames to go until the next one rises."""
    world.matches["form"], world.matches["moods"][:, 0] = form, stadium.WAITS
    world.matches["coming"] = form if coming is None else coming
    world.matches["waits"][:, 0] = wait


# -- Lines -----------------------------------------------------------------------------------------


def test_every_line_is_there_once_and_goes_on_where_it_ends():
    assert len(set(LINES["id"].tolist())) == len(LINES) == 71
    assert np.bincount(LINES["form"][LINES["moving"] == 4]).tolist() == [3, 19, 15, 14, 16]
    for at, line in enumerate(LINES):
        assert line["x0"] < line["x1"]
        if line["form"] != FIRST and line["right"] >= 0:
            other = LINES[line["right"]]
            assert abs(line["x1"] - other["x0"]) < 0.01 and line["y1"] == other["y0"]
            assert other["left"] == at or other["form"] == FIRST


def test_firm_ground_is_unbroken_but_for_what_has_sides():
    """Who walks through a form falls nowhere: gaps lie between a left and a right side."""
    sides = side_table()
    for form in (FIRE, GRASS, ROCK, WATER):
        mine = LINES[(LINES["soft"] == 0) & ((LINES["form"] == form) | (LINES["moving"] == 0))]
        xs = np.arange(-87, 87, 0.5)
        covered = ((mine["x0"] <= xs[:, None]) & (xs[:, None] <= mine["x1"])).any(1)
        here = sides[sides["form"] == form]
        left, right = here[here["out"] < 0], here[here["out"] > 0]
        for x in xs[~covered]:
            assert min(left["x0"].min(), left["x1"].min()) < x
            assert x <= max(right["x0"].max(), right["x1"].max())


# -- When ------------------------------------------------------------------------------------------


def test_it_stays_as_it_was_unless_it_is_asked_for():
    world = world_of(4, forms=False)
    world.matches["frame"] = 5000
    for _ in range(10):
        world.step(controllers(4))
    assert not world.matches["transforms"].any() and not world.matches["waits"].any()
    assert (observe(world.matches)["s.stadium"] == KINDS[FIRST]).all()
    other = World(np.array([[FOX, MARTH]]), [Stage.BATTLEFIELD], stadium_forms=True)
    assert not other.matches["transforms"].any()


def test_forms_come_and_go_when_the_games_do():
    world, told, frames = world_of(48), [], []
    for frame in range(6800):
        world.step(controllers(48))
        told.append(observe(world.matches)["s.stadium"].copy())
        frames.append(GO_FRAME + frame + 1)
    told = np.array(told)
    rises = [np.flatnonzero(np.diff(told[:, at])) + 1 for at in range(48)]
    first = np.array([frames[one[0]] for one in rises])
    assert first.min() >= 4048 and first.max() <= 4250, "as recorded: 4078 to 4225"
    stays = np.array([one[1] - one[0] for one in rises if len(one) > 1])
    assert len(stays) > 40 and stays.min() >= 1809 and stays.max() <= 2410
    kinds = {int(told[one[0], at]) for at, one in enumerate(rises)}
    assert kinds == {KINDS[form] for form in FORMS}
    assert {int(told[one[1], at]) for at, one in enumerate(rises) if len(one) > 1} == {5}


def test_chance_is_the_seeds_alone():
    one, many = world_of(1), world_of(9, threads=2)
    one.matches["seed"] = 5
    for _ in range(4300):
        one.step(controllers(1))
        many.step(controllers(9))
    assert one.matches[0].tobytes() == many.matches[5].tobytes()
    assert one.matches["coming"][0] != FIRST


# -- Who stands ------------------------------------------------------------------------------------


def test_who_stands_on_a_platform_sinks_with_it_and_is_put_on_what_rises():
    world = world_of()
    stand(world, FIRST, wait=182)
    put(world, 0, 35, -30)
    put(world, 1, 36, 40)
    heights = []
    for _ in range(182):
        world.step(controllers(1))
        heights.append(float(world.players["y"][0, 0]))
    steps = np.diff(heights[:119])
    np.testing.assert_allclose(steps, -25 * 0.95 / 120, atol=1e-4)
    assert heights[-1] == pytest.approx(1.25 + GAP, abs=1e-4), "a twentieth of its height"
    world.matches["coming"] = GRASS
    for _ in range(121):
        world.step(controllers(1))
    assert world.matches["form"][0] == GRASS
    assert world.players["grounded"].all()
    assert LINES["id"][world.players["line"][0]].tolist() == [21, 30], "the first to come up"
    np.testing.assert_allclose(world.players["y"][0], [53, 30 + 5.25 / 7.25], atol=1e-3)


def test_a_platform_lifts_who_stands_where_it_comes_up():
    world = world_of()
    stand(world, FIRE, coming=FIRE, wait=1)
    put(world, 0, 12, 40)
    for _ in range(122):
        world.step(controllers(1))
    assert LINES["id"][world.players["line"][0, 0]] == 36
    assert world.players["y"][0, 0] == pytest.approx(25 + GAP, abs=1e-3)


@pytest.mark.parametrize("new", FORMS)
def test_nobody_is_left_in_the_ground(new):
    xs = np.arange(-69.0, 70.0, 3.0)
    world = world_of(len(xs))
    stand(world, FIRST, wait=1)
    put(world, 0, 34, xs)
    put(world, 1, 54, 80.0)
    world.step(controllers(len(xs)))
    world.matches["coming"] = new
    for _ in range(130):
        world.step(controllers(len(xs)))
    one = world.players[:, 0]
    assert (world.matches["form"] == new).all() and one["grounded"].all()
    here = LINES[one["line"]]
    assert ((here["form"] == new) | (here["moving"] == 0)).all()
    assert ((here["x0"] - 0.2 <= one["x"]) & (one["x"] <= here["x1"] + 0.2)).all()


def test_one_walks_from_the_outer_ground_into_each_form():
    """Onto slopes that begin there, up to a side, and past where two lines cross."""
    ends = {FIRE: (-47.9, 2.5), GRASS: (-40, 2.5), ROCK: (-74.75, 0), WATER: (-40, 5)}
    for form, (x, height) in ends.items():
        world = world_of()
        stand(world, form)
        put(world, 0, 51, -86)
        pads = controllers(1)
        pads["stick_x"][0, 0] = 0.6
        for _ in range(200):
            world.step(pads)
            if world.players["x"][0, 0] > x - 3 and form != ROCK:
                break
        one = world.players[0, 0]
        assert one["grounded"] and one["y"] == pytest.approx(height + GAP, abs=1e-3), form
        assert one["x"] > x - 3.2 and (form != ROCK or one["x"] < -76), form


def test_water_is_walked_through_from_side_to_side():
    world = world_of()
    stand(world, WATER)
    put(world, 0, 51, -80)
    pads, seen = controllers(1), set()
    pads["stick_x"][0, 0] = 0.6
    for _ in range(400):
        world.step(pads)
        seen.add(int(LINES["id"][world.players["line"][0, 0]]))
        assert world.players["grounded"][0, 0]
        if world.players["x"][0, 0] > 75:
            break
    assert {51, 57, 59, 64, 54} <= seen


def test_sides_keep_bodies_out():
    for facing, x in ((1.0, -20.0), (-1.0, -60.0)):
        world = world_of()
        stand(world, FIRE)
        put(world, 0, 7 if x > -30 else 1, -20.5 if x > -30 else x)
        pads = controllers(1)
        pads["stick_x"][0, 0] = -0.6 * facing
        for _ in range(60):
            world.step(pads)
        one = world.players[0, 0]
        assert one["grounded"] and not -47.9 < one["x"] < -24, "the trunk"


def test_rocks_ledge_is_caught():
    world = world_of()
    stand(world, ROCK)
    for name, value in {"x": -80, "y": 60, "vy": -1, "facing": 1, "grounded": 0, "air_frames": 30,
                        "action": act.FALL, "line": row_of(37)}.items():  # fmt: skip
        world.players[name][0, 0] = value
    for _ in range(12):
        world.step(controllers(1))
    assert world.players["action"][0, 0] == act.LEDGE_WAIT
    place = world.players["x"][0, 0], world.players["y"][0, 0]
    assert place == pytest.approx((-76.67, 54.6), abs=1e-3), "as recorded"


def test_scripts_and_random_inputs_play_through_every_form():
    count = 16
    pairs = list(itertools.product(("spacer", "aggressor", "jumper", "camper"), repeat=2))
    env = Environment(
        np.array([[FOX, MARTH]] * count), [Stage.POKEMON_STADIUM] * count, scripts=pairs,
        stadium_forms=True,
    )  # fmt: skip
    source = RandomPads(count, seed=3)
    nothing = np.zeros((count, 2, 13), np.float32)
    for form in FORMS:
        env.reset(seeds=np.arange(count) + form)
        stand(env.world, form)
        env.world.players["y"] += 100
        env.world.players["grounded"] = 0
        env.world.players["action"] = act.FALL
        for frame in range(400):
            env.step(nothing) if frame % 2 else env.step_pads(source.next())
            players = env.world.players
            assert np.isfinite(players["x"]).all() and np.isfinite(players["y"]).all()
            on = LINES[players["line"]][players["grounded"] != 0]
            assert ((on["moving"] == 0) | (on["form"] == form)).all()


# -- Recorded games --------------------------------------------------------------------------------


def recorded(frames, **columns):
    shape = (len(frames), 2)
    usual = {"ground": 34, "x": 0.0, "y": GAP, "on_ground": 1, "action": act.WAIT}
    given = {name: np.full(shape, value) for name, value in usual.items()} | columns
    given |= {"frame": np.array(frames), "stadium": np.zeros(len(frames), int)}
    return Recorded(int(Stage.POKEMON_STADIUM), given, (False, False), moving=True)


def test_changes_are_found_by_who_stands_on_what():
    """Played by the rules themselves: who does nothing shows when the ground moved."""
    world = world_of()
    put(world, 0, 35, -30)
    put(world, 1, 36, 40)
    rows = []
    for _ in range(6800):
        world.step(controllers(1))
        match = world.matches[0]
        rows.append((match["frame"], match["form"], match["coming"], match["players"].copy()))
    players = np.array([row[3] for row in rows])
    frames = np.array([row[0] for row in rows])
    game = recorded(frames, ground=LINES["id"][players["line"]], x=players["x"], y=players["y"],
                    on_ground=players["grounded"], action=players["action"])  # fmt: skip
    form, coming, wait = forms_of(game)
    np.testing.assert_array_equal(form, [row[1] for row in rows])
    np.testing.assert_array_equal(coming, [row[2] for row in rows])
    rises = np.flatnonzero(np.diff(coming)) + 1
    assert len(rises) == 2 and (wait[rises] == 0).all()


def test_what_replays_tell_is_taken_and_frozen_games_have_one_form():
    frames = np.arange(-39, 7000)
    game = recorded(frames)
    form, coming, wait = forms_of(game)
    assert not form.any() and not coming.any() and (wait == stadium_changes.NEVER).all()
    game.columns["stadium"] = np.where(frames < 4100, 5, np.where(frames < 6200, 9, 5))
    told = Recorded(game.stage, game.columns, (False, False), moving=True, tells_stage=True)
    form, coming, wait = forms_of(told)
    assert coming[frames == 4100] == WATER and form[frames == 4100] == FIRST
    assert form[frames == 4221] == WATER and coming[frames == 6200] == FIRST
    assert wait[frames == 4000] == 100 and wait[frames == 4160] == -60
    frozen = Recorded(game.stage, game.columns, (False, False), tells_stage=True)
    assert not forms_of(frozen)[1].any()


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("4360d87e3937.slp", [(4081, WATER), (6211, FIRST), (10489, GRASS)]),
        ("9236b3e46bb8.slp", [(4225, FIRE), (6153, FIRST), (10502, WATER)]),
    ],
)
def test_recorded_players_stand_on_these_lines(corpus_dir, tmp_path, name, changes):
    with zipfile.ZipFile(corpus_dir / "games.zip") as archive:
        (tmp_path / name).write_bytes(archive.read(name))
    game = from_game(*read_physics(tmp_path / name))
    form, coming, wait = forms_of(game)
    rises = np.flatnonzero(np.diff(coming)) + 1
    assert [(int(game["frame"][at]), int(coming[at])) for at in rises] == changes
    known = {int(line["id"]): line for line in LINES}
    ids = np.where(np.isin(game["ground"], list(known)), game["ground"].astype(int), 34)
    here = np.array([[known[one] for one in row] for row in ids.tolist()])
    slope = (here["y1"] - here["y0"]) / (here["x1"] - here["x0"])
    height = here["y0"] + slope * (game["x"] - here["x0"])
    stands = (game["on_ground"] != 0) & (ids == game["ground"]) & (here["form"] == form[:, None])
    stands &= (wait > 181)[:, None] & (form != FIRST)[:, None]
    stands &= (game["action"] >= act.WAIT) & (game["action"] < act.CAPTURED_FIRST)
    apart = np.abs(game["y"] - GAP - height)[stands]
    assert len(apart) > 1000 and (apart < 0.003).mean() > 0.99
