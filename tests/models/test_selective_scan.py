"""The scan against a float64 loop in numpy, forward and backward."""

import numpy as np
import pytest
import tensorflow as tf

from models.layers.scan_chunks import WRITTEN, ChunkForm
from models.layers.selective_scan import Selection, selective_scan, selective_scan_step

BATCH, TIME, CHANNELS, STATES = 2, 23, 5, 3
NAMES = ("x", "delta", "a", "b", "c", "d", "state")


def case(delta_scale: float = 0.1, *, time: int = TIME, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    normal = rng.standard_normal
    return {
        "x": normal((BATCH, time, CHANNELS)),
        "delta": np.abs(normal((BATCH, time, CHANNELS))) * delta_scale,
        "a": -np.exp(normal((STATES, CHANNELS))),
        "b": normal((BATCH, time, STATES)),
        "c": normal((BATCH, time, STATES)),
        "d": normal(CHANNELS),
        "state": normal((BATCH, STATES, CHANNELS)),
        "is_resetting": rng.random((BATCH, time)) < 0.15,
    }


def reference(v: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Equation 2 of the paper, frame by frame, in float64."""
    h, outputs = v["state"].astype(np.float64), []
    for t in range(v["x"].shape[1]):
        h = np.where(v["is_resetting"][:, t, None, None], 0.0, h)
        step = v["delta"][:, t, None, :]
        h = np.exp(step * v["a"]) * h + step * v["x"][:, t, None, :] * v["b"][:, t, :, None]
        outputs.append((v["c"][:, t, :, None] * h).sum(1) + v["d"] * v["x"][:, t])
    return np.stack(outputs, axis=1), h


def reference_gradients(v: dict[str, np.ndarray], weights: tuple) -> dict[str, np.ndarray]:
    """d(sum(w_y * y) + sum(w_h * h)) by TensorFlow's autodiff of the plain loop, in float64."""
    tensors = {name: tf.constant(v[name], tf.float64) for name in NAMES}
    with tf.GradientTape() as tape:
        tape.watch(list(tensors.values()))
        h, loss = tensors["state"], tf.constant(0.0, tf.float64)
        for t in range(v["x"].shape[1]):
            h = tf.where(v["is_resetting"][:, t, None, None], tf.zeros_like(h), h)
            step = tensors["delta"][:, t, None, :]
            entering = step * tensors["x"][:, t, None, :] * tensors["b"][:, t, :, None]
            h = tf.exp(step * tensors["a"]) * h + entering
            y = tf.reduce_sum(tensors["c"][:, t, :, None] * h, 1)
            y += tensors["d"] * tensors["x"][:, t]
            loss += tf.reduce_sum(weights[0][:, t] * y)
        loss += tf.reduce_sum(weights[1] * h)
    gradients = tape.gradient(loss, tensors)
    return {name: np.asarray(g) for name, g in gradients.items()}


def scan(
    v: dict[str, np.ndarray],
    chunk_frames: int = 20,
    rows: int | None = None,
    form: ChunkForm | None = None,
) -> tuple:
    f = {name: tf.constant(value, tf.float32) for name, value in v.items() if name in NAMES}
    selection = Selection(f["delta"], f["a"], f["b"], f["c"], f["d"])
    resets = tf.constant(v["is_resetting"])
    return selective_scan(
        f["x"],
        selection,
        f["state"],
        is_resetting=resets,
        chunk_frames=chunk_frames,
        rows=rows,
        form=form,
    )


def gradients(
    v: dict[str, np.ndarray],
    weights: tuple,
    *,
    chunk_frames: int,
    jit: bool,
    rows: int | None = None,
    form: ChunkForm | None = None,
) -> dict:
    def run(**f: tf.Tensor) -> dict:
        with tf.GradientTape() as tape:
            tape.watch(list(f.values()))
            selection = Selection(f["delta"], f["a"], f["b"], f["c"], f["d"])
            y, h = selective_scan(
                f["x"],
                selection,
                f["state"],
                is_resetting=tf.constant(v["is_resetting"]),
                chunk_frames=chunk_frames,
                rows=rows,
                form=form,
            )
            w_y, w_h = (tf.constant(w, tf.float32) for w in weights)
            loss = tf.reduce_sum(w_y * y) + tf.reduce_sum(w_h * h)
        return tape.gradient(loss, f)

    inputs = {name: tf.constant(v[name], tf.float32) for name in NAMES}
    compiled = tf.function(run, jit_compile=True, autograph=False)
    result = compiled(**inputs) if jit else run(**inputs)
    return {name: np.asarray(g) for name, g in result.items()}


def relative_error(got: np.ndarray, want: np.ndarray) -> float:
    return float(np.abs(got - want).max() / max(np.abs(want).max(), 1e-30))


@pytest.mark.parametrize("delta_scale", [1e-6, 0.1, 30.0, 1e4])
@pytest.mark.parametrize(
    ("chunk_frames", "form"), [(1, None), (8, None), (23, None), (100, None), (8, WRITTEN)]
)
def test_forward_equals_float64_loop(delta_scale, chunk_frames, form):
    v = case(delta_scale)
    want_y, want_h = reference(v)
    y, h = scan(v, chunk_frames, form=form)
    assert relative_error(np.asarray(y), want_y) < 1e-6
    assert relative_error(np.asarray(h), want_h) < 1e-6


@pytest.mark.parametrize(
    ("delta_scale", "chunk_frames", "jit", "rows", "form"),
    [
        (0.1, 8, False, None, None),
        (0.1, 23, True, 2, None),
        (0.1, 5, True, 1, None),
        (30.0, 8, False, 1, None),
        (1e-6, 8, False, None, None),
        (0.1, 8, True, None, WRITTEN),
        (30.0, 100, False, None, WRITTEN),
        (1e-6, 5, False, None, WRITTEN),
    ],
)
def test_gradients_equal_float64_autodiff(delta_scale, chunk_frames, jit, rows, form):
    v = case(delta_scale)
    rng = np.random.default_rng(1)
    weights = rng.standard_normal(v["x"].shape), rng.standard_normal(v["state"].shape)
    want = reference_gradients(v, weights)
    got = gradients(v, weights, chunk_frames=chunk_frames, jit=jit, rows=rows, form=form)
    for name in NAMES:
        assert relative_error(got[name], want[name]) < 3e-6, name


@pytest.mark.parametrize("rows", [1, 2])
def test_rows_at_once_change_nothing(rows):
    v = case()
    want_y, want_h = reference(v)
    y, h = scan(v, 8, rows)
    assert relative_error(np.asarray(y), want_y) < 1e-6
    assert relative_error(np.asarray(h), want_h) < 1e-6


def test_a_batch_of_unknown_size():
    v = case()
    f = {name: tf.constant(value, tf.float32) for name, value in v.items() if name in NAMES}

    def run(x, delta, b, c, state, resets):
        selection = Selection(delta, f["a"], b, c, f["d"])
        with tf.GradientTape() as tape:
            tape.watch(x)
            y, h = selective_scan(x, selection, state, is_resetting=resets, chunk_frames=8)
        return y, h, tape.gradient(y, x)

    batched = (f["x"], f["delta"], f["b"], f["c"], f["state"], tf.constant(v["is_resetting"]))
    specs = [tf.TensorSpec((None, *x.shape[1:]), x.dtype) for x in batched]
    y, h, by_x = tf.function(run, input_signature=specs, autograph=False)(*batched)
    weights = np.ones_like(v["x"]), np.zeros_like(v["state"])
    want_y, want_h = reference(v)
    assert relative_error(np.asarray(y), want_y) < 1e-6
    assert relative_error(np.asarray(h), want_h) < 1e-6
    assert relative_error(np.asarray(by_x), reference_gradients(v, weights)["x"]) < 3e-6


def test_gradients_stay_finite_at_extreme_delta():
    """Where log-space scans give NaN: decays of 0 and of 1 beside each other."""
    v = case(1.0)
    v["delta"][:, ::2] = 1e5
    v["delta"][:, 1::2] = 1e-30
    weights = np.ones_like(v["x"]), np.ones_like(v["state"])
    got = gradients(v, weights, chunk_frames=8, jit=False)
    want = reference_gradients(v, weights)
    for name in NAMES:
        assert np.isfinite(got[name]).all(), name
        assert relative_error(got[name], want[name]) < 1e-5, name


@pytest.mark.parametrize("name", NAMES)
def test_reference_gradients_by_central_differences(name):
    """The reference's own gradient is right: numpy loop, float64, one random direction."""
    v = case(0.3, time=9)
    rng = np.random.default_rng(2)
    weights = rng.standard_normal(v["x"].shape), rng.standard_normal(v["state"].shape)
    direction = rng.standard_normal(v[name].shape)

    def loss(shift: float) -> float:
        y, h = reference(v | {name: v[name] + shift * direction})
        return float((weights[0] * y).sum() + (weights[1] * h).sum())

    slope = (loss(1e-5) - loss(-1e-5)) / 2e-5
    want = (reference_gradients(v, weights)[name] * direction).sum()
    got = (gradients(v, weights, chunk_frames=4, jit=False)[name] * direction).sum()
    np.testing.assert_allclose(slope, want, rtol=1e-6)
    np.testing.assert_allclose(slope, got, rtol=1e-4)


def test_reset_hides_the_state_from_gradients():
    v = case()
    v["is_resetting"][:] = False
    v["is_resetting"][:, 4] = True
    weights = np.ones_like(v["x"]), np.ones_like(v["state"])
    weights[0][:, :4] = 0
    got = gradients(v, weights, chunk_frames=8, jit=False)
    assert (got["state"] == 0).all()
    assert (got["x"][:, :4] == 0).all()
    assert (got["x"][:, 4:] != 0).all()


def test_step_equals_one_frame_of_the_scan():
    v = case(time=1)
    v["is_resetting"][:] = False
    y, h = scan(v)
    f = {name: tf.constant(v[name], tf.float32) for name in NAMES}
    one = Selection(f["delta"], f["a"], f["b"], f["c"], f["d"])
    no = tf.constant([False] * f["x"].shape[0])
    y_step, h_step = selective_scan_step(f["x"], one, f["state"], is_resetting=no)
    np.testing.assert_allclose(y, y_step, atol=1e-6)
    np.testing.assert_allclose(h, h_step, atol=1e-6)


def test_a_step_that_resets_forgets_all():
    v = case(time=1)
    f = {name: tf.constant(v[name], tf.float32) for name in NAMES}
    one = Selection(f["delta"], f["a"], f["b"], f["c"], f["d"])
    yes = tf.constant([True] * f["x"].shape[0])
    states = (f["state"], 0 * f["state"])
    got, fresh = (selective_scan_step(f["x"], one, h, is_resetting=yes) for h in states)
    for one_, other in zip(got, fresh, strict=True):
        np.testing.assert_array_equal(one_, other)


def test_shapes_must_agree():
    v = case()
    v["delta"] = v["delta"][:, :-1]
    with pytest.raises(ValueError, match="want x and delta of one shape"):
        scan(v)
