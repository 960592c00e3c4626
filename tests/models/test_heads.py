"""The controller's distribution and both heads."""

import numpy as np
import policy_inputs
import pytest
import tensorflow as tf

from exphil_tf.features.controller import AXES, COMPONENTS
from models.heads import distribution
from models.heads.controller import HEADS
from models.policy_config import HeadConfig

WIDTH = 12
PREVIOUS = 13
HEAD_NAMES = sorted(HEADS)
PLAIN = {"prev_action_buckets": False}


def make(name: str, **options):
    head = HEADS[name](
        HeadConfig(head=name, head_hidden=10, **options), num_previous=PREVIOUS, seed=4
    )
    head.build((None, None, WIDTH + PREVIOUS))
    # Away from the initial near-uniform distribution, where mistakes hide.
    rng = np.random.default_rng(8)
    for weight in head.trainable_weights:
        weight.assign(rng.standard_normal(weight.shape) * 0.6)
    return head


def hidden(*lead: int) -> tf.Tensor:
    before = policy_inputs.prev_action(*lead, seed=3)
    axes = [before[name][..., None] for name in COMPONENTS[1:]]
    x = np.random.default_rng(1).standard_normal((*lead, WIDTH))
    return tf.constant(np.concatenate([x, before["buttons"], *axes], axis=-1), tf.float32)


def uniforms(head, batch: int, seed: int = 2) -> tf.Tensor:
    drawn = np.random.default_rng(seed).random((batch, head.num_uniforms))
    return tf.constant(drawn, tf.float32)


def assert_same_logits(a, b):
    assert set(a) == set(b) == set(COMPONENTS)
    for name in COMPONENTS:
        np.testing.assert_allclose(a[name], b[name], atol=2e-5)


@pytest.mark.parametrize(
    "options", [{}, PLAIN, {"axis_buckets": 33, "shoulder_buckets": 3}], ids=str
)
@pytest.mark.parametrize("name", HEAD_NAMES)
def test_sampled_logits_equal_teacher_forced_logits(name, options):
    head = make(name, **options)
    x = hidden(64)
    buckets, logits = head.step(x, uniforms(head, 64), tf.constant(1.0))
    forced = head.unroll(x[:, None], {k: v[:, None] for k, v in buckets.items()})
    assert_same_logits(logits, {k: v[:, 0] for k, v in forced.items()})
    np.testing.assert_allclose(
        distribution.log_prob(logits, buckets),
        distribution.log_prob(forced, {k: v[:, None] for k, v in buckets.items()})[:, 0],
        atol=1e-4,
    )
    codec = head.config.codec
    for component, size in codec.sizes.items():
        assert logits[component].shape == (64, size)


def test_teacher_forcing_equals_a_loop_over_components():
    """The block-triangular product against six separate small networks, in numpy."""
    head = make("autoregressive", **PLAIN)
    x, targets = hidden(7), policy_inputs.targets(head.config.codec, 7)
    got = head.unroll(x, targets)
    projection, bias = (np.asarray(w) for w in head.unit_proj.weights)
    condition = np.asarray(head.condition_kernel)
    kernel, out_bias = np.asarray(head.output_kernel), np.asarray(head.output_bias)
    chosen = [targets["buttons"]] + [np.eye(head.sizes[n])[targets[n]] for n in (*AXES, "shoulder")]
    for i, name in enumerate(COMPONENTS):
        units = slice(i * head.units, (i + 1) * head.units)
        pre = np.asarray(x) @ projection[:, units] + bias[units]
        for j in range(i):
            pre += chosen[j] @ condition[head.spans[COMPONENTS[j]], units]
        span = head.spans[name]
        want = np.maximum(pre, 0) @ kernel[:, span] + out_bias[span]
        np.testing.assert_allclose(got[name], want, atol=1e-4)


