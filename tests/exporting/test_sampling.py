"""Sampling inside an exported graph: equal to the head's, and of the right distribution."""

import functools
import math

import numpy as np
import pytest

from exphil_tf.features.controller import AXES, COMPONENTS
from exphil_tf.inference.stepper import Stepper
from models.policy_config import HeadConfig
from tests import policy_inputs
from tests.exported_policies import export, make_policy

CODEC = HeadConfig().codec
STOPS = np.cumsum(list(CODEC.sizes.values()))
SPANS = {n: slice(s - CODEC.sizes[n], s) for n, s in zip(COMPONENTS, STOPS, strict=True)}
LOGITS = int(STOPS[-1])
BATCH, CALLS = 1000, 100


def place(name):
    """Where a component's buckets stand among the 13."""
    return slice(0, 8) if name == "buttons" else 7 + COMPONENTS.index(name)


def by_hand(logits, uniforms, temperature):
    """The action of given logits and noise, in float64."""
    u = np.clip(uniforms.astype(np.float64), 1e-7, 1 - 1e-7)
    t = np.reshape(temperature, (-1, 1))
    buckets = np.empty((len(logits), 13), np.int32)
    for name, span in SPANS.items():
        here = u[:, span]
        if name == "buttons":
            noise = np.log(here) - np.log1p(-here)
            buckets[:, place(name)] = logits[:, span] + t * noise > 0
        else:
            noise = -np.log(-np.log(here))
            buckets[:, place(name)] = (logits[:, span] + t * noise).argmax(-1)
    return buckets


@pytest.fixture(scope="module")
def policy():
    return make_policy("mlp")


@pytest.fixture(scope="module")
def bundle(policy):
    return export(policy)


@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0, 3.0])
def test_the_graph_samples_what_the_head_samples(policy, bundle, temperature):
    batch = 500
    columns = policy_inputs.columns(batch, seed=1)
    rng = np.random.default_rng(2)
    uniforms = rng.random((batch, LOGITS), np.float32)
    stepper = Stepper(bundle, batch_size=batch)
    answer = stepper.step(columns, uniforms=uniforms, temperature=temperature)
    neutral = {"buttons": np.zeros((batch, 8), np.float32)}
    neutral |= {name: np.zeros(batch, np.float32) for name in COMPONENTS[1:]}
    step = policy.step(
        columns,
        neutral,
        policy.initial_state(batch),
        is_resetting=np.ones(batch, bool),
        uniforms=uniforms,
        temperature=np.float32(temperature),
    )
    for name in COMPONENTS:
        found = answer.buckets[:, place(name)]
        np.testing.assert_array_equal(found, np.asarray(step.buckets[name]), err_msg=name)
    decoded = CODEC.decode({n: np.asarray(v) for n, v in step.buckets.items()})
    np.testing.assert_array_equal(answer.controller[:, :8], decoded["buttons"])
    for name in COMPONENTS[1:]:
        np.testing.assert_array_equal(answer.controller[:, place(name)], decoded[name])


