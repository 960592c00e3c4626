"""8-bit grids: their numbers against numpy, and that no matrix product escapes them."""

import keras
import numpy as np
import policy_inputs
import pytest
import tensorflow as tf
from any_backbone import any_backbone, each, wake

from models.layers import quantized
from models.layers.quantized import ActivationQuantizer, Dense, activation_quantizers, ranges
from models.policy import Policy
from models.policy_config import (
    EmbeddingConfig,
    HeadConfig,
    PolicyConfig,
    QuantizationConfig,
)

ROUNDINGS = ("dynamic", "moving_average")
BATCH, TIME = 3, 6
RANGED = {"qat": True, "qat_activations": "moving_average", "quantize_embeddings": False}


def config(backbone: str, **quantization) -> PolicyConfig:
    return PolicyConfig(
        EmbeddingConfig(action_dim=4),
        any_backbone(
            backbone, hidden=(16, 16), num_layers=2, state_size=4, num_heads=2, window_size=5
        ),
        HeadConfig(head_hidden=8),
        QuantizationConfig(**(RANGED | quantization)),
    )


def unroll(policy: Policy, seed: int = 0, *, training: bool = False) -> np.ndarray:
    """Logits of random frames, `[batch, time, num_logits]`."""
    columns = policy_inputs.columns(BATCH, TIME, seed=seed)
    columns["name"] = columns["name"][:, 0]
    logits, _ = policy.unroll(
        {name: tf.constant(v) for name, v in columns.items()},
        policy_inputs.prev_action(BATCH, TIME, seed=seed),
        policy_inputs.targets(policy.config.head.codec, BATCH, TIME, seed=seed),
        state=policy.initial_state(BATCH),
        is_resetting=tf.repeat(tf.range(TIME)[None] == 0, BATCH, 0),
        training=training,
    )
    return np.concatenate([np.asarray(v) for v in logits.values()], axis=-1)


def calibrated(policy: Policy) -> Policy:
    for quantizer in activation_quantizers(policy):
        quantizer.forget()
    with ranges("calibrate"):
        unroll(policy, seed=0)
        unroll(policy, seed=1)
    return policy


# -- Numbers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_kernel_lies_on_its_grid(dtype):
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(7, 5)) * [1.0, 1e-3, 50.0, 0.0, 1.0]
    given = tf.cast(tf.constant(kernel, tf.float32), dtype)
    rounded = quantized.quantize_kernel(given)
    assert rounded.dtype == given.dtype
    values = np.asarray(tf.cast(given, tf.float64))
    scale = np.abs(values).max(axis=0) / 127
    expected = np.round(values / np.where(scale > 0, scale, 1)) * scale
    atol = 1e-6 if dtype == "float32" else 0.2
    np.testing.assert_allclose(np.asarray(tf.cast(rounded, tf.float64)), expected, atol=atol)


