"""What the live path makes of libmelee's game states, and what it writes to Dolphin's pipes."""

import itertools
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from melee import Button
from melee.controller import Controller

from exphil_tf.agents.libmelee_io import PipeController
from exphil_tf.features.controller import ControllerCodec, to_bytes
from exphil_tf.melee.controls import TRIGGER_DEAD_ZONE, TRIGGER_STEPS, clamp_stick
from exphil_tf.melee.enums import BUTTONS
from exphil_tf.replays.parse import parse
from tests.agents.game_states import assert_same_columns, live_game


@pytest.mark.parametrize("name", ["items", "nana"])
def test_live_columns_are_those_of_records(real_replay: Callable[[str], Path], name: str) -> None:
    """`test_train_serve` has it of every replay."""
    path = real_replay(name)
    live, game = live_game(path), parse(path, version="first")
    assert len(live["frame"]) == len(game.frames) > 100
    assert_same_columns(live, game)


# -- Controllers -----------------------------------------------------------------------------------


class Pipe:
    """What Dolphin makes of the commands: its analog values, then what the game reads of them."""

    def __init__(self):
        self.held, self.values, self.commands = set(), {}, []

    def write(self, text):
        for line in text.splitlines():
            self.commands.append(line)
            word, *rest = line.split()
            if word == "PRESS":
                self.held.add(rest[0])
            elif word == "RELEASE":
                self.held.discard(rest[0])
            elif word == "SET":
                self.values[rest[0]] = tuple(map(float, rest[1:]))

    def flush(self):
        self.commands.append("flushed")

    def stick(self, name):
        raw = [math.floor((value - 0.5) * 254) for value in self.values.get(name, (0.5, 0.5))]
        return tuple(int(v) for v in clamp_stick(*np.array(raw, float)))

    def shoulder(self):
        steps = min(TRIGGER_STEPS, math.floor(self.values.get("L", (0,))[0] * 255))
        return 0 if steps < TRIGGER_DEAD_ZONE else steps


@pytest.fixture
def pipe_controller():
    """A real `melee.Controller` whose pipe is looked at."""
    controller = Controller.__new__(Controller)
    from melee.controller import ControllerState

    controller.port, controller.logger = 1, None
    controller.prev, controller.current = ControllerState(), ControllerState()
    controller._fix_analog_inputs, controller.pipe = True, Pipe()
    yield PipeController(controller), controller.pipe
    controller.pipe = None


@pytest.mark.parametrize("codec", [ControllerCodec(), ControllerCodec(axis_buckets=21)])
def test_sticks_and_shoulder_land_on_the_trained_values(pipe_controller, codec):
    """Every pair of buckets, through libmelee's pipe values and the game's reading of them."""
    sender, pipe = pipe_controller
    shoulders = itertools.cycle(range(codec.shoulder_buckets))
    for x, y in itertools.product(range(codec.num_axis), repeat=2):
        buckets = {"buttons": np.zeros(8, int), "main_x": x, "main_y": y, "c_x": y, "c_y": x}
        values = codec.decode(buckets | {"shoulder": next(shoulders)})
        sender.send(to_bytes(values))
        for stick, name in (("MAIN", "main"), ("C", "c")):
            want = [float(values[f"{name}_{axis}"]) * 80 for axis in "xy"]
            np.testing.assert_allclose(pipe.stick(stick), want, atol=1e-5)
        np.testing.assert_allclose(pipe.shoulder(), values["shoulder"] * 140, atol=1e-4)


def test_buttons_go_down_and_up_and_only_changes_are_written(pipe_controller):
    sender, pipe = pipe_controller
    rng = np.random.default_rng(1)
    neutral = to_bytes(ControllerCodec().decode(_buckets(np.zeros(8, int))))
    sender.send(neutral)
    for _ in range(40):
        down = rng.integers(0, 2, 8)
        sender.send(to_bytes(ControllerCodec().decode(_buckets(down))))
        assert pipe.held == {name for name, held in zip(BUTTONS, down, strict=True) if held}
    count = len(pipe.commands)
    sender.send(to_bytes(ControllerCodec().decode(_buckets(down))))
    assert len(pipe.commands) == count
    sender.neutral()
    assert not pipe.held and pipe.stick("MAIN") == (0, 0)
    sender.send(to_bytes(ControllerCodec().decode(_buckets(np.eye(8, dtype=int)[1]))))
    assert pipe.held == {"B"}
    assert Button.BUTTON_B.value == "B"


def _buckets(buttons):
    middle = dict.fromkeys(("main_x", "main_y", "c_x", "c_y"), 8)
    return {"buttons": buttons, **middle, "shoulder": 0}
