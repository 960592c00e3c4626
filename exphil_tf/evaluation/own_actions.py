"""A policy on recorded states, but fed its own actions: whether it ever lets go of what it holds.

Humans hold the same action on most frames, so a policy that always holds on scores well when each
frame shows it what the human held. In play it is shown what it held itself. Here it is, while the
game goes on as it was recorded: an unroll starts with the human's action, and behind its first
counted frame the previous action is the policy's own, drawn at temperature 1. The states answer
nothing that it does, so this says how often its action changes, not how well it plays.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from exphil_tf.evaluation.results import ActionChanges, OwnActions
from exphil_tf.features.controller import COMPONENTS
from models.layers.backend import ops
from models.layers.time_scan import time_scan
from models.policy import Policy
from models.policy_inputs import Batch, policy_inputs

HELD_FRAMES = 60
"""An action that stays this long counts as held: 1 s."""
STUCK_FRAMES = 120
"""An action that is left no more counts as stuck if it has stayed this long: 2 s."""
_FRAMES_PER_S = 60


class Played(NamedTuple):
    """What a batch's frames were answered with, buckets side by side."""

    own: np.ndarray
    """int32 `[batch, time, 13]`, by the policy."""
    human: np.ndarray
    """int32 `[batch, time, 13]`."""
    counted: np.ndarray
    """bool `[batch, time]`."""


PlayFn = Callable[[Batch], Played]


def play_fn(policy: Policy, *, jit: bool = True, seed: int = 0) -> PlayFn:
    """Compiles play on the recorded states of one batch after another.

    Args:
      policy: the network; dropout is off.
      jit: compile with XLA.
      seed: decides the drawn actions.
    """
    rng = np.random.default_rng(seed)

    @tf.function(jit_compile=jit, autograph=False, reduce_retracing=False)
    def play(batch: dict[str, Any], uniforms: Any) -> Any:
        return _play(policy, batch, uniforms)

    def played(batch: Batch) -> Played:
        rows, frames = batch["weight"].shape
        uniforms = rng.random((frames, rows, policy.num_uniforms), np.float32)
        own = play(dict(batch), uniforms).numpy()
        buckets = policy.config.head.codec.encode(np.asarray(batch["actions"])[:, 1:])
        return Played(own, _joined(buckets), np.asarray(batch["weight"]) > 0)

    return played


def _play(policy: Policy, batch: dict[str, Any], uniforms: Any) -> Any:
    """int32 `[batch, time, 13]`: the policy's buckets; `uniforms` are `[time, batch, …]`."""
    inputs = policy_inputs(batch, policy.config.head.codec)
    numbers, ids = policy.embedding.inputs.join(inputs.columns, ops)
    human = policy.embedding.join_controller(inputs.prev_action)
    if human is None:  # nothing is fed back to such a policy
        human = tf.zeros((*inputs.weight.shape, 0))
    # The action before a frame is its own once it has answered a counted one.
    counted = inputs.weight > 0
    is_own = tf.concat([tf.zeros_like(counted[:, :1]), counted[:, :-1]], axis=1)
    frames = map(_time_first, (numbers, ids, human, is_own, inputs.is_resetting))

    def step(carry: Any, frame: Any) -> tuple[Any, Any]:
        state, own = carry
        numbers, ids, human, is_own, is_resetting, uniforms = frame
        controller = tf.where(is_own[:, None], own, human) if human.shape[-1] else None
        answer = policy.step_joined(
            numbers,
            ids,
            controller,
            state,
            is_resetting=is_resetting,
            uniforms=uniforms,
            temperature=tf.constant(1.0),
        )
        own = answer.controller if human.shape[-1] else own
        return (answer.state, own), answer.buckets

    start = policy.initial_state(inputs.weight.shape[0]), human[:, 0]
    return _time_first(time_scan(step, start, (*frames, uniforms))[1])


def _time_first(x: Any) -> Any:
    """Swaps the first two axes."""
    return tf.transpose(x, (1, 0, *range(2, len(x.shape))))


def _joined(buckets: dict[str, np.ndarray]) -> np.ndarray:
    return np.concatenate(
        [buckets["buttons"], *(buckets[name][..., None] for name in COMPONENTS[1:])], axis=-1
    )


def measure_own_actions(
    batches: Iterable[Batch], play: PlayFn, *, max_frames: int
) -> OwnActions | None:
    """How often a policy that is fed its own actions changes them, beside the human.

    Args:
      batches: of the split to measure, as for `measure.measure`.
      play: from `play_fn`.
      max_frames: stop after the batch that reaches it.

    Returns: the figures; None if no frame counts.
    """
    policy, human, longest = _Stretches(), _Stretches(), 0
    for batch in batches:
        played = play(batch)
        for start, stop, row in _counted(played.counted):
            policy.add(played.own[row, start:stop])
            human.add(played.human[row, start:stop])
            longest = max(longest, stop - start)
        if policy.frames >= max_frames:
            break
    if not policy.frames:
        return None
    return OwnActions(policy.frames, longest, policy=policy.result(), human=human.result())


def _counted(counted: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """First frame, the one behind the last, and row of each run of counted frames."""
    for row, flags in enumerate(counted):
        edges = np.flatnonzero(np.diff(np.r_[False, flags, False]))
        for start, stop in zip(edges[::2], edges[1::2], strict=True):
            yield int(start), int(stop), row


class _Stretches:
    """Sums over stretches of frames with one action."""

    def __init__(self) -> None:
        self.frames = 0
        self._changes = self._chances = self._held = self._stuck = 0

    def add(self, actions: np.ndarray) -> None:
        """Adds the buckets of consecutive frames, `[frames, 13]`."""
        changed = np.flatnonzero((actions[1:] != actions[:-1]).any(-1)) + 1
        lengths = np.diff(np.r_[0, changed, len(actions)])
        self.frames += len(actions)
        self._changes += len(changed)
        self._chances += len(actions) - 1
        self._held += int(lengths[lengths >= HELD_FRAMES].sum())
        self._stuck += int(lengths[-1]) if lengths[-1] >= STUCK_FRAMES else 0

    def result(self) -> ActionChanges:
        """The figures of all frames so far."""
        return ActionChanges(
            changes_per_s=_FRAMES_PER_S * self._changes / max(self._chances, 1),
            held_share=self._held / self.frames,
            stuck_share=self._stuck / self.frames,
        )
