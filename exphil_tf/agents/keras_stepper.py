"""A Keras policy in the place of an exported one: a frame at a time, memory inside.

For policies that were not exported; a frame costs ten times that of ONNX Runtime. Imports
TensorFlow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import tensorflow as tf

from exphil_tf.checkpoints.policy_bundle import PolicyInfo
from exphil_tf.evaluation.policy_conditions import conditions_of
from exphil_tf.features.conditions import CONDITIONS
from exphil_tf.inference.stepper import StepOutput
from models.policy import PREVIOUS_CONTROLLER, Policy


class KerasStepper:
    """A policy at play in `batch_size` independent games at once; as `inference.stepper.Stepper`.

    Args:
      policy: the network.
      info: what its bundle says of it.
      batch_size: rows.
      seed: decides the drawn actions.
      told: ids by condition that take the place of the policy's defaults.
    """

    def __init__(
        self,
        policy: Policy,
        info: PolicyInfo,
        *,
        batch_size: int = 1,
        seed: int = 0,
        told: Mapping[str, int] = MappingProxyType({}),
    ):
        self.batch_size, self.num_uniforms = batch_size, policy.num_uniforms
        self._policy, self._rng = policy, np.random.default_rng(seed)
        ids = conditions_of(info).defaults() | dict(told)
        self._told = {n: np.full(batch_size, ids.get(n, 0), np.int32) for n in CONDITIONS}
        self._previous = np.zeros((batch_size, PREVIOUS_CONTROLLER), np.float32)
        self._starts = np.ones(batch_size, bool)
        self._state = policy.initial_state(batch_size)
        uses_previous = policy.config.embedding.with_prev_action

        @tf.function(autograph=False, reduce_retracing=False)
        def step(frame: tuple[Any, Any, Any], state: Any, **others: Any) -> Any:
            numbers, ids, previous = frame
            previous = previous if uses_previous else None
            return policy.step_joined(numbers, ids, previous, state, **others)

        self._step = step

    def reset(self, rows: Sequence[int] | np.ndarray | None = None) -> None:
        """Starts a game in some rows (None: in all): the next frame finds no memory there."""
        self._starts[slice(None) if rows is None else rows] = True

    def commit(self, controller: np.ndarray) -> None:
        """Tells what is done in place of the last answer: the next frame's previous action."""
        self._previous = np.array(controller, np.float32)

    def step(
        self,
        columns: Mapping[str, np.ndarray],
        *,
        uniforms: np.ndarray | None = None,
        temperature: float | np.ndarray = 1.0,
    ) -> StepOutput:
        """Answers one frame; see `Stepper.step`."""
        rows = self.batch_size
        if uniforms is None:
            uniforms = self._rng.random((rows, self.num_uniforms), np.float32)
        numbers, ids = self._policy.embedding.inputs.join({**self._told, **columns}, np)
        answer = self._step(
            (tf.constant(numbers), tf.constant(ids), tf.constant(self._previous)),
            self._state,
            is_resetting=tf.constant(self._starts),
            uniforms=tf.constant(uniforms, tf.float32),
            temperature=tf.constant(np.broadcast_to(np.float32(temperature), (rows,))),
        )
        self._state, self._starts = answer.state, np.zeros(rows, bool)
        self._previous = answer.controller.numpy()
        return StepOutput(self._previous.copy(), answer.buckets.numpy(), answer.logits.numpy())