def test_draws_follow_from_logits_and_uniforms(bundle):
    batch = 800
    temperature = np.repeat([0.0, 0.3, 1.0, 2.0], batch // 4).astype(np.float32)
    uniforms = np.random.default_rng(3).random((batch, LOGITS), np.float32)
    columns = policy_inputs.columns(batch, seed=4)
    answer = Stepper(bundle, batch_size=batch).step(
        columns, uniforms=uniforms, temperature=temperature
    )
    expected = by_hand(answer.logits, uniforms, temperature)
    np.testing.assert_array_equal(answer.buckets, expected)
    # Warmer draws stray further from the likeliest.
    strays = (expected != by_hand(answer.logits, uniforms, 0.0)).mean(1).reshape(4, -1).mean(1)
    assert strays[0] == 0 < strays[1] < strays[2] < strays[3]


def test_at_temperature_0_noise_has_no_say(bundle):
    batch = 300
    columns = policy_inputs.columns(batch, seed=5)
    found = []
    for fill in (0.0, 0.5, np.float32(1 - 2**-24)):
        stepper = Stepper(bundle, batch_size=batch)
        uniforms = np.full((batch, LOGITS), fill, np.float32)
        uniforms[:, ::2] = np.random.default_rng(0).random((batch, (LOGITS + 1) // 2))
        answer = stepper.step(columns, uniforms=uniforms, temperature=0.0)
        found.append(answer.buckets.copy())
        logits = answer.logits
        np.testing.assert_array_equal(found[-1][:, :8], logits[:, SPANS["buttons"]] > 0)
        for name in COMPONENTS[1:]:
            likeliest = logits[:, SPANS[name]].argmax(-1)
            np.testing.assert_array_equal(found[-1][:, place(name)], likeliest)
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


@pytest.mark.parametrize("fill", [0.0, np.float32(1 - 2**-24)])
def test_extreme_uniforms_give_finite_answers(bundle, fill):
    uniforms = np.full((1, LOGITS), fill, np.float32)
    for temperature in (0.0, 1.0, 1e6):
        answer = Stepper(bundle).step(
            policy_inputs.columns(1), uniforms=uniforms, temperature=temperature
        )
        assert np.isfinite(answer.logits).all()
        assert set(np.unique(answer.buckets[:, :8])) <= {0, 1}


def draw(bundle, temperature, seed):
    """100,000 draws on one frame: buckets `[draws, 13]` and the logits each was drawn from."""
    frame = policy_inputs.columns(1, seed=6)
    columns = {name: np.repeat(column, BATCH, axis=0) for name, column in frame.items()}
    stepper = Stepper(bundle, batch_size=BATCH, seed=seed)
    buckets, logits = [], []
    for _ in range(CALLS):
        stepper.reset()  # the same memory and previous action for every draw
        answer = stepper.step(columns, temperature=temperature)
        buckets.append(answer.buckets.copy())
        logits.append(answer.logits.copy())
    return np.concatenate(buckets), np.concatenate(logits).astype(np.float64)


def critical_chi_square(degrees):
    """The value that a chi-square passes once in a thousand (Wilson and Hilferty 1931)."""
    spread = 2 / (9 * degrees)
    return degrees * (1 - spread + 3.0902 * math.sqrt(spread)) ** 3


def test_the_critical_values_are_those_of_the_tables():
    for degrees, value in ((3, 16.266), (4, 18.467), (16, 39.252)):
        assert critical_chi_square(degrees) == pytest.approx(value, rel=0.02)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def chi_square(observed, expected):
    """Of counts, those too rare for it put together."""
    is_rare = expected < 5
    parts = [(observed[~is_rare], expected[~is_rare])]
    if is_rare.any():
        parts.append((observed[is_rare].sum(keepdims=True), expected[is_rare].sum(keepdims=True)))
    o, e = (np.concatenate(column) for column in zip(*parts, strict=True))
    return float(((o - e) ** 2 / np.maximum(e, 1e-9)).sum()), max(len(o) - 1, 1)


@functools.cache
def exported(head):
    return export(make_policy("mlp", head=head))


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_100_000_draws_have_the_distribution_of_the_logits(temperature):
    """An independent head: one frame has one distribution, the textbook's case."""
    buckets, logits = draw(exported("independent"), temperature, seed=11)
    assert len(buckets) == 100_000
    assert np.ptp(logits, axis=0).max() < 1e-5
    for name in (*AXES, "shoulder"):
        size = CODEC.sizes[name]
        observed = np.bincount(buckets[:, place(name)], minlength=size)
        expected = softmax(logits[0, SPANS[name]] / temperature) * len(buckets)
        statistic, degrees = chi_square(observed, expected)
        assert degrees >= 3 and statistic < critical_chi_square(degrees), name
        # It tells temperatures apart.
        other = softmax(logits[0, SPANS[name]] / (temperature * 1.1)) * len(buckets)
        assert chi_square(observed, other)[0] > critical_chi_square(degrees), name
    probability = 1 / (1 + np.exp(-logits[0, SPANS["buttons"]] / temperature))
    pressed = buckets[:, :8].sum(0)
    spread = np.sqrt(len(buckets) * probability * (1 - probability))
    assert (np.abs(pressed - len(buckets) * probability) < 3.9 * spread).all()
    other = 1 / (1 + np.exp(-logits[0, SPANS["buttons"]] / (temperature * 1.1)))
    assert (np.abs(pressed - len(buckets) * other) > 3.9 * spread).any()
    # Components are drawn independently of each other: so are buttons A and B, and the sticks.
    pairs = np.corrcoef(buckets.T[[0, 1, 8, 9, 10, 11, 12]])
    assert np.abs(pairs - np.eye(7)).max() < 0.015


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_100_000_draws_of_components_that_depend_on_each_other(temperature):
    """An autoregressive head: counts against the sum of every draw's own probabilities."""
    buckets, logits = draw(exported("autoregressive"), temperature, seed=12)
    assert np.ptp(logits[:, SPANS["buttons"]], axis=0).max() < 1e-5
    assert np.ptp(logits[:, SPANS["shoulder"]], axis=0).min() > 0.1
    for name in (*AXES, "shoulder"):
        observed = np.bincount(buckets[:, place(name)], minlength=CODEC.sizes[name])
        expected = softmax(logits[:, SPANS[name]] / temperature).sum(0)
        statistic, degrees = chi_square(observed, expected)
        assert degrees >= 3 and statistic < critical_chi_square(degrees), name
