"""The whole policy: step against unroll, determinism, files, compilation, and that it learns."""

import keras
import numpy as np
import policy_inputs
import pytest
import tensorflow as tf
from any_backbone import any_backbone, each

from exphil_tf.features.controller import COMPONENTS
from models.heads import distribution
from models.policy import Policy
from models.policy_config import EmbeddingConfig, HeadConfig, PolicyConfig

BATCH, TIME = 3, 7
SMALL = {"hidden": (16,), "num_layers": 1, "state_size": 4, "num_heads": 2, "window_size": 5}


def config(backbone: str = "mamba", **head) -> PolicyConfig:
    small = any_backbone(backbone, **SMALL)
    return PolicyConfig(EmbeddingConfig(action_dim=8), small, HeadConfig(head_hidden=8, **head))


def batch(policy: Policy, seed: int = 0) -> dict:
    arrays = {
        "columns": policy_inputs.columns(BATCH, TIME, seed=seed),
        "prev_action": policy_inputs.prev_action(BATCH, TIME, seed=seed),
        "targets": policy_inputs.targets(policy.config.head.codec, BATCH, TIME, seed=seed),
    }
    inputs: dict = keras.tree.map_structure(tf.constant, arrays)  # pyright: ignore[reportAssignmentType]
    is_resetting = np.zeros((BATCH, TIME), bool)
    is_resetting[:, 0] = is_resetting[1, 4] = True
    return inputs | {"is_resetting": tf.constant(is_resetting)}


def unroll(policy: Policy, inputs: dict, **options):
    return policy.unroll(
        inputs["columns"],
        inputs["prev_action"],
        inputs["targets"],
        state=policy.initial_state(BATCH),
        is_resetting=inputs["is_resetting"],
        **options,
    )


def frame(nest, t: int):
    return keras.tree.map_structure(lambda x: x[:, t], nest)


@pytest.mark.parametrize("head", ["autoregressive", "independent"])
@pytest.mark.parametrize("backbone", each())
def test_played_frames_equal_the_unroll_teacher_forced_on_the_played_actions(backbone, head):
    policy = Policy(config(backbone, head=head), seed=1)
    inputs = batch(policy)
    step = tf.function(policy.step, autograph=False)
    state, played = policy.initial_state(BATCH), []
    rng = np.random.default_rng(0)
    for t in range(TIME):
        result = step(
            frame(inputs["columns"], t),
            frame(inputs["prev_action"], t),
            state,
            is_resetting=inputs["is_resetting"][:, t],
            uniforms=tf.constant(rng.random((BATCH, policy.num_uniforms)), tf.float32),
            temperature=tf.constant(1.0),
        )
        state = result.state
        played.append(result)
    assert played[0].hidden.shape == (BATCH, policy.backbone.width + 13)
    taken = {n: tf.stack([r.buckets[n] for r in played], axis=1) for n in COMPONENTS}
    logits, _ = unroll(policy, inputs | {"targets": taken})
    for name in COMPONENTS:
        stepped = np.stack([r.logits[name] for r in played], axis=1)
        np.testing.assert_allclose(logits[name], stepped, atol=2e-5)


def test_the_head_reads_the_previous_action_past_the_backbone():
    """With a backbone that says nothing, logits still follow the held controller."""
    policy = Policy(config())
    inputs = batch(policy)
    previous = inputs["prev_action"]
    pressed = previous | {"buttons": 1.0 - tf.cast(previous["buttons"], tf.float32)}
    hidden = tf.zeros((BATCH, TIME, policy.backbone.width))
    join = policy.embedding.join_controller
    read = [tf.concat([hidden, join(action)], axis=-1) for action in (previous, pressed)]
    one, other = (policy.head.unroll(h, inputs["targets"])["buttons"].numpy() for h in read)
    assert (np.abs(one - other).max(axis=(0, 1)) > 1e-4).all()


