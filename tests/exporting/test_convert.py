"""Exported policies against the networks that they were traced from, frame by frame."""

import functools

import numpy as np
import onnx
import pytest
import tensorflow as tf
import traced_policies as policies
from any_backbone import each
from onnx_graphs import operators

from exphil_tf.exporting.convert import convert_policy, convert_traced
from exphil_tf.exporting.onnx.clean import clean, with_shapes
from exphil_tf.exporting.verify_int8 import INTEGER_PRODUCTS
from exphil_tf.inference.onnx_cost import check_cost, cost
from exphil_tf.inference.onnx_file import read_onnx
from exphil_tf.inference.onnx_rules import RULES
from exphil_tf.inference.session import open_session
from models.backbones import backbone_config
from models.policy import Policy
from models.policy_config import EmbeddingConfig, HeadConfig, PolicyConfig

FRAMES = 6
PRODUCTS = ("mlp", "lstm", "mamba")
"""Whose products in integers are tested by default: others multiply by the same layers."""


def play(converted, policy, *, rows=policies.ROWS):
    """Steps graph and network side by side; returns their outputs by name, `[frames, …]`."""
    session = open_session(converted.model.SerializeToString())
    names = [port.name for port in session.get_outputs()]
    state = policy.initial_state(rows)
    memory = dict(zip(policy.state_names, map(np.asarray, tf.nest.flatten(state)), strict=True))
    found, wanted = [], []
    for seed in range(FRAMES):
        inputs = policies.frame(seed, rows)
        step = policies.keras_step(policy, inputs, state=state)
        state = step.state
        feeds = inputs | {f"state.{name}": value for name, value in memory.items()}
        feeds = {port.name: feeds[port.name] for port in session.get_inputs()}
        answer = dict(zip(names, session.run(names, feeds), strict=True))
        memory = {n[4:]: value for n, value in answer.items() if n.startswith("new.")}
        after = dict(zip(policy.state_names, tf.nest.flatten(state), strict=True))
        found.append(answer)
        wanted.append(
            {n: np.asarray(getattr(step, n)) for n in ("controller", "buckets", "logits")}
            | {f"new.{name}": np.asarray(value) for name, value in after.items()}
        )
    return [{n: np.stack([row[n] for row in rows]) for n in names} for rows in (found, wanted)]


played = functools.cache(
    lambda backbone, precision, activations="dynamic": play(
        policies.converted(backbone, precision, activations),
        policies.policy(backbone, policies.rounding_of(precision, activations)),
    )
)


@pytest.mark.parametrize("backbone", each())
def test_float_graph_equals_keras(backbone):
    found, wanted = played(backbone, "float32")
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("backbone", each(*PRODUCTS))
def test_static_integers_are_what_keras_rounded_to(backbone):
    """To the last bits, memory included: sums of integers are exact in both."""
    found, wanted = played(backbone, "int8-qat", "static")
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("backbone", each(*PRODUCTS))
def test_dynamic_integers_are_what_keras_rounded_to(backbone):
    """Blocks and scales are those of training; the float sums before a rounding may differ."""
    found, wanted = played(backbone, "int8-qat", "dynamic")
    for name, values in wanted.items():
        close = np.isclose(found[name], values, rtol=1e-4, atol=1e-4)
        # One step of rounding at an edge may choose another bucket, and so other logits.
        assert close.mean() > 0.95, name


def test_dynamic_quantization_of_onnx_runtime_is_near_keras():
    found, wanted = played("mamba", "int8-dynamic")
    same = (found["buckets"] == wanted["buckets"]).all(-1)
    assert same.mean() > 0.8
    assert np.abs(found["logits"] - wanted["logits"])[same].max() < 0.1


@pytest.mark.parametrize("backbone", each(*PRODUCTS))
def test_every_product_with_a_weight_is_integer(backbone):
    """One integer product per kernel that Keras quantizes, in either form."""
    traced = policies.traced(backbone, "moving_average")
    graph = with_shapes(traced.model)
    clean(graph)
    products = sum(n.op_type == "MatMul" and n.input[1] in graph.constants for n in graph.nodes)
    assert products >= 9
    for activations, operator in (("static", "MatMulIntegerToFloat"), ("dynamic", "MatMulNBits")):
        converted = policies.converted(backbone, "int8-qat", activations)
        assert converted.runtime_graph.integer == {operator: products}
        stored = {t.name: t.data_type for t in converted.model.graph.initializer}
        for node in converted.model.graph.node:
            if node.op_type in INTEGER_PRODUCTS:
                assert stored[node.input[1]] in (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)


