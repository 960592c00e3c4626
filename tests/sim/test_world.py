"""The simulator's rules, against trajectories worked out by hand, and what a batch may not change.

Constants are published ones (Fox: gravity 0.23, full hop 3.68, short hop 2.1, jumpsquat 3 frames,
dash 1.9 then 0.12 a frame up to 2.2, friction 0.08, fast fall 3.4; air dodge 3.1, 0.9 a frame).
"""

import numpy as np
import pytest

from exphil_tf.features.schema import SCHEMA
from exphil_tf.melee.enums import Character, Stage
from exphil_tf.melee.types import Frames
from exphil_tf.sim import actions as act
from exphil_tf.sim.observe import observe
from exphil_tf.sim.random_pads import RandomPads
from exphil_tf.sim.rules import controls
from exphil_tf.sim.stage_lines import line_table, stage_table
from exphil_tf.sim.state import MATCH, MAX_BYTES
from exphil_tf.sim.world import World, controllers

FOX, MARTH = int(Character.FOX), int(Character.MARTH)
FEET = 1e-4


def alone(character=FOX, stage=Stage.FINAL_DESTINATION):
    """One match; the first player acts, the second stands far away."""
    return World(np.array([[character, MARTH]]), [stage])


def play(world, frames, **held):
    """Steps with the first player's controller held; rows of the first player, one a frame."""
    pads = controllers(1)
    for name, value in held.items():
        pads[name][0, 0] = value
    rows = []
    for _ in range(frames):
        world.step(pads)
        rows.append(world.players[0, 0].copy())
    return np.array(rows)


def test_a_match_is_small_and_plain():
    assert MATCH.itemsize <= MAX_BYTES and not MATCH.hasobject


def test_a_dash_starts_and_speeds_up_to_the_run():
    rows = play(alone(), 12, stick_x=1.0)
    assert (rows["action"][:11] == act.DASH).all() and rows["action"][11] == act.RUN
    speeds = [1.9, 2.02, 2.14, 2.2, 2.2]
    np.testing.assert_allclose(rows["ground_speed"][:5], speeds, atol=1e-5)
    # The first frame still moves at the stand's speed.
    np.testing.assert_allclose(rows["x"][:4], [-60, -57.98, -55.84, -53.64], atol=1e-4)


def test_a_full_hop_and_a_short_one():
    for frames_held, rise in ((4, 3.68), (1, 2.1)):
        world = alone()
        rows = np.concatenate([play(world, frames_held, buttons=controls.X), play(world, 8)])
        first = int(np.argmax(rows["action"] == act.JUMP_F))
        assert first == 3, "frames of jumpsquat"
        steps = np.arange(len(rows) - first)
        np.testing.assert_allclose(rows["vy"][first:], rise - 0.23 * steps, atol=1e-4)
        height = FEET + rise * (steps + 1) - 0.23 * steps * (steps + 1) / 2
        np.testing.assert_allclose(rows["y"][first:], height, atol=1e-3)
        assert not rows["grounded"][first:].any()


def test_a_fall_is_fast_once_asked_for():
    world = alone()
    play(world, 4, buttons=controls.X)
    rows = play(world, 18)
    assert rows["vy"][-1] < 0
    fast = play(world, 2, stick_y=-1.0)
    np.testing.assert_allclose(fast["vy"], -3.4, atol=1e-6)
    rows = play(world, 20)
    assert rows["action"][-1] in (act.LANDING, act.WAIT)
    assert rows["y"][-1] == pytest.approx(FEET, abs=1e-6) and rows["jumps"][-1] == 2


def test_a_wavedash_slides_by_friction():
    world = alone()
    play(world, 3, buttons=controls.X)
    rows = play(world, 12, stick_x=0.8, stick_y=-0.6, buttons=controls.L)
    assert rows["action"][0] == act.LANDING_SPECIAL
    start = 3.1 * 0.9 * 0.8
    # Above walking speed (1.6) friction is twice 0.08.
    speeds = [start]
    for _ in range(9):
        speeds.append(speeds[-1] - (0.16 if speeds[-1] > 1.6 else 0.08))
    np.testing.assert_allclose(rows["ground_speed"][:10], speeds, atol=1e-4)
    assert (rows["action"][:10] == act.LANDING_SPECIAL).all(), "ten frames of landing"


def test_a_platform_is_dropped_through_and_landed_on():
    world = alone(stage=Stage.BATTLEFIELD)
    assert world.players["y"][0, 0] == pytest.approx(27.2 + FEET, abs=1e-4)
    rows = play(world, 6, stick_y=-1.0)
    assert (rows["action"][:3] == act.SQUAT).all() and rows["action"][-1] == act.PLATFORM_DROP
    rows = play(world, 60)
    assert rows["grounded"][-1] and rows["y"][-1] == pytest.approx(FEET, abs=1e-5)


def put(world, seat=0, **values):
    """Puts a player somewhere, in the air unless said otherwise."""
    for name, value in {"grounded": 0, "action": act.FALL, "air_frames": 50, **values}.items():
        world.players[name][0, seat] = value