def test_gradients_pass_a_rounded_kernel():
    kernel, weight = (tf.constant(np.random.default_rng(i).normal(size=(4, 3))) for i in (0, 1))
    kernel, weight = tf.cast(kernel, tf.float32), tf.cast(weight, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(kernel)
        loss = tf.reduce_sum(weight * quantized.quantize_kernel(kernel))
    np.testing.assert_allclose(tape.gradient(loss, kernel), weight, atol=1e-6)


def test_activations_are_rounded_within_range_and_clipped_beyond():
    layer = ActivationQuantizer()
    layer.build()
    layer.low.assign(-1.0)
    layer.high.assign(3.0)
    x = np.linspace(-2, 4, 601).astype(np.float32)
    y = np.asarray(layer(tf.constant(x)))
    step = 4 / 255
    inside = (x > -1) & (x < 3)
    assert np.abs(y - x)[inside].max() <= step / 2 * 1.01
    assert len(np.unique(y)) == 256
    assert y.min() == pytest.approx(-1, abs=step)
    assert y.max() == pytest.approx(3, abs=step)
    assert 0.0 in y  # an absent thing stays absent


def test_ranges_move_only_when_asked():
    layer = ActivationQuantizer()
    layer.build()

    def bounds():
        return float(layer.low.value), float(layer.high.value)

    first, second = tf.constant([-1.0, 5.0]), tf.constant([0.5, 9.0])
    layer(first)
    assert bounds() == (-quantized.INITIAL_RANGE, quantized.INITIAL_RANGE)
    layer.forget()
    with ranges("calibrate"):
        layer(second)
        assert bounds() == (0.0, 9.0)  # zero is always inside
        layer(first)
    assert bounds() == (-1.0, 9.0)
    with ranges("observe"):
        layer(first)
    # TFMOT's moving average: 0.999 of the old range, 0.001 of the batch's.
    assert bounds() == pytest.approx((-1.0, 0.999 * 9 + 0.001 * 5))
    with ranges("off"):
        x = tf.constant([0.1234567, 77.0])
        assert layer(x) is x
    assert bounds()[1] == pytest.approx(0.999 * 9 + 0.001 * 5)


def test_an_empty_range_is_given_a_width():
    layer = ActivationQuantizer()
    layer.build()
    layer.forget()
    layer.settle()
    assert float(layer.high.value) == pytest.approx(quantized.INITIAL_RANGE * quantized.WIDER)


def test_a_product_is_the_integer_one():
    """The int32 product of both integers times both scales, as an integer kernel computes it."""
    rng = np.random.default_rng(0)
    layer = Dense(6, quantize="moving_average")
    layer.build((None, 9))
    layer.kernel.assign(rng.normal(size=(9, 6)))
    layer.bias.assign(rng.normal(size=6))
    x = rng.uniform(-2, 2, (4, 9)).astype(np.float32)
    layer.input_quantizer.forget()
    with ranges("calibrate"):
        layer(tf.constant(x))
    low, high = float(x.min()), float(x.max())
    a_scale = (high - low) / 255
    zero = round(-low / a_scale)
    a = np.clip(np.round(x / a_scale) + zero, 0, 255).astype(np.int32)
    kernel = np.asarray(layer.kernel.value, np.float64)
    w_scale = np.abs(kernel).max(axis=0) / 127
    w = np.round(kernel / w_scale).astype(np.int32)
    expected = ((a - zero) @ w) * a_scale * w_scale + np.asarray(layer.bias.value)
    # A tie may round either way: one step of one activation.
    assert np.abs(np.asarray(layer(tf.constant(x))) - expected).max() < 1e-4


def test_blocks_of_a_row_have_scales_of_their_own():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 2, 150)).astype(np.float32)
    x[0, 0, :128] *= 100
    x[1, 1, 128:] = 0
    assert quantized.block_size(150) == 32  # of 128, 106 of 256 places would be padding
    y = np.asarray(quantized.quantize_blocks(tf.constant(x), 64))
    for start in range(0, 150, 64):
        block = x[..., start : start + 64].astype(np.float64)
        scale = np.abs(block).max(axis=-1, keepdims=True) / 127
        expected = np.round(block / np.where(scale > 0, scale, 1)) * scale
        np.testing.assert_allclose(y[..., start : start + 64], expected, rtol=1e-6, atol=1e-30)
    rows = quantized.quantize_blocks(tf.constant(x[:1]), 64)
    np.testing.assert_array_equal(rows, y[:1])  # whatever the other rows hold
    with tf.GradientTape() as tape:
        value = tf.constant(x)
        tape.watch(value)
        total = tf.reduce_sum(quantized.quantize_blocks(value) * x)
    np.testing.assert_allclose(tape.gradient(total, value), x, rtol=1e-6)


@pytest.mark.parametrize(
    ("inputs", "block"), [(8, 16), (16, 16), (64, 64), (269, 32), (378, 128), (512, 128)]
)
def test_blocks_pad_little(inputs, block):
    assert quantized.block_size(inputs) == block


def test_kernels_alone():
    layer = Dense(6, quantize="dynamic")
    layer.build((None, 9))
    assert not layer.non_trainable_weights
    x = tf.constant(np.random.default_rng(0).normal(size=(4, 9)).astype(np.float32))
    with ranges("kernels"):
        y = layer(x)
    expected = tf.matmul(x, quantized.quantize_kernel(layer.kernel.value))
    np.testing.assert_allclose(y, expected, atol=1e-6)


# -- Networks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("backbone", each())
def test_no_product_with_a_weight_is_left_float(backbone):
    """Every product in a step's graph reads rounded operands, but those without weights."""
    policy = Policy(config(backbone))
    state = policy.initial_state(1)
    layout = policy.embedding.inputs

    def step():
        return policy.step_joined(
            tf.zeros((1, layout.num_numbers)),
            tf.zeros((1, layout.num_ids), tf.int32),
            tf.zeros((1, 13)),
            state,
            is_resetting=tf.constant([True]),
            uniforms=tf.zeros((1, policy.num_uniforms)),
            temperature=tf.constant([1.0]),
        ).logits

    graph = tf.function(step, autograph=False).get_concrete_function().graph
    products = [op for op in graph.get_operations() if "MatMul" in op.type]
    assert products
    free = [op for op in products if not all(is_rounded(tensor) for tensor in op.inputs)]
    # Attention multiplies activations by activations twice a layer, the scan once.
    assert len(free) == {"sliding_window": 4, "hybrid": 4, "mamba": 2, "mamba2": 2, "jamba": 3}.get(
        backbone, 0
    )
    assert all(not reads_weight(op) for op in free)


