"""The update on a two-weight regression, against numpy and against plain Keras."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from exphil_tf.training.optimizers import build_optimizer
from exphil_tf.training.run_config import OptimizerConfig
from exphil_tf.training.updater import Updater

RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 3)).astype(np.float32)
Y = RNG.normal(size=24).astype(np.float32)
W = RNG.uniform(0, 2, 24).astype(np.float32)


def make(lr=0.1, **options):
    config = OptimizerConfig(**{"max_grad_norm": 0.0, **options})
    variables = [
        keras.Variable(np.array([[0.5], [-0.3], [0.1]], np.float32), name="kernel"),
        keras.Variable(np.zeros(1, np.float32), name="bias"),
    ]
    return Updater(variables, build_optimizer(config, lr, variables), config)


def gradients(updater, rows):
    """Gradients of the summed weighted squared error over some rows."""
    with tf.GradientTape() as tape:
        values = [v.value for v in updater.variables]
        tape.watch(values)
        error = tf.squeeze(X[rows] @ values[0], 1) + values[1] - Y[rows]
        loss = tf.reduce_sum(W[rows] * error**2)
    return tape.gradient(loss, values), loss, tf.constant(W[rows].sum())


def step(updater, rows=slice(None)):
    grads, loss, weight = gradients(updater, rows)
    return updater.update(grads, loss=loss, weight=weight)


def values(updater):
    return [v.numpy() for v in updater.variables]


def test_sgd_without_momentum_by_hand():
    updater = make()
    updater.optimizer = keras.optimizers.SGD(0.1)
    updater.optimizer.build(updater.variables)
    kernel, bias = values(updater)
    error = X @ kernel[:, 0] + bias - Y
    report = step(updater)
    grad_kernel = 2 * (W * error) @ X / W.sum()
    grad_bias = 2 * (W * error).sum() / W.sum()
    np.testing.assert_allclose(
        values(updater)[0][:, 0], kernel[:, 0] - 0.1 * grad_kernel, rtol=1e-4
    )
    np.testing.assert_allclose(values(updater)[1], bias - 0.1 * grad_bias, rtol=1e-4)
    norm = np.sqrt((grad_kernel**2).sum() + grad_bias**2)
    assert float(report.grad_norm) == pytest.approx(norm, rel=1e-5)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "radam", "muon", "lamb", "sgd", "rmsprop"])
def test_every_optimizer_learns(optimizer):
    updater = make(lr=0.02, optimizer=optimizer)
    first = float(gradients(updater, slice(None))[1])
    for _ in range(30):
        step(updater)
    assert float(gradients(updater, slice(None))[1]) < first


@pytest.mark.parametrize("compiled", [False, True])
def test_accumulation_equals_a_large_batch(compiled):
    large, small = make(optimizer="adamw"), make(optimizer="adamw", accumulation_steps=3)
    # Unequal parts with unequal weights: a mean of means would differ.
    parts = [slice(0, 4), slice(4, 15), slice(15, 24)]

    def accumulate(rows):
        grads, loss, weight = gradients(small, rows)
        small.accumulate(grads, loss=loss, weight=weight)

    update = small.update_accumulated
    if compiled:
        update = tf.function(update, jit_compile=True, autograph=False)
    for _ in range(4):
        step(large)
        for rows in parts:
            accumulate(rows)
        update()
        for a, b in zip(values(large), values(small), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5)
    assert int(small.optimizer.iterations.numpy()) == 4


def test_clipping_bounds_the_norm():
    clipped, free = make(optimizer="sgd", max_grad_norm=0.01), make(optimizer="sgd")
    before = np.concatenate([v.ravel() for v in values(free)])
    step(clipped)
    step(free)
    moved = np.linalg.norm(np.concatenate([v.ravel() for v in values(clipped)]) - before)
    assert moved == pytest.approx(0.1 * 0.01, rel=1e-3)
    far = np.linalg.norm(np.concatenate([v.ravel() for v in values(free)]) - before)
    assert far > 10 * moved


def test_average_follows_with_its_warmup():
    updater = make(ema=True, ema_decay=0.9)
    expected = [v.copy() for v in values(updater)]
    for done in range(1, 300):
        step(updater)
        decay = min(0.9, done / (done + 10))
        expected = [
            decay * e + (1 - decay) * v for e, v in zip(expected, values(updater), strict=True)
        ]
        if done in (1, 50, 299):
            for (_, average), value in zip(updater.averages(), expected, strict=True):
                np.testing.assert_allclose(average.numpy(), value, rtol=1e-4, atol=1e-6)


def test_averaged_swaps_and_restores_exactly():
    updater = make(ema=True)
    for _ in range(3):
        step(updater)
    raw = values(updater)
    with pytest.raises(RuntimeError), updater.averaged():
        assert any((a != b).any() for a, b in zip(values(updater), raw, strict=True))
        raise RuntimeError
    for a, b in zip(values(updater), raw, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["gradient", "loss"])
@pytest.mark.parametrize("jit", [False, True])
def test_nothing_changes_where_something_is_not_finite(bad, where, jit):
    updater = make(ema=True)
    step(updater)
    before = {name: v.numpy() for name, v in updater.state().items()}, values(updater)
    grads, loss, weight = gradients(updater, slice(None))
    if where == "gradient":
        grads[0] = grads[0] * tf.constant([[1.0], [bad], [1.0]])
    else:
        loss = loss * bad

    compiled = tf.function(
        lambda: updater.update(grads, loss=loss, weight=weight), jit_compile=jit, autograph=False
    )
    report = compiled()
    assert not bool(report.applied)
    for name, v in updater.state().items():
        np.testing.assert_array_equal(v.numpy(), before[0][name], err_msg=name)
    for a, b in zip(values(updater), before[1], strict=True):
        np.testing.assert_array_equal(a, b)


def test_batch_without_a_frame_changes_nothing():
    updater = make()
    before = values(updater)
    zeros = [tf.zeros(v.shape) for v in updater.variables]
    report = updater.update(zeros, loss=tf.constant(0.0), weight=tf.constant(0.0))
    assert not bool(report.applied)
    np.testing.assert_array_equal(values(updater)[0], before[0])


def test_weight_decay_pulls_kernels_only():
    updater = make(lr=0.1, optimizer="adamw", weight_decay=0.5)
    updater.variables[1].assign([3.0])
    kernel, bias = values(updater)
    zeros = [tf.zeros(v.shape) for v in updater.variables]
    updater.update(zeros, loss=tf.constant(1.0), weight=tf.constant(1.0))
    np.testing.assert_allclose(values(updater)[0], kernel * (1 - 0.1 * 0.5), rtol=1e-5)
    np.testing.assert_array_equal(values(updater)[1], bias)


@pytest.mark.parametrize(
    "options",
    [
        {"max_grad_norm": -1.0},
        {"accumulation_steps": 0},
        {"ema_decay": 1.0},
        {"weight_decay": -1.0},
    ],
)
def test_wrong_values_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        OptimizerConfig(**options)