def test_who_drops_through_a_platform_starts_at_half_a_unit():
    rows = play(alone(stage=Stage.BATTLEFIELD), 5, stick_y=-1.0)
    first = rows[rows["action"] == act.PLATFORM_DROP][0]
    assert first["vy"] == pytest.approx(-0.5 - 0.23)
    assert (rows["fast_falls"] == 0).all(), "the flick that dropped is spent"


def test_a_run_gains_less_the_faster_it_is():
    world = alone()
    play(world, 14, stick_x=1.0)
    world.players["ground_speed"][0, 0] = 1.1
    rows = play(world, 2, stick_x=1.0)
    assert (rows["action"] == act.RUN).all()
    # 0.1 · 1 + 0.02, of which 0.4 is left at rest, and the share that lacks to 2.2.
    first = 1.1 + 0.12 * 0.4 * (1 - 1.1 / 2.2)
    second = first + 0.12 * 0.4 * (1 - first / 2.2)
    np.testing.assert_allclose(rows["ground_speed"], [first, second], atol=1e-5)


def test_a_dash_that_is_begun_anew_keeps_a_quarter():
    world = alone()
    play(world, 5, stick_x=1.0)
    play(world, 1)
    before = play(world, 1)["ground_speed"][0]
    row = play(world, 1, stick_x=1.0)[0]
    assert row["action"] == act.DASH and row["frames"] == 0
    assert row["ground_speed"] == pytest.approx(0.25 * before + 1.9 - before, abs=1e-5)


def test_a_stick_that_comes_from_the_centre_dashes_back_within_two_frames():
    for first, follows in ((-0.3, act.DASH), (0.0, act.DASH)):
        world = alone()
        play(world, 3)
        rows = np.concatenate([play(world, 1, stick_x=first), play(world, 1, stick_x=-1.0),
                               play(world, 1, stick_x=-1.0)])  # fmt: skip
        assert rows["action"][-1] == follows and rows["facing"][-1] == -1
    world = alone()
    for stick in (0.5, 0.4, -0.3, -1.0):
        row = play(world, 1, stick_x=-abs(stick))[0]
    assert row["action"] == act.TURN, "a slow stick turns"


def test_a_wavedash_on_the_first_frame_makes_the_characters_share_of_its_step():
    for character, frames, share in ((FOX, 3, 1.0), (MARTH, 4, 0.5)):
        world = alone(character)
        play(world, frames, buttons=controls.X)
        row = play(world, 1, stick_x=0.8, stick_y=-0.6, buttons=controls.L)[0]
        assert row["action"] == act.LANDING_SPECIAL
        assert row["x"] == pytest.approx(-60 + share * 3.1 * 0.9 * 0.8, abs=1e-4)


def test_a_special_fall_after_dolphin_slash_is_fast_and_slow_to_the_side():
    world = alone(MARTH)
    put(world, x=-60, y=150, action=act.SPECIAL_FALL, helpless=368)
    rows = play(world, 60, stick_x=1.0)
    assert rows["vy"].min() == pytest.approx(-2.5), "Marth's fast fall; his fall is 2.2"
    assert rows["vx"].max() == pytest.approx(0.4 * 0.9, abs=1e-4)


def test_a_ledge_has_one_holder():
    for holder in (False, True):
        world = alone()
        put(world, x=-95, y=-6, facing=1)
        if holder:
            put(world, 1, x=-88, y=-20, action=act.LEDGE_WAIT, facing=1)
        rows = play(world, 12)
        assert (act.LEDGE_CATCH in rows["action"]) == (not holder)


def test_nobody_passes_through_a_stages_side():
    world = alone()
    put(world, x=-95, y=-8, facing=-1, vy=2.0)
    rows = play(world, 8, stick_x=1.0)
    assert rows["x"].max() < -85.5 and (rows["vx"][3:] > 0.2).all()


def test_bodies_push_who_stands_and_not_who_rolls():
    world = alone()
    world.players["x"][0] = [-2.0, 2.0]
    world.players["line"][0] = 1
    moved = play(world, 1)[0]
    assert moved["x"] == pytest.approx(-2.3) and world.players["x"][0, 1] == pytest.approx(2.3)
    world.players["x"][0] = [-2.0, 2.0]
    put(world, grounded=1, action=act.SPOT_DODGE, line=1)
    assert play(world, 1)[0]["x"] == pytest.approx(-2.0)
    assert world.players["x"][0, 1] == pytest.approx(2.3), "who dodges still pushes"


def test_slopes_are_followed():
    world = alone(stage=Stage.YOSHIS_STORY)
    play(world, 6, stick_y=-1.0)
    play(world, 60)
    rows = play(world, 6, stick_x=-1.0)
    moving = rows[rows["x"] < -42]
    assert len(moving)
    # Sides fall by 3.5 over 16.8 units.
    np.testing.assert_allclose(moving["y"], -(-39.2 - moving["x"]) * 3.5 / 16.8, atol=1e-3)


