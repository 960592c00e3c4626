"""A head that knows the previous action's buckets: which they are, and how it starts."""

import numpy as np
import policy_inputs
import pytest
import tensorflow as tf

from exphil_tf.features.controller import AXES, COMPONENTS, ControllerCodec, to_bytes
from exphil_tf.features.transitions import TransitionCounts
from models.heads import distribution
from models.heads.controller import HEADS
from models.heads.previous_action import PreviousAction
from models.policy_config import HeadConfig

CODECS = {
    "17": ControllerCodec(),
    "9 and 3": ControllerCodec(9, 3),
    "every step": ControllerCodec(161, 141),
    # Off the game's grid, and one halfway between two steps.
    "within reach": ControllerCodec(within_reach=True),
    "k-means": ControllerCodec(axis_centres=(-1.0, -0.73, -0.41875, 0.0, 0.41875, 0.73, 1.0)),
}
WIDTH = 12


def joined(values: dict[str, np.ndarray]) -> np.ndarray:
    others = [values[name][..., None] for name in COMPONENTS[1:]]
    return np.concatenate([values["buttons"], *others], axis=-1).astype(np.float32)


def one_hot(buckets: dict[str, np.ndarray], codec: ControllerCodec) -> np.ndarray:
    others = [np.eye(codec.sizes[name])[buckets[name]] for name in COMPONENTS[1:]]
    return np.concatenate([buckets["buttons"], *others], axis=-1)


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_buckets_of_decoded_values_are_the_codecs(codec):
    """Of what a policy may choose, pairs that no stick can reach among them."""
    values = codec.decode(policy_inputs.targets(codec, 3000, seed=3))
    want = one_hot(codec.encode(to_bytes(values)), codec)
    previous = PreviousAction(codec)
    np.testing.assert_array_equal(previous.one_hot(joined(values), "float32"), want)
    table = np.eye(previous.num_rows + 1, previous.num_rows)
    rows = np.asarray(previous.rows(joined(values)))
    np.testing.assert_array_equal(table[rows].sum(-2), want)
    in_unrolls = previous.one_hot(joined(values).reshape(30, 100, 13), "float32")
    np.testing.assert_array_equal(in_unrolls, want.reshape(30, 100, -1))


@pytest.mark.parametrize("count", [3, 9, 17, 33, 65])
def test_whatever_a_stick_can_say_comes_back_in_its_bucket(count):
    codec = HeadConfig(axis_buckets=count).codec
    x, y = np.meshgrid(np.arange(-80, 81), np.arange(-80, 81))
    # What the game reads: inside the circle, and nothing in the dead zone but 0.
    is_read = (x**2 + y**2 <= 80**2) & all_of(abs(v) >= 23 for v in (x, y))
    is_read |= (abs(x) <= 80) & (y == 0) & ((x == 0) | (abs(x) >= 23))
    is_read |= (abs(y) <= 80) & (x == 0) & ((y == 0) | (abs(y) >= 23))
    rest = {"buttons": np.zeros((is_read.sum(), 8)), "shoulder": np.zeros(is_read.sum())}
    sticks = {"main_x": x[is_read] / 80, "main_y": y[is_read] / 80}
    sticks |= {"c_x": sticks["main_y"], "c_y": sticks["main_x"]}
    buckets = codec.encode(to_bytes(sticks | rest))
    values = codec.decode(buckets)
    found = PreviousAction(codec).one_hot(joined(values), "float32")
    np.testing.assert_array_equal(found, one_hot(buckets, codec))
    # And decoding mirrors: what is left of left is right of right.
    mirrored = codec.decode(buckets | {"main_x": codec.num_axis - 1 - buckets["main_x"]})
    np.testing.assert_array_equal(mirrored["main_x"], -values["main_x"])
    np.testing.assert_array_equal(mirrored["main_y"], values["main_y"])
    assert (np.hypot(values["main_x"], values["main_y"]) < 1 + 1e-6).all()


def all_of(conditions) -> np.ndarray:
    return np.all(list(conditions), axis=0)


def test_a_controller_at_rest_is_all_zeros():
    codec = ControllerCodec()
    found = np.asarray(PreviousAction(codec).one_hot(np.zeros((1, 13), np.float32), "float32"))[0]
    # Logits are 8 buttons, 4 axes of 17, and the shoulder.
    assert np.flatnonzero(found).tolist() == [8 + 17 * axis + 8 for axis in range(4)] + [76]


def play(codec: ControllerCodec, frames: int) -> dict[str, np.ndarray]:
    """Buckets of somebody who holds most of the time."""
    rng = np.random.default_rng(5)
    found = policy_inputs.targets(codec, frames, seed=6)
    for values in found.values():
        holds = rng.random(values.shape) < 0.8
        for frame in range(1, frames):
            values[frame] = np.where(holds[frame], values[frame - 1], values[frame])
    return found


@pytest.mark.parametrize("name", sorted(HEADS))
def test_a_head_starts_as_how_often_buckets_follow_one_another(name):
    codec = ControllerCodec(5, 3)
    counts = TransitionCounts(codec.sizes)
    acts = play(codec, 400)
    before, after = ({n: v[s] for n, v in acts.items()} for s in (slice(-1), slice(1, None)))
    counts.add(after, before, np.ones(399))
    config = HeadConfig(name, axis_buckets=5, shoulder_buckets=3, head_hidden=4)
    head = HEADS[name](config, num_previous=13, seed=1)
    head.build((None, None, WIDTH + 13))
    head.start_at(counts.rates())
    rng = np.random.default_rng(0)
    # Values at the centres of buckets, wherever a stick can't be there.
    values = {axis: codec.centres[before[axis]] for axis in AXES}
    values |= {"buttons": before["buttons"], "shoulder": codec.shoulder_centres[before["shoulder"]]}
    hidden = np.concatenate([rng.standard_normal((399, WIDTH)), joined(values)], axis=-1)
    logits = head.unroll(hidden.astype(np.float32), after)
    got = distribution.nll(logits, after)
    rates = counts.rates()
    for component in COMPONENTS[1:]:
        want = -np.log(rates[component][before[component], after[component]])
        np.testing.assert_allclose(got[component], want, atol=1e-4)
    buttons = rates["buttons"][np.arange(8), before["buttons"], after["buttons"]]
    np.testing.assert_allclose(got["buttons"], -np.log(buttons).sum(-1), atol=1e-4)


def test_transitions_are_counted_as_by_a_loop():
    codec = ControllerCodec(5, 3)
    acts, weights = play(codec, 50), np.random.default_rng(2).random(49)
    counts = TransitionCounts(codec.sizes)
    counts.add({n: v[1:] for n, v in acts.items()}, {n: v[:-1] for n, v in acts.items()}, weights)
    want = {n: np.zeros_like(pairs) for n, pairs in counts.pairs.items()}
    for frame, weight in enumerate(weights):
        for name in COMPONENTS[1:]:
            want[name][acts[name][frame], acts[name][frame + 1]] += weight
        for button in range(8):
            one, other = acts["buttons"][frame : frame + 2, button]
            want["buttons"][button, one, other] += weight
    for name in COMPONENTS:
        np.testing.assert_allclose(counts.pairs[name], want[name])


def test_without_a_skip_there_is_nothing_to_start():
    config = HeadConfig("independent", prev_action_buckets=False)
    head = HEADS["independent"](config, num_previous=13)
    head.build((None, None, WIDTH + 13))
    with pytest.raises(ValueError, match="want prev_action_buckets"):
        head.start_at({})
    assert tf.math.reduce_any(head.output_kernel != 0)