def test_weights_are_a_function_of_configuration_and_seed(tmp_path):
    one, same, other = Policy(config(), seed=1), Policy(config(), seed=1), Policy(config(), seed=2)
    assert one.num_parameters > 1000
    names = [w.path for w in one.weights]
    assert len(set(names)) == len(names)
    for a, b in zip(one.weights, same.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    inputs = batch(one)
    want, different = unroll(one, inputs)[0], unroll(other, inputs)[0]
    assert np.abs(np.asarray(want["main_x"]) - np.asarray(different["main_x"])).max() > 1e-3
    path = tmp_path / "policy.weights.h5"
    one.save_weights(path)
    other.load_weights(path)
    restored = unroll(other, inputs)[0]
    for name in COMPONENTS:
        np.testing.assert_array_equal(want[name], restored[name])


@pytest.mark.parametrize("centres", [(), (-1.0, -0.9, -0.6, 0.0, 0.6, 0.9, 1.0)])
def test_an_exports_controller_is_what_training_decodes(centres):
    """Every pair of buckets of both sticks, those beyond the circle, too."""
    policy = Policy(config("mlp", axis_centres=centres))
    codec = policy.config.head.codec
    x, y = (v.ravel() for v in np.meshgrid(*[np.arange(codec.num_axis)] * 2, indexing="ij"))
    buckets = {"main_x": x, "main_y": y, "c_x": y[::-1].copy(), "c_y": x}
    buckets |= {"shoulder": x % codec.shoulder_buckets}
    buckets |= {"buttons": np.stack([(x + bit) % 2 for bit in range(8)], -1)}
    framed = {n: tf.constant(v[:, None].astype(np.int32)) for n, v in buckets.items()}
    logits = tf.zeros((len(x), 1, sum(codec.sizes.values())))
    controller, joined, _ = policy.join_outputs(framed, logits)
    want = codec.decode(buckets)
    rest = np.stack([want[name] for name in COMPONENTS[1:]], -1)
    np.testing.assert_array_equal(controller, np.concatenate([want["buttons"], rest], -1))
    np.testing.assert_array_equal(joined[:, 8:], np.stack([buckets[n] for n in COMPONENTS[1:]], -1))
    assert np.hypot(controller[:, 8], controller[:, 9]).max() <= 1 + 1e-6


def test_rebuilds_from_its_configuration():
    policy = Policy(config("lstm", axis_buckets=33), seed=3)
    twin = Policy.from_config(policy.get_config())
    assert twin.config == policy.config
    for a, b in zip(policy.weights, twin.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    assert Policy.from_config(policy.config).config == policy.config


def test_call_is_an_unroll_from_the_start():
    policy = Policy(config())
    inputs = batch(policy)
    want = unroll(policy, inputs)[0]
    got = policy(inputs)
    for name in COMPONENTS:
        np.testing.assert_allclose(got[name], want[name], atol=1e-6)


def test_learns_a_batch_by_heart_in_a_compiled_step():
    policy = Policy(config("mlp"), seed=0)
    inputs = batch(policy)
    optimizer = keras.optimizers.Adam(1e-2)
    optimizer.build(policy.trainable_variables)

    @tf.function(jit_compile=True, autograph=False)
    def train(inputs: dict) -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits, _ = unroll(policy, inputs, training=True)
            loss = -tf.reduce_mean(distribution.log_prob(logits, inputs["targets"]))
        gradients = tape.gradient(loss, policy.trainable_variables)
        optimizer.apply_gradients(zip(gradients, policy.trainable_variables, strict=True))
        return loss

    losses = [float(train(inputs)) for _ in range(150)]
    assert losses[0] > 15
    assert losses[-1] < 4
    moved = [np.abs(np.asarray(w)).max() for w in policy.trainable_variables]
    assert np.isfinite(moved).all()


@pytest.mark.parametrize("backbone", each())
def test_step_graph_has_only_operations_that_onnx_has(backbone):
    policy = Policy(config(backbone))
    inputs = batch(policy)
    graph = (
        tf.function(policy.step, autograph=False)
        .get_concrete_function(
            frame(inputs["columns"], 0),
            frame(inputs["prev_action"], 0),
            policy.initial_state(BATCH),
            is_resetting=inputs["is_resetting"][:, 0],
            uniforms=tf.zeros((BATCH, policy.num_uniforms)),
            temperature=tf.constant(1.0),
        )
        .graph
    )
    used = {operation.type for operation in graph.get_operations()}
    assert len(used) > 10
    lacking = {"Bitcast", "Erfc", "While", "StatelessWhile", "If", "StatelessIf", "PyFunc"}
    assert not used & lacking
    assert not {name for name in used if "Random" in name or "Xla" in name or "TensorList" in name}


def test_bfloat16_trains_with_float32_logits_and_state():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        for backbone in ("mlp", "lstm", "mamba", "mamba2", "sliding_window"):
            policy = Policy(config(backbone))
            inputs = batch(policy)
            with tf.GradientTape() as tape:
                logits, state = unroll(policy, inputs, training=True)
                loss = -tf.reduce_mean(distribution.log_prob(logits, inputs["targets"]))
            gradients = tape.gradient(loss, policy.trainable_variables)
            assert all(np.isfinite(np.asarray(g)).all() for g in gradients)
            assert all(value.dtype == tf.float32 for value in logits.values())
            start = policy.initial_state(BATCH)
            for a, b in zip(keras.tree.flatten(start), keras.tree.flatten(state), strict=True):
                assert (a.dtype, a.shape) == (b.dtype, b.shape)
            assert {w.dtype for w in policy.trainable_weights} == {"float32"}
    finally:
        keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize("backbone", each())
def test_joined_step_is_the_step(backbone):
    """What an export computes, and how its answer is laid out."""
    policy = Policy(config(backbone=backbone))
    inputs = batch(policy)
    columns = {name: value[:, 0] for name, value in inputs["columns"].items() if name != "name"}
    columns["name"] = inputs["columns"]["name"]
    previous = {name: value[:, 0] for name, value in inputs["prev_action"].items()}
    rng = np.random.default_rng(3)
    given = {
        "is_resetting": tf.constant([True] * BATCH),
        "uniforms": tf.constant(rng.random((BATCH, policy.num_uniforms), np.float32)),
        "temperature": tf.constant([1.0] * BATCH),
    }
    state = policy.initial_state(BATCH)
    plain = policy.step(columns, previous, state, **given)
    layout = policy.embedding.inputs
    numbers, ids = layout.join({n: np.asarray(v) for n, v in columns.items()}, np)
    assert (numbers.shape[1], ids.shape[1]) == (layout.num_numbers, layout.num_ids)
    controller = policy.embedding.join_controller(previous)
    joined = policy.step_joined(tf.constant(numbers), tf.constant(ids), controller, state, **given)
    wide = [plain.logits[name] for name in COMPONENTS]
    np.testing.assert_allclose(joined.logits, tf.concat(wide, axis=-1), atol=1e-5)
    buckets = {n: np.asarray(v) for n, v in plain.buckets.items()}
    rest = np.stack([buckets[n] for n in COMPONENTS[1:]], axis=-1)
    np.testing.assert_array_equal(joined.buckets, np.concatenate([buckets["buttons"], rest], -1))
    decoded = policy.config.head.codec.decode(buckets)
    rest = np.stack([decoded[n] for n in COMPONENTS[1:]], axis=-1)
    expected = np.concatenate([decoded["buttons"], rest], axis=-1)
    np.testing.assert_allclose(joined.controller, expected, atol=1e-7)
    assert len(policy.state_names) == len(tf.nest.flatten(state))
    for one, other in zip(tf.nest.flatten(plain.state), tf.nest.flatten(joined.state), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