def test_who_leaves_the_stage_loses_a_stock_and_comes_back():
    world = alone()
    world.players["x"][0, 0] = 240
    world.players["grounded"][0, 0] = 0
    world.players["action"][0, 0] = act.FALL
    rows = play(world, 200)
    lost = int(np.argmax(rows["stock"] == 3))
    assert rows["action"][lost] == act.DEAD_DOWN and rows["y"][lost] < -140
    back = rows[lost + 60]
    assert back["action"] == act.REBIRTH and back["x"] == 16
    assert rows["action"][-1] == act.REBIRTH_WAIT and rows["y"][-1] == pytest.approx(45, abs=1e-3)


def test_the_last_stock_ends_a_match_and_reset_begins_it_anew():
    world = World(np.array([[FOX, MARTH]] * 2), [Stage.BATTLEFIELD] * 2)
    fresh = world.matches[0].tobytes()
    world.players["stock"][0, 0] = 1
    world.players["y"][0, 0], world.players["grounded"][0, 0] = -300, 0
    world.step(controllers(2))
    assert world.is_over.tolist() == [True, False]
    over, going = (one.tobytes() for one in world.matches)
    world.step(controllers(2))
    assert world.matches[0].tobytes() == over, "what is over stands still"
    assert world.matches[1].tobytes() != going
    world.reset(np.array([0]))
    assert world.matches[0].tobytes() == fresh and not world.is_over.any()


def test_time_ends_a_match():
    world = World(np.array([[FOX, MARTH]]), [Stage.BATTLEFIELD], limit_frames=5)
    over = []
    for _ in range(6):
        world.step(controllers(1))
        over.append(bool(world.is_over[0]))
    assert over == [False] * 4 + [True] * 2


# -- What a batch may not change -------------------------------------------------------------------

KNOWN = [int(one) for one in Character if one != Character.NANA]
MANY = 1024


def many(count, threads=1, limit_frames=1500):
    rng = np.random.default_rng(3)
    characters = rng.choice(KNOWN, (MANY, 2))[:count]
    stages = [list(Stage)[at % len(Stage)] for at in range(count)]
    return World(characters, stages, threads=threads, limit_frames=limit_frames)


@pytest.fixture(scope="module")
def inputs():
    source = RandomPads(MANY, seed=1)
    return [source.next() for _ in range(150)]


@pytest.fixture(scope="module")
def played(inputs):
    world = many(MANY)
    for pads in inputs:
        world.step(pads)
    return world.matches.tobytes()


@pytest.mark.parametrize(("count", "threads"), [(1, 1), (7, 1), (7, 2), (MANY, 1), (MANY, 2)])
def test_bits_are_those_of_any_batch(inputs, played, count, threads):
    world = many(count, threads)
    for pads in inputs:
        world.step(pads[:count])
    assert world.matches.tobytes() == played[: count * MATCH.itemsize]


def soak(matches, frames):
    world = many(matches)
    source = RandomPads(matches, seed=2)
    ended = 0
    for frame in range(frames):
        world.step(source.next())
        if frame % 97 == 0:
            assert SCHEMA.check(Frames(observe(world.matches))) == []
        over = np.flatnonzero(world.is_over)
        ended += len(over)
        if len(over):
            world.reset(over)
    return ended


def test_anything_pressed_stays_inside_the_schema():
    assert soak(48, 2500) > 0


@pytest.mark.slow
def test_ten_million_frames_of_anything():
    assert soak(MANY, 10_000) > MANY


def test_columns_are_the_schemas():
    columns = observe(many(12).matches)
    assert list(columns) == list(SCHEMA.names)
    assert columns["p.x"].shape == (12, 2)


def test_wrong_worlds_are_refused():
    with pytest.raises(ValueError, match=r"want \[1, 2\]. Received: \[1, 1\]"):
        World(np.array([[FOX]]), [Stage.BATTLEFIELD])
    with pytest.raises(ValueError, match="known characters and stages"):
        World(np.array([[FOX, 99]]), [Stage.BATTLEFIELD])


# -- Stages ----------------------------------------------------------------------------------------


def test_lines_join_and_end_where_libmelee_says():
    from melee import enums, stages

    for row, stage in enumerate(Stage):
        table = stage_table()[row]
        lines = line_table()[row][: table["lines"]]
        for at, line in enumerate(lines):
            if line["right"] >= 0:
                other = lines[line["right"]]
                assert (other["x0"], other["y0"]) == (line["x1"], line["y1"])
                assert other["left"] == at
        assert max(lines["x1"][lines["soft"] == 0]) == pytest.approx(table["edge"])
        theirs = getattr(enums.Stage, stage.name)
        assert table["ledge_x"] == pytest.approx(stages.EDGE_POSITION[theirs], abs=1e-3)
        for find in (stages.left_platform_position, stages.top_platform_position):
            height, left, right = find(theirs)
            if height is not None:
                near = np.abs(lines["y0"] - height) + np.abs(lines["x0"] - left)
                assert near.min() < 0.01 and abs(lines["x1"][near.argmin()] - right) < 0.01
