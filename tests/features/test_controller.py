"""The action codec: symmetric, nearest, exact on every centre, one code for both worlds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exphil_tf.features import packing
from exphil_tf.features.controller import (
    AXES,
    NEUTRAL_VALUES,
    ControllerCodec,
    clamp_stick,
    to_bytes,
)
from exphil_tf.melee.enums import BUTTONS
from tests import strategies

KMEANS = (-1.0, -0.95, -0.7, -0.3, 0.0, 0.3, 0.7, 0.95, 1.0)
CODECS = [ControllerCodec(17), ControllerCodec(33), ControllerCodec(axis_centres=KMEANS)]
IDS = ["17", "33", "kmeans"]
every_codec = pytest.mark.parametrize("codec", CODECS, ids=IDS)
ALL_STEPS = np.arange(-80, 81)


def stick_buckets(codec: ControllerCodec, steps: np.ndarray) -> np.ndarray:
    """Buckets of main_x for raw steps of 1/80."""
    actions = np.zeros((len(steps), packing.ACTION_BYTES), np.uint8)
    actions[:, 0] = steps.astype(np.int8).view(np.uint8)
    return codec.encode(actions)["main_x"]


def test_controller_bytes_lie_in_schema_order():
    names = [field.name for field in packing.CONTROLLER_FIELDS]
    assert names == ["c.main_x", "c.main_y", "c.c_x", "c.c_y", "c.shoulder", "c.buttons"], (
        "a controller field is an action: teach it to features/controller.py (the codec) and "
        "models/heads/controller.py"
    )


@every_codec
def test_every_centre_survives_decode_and_encode(codec):
    buckets = np.arange(codec.num_axis)
    middle = np.full(codec.num_axis, codec.num_axis // 2)
    still = {"buttons": np.zeros((codec.num_axis, 8)), "shoulder": np.zeros_like(buckets)}
    for axis in AXES:
        chosen = dict.fromkeys(AXES, middle) | {axis: buckets} | still
        back = codec.encode(to_bytes(codec.decode(chosen)))
        assert (back[axis] == buckets).all()
    shoulder = np.arange(codec.shoulder_buckets)
    values = {axis: np.zeros(len(shoulder)) for axis in AXES}
    values |= {"buttons": np.zeros((len(shoulder), 8)), "shoulder": codec.shoulder_centres}
    assert (codec.encode(to_bytes(values))["shoulder"] == shoulder).all()


@every_codec
def test_reflected_sticks_take_the_reflected_bucket(codec):
    forward, backward = stick_buckets(codec, ALL_STEPS), stick_buckets(codec, -ALL_STEPS)
    assert (forward + backward == codec.num_axis - 1).all()
    np.testing.assert_array_equal(codec.centres, -codec.centres[::-1])
    assert codec.centres[codec.num_axis // 2] == 0


@every_codec
@given(actions=strategies.controller_bytes())
@settings(deadline=None, max_examples=20)
def test_mirrored_labels_are_labels_of_mirrored_inputs(codec, actions):
    plain = codec.encode(actions)
    mirrored = actions.copy()
    for axis in (0, 2):
        mirrored[:, axis] = (-actions[:, axis].view(np.int8)).view(np.uint8)
    mirrored = codec.encode(mirrored)
    for axis in ("main_x", "c_x"):
        assert (mirrored[axis] == codec.num_axis - 1 - plain[axis]).all()
    for same in ("main_y", "c_y", "shoulder", "buttons"):
        assert (mirrored[same] == plain[same]).all()


EVERY_SIZE = pytest.mark.parametrize("buckets", [3, 5, 7, 17, 21, 33, 81, 117, 119, 161])


@EVERY_SIZE
def test_every_reading_takes_the_bucket_whose_value_is_nearest(buckets):
    """Half-way it is the one farther from the centre."""
    codec = ControllerCodec(buckets)
    values = np.rint(codec.centres * 80).astype(int)
    for reading in ALL_STEPS:
        distance = np.abs(values - reading)
        nearest = np.flatnonzero(distance == distance.min())
        want = max(nearest, key=lambda bucket: abs(values[bucket]))
        assert stick_buckets(codec, np.array([reading]))[0] == want, reading


@EVERY_SIZE
def test_every_bucket_holds_what_a_person_can_do(buckets):
    codec = ControllerCodec(buckets)
    live = ALL_STEPS[(ALL_STEPS == 0) | (np.abs(ALL_STEPS) >= 23)]
    used = np.unique(stick_buckets(codec, live))
    assert len(used) == min(buckets, 117)
    assert codec.centres[0] == -1 and codec.centres[-1] == 1


def test_seventeen_buckets_by_hand():
    codec = ControllerCodec()
    positive = [0, 23, 31, 39, 47, 56, 64, 72, 80]
    np.testing.assert_array_equal(np.rint(codec.centres[8:] * 80), positive)
    decoded = codec.centres[stick_buckets(codec, np.array([25, 26, 27, -26]))] * 80
    np.testing.assert_allclose(decoded, [23, 23, 31, -23], atol=1e-5)


@every_codec
def test_decoded_sticks_are_inside_the_circle_and_out_of_the_dead_zone(codec):
    pair = codec.sticks.astype(np.float64)
    assert np.hypot(pair[..., 0], pair[..., 1]).max() <= 1 + 1e-6
    moved = np.abs(pair[pair != 0])
    assert moved.min() >= 23 / 80 - 1e-6
    # What is inside already stays as it is.
    x, y = np.meshgrid(codec.centres, codec.centres, indexing="ij")
    inside = np.hypot(x, y) <= 1
    np.testing.assert_array_equal(pair[inside], np.stack([x, y], -1)[inside])


@every_codec
def test_decoding_mirrors(codec):
    mirrored = codec.sticks[::-1] * np.array([-1, 1])
    np.testing.assert_array_equal(codec.sticks, mirrored)
    np.testing.assert_array_equal(codec.sticks, codec.sticks.transpose(1, 0, 2)[..., ::-1])


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ((80, 0), (80, 0)), ((80, 80), (56, 56)), ((80, 23), (76, 0)), ((72, 72), (56, 56)),
        ((-80, 31), (-74, 28)), ((64, 56), (60, 52)), ((60, 80), (48, 64)), ((22, -22), (0, 0)),
        ((23, 22), (23, 0)), ((127, -128), (56, -56)),
    ],
)  # fmt: skip
def test_a_stick_is_clamped_as_the_game_does(sent, read):
    assert tuple(int(v) for v in clamp_stick(*map(np.array, sent))) == read


def test_whole_steps_stay_whole():
    """Against float32 arithmetic, which the game uses, on every position that an adapter sends."""
    x, y = (v.astype(np.float32) for v in np.meshgrid(np.arange(-128, 128), np.arange(-128, 128)))
    radius = np.maximum(np.sqrt(x * x + y * y), np.float32(80))
    want = [np.trunc(v * np.float32(80) / radius) for v in (x, y)]
    want = [np.where(np.abs(v) <= 22, 0, v) for v in want]
    np.testing.assert_array_equal(np.stack(clamp_stick(x, y)), np.stack(want))


def test_fitted_centres_take_the_nearest():
    codec = ControllerCodec(axis_centres=KMEANS)
    distance = np.abs(ALL_STEPS[:, None] / 80 - np.array(KMEANS))
    got = distance[np.arange(161), stick_buckets(codec, ALL_STEPS)]
    np.testing.assert_allclose(got, distance.min(1), atol=1e-9)


@given(st.sets(st.integers(1, 80), min_size=1, max_size=20))
@settings(deadline=None, max_examples=50)
def test_any_symmetric_centres_on_the_grid_round_trip_and_are_nearest(steps):
    positive = sorted(steps)
    centres = tuple(v / 80 for v in [*(-v for v in reversed(positive)), 0, *positive])
    codec = ControllerCodec(axis_centres=centres)
    distance = np.abs(ALL_STEPS[:, None] - np.array(centres) * 80)
    buckets = stick_buckets(codec, ALL_STEPS)
    np.testing.assert_allclose(distance[np.arange(161), buckets], distance.min(1), atol=1e-6)
    assert (stick_buckets(codec, np.rint(np.array(centres) * 80)) == np.arange(len(centres))).all()


@pytest.mark.parametrize("buckets", [17, 33])
def test_no_live_stick_decodes_into_the_dead_zone_of_its_own_bucket(buckets):
    """A centre inside the game's dead zone is only used where every value of its bucket is dead."""
    codec = ControllerCodec(buckets)
    live = ALL_STEPS[np.abs(ALL_STEPS) >= 23]
    decoded = codec.centres[stick_buckets(codec, live)] * 80
    assert (np.abs(decoded) >= 23 - 1e-4).all()
    assert (np.sign(decoded) == np.sign(live)).all()


