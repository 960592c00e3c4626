"""A controller in its three units: exact on the game's grid, and libmelee's own numbers."""

import melee.controller
import numpy as np
import pytest
from hypothesis import given, settings

from exphil_tf.features.controller import ControllerCodec, to_bytes
from exphil_tf.features.controller_state import ControllerState
from exphil_tf.features.packing import CONTROLLER_FIELDS, action_order, pack, unpack
from exphil_tf.melee.controls import AXES
from exphil_tf.melee.enums import BUTTONS
from exphil_tf.replays.parse import parse
from tests import strategies

KMEANS = (-1.0, -0.95, -0.7, -0.3, 0.0, 0.3, 0.7, 0.95, 1.0)
CODECS = [ControllerCodec(17), ControllerCodec(33), ControllerCodec(axis_centres=KMEANS)]


def as_libmelee_shows(state: ControllerState) -> ControllerState:
    held = {name: state.buttons[..., index] for index, name in enumerate(BUTTONS)}
    main, c = (np.float32(state.libmelee_stick(stick)) for stick in ("main", "c"))
    shoulder = np.float32(state.libmelee_shoulder)
    return ControllerState.from_libmelee(held, main, c, shoulder=shoulder)


@given(strategies.controller_bytes())
@settings(deadline=None, max_examples=50)
def test_every_unit_leads_back_to_the_same_bytes(stored):
    state = ControllerState.from_bytes(stored)
    np.testing.assert_array_equal(state.to_bytes(), stored)
    np.testing.assert_array_equal(to_bytes(state.values()), stored)
    np.testing.assert_array_equal(as_libmelee_shows(state).to_bytes(), stored)
    one = ControllerState.from_bytes(stored[0])
    np.testing.assert_array_equal(one.to_bytes(), stored[0])
    assert one.held == tuple(b for i, b in enumerate(BUTTONS) if stored[0, 5] >> i & 1)


@pytest.mark.parametrize("codec", CODECS, ids=["17", "33", "kmeans"])
def test_a_choice_is_what_the_game_will_read(codec):
    rng = np.random.default_rng(0)
    buckets = {axis: rng.integers(0, codec.num_axis, 500) for axis in AXES}
    buckets["shoulder"] = rng.integers(0, codec.shoulder_buckets, 500)
    buckets["buttons"] = rng.integers(0, 2, (500, 8))
    state = ControllerState.from_buckets(buckets, codec)
    for name, values in codec.decode(buckets).items():
        np.testing.assert_array_equal(state.values()[name], values, err_msg=name)
    back = state.buckets(codec)
    np.testing.assert_array_equal(back["buttons"], buckets["buttons"])
    np.testing.assert_array_equal(back["shoulder"], buckets["shoulder"])
    reachable = np.hypot(codec.centres[buckets["main_x"]], codec.centres[buckets["main_y"]]) <= 1
    for axis in ("main_x", "main_y"):
        np.testing.assert_array_equal(back[axis][reachable], buckets[axis][reachable])


@pytest.mark.parametrize("name", ["items", "nana", "old"])
def test_columns_are_those_of_a_replay(real_replay, name):
    """Of its stored rows: what the game read, whichever hand or computer held the controller."""
    rows = pack(parse(real_replay(name)).frames)
    frames = unpack(rows)
    for player in (0, 1):
        state = ControllerState.from_bytes(rows[:, action_order(player)])
        for field in CONTROLLER_FIELDS:
            mine = frames[field.name][:, player]
            assert state.columns()[field.name].dtype == mine.dtype
            np.testing.assert_array_equal(state.columns()[field.name], mine, err_msg=field.name)


def test_libmelees_numbers_reach_the_steps_that_were_meant():
    """By its own conversion for Dolphin, which raises raw = floor((v - 0.5) * 254) from them."""
    stored = np.zeros((161, 6), np.uint8)
    steps = np.arange(-80, 81)
    stored[:, 0] = steps.astype(np.int8).view(np.uint8)
    stored[:, 4] = np.arange(161).clip(0, 140)
    state = ControllerState.from_bytes(stored)
    for step, (x, _), shoulder in zip(
        steps, state.libmelee_stick("main"), state.libmelee_shoulder, strict=True
    ):
        sent = melee.controller.fix_analog_stick(float(x))
        assert np.floor((sent - 0.5) * 254) == step
        pressed = melee.controller.fix_analog_trigger(float(shoulder))
        assert np.floor(pressed * 255) == min(step + 80, 140)
    assert state.libmelee_stick("main")[[0, 80, 160], 0].tolist() == [0.0, 0.5, 1.0]


def test_neutral_is_all_zeros():
    state = ControllerState.from_bytes(np.zeros(6, np.uint8))
    assert state.held == () and not state.main.any() and not state.c.any() and not state.shoulder
    assert state.libmelee_stick("c").tolist() == [0.5, 0.5] and state.libmelee_shoulder == 0


@pytest.mark.parametrize("wrong", [np.zeros(5, np.uint8), np.zeros(6), np.zeros((), np.uint8)])
def test_what_are_no_controller_bytes_is_refused(wrong):
    with pytest.raises(ValueError, match=r"controller: want uint8 \[…, 6\]. Received"):
        ControllerState.from_bytes(wrong)
