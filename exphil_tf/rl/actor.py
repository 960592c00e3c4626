"""A policy in some seats of many matches: memory, previous action and delay queue per row.

What it hands out and keeps is as in `agents.agent`, which plays one policy in one game: the
previous action is the newest answer, and answers wait in the queue until they are due. One compiled
call answers all rows of a frame; memory stays on the device.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from exphil_tf.checkpoints.policy_bundle import PolicyInfo
from exphil_tf.evaluation.policy_conditions import conditions_of
from exphil_tf.rl.seats import Seats
from exphil_tf.training.compiled_step import CompiledStep
from models.heads import distribution
from models.policy import PREVIOUS_CONTROLLER, Policy


class Answer(NamedTuple):
    """What a policy said of a frame, and what it read; rows first."""

    numbers: np.ndarray
    ids: np.ndarray
    previous: np.ndarray
    """float32 `[rows, 13]`: the answer to the frame before."""
    starts: np.ndarray
    """bool `[rows]`: the frame is a game's first."""
    buckets: np.ndarray
    """int32 `[rows, 13]`."""
    log_prob: np.ndarray
    """float32 `[rows]`, of the whole action."""


class Actor:
    """Plays a policy.

    Args:
      policy: the network; its weights may change between frames.
      info: what its bundle says of it.
      seats: which players it plays.
      delay: frames between a state and the input that answers it, beyond the game's own.
      jit: compile with XLA.
    """

    def __init__(
        self, policy: Policy, info: PolicyInfo, seats: Seats, *, delay: int, jit: bool = True
    ):
        self.policy, self.seats, self.delay = policy, seats, delay
        self.layout = policy.embedding.inputs
        rows = len(seats)
        self.previous = np.zeros((rows, PREVIOUS_CONTROLLER), np.float32)
        self.starts = np.ones(rows, bool)
        self.memory: tuple[Any, ...] = self.initial_memory()
        self._initial = policy.initial_state(rows)
        self._waiting = np.zeros((delay + 1, rows, PREVIOUS_CONTROLLER), np.float32)
        conditions = conditions_of(info)
        ids = {**conditions.defaults(), **conditions.ids(frame_delay=delay)}
        self._told = [(self.layout.ids[n], i) for n, i in ids.items() if n in self.layout.ids]
        self._step = CompiledStep(self._answer, jit=jit)

    def initial_memory(self) -> tuple[Any, ...]:
        """Memory at a game's start, flat."""
        return tuple(keras.tree.flatten(self.policy.initial_state(len(self.seats))))

    def look(self, inputs: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """What it reads of a frame and is told besides, `[rows, …]`, of what all matches show."""
        numbers, ids = (part[self.seats.match, self.seats.player] for part in inputs)
        for place, told in self._told:
            ids[:, place] = told
        return numbers, ids

    def act(self, seen: tuple[np.ndarray, np.ndarray], uniforms: np.ndarray) -> Answer:
        """Answers a frame.

        Args:
          seen: of `look`.
          uniforms: float32 `[rows, num_uniforms]`.
        """
        previous, starts = self.previous, self.starts
        controller, buckets, log_prob, self.memory = self._step(*self._read(seen, uniforms))
        self.previous, self.starts = controller.numpy(), np.zeros_like(starts)
        return Answer(*seen, previous, starts, buckets.numpy(), log_prob.numpy())

    def graph(self) -> Any:
        """The graph of an answer, with shapes: what a benchmark counts."""
        rows, layout = len(self.seats), self.layout
        numbers = np.zeros((rows, layout.num_numbers), np.float32)
        seen = numbers, np.zeros((rows, layout.num_ids), np.int32)
        uniforms = np.zeros((rows, self.policy.num_uniforms), np.float32)
        return self._step.graph(*self._read(seen, uniforms)).as_graph_def(add_shapes=True)

    def _read(self, seen: tuple[np.ndarray, np.ndarray], uniforms: np.ndarray) -> tuple[Any, ...]:
        told = (*seen, self.previous, self.starts, uniforms)
        return (*(tf.constant(part) for part in told), self.memory)

    def due(self) -> np.ndarray:
        """Takes the newest answer; float32 `[rows, 13]`, what is to be pressed now.

        As `features.delay_queue`, of values and not of bytes: matches read those.
        """
        self._waiting[:-1] = self._waiting[1:]
        self._waiting[-1] = self.previous
        return self._waiting[0]

    def begin(self, matches: np.ndarray) -> None:
        """Games begin anew.

        Args:
          matches: bool `[matches]`.
        """
        rows = matches[self.seats.match]
        self.starts[rows] = True
        self._waiting[:, rows] = 0

    def state(self) -> dict[str, np.ndarray]:
        """What it remembers, by name."""
        memory = {f"memory.{i}": part.numpy() for i, part in enumerate(self.memory)}
        return memory | {
            "previous": self.previous,
            "starts": self.starts,
            "waiting": self._waiting,
        }

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """The inverse of `state`."""
        self.memory = tuple(tf.constant(state[f"memory.{i}"]) for i in range(len(self.memory)))
        self.previous, self.starts = state["previous"].copy(), state["starts"].copy()
        self._waiting[:] = state["waiting"]

    def _answer(  # noqa: PLR0917 - the inputs of a graph
        self, numbers: Any, ids: Any, previous: Any, starts: Any, uniforms: Any, memory: Any
    ) -> tuple[Any, ...]:
        policy = self.policy
        step = policy.step_joined(
            numbers,
            ids,
            previous if policy.config.embedding.with_prev_action else None,
            keras.tree.pack_sequence_as(self._initial, list(memory)),
            is_resetting=starts,
            uniforms=uniforms,
            temperature=tf.ones([]),
        )
        logits = {name: step.logits[:, span] for name, span in policy.head.spans.items()}
        log_prob = distribution.log_prob(logits, split_buckets(step.buckets))
        return step.controller, step.buckets, log_prob, tuple(keras.tree.flatten(step.state))


def split_buckets(joined: Any) -> dict[str, Any]:
    """Buckets by component of those side by side, `[…, 13]`; buttons `[…, 8]`."""
    count = joined.shape[-1] - len(_SINGLE)
    singles = {name: joined[..., count + place] for place, name in enumerate(_SINGLE)}
    return {"buttons": joined[..., :count], **singles}


_SINGLE = ("main_x", "main_y", "c_x", "c_y", "shoulder")