def test_the_previous_action_adds_what_its_tables_say():
    """Rows of the units, and the skip, against numpy."""
    head = make("autoregressive")
    x, targets = hidden(7), policy_inputs.targets(head.config.codec, 7)
    got = head.unroll(x, targets)
    assert head.previous_action is not None
    before = np.asarray(head.previous_action.one_hot(x[:, WIDTH:], "float32"))
    projection, bias = (np.asarray(w) for w in head.unit_proj.weights)
    assert projection.shape[0] == WIDTH
    chosen = [targets["buttons"]] + [np.eye(head.sizes[n])[targets[n]] for n in COMPONENTS[1:]]
    condition = np.asarray(head.condition_kernel) * head.condition_mask
    units = np.asarray(x)[:, :WIDTH] @ projection + bias + before @ np.asarray(head.previous_kernel)
    units = np.maximum(units + np.concatenate(chosen, -1) @ condition, 0)
    want = before @ np.asarray(head.skip_kernel) + np.asarray(head.output_bias)
    for i, span in enumerate(head.spans.values()):
        own = units[:, i * head.units : (i + 1) * head.units]
        want[:, span] += own @ np.asarray(head.output_kernel)[:, span]
    for name, span in head.spans.items():
        np.testing.assert_allclose(got[name], want[:, span], atol=1e-4)


def test_each_component_depends_on_those_before_it_only():
    head = make("autoregressive")
    x, targets = hidden(7), policy_inputs.targets(head.config.codec, 7)
    before = head.unroll(x, targets)
    for i, changed in enumerate(COMPONENTS):
        other = dict(targets)
        size = 2 if changed == "buttons" else head.sizes[changed]
        other[changed] = (targets[changed] + 1) % size
        after = head.unroll(x, other)
        for j, name in enumerate(COMPONENTS):
            difference = np.abs(np.asarray(before[name]) - np.asarray(after[name])).max()
            assert (difference > 1e-3) == (j > i), (changed, name)


def test_independent_head_ignores_targets():
    head = make("independent")
    x, codec = hidden(7), head.config.codec
    one = head.unroll(x, policy_inputs.targets(codec, 7, seed=1))
    assert_same_logits(one, head.unroll(x, None))
    with pytest.raises(ValueError, match="want buckets to teacher-force with"):
        make("autoregressive").unroll(x, None)


@pytest.mark.parametrize("name", HEAD_NAMES)
def test_temperature_0_is_the_mode_whatever_the_uniforms(name):
    head = make(name)
    x = hidden(40)
    for drawn in (uniforms(head, 40), tf.zeros((40, head.num_uniforms)), uniforms(head, 40, 9)):
        buckets, logits = head.step(x, drawn, tf.constant(0.0))
        np.testing.assert_array_equal(buckets["buttons"], np.asarray(logits["buttons"]) > 0)
        for component in COMPONENTS[1:]:
            np.testing.assert_array_equal(buckets[component], np.argmax(logits[component], -1))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_samples_follow_the_tempered_distribution(temperature):
    """Chi-square per component against the tempered softmax, one hidden vector, 20,000 draws."""
    head, count = make("independent"), 20_000
    x = tf.repeat(hidden(1), count, axis=0)
    buckets, logits = head.step(x, uniforms(head, count), tf.constant(temperature))
    for name in COMPONENTS[1:]:
        p = np.asarray(tf.nn.softmax(logits[name][0] / temperature), np.float64)
        seen = np.bincount(np.asarray(buckets[name]), minlength=len(p))
        enough = p * count > 5
        statistic = ((seen - p * count) ** 2 / (p * count))[enough].sum()
        freedom = enough.sum() - 1
        assert statistic < freedom + 5 * np.sqrt(2 * freedom), name
    p = np.asarray(tf.sigmoid(logits["buttons"][0] / temperature), np.float64)
    rate = np.asarray(buckets["buttons"]).mean(0)
    assert (np.abs(rate - p) < 5 * np.sqrt(p * (1 - p) / count) + 1e-3).all()


def test_autoregressive_samples_follow_the_joint():
    """P(button A) and P(main_x | A) from samples against the teacher-forced probabilities."""
    head, count = make("autoregressive"), 20_000
    x = tf.repeat(hidden(1), count, axis=0)
    buckets, logits = head.step(x, uniforms(head, count), tf.constant(1.0))
    p_main = np.asarray(tf.nn.softmax(logits["main_x"]))
    pressed = np.asarray(buckets["buttons"])[:, 0] == 1
    for group in (pressed, ~pressed):
        n = group.sum()
        assert n > 500
        want = p_main[group].mean(0)
        seen = np.bincount(np.asarray(buckets["main_x"])[group], minlength=len(want)) / n
        assert (np.abs(seen - want) < 5 * np.sqrt(want * (1 - want) / n) + 1e-3).all()
    assert np.abs(p_main[pressed].mean(0) - p_main[~pressed].mean(0)).max() > 0.01