MOVES = ("Reshape", "StridedSlice", "Cast", "Identity", "ConcatV2", "ExpandDims", "Squeeze")


def sources(tensor) -> list:
    """What a tensor is made of, past operations that only move or cast numbers."""
    op = tensor.op
    if op.type in MOVES:
        moved = op.inputs if op.type == "ConcatV2" else op.inputs[:1]
        return [s for t in moved for s in sources(t) if t.dtype.is_floating]
    return [op]


def is_rounded(tensor) -> bool:
    found = sources(tensor)
    return bool(found) and all(op.type.startswith("FakeQuant") for op in found)


def reads_weight(op) -> bool:
    return any(s.type == "ReadVariableOp" for tensor in op.inputs for s in sources(tensor))


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("backbone", each())
def test_rounding_changes_little_and_off_changes_nothing(backbone, rounding):
    rounded = calibrated(Policy(config(backbone, qat_activations=rounding), seed=1))
    plain = Policy(config(backbone, qat=False), seed=1)
    reference = unroll(plain)
    with ranges("off"):
        np.testing.assert_array_equal(unroll(rounded), reference)
    difference = np.abs(unroll(rounded) - reference).max()
    assert 1e-4 < difference < 0.2 * np.abs(reference).max()


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("backbone", each())
def test_every_weight_still_learns(backbone, rounding):
    options = {"quantize_embeddings": True, "qat_activations": rounding}
    policy = calibrated(wake(Policy(config(backbone, **options))))
    variables = [v.value for v in policy.trainable_variables]
    with tf.GradientTape() as tape, ranges("observe"):
        columns = policy_inputs.columns(BATCH, TIME)
        columns["name"] = columns["name"][:, 0]
        logits, _ = policy.unroll(
            {name: tf.constant(v) for name, v in columns.items()},
            policy_inputs.prev_action(BATCH, TIME),
            policy_inputs.targets(policy.config.head.codec, BATCH, TIME),
            state=policy.initial_state(BATCH),
            is_resetting=tf.repeat(tf.range(TIME)[None] == 0, BATCH, 0),
            training=True,
        )
        loss = sum(tf.reduce_sum(v * v) for v in logits.values())
    gradients = tape.gradient(loss, variables)
    for variable, gradient in zip(policy.trainable_variables, gradients, strict=True):
        assert gradient is not None, variable.path
        assert np.isfinite(gradient).all(), variable.path
        assert np.abs(gradient).max() > 0, variable.path


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("backbone", each())
def test_step_equals_unroll(backbone, rounding):
    """Except where a number lies on the edge between two grid points."""
    policy = calibrated(Policy(config(backbone, qat_activations=rounding)))
    columns = policy_inputs.columns(BATCH, TIME)
    columns["name"] = columns["name"][:, 0]
    previous = policy_inputs.prev_action(BATCH, TIME)
    expected, _ = policy.unroll_hidden(
        {name: tf.constant(v) for name, v in columns.items()},
        previous,
        state=policy.initial_state(BATCH),
        is_resetting=tf.repeat(tf.range(TIME)[None] == 0, BATCH, 0),
    )
    state, played = policy.initial_state(BATCH), []
    for t in range(TIME):
        frame = {n: tf.constant(v if n == "name" else v[:, t]) for n, v in columns.items()}
        result = policy.step(
            frame,
            {name: v[:, t] for name, v in previous.items()},
            state,
            is_resetting=tf.constant([t == 0] * BATCH),
            uniforms=tf.zeros((BATCH, policy.num_uniforms)),
            temperature=tf.constant(0.0),
        )
        state = result.state
        played.append(result.hidden)
    close = np.isclose(np.stack(played, axis=1), expected, atol=1e-5)
    assert close.mean() > 0.95


def test_embeddings_are_quantized_on_request():
    tables = [calibrated(Policy(config("mlp", quantize_embeddings=q))) for q in (False, True)]
    assert np.abs(unroll(tables[0]) - unroll(tables[1])).max() > 1e-5
    alone = Policy(config("mlp", qat=False, quantize_embeddings=True))
    np.testing.assert_array_equal(unroll(alone), unroll(Policy(config("mlp", qat=False))))


def test_ranges_are_weights_that_do_not_train():
    policy = Policy(config("mamba"))
    names = {v.path.rsplit("/", 1)[1] for v in policy.non_trainable_variables}
    assert {"low", "high"} <= names
    # stem, four per block, head's trunk and its units; buttons' range is fixed.
    assert len(activation_quantizers(policy)) == 1 + 2 * 4 + 2
    assert keras.backend.backend() == "tensorflow"
