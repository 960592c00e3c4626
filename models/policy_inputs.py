"""A batch of bytes from the input pipeline as a policy's inputs and targets, inside the graph.

What training, calibration and evaluation read batches by; below all of them.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from exphil_tf.data.unpack import unpack_state
from exphil_tf.features.conditions import CONDITIONS
from exphil_tf.features.controller import ControllerCodec
from models.carried_state import CarriedState
from models.heads.distribution import Logits
from models.layers.backend import ops
from models.layers.temporal import State
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
    """bool `[batch, time]`, True where a game begins. Never at the first frame of an unroll whose
    memory is not carried: it starts from the initial state wherever it was cut out of a game, and
    the action before it was really taken."""


def policy_inputs(
    batch: Batch, codec: ControllerCodec, *, is_carried: bool = False
) -> PolicyInputs:
    """Unpacks a batch.

    The previous action is what the codec can say of it, as in play, where it is the policy's own.

    Args:
      batch: of bytes.
      codec: of the policy.
      is_carried: its rows go on from batch to batch (`InputConfig.carry_state`).
    """
    buckets = codec.encode(batch["actions"], ops)
    previous = {name: value[:, :-1] for name, value in buckets.items()}
    return PolicyInputs(
        columns=unpack_state(batch["state"]) | _conditions(batch),
        prev_action=codec.decode(previous, ops),
        targets={name: value[:, 1:] for name, value in buckets.items()},
        previous=previous,
        weight=batch["weight"],
        is_resetting=batch["is_resetting"] if is_carried else _begins_inside(batch["is_resetting"]),
    )


def _conditions(batch: Batch) -> dict[str, Any]:
    """Ids of every condition; 0 where the batch tells nothing."""
    nothing = ops.zeros(batch["weight"].shape[:1], "int32")
    return {name: batch.get(name, nothing) for name in CONDITIONS}


def _begins_inside(is_resetting: Any) -> Any:
    return ops.concatenate([ops.zeros_like(is_resetting[:, :1]), is_resetting[:, 1:]], axis=1)


def unroll_hidden(
    policy: Policy, inputs: PolicyInputs, *, training: bool, state: State | None = None
) -> tuple[Any, State]:
    """Reads every frame.

    Args:
      policy: the network.
      inputs: of a batch.
      training: a Python bool; dropout is active only when True.
      state: before the first frame; None for the initial one.

    Returns: what the head reads, `[batch, time, features]`, and the state after the last frame.
    """
    if state is None:
        state = policy.initial_state(inputs.weight.shape[0])
    prev_action = inputs.prev_action if policy.config.embedding.with_prev_action else None
    return policy.unroll_hidden(
        inputs.columns,
        prev_action,
        state=state,
        is_resetting=inputs.is_resetting,
        training=training,
    )


def unroll(policy: Policy, inputs: PolicyInputs, *, training: bool) -> Logits:
    """Logits of every frame, float32 `[batch, time, …]`, each unroll from the initial state."""
    hidden, _ = unroll_hidden(policy, inputs, training=training)
    return policy.head.unroll(hidden, inputs.targets)


def unroll_on(policy: Policy, inputs: PolicyInputs, carried: CarriedState | None) -> Logits:
    """As `unroll`, without dropout; goes on from a carried state, and leaves the new one there."""
    if carried is None:
        return unroll(policy, inputs, training=False)
    hidden, state = unroll_hidden(policy, inputs, training=False, state=carried.read())
    carried.write(state)
    return policy.head.unroll(hidden, inputs.targets)
