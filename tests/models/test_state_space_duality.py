"""Mamba-2's scan in chunks against a float64 loop in numpy, forward and backward."""

import numpy as np
import pytest
import tensorflow as tf

from models.layers.state_space_duality import Flow, chunked_scan, scan_frame

BATCH, TIME, CHANNELS, HEADS, STATES = 2, 23, 6, 3, 4
NAMES = ("x", "log_decay", "b", "c", "state")


def case(decay_scale: float = 0.3, *, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "x": rng.standard_normal((BATCH, TIME, CHANNELS)),
        "log_decay": -np.abs(rng.standard_normal((BATCH, TIME, HEADS))) * decay_scale,
        "b": rng.standard_normal((BATCH, TIME, STATES)),
        "c": rng.standard_normal((BATCH, TIME, STATES)),
        "state": rng.standard_normal((BATCH, STATES, CHANNELS)),
        "is_resetting": rng.random((BATCH, TIME)) < 0.15,
    }


def reference(v: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The recurrence of §2 with one decay per head, frame by frame, in float64."""
    h, outputs = v["state"].astype(np.float64), []
    for t in range(v["x"].shape[1]):
        h = np.where(v["is_resetting"][:, t, None, None], 0.0, h)
        decay = np.repeat(np.exp(v["log_decay"][:, t]), CHANNELS // HEADS, axis=-1)
        h = decay[:, None] * h + v["b"][:, t, :, None] * v["x"][:, t, None, :]
        outputs.append((v["c"][:, t, :, None] * h).sum(1))
    return np.stack(outputs, axis=1), h


def scan(tensors: dict, resets: np.ndarray, chunk_frames: int) -> tuple:
    flow = Flow(*(tensors[name] for name in NAMES[:4]))
    return chunked_scan(flow, tensors["state"], tf.constant(resets), chunk_frames=chunk_frames)


def float32(v: dict[str, np.ndarray]) -> dict[str, tf.Tensor]:
    return {name: tf.constant(v[name], tf.float32) for name in NAMES}


@pytest.mark.parametrize("decay_scale", [1e-6, 0.3, 20.0])
@pytest.mark.parametrize("chunk_frames", [1, 8, 23, 100])
def test_equals_float64_loop(decay_scale, chunk_frames):
    v = case(decay_scale)
    y, h = scan(float32(v), v["is_resetting"], chunk_frames)
    want_y, want_h = reference(v)
    # Differences of sums of log decays: 5e-6 of 20 per frame over a chunk.
    np.testing.assert_allclose(y, want_y, atol=2e-5)
    np.testing.assert_allclose(h, want_h, atol=2e-5)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_equal_central_differences_in_float64(name):
    v, rng = case(), np.random.default_rng(1)
    weights = rng.standard_normal(v["x"].shape), rng.standard_normal(v["state"].shape)
    direction = rng.standard_normal(v[name].shape)

    def loss(shift: float) -> float:
        y, h = reference(v | {name: v[name] + shift * direction})
        return float((weights[0] * y).sum() + (weights[1] * h).sum())

    tensors = float32(v)
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        y, h = scan(tensors, v["is_resetting"], 8)
        total = tf.reduce_sum(weights[0] * tf.cast(y, tf.float64))
        total += tf.reduce_sum(weights[1] * tf.cast(h, tf.float64))
    got = (np.asarray(tape.gradient(total, tensors)[name]) * direction).sum()
    np.testing.assert_allclose(got, (loss(1e-5) - loss(-1e-5)) / 2e-5, rtol=1e-5)


def test_gradients_stay_finite_where_all_is_forgotten():
    v = case(1.0)
    v["log_decay"][:, ::2] = -20.0
    v["is_resetting"][:, ::3] = True
    tensors = float32(v)
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        y, _ = scan(tensors, v["is_resetting"], 23)
    assert all(np.isfinite(g).all() for g in tape.gradient(y, tensors).values())


def test_frames_one_by_one_give_the_scan():
    v = case()
    tensors = float32(v)
    want_y, want_h = reference(v)
    state = tensors["state"]
    for t in range(TIME):
        flow = Flow(*(tensors[name][:, t : t + 1] for name in NAMES[:4]))
        y, state = scan_frame(flow, state, tf.constant(v["is_resetting"][:, t]))
        np.testing.assert_allclose(y[:, 0], want_y[:, t], atol=1e-5)
    np.testing.assert_allclose(state, want_h, atol=1e-5)
