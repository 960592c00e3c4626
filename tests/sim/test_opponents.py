"""Scripted opponents do what their names say, on the controller's own grid, by seed alone."""

import numpy as np
import pytest

from exphil_tf.melee.enums import Character, Stage
from exphil_tf.sim import actions as act
from exphil_tf.sim import pads
from exphil_tf.sim.environment import Environment
from exphil_tf.sim.opponents import SCRIPTS, script_name
from exphil_tf.sim.pads import CONTROLLER_VALUES

FOX, MARTH = int(Character.FOX), int(Character.MARTH)
FRAMES = 900
NAMES = list(SCRIPTS)


def environment_of(pairs, seeds=None, **options):
    count = len(pairs)
    stages = [list(Stage)[at % len(Stage)] for at in range(count)]
    found = Environment(np.array([[FOX, MARTH]] * count), stages, scripts=pairs, **options)
    found.reset(seeds=np.arange(count) if seeds is None else seeds)
    return found


def play(environment, frames=FRAMES):
    """Actions and x `[frames, matches, 2]`, and every controller that was held."""
    held = np.zeros((len(environment), 2, CONTROLLER_VALUES), np.float32)
    players = environment.world.players
    actions, places, controllers = [], [], []
    for _ in range(frames):
        environment.step(held)
        actions.append(players["action"].copy())
        places.append(players["x"].copy())
        controllers.append(environment.pads.copy())
    return np.array(actions), np.array(places), np.array(controllers)


@pytest.fixture(scope="module")
def games():
    """Six stages of every script against a stander, and against a spacer."""
    pairs = [(name, other) for name in NAMES for other in ("stander", "spacer") for _ in range(6)]
    return pairs, *play(environment_of(pairs))


def share(games, name, first, last, other="stander"):
    """Share of frames in a range of actions."""
    pairs, actions, *_ = games
    mine = actions[:, [at for at, pair in enumerate(pairs) if pair == (name, other)], 0]
    return ((mine >= first) & (mine <= last)).mean()


def test_they_do_what_they_are_called(games):
    pairs, _, places, _ = games
    width = {
        name: np.ptp(places[:, [at for at, p in enumerate(pairs) if p == (name, "stander")], 0], 0)
        for name in NAMES
    }
    assert (width["stander"] < 1).all() and (width["walker"] > 5).all()
    assert share(games, "stander", act.WAIT, act.WAIT) > 0.9
    assert share(games, "walker", act.WALK_SLOW, act.TURN) > 0.1
    assert share(games, "jumper", act.JUMP_F, act.DAIR) > 0.5
    assert share(games, "camper", act.LEDGE_CATCH, act.LEDGE_WAIT) > 0.3
    assert share(games, "turtle", act.GUARD_ON, act.GUARD_OFF, other="spacer") > 0.05
    assert share(games, "spacer", act.TURN, act.DASH) > 0.02
    attacks = share(games, "aggressor", act.JAB_1, act.DAIR)
    assert attacks + share(games, "aggressor", act.GRAB, act.DASH_GRAB) > 0.3


def test_their_controllers_are_what_a_game_can_read(games):
    *_, held = games
    assert len(np.unique(held["buttons"])) > 4
    for x, y in (("stick_x", "stick_y"), ("c_x", "c_y")):
        pairs = np.unique(np.stack([held[x].ravel(), held[y].ravel()], 1), axis=0)
        answers = np.zeros((len(pairs), 2, CONTROLLER_VALUES), np.float32)
        answers[:, :, 8:10] = pairs[:, None]
        read = pads.neutral(len(pairs))
        pads.read_controllers(answers, read)
        np.testing.assert_array_equal(read["stick_x"][:, 0], pairs[:, 0])
        np.testing.assert_array_equal(read["stick_y"][:, 0], pairs[:, 1])
    clicked = (held["buttons"] & 0x60) != 0
    assert (held["trigger"][clicked] == 1).all() and (held["trigger"] <= 1).all()


def test_the_seed_decides_and_the_batch_does_not():
    pairs = [(name, "aggressor") for name in NAMES]
    whole = environment_of(pairs, threads=2)
    play(whole, 300)
    others = environment_of(pairs, seeds=np.arange(len(pairs)) + 50)
    play(others, 300)
    again = environment_of(pairs)
    play(again, 300)
    assert again.world.matches.tobytes() == whole.world.matches.tobytes()
    same = again.world.players["x"] == others.world.players["x"]
    assert (
        same[0, 0]
        and not same[[NAMES.index(n) for n in ("walker", "spacer", "aggressor")]].all(1).any()
    )


def test_names():
    assert script_name("script:camper") == script_name("cpu-like:camper") == "camper"
    assert script_name("cpu9") is None and script_name("runs/a:b") is None
    with pytest.raises(ValueError, match=r"script:NAME: want one of \['stander'.*Received: 'x'"):
        script_name("script:x")
    with pytest.raises(ValueError, match=r"scripts: want some of .* Received: \['ninja'\]"):
        environment_of([("ninja", "")])
