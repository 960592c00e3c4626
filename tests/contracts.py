"""What every layer with memory must keep, whatever it is made of.

`temporal_contract(make)` checks one layer; a new backbone is covered by adding its name to a
parametrised test. All comparisons are against the layer's own `step`, which is the definition.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.saving import saving_lib

FEATURES = 11
BATCH = 3
TIME = 14
RESETS = ((0, 5), (0, 6), (1, 0), (1, 9), (2, 13))
"""(row, frame): twice in a row, at the first and at the last frame."""
ATOL = 1e-5

Make = Callable[[int], Any]
"""`seed -> built layer` that takes `FEATURES` inputs."""


def inputs(time: int = TIME, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Returns x float32 `[BATCH, time, FEATURES]` and is_resetting bool `[BATCH, time]`."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((BATCH, time, FEATURES)).astype(np.float32)
    is_resetting = np.zeros((BATCH, time), bool)
    for row, frame in RESETS:
        if frame < time:
            is_resetting[row, frame] = True
    return x, is_resetting


def unroll(layer: Any, x: np.ndarray, is_resetting: np.ndarray, state: Any = None) -> tuple:
    """Unrolls eagerly; returns numpy outputs and the state."""
    state = layer.initial_state(len(x)) if state is None else state
    y, state = layer.unroll(tf.constant(x), state, tf.constant(is_resetting))
    return np.asarray(y), state


@functools.lru_cache(maxsize=1)
def graph_of_step(layer: Any) -> Any:
    """One graph for all frames of a check: tracing takes longer than they do."""
    return tf.function(layer.step, autograph=False)


def repeat_step(layer: Any, x: np.ndarray, is_resetting: np.ndarray, state: Any) -> tuple:
    """Steps through the frames; returns numpy outputs `[batch, time, width]` and the state."""
    step = graph_of_step(layer)
    outputs = []
    for t in range(x.shape[1]):
        y, state = step(tf.constant(x[:, t]), state, tf.constant(is_resetting[:, t]))
        outputs.append(np.asarray(y))
    return np.stack(outputs, axis=1), state


def assert_close(a: Any, b: Any, atol: float = ATOL) -> None:
    """Compares two nests of tensors, which must not be empty of numbers."""
    flat_a, flat_b = keras.tree.flatten(a), keras.tree.flatten(b)
    assert len(flat_a) == len(flat_b)
    for x, y in zip(flat_a, flat_b, strict=True):
        assert np.size(x) > 0
        np.testing.assert_allclose(np.asarray(x), np.asarray(y), atol=atol, rtol=atol)


def step_equals_unroll(make: Make) -> None:
    """Outputs agree, and so do the outputs that follow from either state."""
    layer = make(0)
    x, is_resetting = inputs()
    start = layer.initial_state(BATCH)
    _, warm = unroll(layer, *inputs(5, seed=1))
    for state in (start, warm):
        y, after = unroll(layer, x, is_resetting, state)
        y_step, after_step = repeat_step(layer, x, is_resetting, state)
        assert_close(y, y_step)
        more = inputs(6, seed=2)[0], np.zeros((BATCH, 6), bool)
        assert_close(repeat_step(layer, *more, after)[0], repeat_step(layer, *more, after_step)[0])


def unroll_splits(make: Make) -> None:
    """An unroll equals two shorter ones, wherever it is cut."""
    layer = make(0)
    x, is_resetting = inputs()
    whole, _ = unroll(layer, x, is_resetting)
    for cut in (1, 6, TIME - 1):
        first, state = unroll(layer, x[:, :cut], is_resetting[:, :cut])
        second, _ = unroll(layer, x[:, cut:], is_resetting[:, cut:], state)
        assert_close(whole, np.concatenate([first, second], axis=1))


def rows_are_independent(make: Make) -> None:
    """Another row's frames and resets change nothing."""
    layer = make(0)
    x, is_resetting = inputs()
    y, _ = unroll(layer, x, is_resetting)
    x[1] = -x[1]
    is_resetting[1] = ~is_resetting[1]
    other, _ = unroll(layer, x, is_resetting)
    assert_close(y[[0, 2]], other[[0, 2]], atol=1e-6)
    assert np.abs(y[1] - other[1]).max() > 1e-3


def is_causal(make: Make) -> None:
    """A frame changes itself and nothing before it."""
    layer = make(0)
    x, is_resetting = inputs()
    y, _ = unroll(layer, x, is_resetting)
    x[:, 8] = -x[:, 8]
    other, _ = unroll(layer, x, is_resetting)
    assert_close(y[:, :8], other[:, :8], atol=1e-6)
    assert (np.abs(y[:, 8] - other[:, 8]).max(axis=-1) > 1e-4).all()