@pytest.mark.parametrize("backbone", each())
def test_no_node_of_the_frameworks_is_left(backbone):
    found = operators(policies.converted(backbone, "float32").model)
    leftovers = {"Identity", "Reciprocal", "Softplus", "Gemm", "Loop", "If"}
    assert not leftovers & set(found)


@pytest.mark.parametrize(
    ("backbone", "precision"),
    [("sliding_window", "float32"), ("mamba", "int8-qat"), ("mamba", "int8-dynamic")],
)
def test_ports_are_named_typed_and_documented(backbone, precision):
    converted = policies.converted(backbone, precision)
    graph = converted.model.graph
    for ports, values in (
        (converted.signature.inputs, graph.input),
        (converted.signature.outputs, graph.output),
    ):
        assert [p.name for p in ports] == [v.name for v in values]
        assert all(v.doc_string == p.doc for p, v in zip(ports, values, strict=True))
        assert all(p.doc for p in ports)
        assert all(p.shape[0] == "batch" for p in ports)
    assert [p.name for p in converted.signature.inputs][:5] == [
        "numbers", "ids", "prev_action", "uniforms", "temperature",
    ]  # fmt: skip
    clock = {p.name: p.dtype for p in converted.signature.inputs}.get("state.clock")
    assert clock == ("int32" if backbone == "sliding_window" else None)


def test_any_number_of_rows_and_rows_are_independent():
    converted = policies.converted("mamba", "int8-qat", "static")
    policy = policies.policy("mamba", "moving_average")
    many = play(converted, policy, rows=7)[0]["logits"]
    session = open_session(converted.model.SerializeToString())
    inputs = policies.frame(0, 7)
    feeds = {
        port.name: inputs.get(port.name, np.zeros((7, *port.shape[1:]), np.float32))
        for port in session.get_inputs()
    }
    alone = session.run(["logits"], {name: value[3:4] for name, value in feeds.items()})[0]
    np.testing.assert_allclose(alone[0], many[0, 3], rtol=1e-5, atol=1e-6)


def test_fixed_rows():
    converted = convert_policy(policies.policy("mlp"), "float32", batch_size=3)
    assert {port.shape[0] for port in converted.signature.inputs} == {3}
    session = open_session(converted.model.SerializeToString())
    assert session.get_inputs()[0].shape[0] == 3


def test_exports_repeat_to_the_byte():
    """Names that tf2onnx counts up through a process do not reach the file."""
    for precision in ("int8-qat", "int8-dynamic"):
        rounding = policies.rounding_of(precision, "dynamic")
        traced, policy = policies.traced("mlp", rounding), policies.policy("mlp", rounding)
        again = convert_policy(policy, precision).model
        first = convert_traced(traced, policy=policy, precision=precision).model
        assert first.SerializeToString() == again.SerializeToString()


def test_sampling_follows_the_uniforms_and_the_temperature():
    found, wanted = played("mamba", "float32")
    np.testing.assert_array_equal(found["buckets"], wanted["buckets"])
    converted = policies.converted("mamba", "float32")
    session = open_session(converted.model.SerializeToString())
    inputs = policies.frame(0, 1)
    feeds = {
        port.name: inputs.get(port.name, np.zeros((1, *port.shape[1:]), np.float32))
        for port in session.get_inputs()
    }
    rng = np.random.default_rng(0)
    answers = {0.0: set(), 1.0: set()}
    for temperature, seen in answers.items():
        for _ in range(30):
            feeds["uniforms"] = rng.random(feeds["uniforms"].shape, np.float32)
            feeds["temperature"] = np.full(1, temperature, np.float32)
            seen.add(session.run(["buckets"], feeds)[0].tobytes())
    assert len(answers[0.0]) == 1
    assert len(answers[1.0]) > 20


