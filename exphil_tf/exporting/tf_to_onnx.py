"""A policy as one ONNX graph per frame, in float32, before any rewriting.

`tf.function` over the policy's step, then tf2onnx. Keras' own export names outputs in a way that
tf2onnx's Keras entry does not follow, and a step has state going in and out, so the function is
traced directly. Names and shapes are those of `Signature`, which is also what a bundle documents.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import onnx
from onnx import TensorProto, helper

from exphil_tf.features.conditions import CONDITIONS
from exphil_tf.features.schema import SCHEMA
from exphil_tf.inference.bundle_config import Port
from exphil_tf.inference.session import BATCH
from models.layers.quantized import ranges
from models.layers.time_scan import written_out

if TYPE_CHECKING:
    from models.policy import Policy

OPSET = 18
_TYPES = {"float32": TensorProto.FLOAT, "int32": TensorProto.INT32, "bool": TensorProto.BOOL}
_ACTION = "8 buttons (0/1), main_x, main_y, c_x, c_y in [-1, 1], shoulder in [0, 1]"


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs of the graph, in order."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


class Traced(NamedTuple):
    """A policy as a graph, before any rewriting."""

    model: onnx.ModelProto
    signature: Signature


def signature(policy: Policy, *, batch_size: int | None = None, frames: int = 0) -> Signature:
    """What the graph of a policy takes and gives.

    Args:
      policy: a built policy.
      batch_size: rows, or None for any number.
      frames: frames of a window that starts a game, or 0 for one step with state.
    """
    batch = BATCH if batch_size is None else batch_size
    lead = (batch, frames) if frames else (batch,)
    layout = policy.embedding.inputs
    inputs = [
        Port("numbers", "float32", (*lead, layout.num_numbers), "raw game values by column"),
        Port("ids", "int32", (*lead, layout.num_ids), "raw ids and flags by column"),
    ]
    if policy.config.embedding.with_prev_action:
        doc = f"the controller of the frame before: {_ACTION}"
        inputs.append(Port("prev_action", "float32", (*lead, _actions(policy)), doc))
    states = [] if frames else _states(policy, batch)
    inputs += [
        Port("uniforms", "float32", (batch, policy.num_uniforms), "random numbers in [0, 1)"),
        Port("temperature", "float32", (batch,), "of sampling; 0 takes the likeliest"),
    ]
    inputs += [Port(f"state.{n}", t, s, "memory; zeros where a game starts") for n, t, s in states]
    outputs = [
        Port("controller", "float32", (batch, _actions(policy)), f"the answer: {_ACTION}"),
        Port("buckets", "int32", (batch, _actions(policy)), "the answer as buckets"),
        Port("logits", "float32", (batch, policy.head.num_logits), "before temperature and noise"),
    ]
    outputs += [Port(f"new.{n}", t, s, f"next frame's state.{n}") for n, t, s in states]
    return Signature(tuple(inputs), tuple(outputs))


def trace(policy: Policy, *, batch_size: int | None = None, frames: int = 0) -> Traced:
    """The float32 graph of one frame (or of a window); arguments as `signature`."""
    wanted = signature(policy, batch_size=batch_size, frames=frames)
    run = _window_fn(policy) if frames else _step_fn(policy)
    # Kernels that round their own inputs need the float ones.
    is_dynamic = policy.config.quantization.rounding == "dynamic"
    with ranges("kernels" if is_dynamic else "frozen"):
        model = _convert(run, wanted)
    _name_ports(model, wanted)
    return Traced(model, wanted)


def describe_columns(policy: Policy) -> dict[str, dict[str, dict[str, Any]]]:
    """Where each schema column lies in `numbers` and `ids`, with what a reader must know of it."""
    layout = policy.embedding.inputs
    return {
        "numbers": {name: _describe(name, span) for name, span in layout.numbers.items()},
        "ids": {name: _describe(name, span) for name, span in layout.ids.items()},
    }


def _describe(name: str, span: slice) -> dict[str, Any]:
    known = {field.name: field for field in SCHEMA.fields}
    place = {"start": span.start, "stop": span.stop}
    if name in CONDITIONS:
        return place | {"dtype": "int32", "unit": "", "doc": CONDITIONS[name].doc}
    field = known[name]
    return place | {"dtype": field.dtype, "unit": field.unit, "doc": field.doc}


def _actions(policy: Policy) -> int:
    return policy.config.head.codec.sizes["buttons"] + len(policy.config.head.codec.sizes) - 1


def _states(policy: Policy, batch: str | int) -> list[tuple[str, str, tuple[str | int, ...]]]:
    """Name, dtype and shape of each part of the memory."""
    import tensorflow as tf

    parts = zip(policy.state_names, tf.nest.flatten(policy.initial_state(1)), strict=True)
    return [(name, p.dtype.name, (batch, *map(int, p.shape[1:]))) for name, p in parts]


def _step_fn(policy: Policy) -> Any:
    import tensorflow as tf

    like = policy.initial_state(1)

    def run(values: dict[str, Any]) -> list[Any]:
        state = [v for name, v in values.items() if name.startswith("state.")]
        step = policy.step_joined(
            values["numbers"],
            values["ids"],
            values.get("prev_action"),
            tf.nest.pack_sequence_as(like, state),
            is_resetting=None,  # who calls it hands in the memory of a new game
            uniforms=values["uniforms"],
            temperature=values["temperature"],
        )
        return [step.controller, step.buckets, step.logits, *tf.nest.flatten(step.state)]

    return run


def _window_fn(policy: Policy) -> Any:
    """All frames of a window from an empty memory, and the answer to the last one."""
    import tensorflow as tf

    def run(values: dict[str, Any]) -> list[Any]:
        controller = values.get("prev_action")
        x = policy.embed(values["numbers"], values["ids"], controller)
        state: Any = policy.initial_state(cast(int, tf.shape(x)[0]))
        # No frame resets: the memory is empty anyhow.
        is_resetting = tf.zeros(tf.shape(x)[:2], tf.bool)
        with written_out():
            hidden, _ = policy.backbone.unroll(x, state, is_resetting)
        answer = policy.head.step_frame(
            hidden[:, -1:],
            None if controller is None else controller[:, -1],
            uniforms=values["uniforms"],
            temperature=values["temperature"],
        )
        return list(policy.join_outputs(*answer))

    return run


def _convert(run: Any, wanted: Signature) -> onnx.ModelProto:
    """Traces and converts; inputs are called in_000…, outputs out_000…, as in the signature."""
    import tensorflow as tf
    import tf2onnx

    specs = [
        tf.TensorSpec([None if s == BATCH else s for s in p.shape], p.dtype, name=f"in_{i:03d}")
        for i, p in enumerate(wanted.inputs)
    ]

    def flat(*values: Any) -> dict[str, Any]:
        named = {port.name: v for port, v in zip(wanted.inputs, values, strict=True)}
        return {f"out_{i:03d}": tf.identity(v) for i, v in enumerate(run(named))}

    function = tf.function(flat, input_signature=specs, autograph=False)
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    model, _ = tf2onnx.convert.from_function(function, input_signature=specs, opset=OPSET)
    return model


def _name_ports(model: onnx.ModelProto, wanted: Signature) -> None:
    """Gives the graph's inputs and outputs their names, types, shapes and doc strings."""
    graph = model.graph
    renamed = {f"in_{i:03d}": port.name for i, port in enumerate(wanted.inputs)}
    renamed |= {f"out_{i:03d}": port.name for i, port in enumerate(wanted.outputs)}
    for node in graph.node:
        for values in (node.input, node.output):
            for place, value in enumerate(values):
                values[place] = renamed.get(value.removesuffix(":0"), value)
    made = {value for node in graph.node for value in node.output}
    missing = [port.name for port in wanted.outputs if port.name not in made]
    if missing:
        raise ValueError(f"trace: want outputs {missing}. Received: {sorted(made)[-8:]}")
    for ports, values in ((wanted.inputs, graph.input), (wanted.outputs, graph.output)):
        del values[:]
        values.extend(_value_info(port) for port in ports)


def _value_info(port: Port) -> onnx.ValueInfoProto:
    info = helper.make_tensor_value_info(port.name, _TYPES[port.dtype], list(port.shape))
    info.doc_string = port.doc
    return info