def test_extreme_uniforms_give_legal_buckets():
    head = make("autoregressive")
    edge = np.float32(1) - np.float32(2**-24)
    for value in (0.0, edge, 1.0):
        drawn = tf.fill((3, head.num_uniforms), tf.constant(value, tf.float32))
        for temperature in (0.0, 1.0, 100.0):
            buckets, logits = head.step(hidden(3), drawn, tf.constant(temperature))
            for name in COMPONENTS[1:]:
                chosen = np.asarray(buckets[name])
                assert ((chosen >= 0) & (chosen < head.sizes[name])).all()
                assert np.isfinite(np.asarray(logits[name])).all()


def test_temperature_may_differ_per_row():
    head = make("autoregressive")
    x, drawn = hidden(30), uniforms(head, 30)
    hot, _ = head.step(x, drawn, tf.constant(1.0))
    cold, _ = head.step(x, drawn, tf.constant(0.0))
    mixed, _ = head.step(x, drawn, tf.constant([0.0, 1.0] * 15))
    for name in COMPONENTS:
        np.testing.assert_array_equal(mixed[name][::2], cold[name][::2])
        np.testing.assert_array_equal(mixed[name][1::2], hot[name][1::2])


def random_logits(seed: int, *lead: int) -> dict[str, tf.Tensor]:
    rng = np.random.default_rng(seed)
    sizes = HeadConfig().codec.sizes
    return {
        n: tf.constant(2 * rng.standard_normal((*lead, s)), tf.float32) for n, s in sizes.items()
    }


def enumerated(logits: np.ndarray) -> np.ndarray:
    p = np.exp(logits - logits.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


def test_distribution_functions_equal_their_definitions():
    p, q = random_logits(1, 5), random_logits(2, 5)
    targets = policy_inputs.targets(HeadConfig().codec, 5)
    nll, entropy, kl = (
        distribution.nll(p, targets),
        distribution.entropy(p),
        distribution.kl(p, q),
    )
    a, b = (1 / (1 + np.exp(-np.asarray(x["buttons"], np.float64))) for x in (p, q))
    pressed = targets["buttons"]
    want = {"buttons": -(pressed * np.log(a) + (1 - pressed) * np.log(1 - a)).sum(-1)}
    want_entropy = {"buttons": -(a * np.log(a) + (1 - a) * np.log(1 - a)).sum(-1)}
    want_kl = {"buttons": (a * np.log(a / b) + (1 - a) * np.log((1 - a) / (1 - b))).sum(-1)}
    for name in COMPONENTS[1:]:
        a, b = (enumerated(np.asarray(x[name], np.float64)) for x in (p, q))
        want[name] = -np.log(a[np.arange(5), targets[name]])
        want_entropy[name] = -(a * np.log(a)).sum(-1)
        want_kl[name] = (a * np.log(a / b)).sum(-1)
    for name in COMPONENTS:
        np.testing.assert_allclose(nll[name], want[name], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(entropy[name], want_entropy[name], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(kl[name], want_kl[name], rtol=1e-4, atol=1e-5)
    total = -sum(want[name] for name in COMPONENTS)
    np.testing.assert_allclose(distribution.log_prob(p, targets), total, rtol=1e-4)
    halved = {name: value / 2 for name, value in p.items()}
    np.testing.assert_allclose(
        distribution.log_prob(p, targets, tf.constant(2.0)),
        distribution.log_prob(halved, targets),
        rtol=1e-5,
    )


def test_extreme_logits_stay_finite():
    big = {n: tf.sign(v) * 1e4 for n, v in random_logits(1, 5).items()}
    targets = policy_inputs.targets(HeadConfig().codec, 5)
    for result in (distribution.nll(big, targets), distribution.entropy(big)):
        for name in COMPONENTS:
            assert np.isfinite(np.asarray(result[name])).all(), name
    for value in distribution.kl(big, random_logits(2, 5)).values():
        assert np.isfinite(np.asarray(value)).all()
