"""Stages that move: Fountain of Dreams' platforms, Dream Land's wind, Randall."""

import numpy as np
import pytest

from exphil_tf.melee.enums import Character, Stage
from exphil_tf.melee.stages import FOD_START_HEIGHTS
from exphil_tf.melee.types import GO_FRAME
from exphil_tf.sim import actions as act
from exphil_tf.sim.rules import moving
from exphil_tf.sim.stage_lines import line_table
from exphil_tf.sim.tables import tables
from exphil_tf.sim.world import World, controllers

FOX, MARTH = int(Character.FOX), int(Character.MARTH)
GAP = 1e-4


def world_of(stage, count=1):
    world = World(np.array([[FOX, MARTH]] * count), [stage] * count)
    world.reset(np.arange(count), np.arange(count, dtype=np.uint64))
    return world


def courses(world, frames, *names):
    """Columns `[frames, matches, …]` of matches in which nobody does anything."""
    pads, seen = controllers(len(world.matches)), []
    for _ in range(frames):
        world.step(pads)
        seen.append([world.matches[name].copy() for name in names])
    return [np.array(column) for column in zip(*seen, strict=True)]


def test_the_fountains_platforms_rise_and_sink_and_come_back():
    world = world_of(Stage.FOUNTAIN_OF_DREAMS, 24)
    assert (world.matches["heights"] == FOD_START_HEIGHTS).all()
    (heights,) = courses(world, 7000, "heights")
    steps = np.abs(np.diff(heights, axis=0))
    assert np.diff(heights, axis=0).max() == pytest.approx(0.15, abs=1e-4)
    assert np.diff(heights, axis=0).min() == pytest.approx(-0.1, abs=1e-4)
    assert heights.max() <= moving.HIGHEST and heights.min() < moving.LOWEST
    assert 0.02 < (steps > 0).mean() < 0.5, "they mostly stand"
    assert len({heights[:, at].tobytes() for at in range(24)}) == 24, "each match has its own lot"
    sunk = heights < moving.LOWEST
    assert (sunk.any(0) & ~sunk[-1]).any(), "what sinks comes up again"
    stands = steps[:-1] == 0
    assert ((heights[1:-1] == 25) & stands).any(), "to 25"


def test_who_stands_on_a_platform_goes_with_it():
    world = world_of(Stage.FOUNTAIN_OF_DREAMS, 16)
    heights, players = courses(world, 1500, "heights", "players")
    # Until one sinks, whoever does nothing stands on it.
    stands = np.logical_and.accumulate(heights >= moving.LOWEST)
    # A unit as replays tell it is 0.75 of the game's; the top lies 1.125 above.
    tops = 0.75 * heights + 1.125 + GAP
    np.testing.assert_allclose(players["y"][stands], tops[stands], atol=1e-4)
    assert len(np.unique(heights[stands])) > 100


def test_the_tree_blows_whoever_stands_before_it():
    world = world_of(Stage.DREAMLAND, 16)
    world.players["x"][8:] -= 1.0  # the middle of both goes over to the left
    blows, players = courses(world, 3000, "blows", "players")
    assert set(np.unique(blows)) == {-1, 0, 1}
    starts = np.flatnonzero((blows[1:, 0] != 0) & (blows[:-1, 0] == 0))
    assert len(starts) and (blows[starts[0] + 1 : starts[0] + 1 + moving.BLOW_FRAMES, 0] != 0).all()
    steps, here = np.diff(players["x"], axis=0), blows[1:, :, None] != 0
    felt = np.abs(steps) > 1e-3
    assert (felt & here).any() and not (felt & ~here).any()
    way = np.sign(steps) == blows[1:, :, None]
    assert way[felt].mean() > 0.9, "but for those whom an edge stops"
    assert np.median(np.abs(steps[felt])) == pytest.approx(0.2, abs=1e-3)


def test_randall_carries_who_stands_on_him():
    world = world_of(Stage.YOSHIS_STORY)
    line = int(np.flatnonzero(line_table()[world.matches["stage"][0]]["moving"] == 3)[0])
    path = tables()["randall"][0]
    at = next(f for f in range(1200) if path[(GO_FRAME + f) % 1200, 0] > 85)
    world.matches["frame"] = GO_FRAME + at
    centre, height = path[(GO_FRAME + at) % 1200]
    for name, value in {"x": centre, "y": height + GAP, "line": line, "grounded": 1,
                        "action": act.WAIT}.items():  # fmt: skip
        world.players[name][0, 0] = value
    pads = controllers(1)
    for step in range(1, 60):
        world.step(pads)
        centre, height = path[(GO_FRAME + at + step) % 1200]
        one = world.players[0, 0]
        assert one["grounded"] and one["line"] == line
        assert (one["x"], one["y"]) == pytest.approx((centre, height + GAP), abs=1e-3)


def test_a_stage_that_stands_has_nothing_to_tell():
    for stage in (Stage.BATTLEFIELD, Stage.FINAL_DESTINATION, Stage.POKEMON_STADIUM):
        world = world_of(stage)
        heights, blows = courses(world, 30, "heights", "blows")
        assert (heights == heights[0]).all() and not blows.any()
