"""A batch of bytes from the input pipeline as a policy's inputs and targets, inside the graph.

What training, calibration and evaluation read batches by; below all of them.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from exphil_tf.data.unpack import unpack_state
from exphil_tf.features.conditions import CONDITIONS
from exphil_tf.features.controller import ControllerCodec
from models.heads.distribution import Logits
from models.layers.backend import ops
from models.policy import Policy

Batch = Mapping[str, Any]
"""What `exphil_tf.data.input.build` yields."""


class PolicyInputs(NamedTuple):
    """What `Policy.unroll` and the losses take."""

    columns: dict[str, Any]
    """Schema columns `[batch, time, …]` from the own perspective, and conditions `[batch]` or
    `[batch, time]`."""
    prev_action: dict[str, Any]
    """Decoded controller of the frame before each target, `[batch, time, …]`."""
    targets: dict[str, Any]
    """Buckets of the controller to predict, int32 `[batch, time]` (buttons `[batch, time, 8]`)."""
    previous: dict[str, Any]
    """Buckets of `prev_action`."""
    weight: Any
    """float32 `[batch, time]`, 0 where a frame doesn't count."""
    is_resetting: Any
    """bool `[batch, time]`, True where a game begins inside the unroll. Never at its first frame:
    an unroll starts from the initial state wherever it was cut out of a game, and the action before
    it was really taken."""


def policy_inputs(batch: Batch, codec: ControllerCodec) -> PolicyInputs:
    """Unpacks a batch.

    The previous action is what the codec can say of it, as in play, where it is the policy's own.
    """
    buckets = codec.encode(batch["actions"], ops)
    previous = {name: value[:, :-1] for name, value in buckets.items()}
    return PolicyInputs(
        columns=unpack_state(batch["state"]) | _conditions(batch),
        prev_action=codec.decode(previous, ops),
        targets={name: value[:, 1:] for name, value in buckets.items()},
        previous=previous,
        weight=batch["weight"],
        is_resetting=_begins_inside(batch["is_resetting"]),
    )


def _conditions(batch: Batch) -> dict[str, Any]:
    """Ids of every condition; 0 where the batch tells nothing."""
    nothing = ops.zeros(batch["weight"].shape[:1], "int32")
    return {name: batch.get(name, nothing) for name in CONDITIONS}


def _begins_inside(is_resetting: Any) -> Any:
    return ops.concatenate([ops.zeros_like(is_resetting[:, :1]), is_resetting[:, 1:]], axis=1)


def unroll_hidden(policy: Policy, inputs: PolicyInputs, *, training: bool) -> Any:
    """What the head reads of every frame, `[batch, time, features]`, from the initial state."""
    prev_action = inputs.prev_action if policy.config.embedding.with_prev_action else None
    hidden, _ = policy.unroll_hidden(
        inputs.columns,
        prev_action,
        state=policy.initial_state(inputs.weight.shape[0]),
        is_resetting=inputs.is_resetting,
        training=training,
    )
    return hidden


def unroll(policy: Policy, inputs: PolicyInputs, *, training: bool) -> Logits:
    """Logits of every frame, float32 `[batch, time, …]`, each unroll from the initial state."""
    hidden = unroll_hidden(policy, inputs, training=training)
    return policy.head.unroll(hidden, inputs.targets)