@pytest.mark.parametrize(
    "backbone",
    each("lstm", has_memory=True),
)
def test_a_window_equals_the_steps_through_it(backbone):
    """All of a window's frames in one graph without loops, in float and in integers."""
    frames = [policies.frame(seed) for seed in range(policies.WINDOW)]
    feeds = {n: np.stack([f[n] for f in frames], axis=1) for n in ("numbers", "ids", "prev_action")}
    feeds |= {n: frames[-1][n] for n in ("uniforms", "temperature")}
    for precision, activations in (("float32", "dynamic"), ("int8-qat", "static")):
        policy = policies.policy(backbone, policies.rounding_of(precision, activations))
        state = policy.initial_state(policies.ROWS)
        for inputs in frames:
            step = policies.keras_step(policy, inputs, state=state)
            state = step.state
        converted = policies.converted(backbone, precision, activations, frames=policies.WINDOW)
        session = open_session(converted.model.SerializeToString())
        assert {port.name for port in session.get_inputs()} == set(feeds)
        logits = session.run(["logits"], feeds)[0]
        np.testing.assert_allclose(logits, np.asarray(step.logits), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("rounding", ["moving_average", "dynamic"])
def test_production_policy_takes_under_a_third(rounding):
    from models.policy_config import QuantizationConfig

    sizes = {}
    for qat in (False, True):
        config = PolicyConfig(
            backbone=backbone_config("mamba", hidden=(256,), num_layers=3, state_size=32),
            quantization=QuantizationConfig(qat=qat, qat_activations=rounding),
        )
        precision = "int8-qat" if qat else "float32"
        converted = convert_policy(Policy(config), precision)
        sizes[qat] = converted.model.ByteSize()
    assert sizes[True] <= 0.30 * sizes[False]


# -- What a reader lets through --------------------------------------------------------------------

EXPORTS = [
    ("float32", "dynamic"),
    ("int8-qat", "dynamic"),
    ("int8-qat", "static"),
    ("int8-static", "static"),
    ("int8-dynamic", "dynamic"),
]


@functools.cache
def other_export(precision):
    """Every optional part of the embedding, heads on their own, a fixed batch."""
    config = PolicyConfig(
        EmbeddingConfig(
            stage_mode="learned", action_mode="one_hot", character_mode="one_hot",
            nana_mode="full", jumps_normalized=False, learn_player_styles=True, with_items=True,
            item_type_dim=0,
        ),
        backbone_config("mlp", hidden=(16, 24), layer_norm=True, residual=True),
        HeadConfig("independent", head_hidden=8),
    )  # fmt: skip
    return convert_policy(Policy(config, seed=1, name="policy"), precision, batch_size=3)


def exports():
    for backbone in policies.BACKBONES:
        for precision, activations in EXPORTS:
            yield policies.converted(backbone, precision, activations)
    for backbone in ("sliding_window", "mamba", "lstm"):
        yield policies.converted(backbone, "float32", frames=policies.WINDOW)
        yield policies.converted(backbone, "int8-qat", "static", frames=policies.WINDOW)
    yield from some_exports()


def some_exports():
    yield policies.converted("mamba", "float32")
    yield policies.converted("mamba", "int8-qat", "static")
    yield from map(other_export, ("float32", "int8-dynamic"))


def operators_used(exported):
    used = set()
    for converted in exported:
        file = read_onnx(converted.model.SerializeToString())
        used |= {node.operator for node in file.nodes}
        check_cost(file, None if converted.signature.inputs[0].shape[0] == "batch" else 3)
    return used


@pytest.mark.slow
def test_the_operators_a_file_may_use_are_those_that_exports_hold():
    assert operators_used(exports()) == set(RULES)


def test_exports_hold_operators_that_a_file_may_use():
    assert operators_used(some_exports()) <= set(RULES)


@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("exported", [some_exports, pytest.param(exports, marks=pytest.mark.slow)])
def test_shapes_are_those_that_onnx_runtime_makes(exported, rows):
    """Every value of every kind of export, looked at while it runs."""
    for converted in exported():
        model = onnx.ModelProto()
        model.CopyFrom(converted.model)
        fixed = converted.signature.inputs[0].shape[0]
        batch = rows if fixed == "batch" else fixed
        wanted = cost(read_onnx(model.SerializeToString()), batch, limit=10**9).shapes
        names = [name for node in model.graph.node for name in node.output if name]
        del model.graph.output[:]
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
        session = open_session(model.SerializeToString())
        feeds = {
            port.name: np.zeros(
                [batch if isinstance(size, str) else size for size in port.shape], port.dtype
            )
            for port in converted.signature.inputs
        }
        for name, found in zip(names, session.run(names, feeds), strict=True):
            assert found.shape == wanted[name], name
