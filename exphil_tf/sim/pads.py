"""From what somebody holds to what the game reads: the analog chain of a controller.

Sticks lie on a grid of 1/80 inside the unit circle and read 0 near the centre; the shoulder on one
of 1/140, with a clicked L or R as 1 and Z as at least 0.35: `melee.controls.clamp_stick`, compiled;
a test ties the two together.
"""

import math

import numpy as np

from exphil_tf.features.packing import CONTROLLER_FIELDS
from exphil_tf.melee.controls import (
    STICK_DEAD_ZONE,
    STICK_STEPS,
    TRIGGER_DEAD_ZONE,
    TRIGGER_STEPS,
)
from exphil_tf.melee.enums import BUTTONS
from exphil_tf.sim.compiled import kernel, rule
from exphil_tf.sim.rules.controls import L, R, Z
from exphil_tf.sim.state import INPUT

CONTROLLER_VALUES = len(BUTTONS) + 5
"""A policy's answer: 8 buttons, main_x, main_y, c_x, c_y in [-1, 1], shoulder in [0, 1]."""
_BUTTONS = len(BUTTONS)
_LEAST_OF_Z = 0.35
_GUARD = 1e-9
"""Keeps whole steps whole, whatever the last bit of a quotient."""
_NAMES = {"main_x": "stick_x", "main_y": "stick_y", "c_x": "c_x", "c_y": "c_y"}


@rule
def _cut(steps):
    return math.copysign(math.floor(abs(steps) + _GUARD), steps)


@rule
def read_stick(x, y):
    """A stick's position in [-1, 1] as the game reads it, float32 each."""
    x = float(np.rint(min(max(x, -1.0), 1.0) * STICK_STEPS))
    y = float(np.rint(min(max(y, -1.0), 1.0) * STICK_STEPS))
    radius = math.hypot(x, y)
    if radius > STICK_STEPS:
        x = _cut(x * STICK_STEPS / radius)
        y = _cut(y * STICK_STEPS / radius)
    x = 0.0 if abs(x) < STICK_DEAD_ZONE else x
    y = 0.0 if abs(y) < STICK_DEAD_ZONE else y
    steps = np.float32(STICK_STEPS)
    return np.float32(x) / steps, np.float32(y) / steps


@rule
def read_trigger(shoulder, buttons):
    """A shoulder in [0, 1] and the buttons beside it, as the game reads them."""
    if buttons & (L | R):
        return np.float32(1.0)
    steps = np.rint(min(max(shoulder, 0.0), 1.0) * TRIGGER_STEPS)
    value = np.float32(steps) / np.float32(TRIGGER_STEPS)
    if steps < TRIGGER_DEAD_ZONE:
        value = np.float32(0.0)
    return max(value, np.float32(_LEAST_OF_Z)) if buttons & Z else value


@kernel
def read_controllers(controllers, pads):
    """`read_answers`, for Python."""
    read_answers(controllers, pads)


@rule
def read_answers(controllers, pads):
    """Answers of policies as the game reads them.

    Args:
      controllers: float32 `[matches, 2, CONTROLLER_VALUES]`.
      pads: `INPUT` `[matches, 2]`, written.
    """
    for at in range(len(controllers)):
        for seat in range(2):
            held, pad = controllers[at, seat], pads[at, seat]
            buttons = 0
            for bit in range(_BUTTONS):
                if held[bit] > 0.5:
                    buttons |= 1 << bit
            pad.buttons = buttons
            pad.stick_x, pad.stick_y = read_stick(held[_BUTTONS], held[_BUTTONS + 1])
            pad.c_x, pad.c_y = read_stick(held[_BUTTONS + 2], held[_BUTTONS + 3])
            pad.trigger = read_trigger(held[_BUTTONS + 4], buttons)


def from_stored(stored: np.ndarray) -> np.ndarray:
    """float32 `[…, CONTROLLER_VALUES]` of stored controller bytes uint8 `[…, ACTION_BYTES]`."""
    found = np.zeros((*stored.shape[:-1], CONTROLLER_VALUES), np.float32)
    for place, field in enumerate(CONTROLLER_FIELDS):
        byte, name = stored[..., place], field.name[2:]
        if name == "buttons":
            found[..., :_BUTTONS] = byte[..., None] >> np.arange(_BUTTONS, dtype=np.uint8) & 1
        elif name == "shoulder":
            found[..., -1] = byte / np.float32(TRIGGER_STEPS)
        else:
            at = _BUTTONS + list(_NAMES).index(name)
            found[..., at] = byte.view(np.int8) / np.float32(STICK_STEPS)
    return found


def neutral(count: int) -> np.ndarray:
    """`INPUT` `[count, 2]`, nothing pressed."""
    return np.zeros((count, 2), INPUT)