@pytest.mark.parametrize("buckets", [2, 3, 5, 9, 99, 100, 141])
def test_shoulder_takes_the_nearest_and_keeps_its_ends(buckets):
    codec = ControllerCodec(shoulder_buckets=buckets)
    actions = np.zeros((141, 6), np.uint8)
    actions[:, 4] = np.arange(141)
    got = codec.encode(actions)["shoulder"]
    values = np.rint(codec.shoulder_centres * 140)
    distance = np.abs(np.arange(141)[:, None] - values)
    np.testing.assert_array_equal(got, buckets - 1 - distance[:, ::-1].argmin(1))
    assert codec.shoulder_centres[0] == 0 and codec.shoulder_centres[-1] == 1
    live = np.r_[0, 43:141]
    assert len(np.unique(got[live])) == min(buckets, 99)


@given(strategies.controller_bytes())
@settings(deadline=None, max_examples=30)
def test_buttons_are_exact_and_in_order(actions):
    bits = ControllerCodec().encode(actions)["buttons"]
    assert bits.shape == (len(actions), len(BUTTONS))
    for index in range(len(BUTTONS)):
        assert (bits[:, index] == (actions[:, 5] // 2**index) % 2).all()


@every_codec
def test_decoding_moves_a_live_value_by_at_most_half_a_bucket(codec):
    """For every value that the game can read: 0 and ±23…80 of 80."""
    live = ALL_STEPS[(ALL_STEPS == 0) | (np.abs(ALL_STEPS) >= 23)]
    buckets = stick_buckets(codec, live)
    error = np.abs(codec.centres[buckets] - live / 80)
    widest = np.diff(codec.centres).max()
    assert error.max() <= widest / 2 + 1e-6


@every_codec
def test_what_the_game_reads_is_read_the_same_again(codec):
    """Decoded values pass the game's clamp as they are: it need not be known who applied it."""
    steps = codec.sticks.reshape(-1, 2).astype(np.float64) * 80
    x, y = clamp_stick(np.round(steps[:, 0], 4), np.round(steps[:, 1], 4))
    np.testing.assert_allclose(np.stack([x, y], -1), steps, atol=1e-4)


def test_neutral_is_the_middle_of_everything():
    codec = ControllerCodec()
    buckets = codec.encode(to_bytes(NEUTRAL_VALUES))
    assert buckets["main_x"] == 8 and buckets["c_y"] == 8 and buckets["shoulder"] == 0
    assert not buckets["buttons"].any()


def test_graphs_and_numpy_agree():
    import keras

    actions = strategies.make_controller_bytes(5, 4000).reshape(8, 500, 6)
    for codec in CODECS:
        by_numpy = codec.encode(actions)
        by_keras = codec.encode(keras.ops.convert_to_tensor(actions), xp=keras.ops)
        decoded, in_graph = codec.decode(by_numpy), codec.decode(by_keras, xp=keras.ops)
        for name, buckets in by_numpy.items():
            np.testing.assert_array_equal(keras.ops.convert_to_numpy(by_keras[name]), buckets)
            np.testing.assert_array_equal(keras.ops.convert_to_numpy(in_graph[name]), decoded[name])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"axis_buckets": 16}, "odd number"),
        ({"axis_buckets": 1}, "odd number"),
        ({"shoulder_buckets": 1}, "shoulder_buckets: want 2…141"),
        ({"axis_centres": (-1.0, 0.0, 0.5)}, "symmetric"),
        ({"axis_centres": (-1.0, 1.0)}, "odd number"),
        ({"axis_centres": (1.0, 0.0, -1.0)}, "sorted"),
        ({"axis_centres": (-0.505, -0.5, 0.0, 0.5, 0.505)}, "cannot be told apart"),
    ],
)
def test_broken_buckets_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ControllerCodec(**arguments)