def reset_forgets(make: Make) -> None:
    """From a reset on, outputs are those of a fresh game; without it, they are not."""
    layer = make(0)
    x, _ = inputs()
    is_resetting = np.zeros((BATCH, TIME), bool)
    without, _ = unroll(layer, x, is_resetting)
    is_resetting[:, 4] = True
    y, _ = unroll(layer, x, is_resetting)
    fresh, _ = unroll(layer, x[:, 4:], is_resetting[:, 4:] & False)
    assert_close(y[:, 4:], fresh)
    assert_close(y[:, :4], without[:, :4])
    if keras.tree.flatten(layer.initial_state(1)):
        assert np.abs(y[:, 4:] - without[:, 4:]).max() > 1e-3


def a_reset_is_the_initial_state(make: Make) -> None:
    """Whoever hands in initial states need not say where games start."""
    layer = make(0)
    frames = [tf.constant(x) for x in np.moveaxis(inputs()[0], 1, 0)[:3]]
    no, yes = (tf.constant([value] * BATCH) for value in (False, True))
    _, state = layer.step(frames[0], layer.initial_state(BATCH), None)
    told, after = layer.step(frames[1], state, yes)
    given, after_given = layer.step(frames[1], layer.initial_state(BATCH), None)
    assert_close(told, given)
    assert_close(layer.step(frames[2], after, no)[0], layer.step(frames[2], after_given, None)[0])


def compiles(make: Make) -> None:
    """XLA gives the eager results, outputs and gradients."""
    layer = make(0)
    x, is_resetting = inputs()
    state = layer.initial_state(BATCH)

    def loss_and_gradients(x: tf.Tensor) -> tuple:
        with tf.GradientTape() as tape:
            y, _ = layer.unroll(x, state, tf.constant(is_resetting))
            loss = tf.reduce_sum(tf.sin(y))
        return loss, tape.gradient(loss, layer.trainable_variables)

    eager = loss_and_gradients(tf.constant(x))
    compiled = tf.function(loss_and_gradients, jit_compile=True, autograph=False)(tf.constant(x))
    assert all(np.isfinite(value).all() for value in keras.tree.flatten(eager))
    assert_close(eager, compiled, atol=2e-4)
    weights = zip(layer.trainable_variables, eager[1], strict=True)
    dead = [w.path for w, g in weights if not np.abs(np.asarray(g)).max() > 0]
    assert not dead, f"no gradient reaches {dead}"


def symbolic_shape_matches(make: Make) -> None:
    """A symbolic call knows the eager call's shape."""
    layer = make(0)
    x, is_resetting = inputs()
    eager = layer(tf.constant(x), tf.constant(is_resetting))
    symbolic = layer(
        keras.Input((TIME, FEATURES), batch_size=BATCH),
        keras.Input((TIME,), dtype="bool", batch_size=BATCH),
    )
    assert tuple(symbolic.shape) == tuple(eager.shape)


def weights_round_trip(make: Make, folder: Path) -> None:
    """Weights come back from a file, and are a function of the seed."""
    one, same, other = make(0), make(0), make(1)
    x, is_resetting = inputs()
    y, _ = unroll(one, x, is_resetting)
    assert_close(y, unroll(same, x, is_resetting)[0], atol=0)
    assert np.abs(y - unroll(other, x, is_resetting)[0]).max() > 1e-3
    path = folder / "layer.weights.h5"
    saving_lib.save_weights_only(one, path)
    saving_lib.load_weights_only(other, path)
    assert_close(y, unroll(other, x, is_resetting)[0], atol=0)


def dropout_only_trains(make: Make) -> None:
    """Dropout acts with training=True only, and differently each time."""
    layer = make(0)
    x, is_resetting = (tf.constant(v) for v in inputs())
    state = layer.initial_state(BATCH)
    run = tf.function(
        lambda training: layer.unroll(x, state, is_resetting, training=training)[0],
        autograph=False,
    )
    still, again = run(False), run(False)
    assert_close(still, again, atol=0)
    first, second = np.asarray(run(True)), np.asarray(run(True))
    assert np.abs(first - np.asarray(still)).max() > 1e-3
    assert np.abs(first - second).max() > 1e-3


TEMPORAL_CHECKS = (
    step_equals_unroll,
    unroll_splits,
    rows_are_independent,
    is_causal,
    reset_forgets,
    a_reset_is_the_initial_state,
    compiles,
    symbolic_shape_matches,
)
"""Checks that need nothing but the layer."""
