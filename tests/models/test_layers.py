"""LSTM, GRU, attention, convolution and dropout against plain references."""

import contracts
import keras
import numpy as np
import pytest
import tensorflow as tf

from models.layers.causal_convolution import convolve
from models.layers.delta_bias import DELTA_MAX, DELTA_MIN
from models.layers.dropout import Dropout
from models.layers.mamba import MambaBlock
from models.layers.recurrent import GRULayer, LSTMLayer
from models.layers.sliding_window_attention import (
    SlidingWindowAttention,
    step_window,
    unroll_window,
)
from models.layers.time_scan import time_scan


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def numpy_lstm(x, is_resetting, weights, state):
    """Frame by frame in float64: normed outputs, and the last h and c."""
    kernel, bias, recurrent = (weights[k] for k in ("input_kernel", "input_bias", "recurrent"))
    (h, c), outputs = state, []
    for t in range(x.shape[1]):
        keep = 1 - is_resetting[:, t, None]
        h, c = h * keep, c * keep
        i, f, g, o = np.split(x[:, t] @ kernel + bias + h @ recurrent, 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        outputs.append(normed(h))
    return np.stack(outputs, axis=1), h, c


def numpy_gru(x, is_resetting, weights, state):
    """Frame by frame in float64: normed outputs, and the last h."""
    kernel, bias, recurrent = (weights[k] for k in ("input_kernel", "input_bias", "recurrent"))
    (h,), outputs = state, []
    for t in range(x.shape[1]):
        h = h * (1 - is_resetting[:, t, None])
        (z, r, n), (hz, hr, hn) = (
            np.split(v, 3, -1) for v in (x[:, t] @ kernel + bias, h @ recurrent)
        )
        z, r = sigmoid(z + hz), sigmoid(r + hr)
        h = z * h + (1 - z) * np.tanh(n + r * (hn + weights["recurrent_bias"]))
        outputs.append(normed(h))
    return np.stack(outputs, axis=1), h


def normed(h):
    return (h - h.mean(-1, keepdims=True)) / np.sqrt(h.var(-1, keepdims=True) + 1e-6)


RECURRENT = {
    "lstm": (LSTMLayer, numpy_lstm, keras.layers.LSTM),
    "gru": (GRULayer, numpy_gru, keras.layers.GRU),
}


def recurrent_case(name):
    """A layer away from its initial biases, its variables by name, and a state to start from."""
    layer = RECURRENT[name][0](6, seed=3)
    layer.build((None, None, contracts.FEATURES))
    variables = {
        "input_kernel": layer.input_proj.kernel,
        "input_bias": layer.input_proj.bias,
        "recurrent": layer.recurrent_kernel,
    }
    if layer.recurrent_bias is not None:
        variables["recurrent_bias"] = layer.recurrent_bias
    rng = np.random.default_rng(5)
    for variable in variables.values():
        if len(variable.shape) == 1:
            variable.assign(variable.value + rng.normal(0, 0.5, variable.shape))
    parts = len(layer.cell.state_names)
    return layer, variables, rng.standard_normal((parts, contracts.BATCH, 6))


@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent_layer_equals_a_numpy_loop(name):
    layer, variables, state = recurrent_case(name)
    x, is_resetting = contracts.inputs()
    weights = {name: np.asarray(v, np.float64) for name, v in variables.items()}
    want = RECURRENT[name][1](x, is_resetting, weights, state)
    start = tuple(tf.constant(s, tf.float32) for s in state)
    y, last = contracts.unroll(layer, x, is_resetting, start)
    for got, expected in zip((y, *last), want, strict=True):
        np.testing.assert_allclose(got, expected, atol=2e-5)


@pytest.mark.parametrize(
    ("name", "of"),
    [
        (name, of)
        for name, more in (("lstm", ()), ("gru", ("recurrent_bias",)))
        for of in ("recurrent", "input_kernel", "input_bias", "state", "x", *more)
    ],
)
def test_recurrent_gradients_by_central_differences(name, of):
    layer, variables, state = recurrent_case(name)
    x, is_resetting = contracts.inputs()
    rng = np.random.default_rng(1)
    shapes = [(3, contracts.TIME, 6), *[(3, 6)] * len(state)]
    mixing = [rng.standard_normal(s) for s in shapes]
    values = {n: np.asarray(v, np.float64) for n, v in variables.items()} | {
        "state": state,
        "x": x.astype(np.float64),
    }
    direction = rng.standard_normal(values[of].shape)

    def loss(shift: float) -> float:
        v = values | {of: values[of] + shift * direction}
        outputs = RECURRENT[name][1](v["x"], is_resetting, v, v["state"])
        return float(sum((m * o).sum() for m, o in zip(mixing, outputs, strict=True)))

    slope = (loss(1e-6) - loss(-1e-6)) / 2e-6
    tensors = {"state": tf.constant(state, tf.float32), "x": tf.constant(x)}
    with tf.GradientTape() as tape:
        tape.watch(list(tensors.values()))
        start = tuple(tensors["state"][i] for i in range(len(state)))
        y, last = layer.unroll(tensors["x"], start, tf.constant(is_resetting))
        total = sum(tf.reduce_sum(m * o) for m, o in zip(mixing, (y, *last), strict=True))
    source = tensors.get(of, variables.get(of))
    gradient = np.asarray(tape.gradient(total, getattr(source, "value", source)))
    np.testing.assert_allclose((gradient * direction).sum(), slope, rtol=1e-3)


@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent_layer_is_that_of_keras(name):
    """With the same numbers, in outputs, state and gradients; without resets, which Keras lacks."""
    make, _, of_keras = RECURRENT[name]
    ours = make(6, is_normed=False, seed=3)
    theirs = of_keras(6, return_sequences=True, return_state=True)
    x = tf.constant(contracts.inputs()[0])
    for layer in (ours, theirs):
        layer.build((None, None, contracts.FEATURES))
    rng = np.random.default_rng(2)
    kernel, recurrent, bias = (rng.normal(0, 0.5, v.shape) for v in theirs.weights)
    ours.input_proj.kernel.assign(kernel)
    ours.recurrent_kernel.assign(recurrent)
    if name == "gru":  # Keras keeps two biases of the gates, which only ever count as their sum.
        bias[1, :12] = 0
        ours.recurrent_bias.assign(bias[1, 12:])
    ours.input_proj.bias.assign(bias[0] if name == "gru" else bias)
    theirs.set_weights([kernel, recurrent, bias])
    state = tuple(tf.constant(rng.normal(size=(3, 6)), tf.float32) for _ in ours.cell.state_names)
    with tf.GradientTape(persistent=True) as tape:
        y, last = ours.unroll(x, state, tf.zeros(x.shape[:2], tf.bool))
        want, *want_last = theirs(x, initial_state=list(state))
        losses = [tf.reduce_sum(tf.sin(v)) for v in (y, want)]
    contracts.assert_close((y, last), (want, tuple(want_last)), atol=1e-5)
    variables = [ours.input_proj.kernel, ours.recurrent_kernel]
    gradients = tape.gradient(losses[0], [v.value for v in variables])
    expected = tape.gradient(losses[1], [v.value for v in theirs.trainable_weights[:2]])
    contracts.assert_close(gradients, expected, atol=1e-4)


def naive_attention(layer, x, is_resetting):
    """Every query against every key of the whole sequence, in float64, with an explicit mask."""
    batch, time, width = x.shape
    heads, size = layer.num_heads, layer.head_dim
    kernel, bias = (np.asarray(w, np.float64) for w in layer.qkv.weights)
    out_kernel, out_bias = (np.asarray(w, np.float64) for w in layer.out.weights)
    age_bias = np.asarray(layer.age_bias, np.float64)
    qkv = (x @ kernel + bias).reshape(batch, time, 3, heads, size)
    if layer.qk_layernorm:
        qk = qkv[:, :, :2]
        variance = qk.var(-1, keepdims=True)
        qkv[:, :, :2] = (qk - qk.mean(-1, keepdims=True)) / np.sqrt(variance + 1e-6)
    y = np.zeros((batch, time, heads, size))
    for b in range(batch):
        for t in range(time):
            first = max([0, t - layer.window + 1, *[s for s in range(t + 1) if is_resetting[b, s]]])
            for head in range(heads):
                keys, values = qkv[b, first : t + 1, 1, head], qkv[b, first : t + 1, 2, head]
                logits = keys @ qkv[b, t, 0, head] / np.sqrt(size)
                logits += age_bias[t - np.arange(first, t + 1), head]
                weights = np.exp(logits - logits.max())
                y[b, t, head] = weights @ values / weights.sum()
    return y.reshape(batch, time, width) @ out_kernel + out_bias


@pytest.mark.parametrize(
    "options",
    [
        {"window": 5}, {"window": 5, "chunk": 3}, {"window": 40}, {"window": 2, "chunk": 1},
        {"window": 5, "key_block": 2}, {"window": 7, "chunk": 4, "key_block": 3},
        {"window": 5, "qk_layernorm": False},
    ],
    ids=str,
)  # fmt: skip
def test_attention_equals_naive_masked_attention(options):
    layer = SlidingWindowAttention(8, num_heads=2, seed=5, **options)
    layer.build((None, 8))
    rng = np.random.default_rng(4)
    x = rng.standard_normal((3, 19, 8)).astype(np.float32)
    is_resetting = rng.random((3, 19)) < 0.1
    want = naive_attention(layer, x.astype(np.float64), is_resetting)
    clock = tf.zeros((3,), tf.int32)
    window = unroll_window(clock, tf.constant(is_resetting), layer.window)
    y, _ = layer.unroll(tf.constant(x), layer.initial_cache(3), window)
    np.testing.assert_allclose(y, want, atol=1e-5)
    ring = layer.initial_cache(3)
    for t in range(19):
        clock = tf.where(is_resetting[:, t], 0, clock)
        y_t, ring = layer.step(tf.constant(x[:, t]), ring, step_window(clock, layer.window))
        np.testing.assert_allclose(y_t, want[:, t], atol=1e-5)
        clock = clock + 1


def test_ring_slots_hold_the_last_frames():
    view = step_window(tf.constant([0, 3, 9]), 4)
    np.testing.assert_array_equal(view.age, [[0, 3, 2, 1], [3, 2, 1, 0], [1, 0, 3, 2]])
    np.testing.assert_array_equal(np.asarray(view.is_written)[:, 0, :, 0].argmax(-1), [0, 3, 1])
    np.testing.assert_array_equal(
        np.asarray(view.mask)[:, 0, 0] == 0, [[1, 0, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1]]
    )


def numpy_convolution(u, history, is_resetting, kernel, bias):
    """Frame by frame: silu of the convolution, and the history after."""
    past, outputs = history.copy(), []
    for t in range(u.shape[1]):
        past[is_resetting[:, t]] = 0
        past = np.concatenate([past, u[:, t : t + 1]], axis=1)[:, -len(kernel) :]
        mixed = (past * kernel).sum(1) + bias
        outputs.append(mixed * sigmoid(mixed))
        past = past[:, 1:]
    return np.stack(outputs, axis=1), past


def convolution_inputs(time):
    rng = np.random.default_rng(time)
    shapes = {"u": (2, time, 8), "history": (2, 3, 8), "kernel": (4, 8), "bias": (8,)}
    is_resetting = rng.random((2, time)) < 0.2
    is_resetting[0, time // 2] = True
    return {name: rng.standard_normal(shape) for name, shape in shapes.items()}, is_resetting


def convolved(inputs, is_resetting):
    weights = {name: inputs[name] for name in ("kernel", "bias")}
    return convolve(inputs["u"], inputs["history"], tf.constant(is_resetting), **weights)


@pytest.mark.parametrize("time", [1, 2, 3, 9])
def test_convolution_equals_numpy_and_never_crosses_a_reset(time):
    inputs, is_resetting = convolution_inputs(time)
    got = convolved({n: tf.constant(v, tf.float32) for n, v in inputs.items()}, is_resetting)
    want = numpy_convolution(is_resetting=is_resetting, **inputs)
    for one, other in zip(got, want, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("time", [1, 2, 3, 9])
@pytest.mark.parametrize("name", ["u", "history", "kernel", "bias"])
def test_gradients_of_the_convolution_are_finite_differences(time, name):
    inputs, is_resetting = convolution_inputs(time)
    rng = np.random.default_rng(1)
    by_outputs = [rng.standard_normal((2, n, 8)) for n in (time, 3)]

    def total(value):
        outputs = numpy_convolution(is_resetting=is_resetting, **(inputs | {name: value}))
        return sum((o * g).sum() for o, g in zip(outputs, by_outputs, strict=True))

    want = np.zeros_like(inputs[name])
    for place in np.ndindex(want.shape):
        step = np.zeros_like(want)
        step[place] = 1e-5
        want[place] = (total(inputs[name] + step) - total(inputs[name] - step)) / 2e-5
    tensors = {n: tf.Variable(v, dtype=tf.float32) for n, v in inputs.items()}
    with tf.GradientTape() as tape:
        outputs = convolved(tensors, is_resetting)
    got = tape.gradient(outputs, tensors[name], [tf.constant(g, tf.float32) for g in by_outputs])
    np.testing.assert_allclose(got, want, atol=2e-4)


def test_mamba_starts_as_the_paper_says():
    block = MambaBlock(64, state_size=5, seed=1)
    block.build((None, None, 64))
    delta = np.log1p(np.exp(np.asarray(block.delta_proj.bias, np.float64)))
    assert delta.min() >= DELTA_MIN * 0.999
    assert delta.max() <= DELTA_MAX * 1.001
    assert np.abs(np.log(delta).mean() - np.log(DELTA_MIN * DELTA_MAX) / 2) < 0.3
    np.testing.assert_allclose(np.exp(np.asarray(block.a_log))[:, 0], [1, 2, 3, 4, 5], rtol=1e-6)
    assert (np.asarray(block.skip) == 1).all()
    assert (np.asarray(block.conv_bias) == 0).all()


@pytest.mark.parametrize("width", [8, 64, 256])
def test_delta_starts_within_the_papers_bound(width):
    """Uniform within delta_rank ** -0.5 (its repository's `dt_init`), whatever the inner width."""
    block = MambaBlock(width, expand_factor=4, seed=1)
    block.build((None, None, width))
    kernel, bound = np.asarray(block.delta_proj.kernel), max(width // 16, 1) ** -0.5
    assert kernel.shape == (block.delta_rank, 4 * width)
    assert np.abs(kernel).max() <= bound
    sigma = bound / np.sqrt(3)
    assert abs(kernel.std() - sigma) < 4 * sigma * np.sqrt(0.2 / kernel.size)
    assert abs(kernel.mean()) < 4 * sigma / np.sqrt(kernel.size)


@pytest.mark.parametrize("jit", [False, True])
def test_dropout_keeps_the_mean_and_draws_anew(jit):
    layer = Dropout(0.3, seed=7)
    x = tf.ones((50, 40, 20))
    run = tf.function(lambda x: layer(x, training=True), jit_compile=jit, autograph=False)
    masks = np.stack([np.asarray(run(x)) for _ in range(5)])
    np.testing.assert_allclose(np.unique(masks), [0, 1 / 0.7], rtol=1e-6)
    kept = (masks > 0).reshape(5, -1)
    sigma = np.sqrt(0.3 * 0.7 / kept.shape[1])
    assert (np.abs(kept.mean(1) - 0.7) < 4 * sigma).all()
    correlation = np.corrcoef(kept) - np.eye(5)
    assert np.abs(correlation).max() < 0.03
    shifted = np.corrcoef(kept[0, 1:], kept[0, :-1])[0, 1]
    assert abs(shifted) < 0.03
    assert layer(x, training=False) is x


def test_dropout_sequence_is_saved_state():
    one, two = Dropout(0.5, seed=7), Dropout(0.5, seed=7)
    x = tf.ones((4, 100))
    first = np.asarray(one(x, training=True))
    state = np.asarray(one.seed_generator.state)
    second = np.asarray(one(x, training=True))
    two.seed_generator.state.assign(state)
    np.testing.assert_array_equal(second, two(x, training=True))
    assert (first != second).any()
    assert len(one.variables) == 1


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("unroll", [1, 2, 3, 8])
@pytest.mark.parametrize("knows_output", [False, True])
def test_time_scan_equals_a_python_loop(reverse, unroll, knows_output):
    x = np.arange(21, dtype=np.float32).reshape(7, 3)
    like = (tf.zeros(3), tf.zeros(3)) if knows_output else None
    carry, (y, twice) = time_scan(
        lambda c, f: (c * 0.5 + f[0], (c, 2 * f[0])),
        tf.zeros(3),
        (tf.constant(x),),
        reverse=reverse,
        like=like,
        unroll=unroll,
    )
    want, outputs = np.zeros(3), {}
    for t in range(7)[:: -1 if reverse else 1]:
        outputs[t] = want
        want = want * 0.5 + x[t]
    np.testing.assert_allclose(carry, want)
    np.testing.assert_allclose(y, [outputs[t] for t in range(7)])
    np.testing.assert_allclose(twice, 2 * x)
