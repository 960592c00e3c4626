"""Small policies and their exports, made once per test process: tracing takes seconds."""

import functools
from pathlib import Path

import keras
import numpy as np
import policy_inputs
import tensorflow as tf
from any_backbone import any_backbone

from exphil_tf.checkpoints.policy_bundle import Delay, PolicyInfo
from exphil_tf.exporting.convert import Converted, convert_traced
from exphil_tf.exporting.publishing import assemble
from exphil_tf.exporting.tf_to_onnx import trace
from exphil_tf.inference.bundle import Bundle
from models.layers.quantized import calibrating
from models.policy import Policy
from models.policy_config import (
    EmbeddingConfig,
    HeadConfig,
    PolicyConfig,
    QuantizationConfig,
)

BACKBONES = ("mamba", "lstm", "sliding_window", "mlp")
WINDOW = 6
ROWS = 4


ROUNDING = {"static": "moving_average", "dynamic": "dynamic"}


def rounding_of(precision: str, activations: str) -> str | None:
    """What the policy behind an export was trained with."""
    if precision == "int8-qat":
        return ROUNDING[activations]
    return "moving_average" if precision == "int8-static" else None


def config(backbone: str, *, rounding: str | None, head: str = "autoregressive") -> PolicyConfig:
    return PolicyConfig(
        EmbeddingConfig(action_dim=8, character_dim=4),
        any_backbone(
            backbone,
            hidden=(16, 16) if backbone == "mlp" else (16,),
            num_layers=2,
            state_size=4,
            num_heads=2,
            window_size=WINDOW,
        ),
        HeadConfig(head=head, head_hidden=8),
        QuantizationConfig(rounding is not None, rounding or "dynamic"),
    )


@functools.cache
def policy(backbone: str, rounding: str | None = None, head: str = "autoregressive") -> Policy:
    """Weights of every kind away from their initial values, ranges as some frames fill them."""
    made = Policy(config(backbone, rounding=rounding, head=head), seed=1, name="policy")
    rng = np.random.default_rng(0)
    for variable in made.weights:
        if variable.path.endswith(("scale", "gamma", "beta", "bias", "skip")):
            variable.assign(np.asarray(variable.value) + rng.normal(0, 0.1, variable.shape))
    if rounding == "moving_average":
        with calibrating(made):
            for seed in range(3):
                keras_step(made, frame(seed), state=made.initial_state(ROWS))
    return made


def frame(seed: int, rows: int = ROWS) -> dict[str, np.ndarray]:
    """What one step reads, besides memory."""
    rng = np.random.default_rng(seed)
    plain = policy("mlp")
    numbers, ids = plain.embedding.inputs.join(policy_inputs.columns(rows, seed=seed), np)
    controller = policy_inputs.prev_action(rows, seed=seed)
    axes = [controller[name][:, None] for name in controller if name != "buttons"]
    return {
        "numbers": numbers,
        "ids": ids,
        "prev_action": np.concatenate([controller["buttons"], *axes], axis=1),
        "uniforms": rng.random((rows, plain.num_uniforms), np.float32),
        "temperature": np.full(rows, 1.0, np.float32),
    }


def keras_step(made: Policy, inputs: dict[str, np.ndarray], *, state):
    """The step of a policy as it was trained."""
    return made.step_joined(
        *(keras.ops.convert_to_tensor(inputs[n]) for n in ("numbers", "ids", "prev_action")),
        state,
        is_resetting=None,
        **{name: tf.constant(inputs[name]) for name in ("uniforms", "temperature")},
    )


@functools.cache
def traced(backbone: str, rounding: str | None, frames: int = 0):
    return trace(policy(backbone, rounding), frames=frames)


@functools.cache
def converted(
    backbone: str, precision: str, activations: str = "dynamic", frames: int = 0
) -> Converted:
    rounding = rounding_of(precision, activations)
    made = policy(backbone, rounding)
    return convert_traced(traced(backbone, rounding, frames), policy=made, precision=precision)


def bundle(
    folder: Path, backbone: str = "mamba", precision: str = "float32", activations="dynamic"
) -> Bundle:
    """An export in memory."""
    made = policy(backbone, rounding_of(precision, activations))
    return assemble(
        folder,
        converted(backbone, precision, activations),
        policy=made,
        info=PolicyInfo(made.config, Delay(2, 1, 3), "ema", WINDOW, {"seed": 5}),
        precision=precision,
        batch_size=None,
        provenance={"weights_sha256": "ab" * 32, "packages": {"onnx": "1"}},
    )
