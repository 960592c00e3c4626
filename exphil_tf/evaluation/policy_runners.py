"""Forms of a policy that can be played on whole games, teacher-forced."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from exphil_tf.evaluation.episodes import GameBatch
from exphil_tf.features.controller import COMPONENTS, ControllerCodec
from exphil_tf.inference.bundle import Bundle
from exphil_tf.inference.forcing import FORCING_TEMPERATURE, force
from exphil_tf.inference.stepper import Stepper
from models.policy import Policy


class Segment(NamedTuple):
    """Some consecutive steps of all rows."""

    logits: np.ndarray
    """float32 `[rows, steps, logits]`, teacher-forced, components in sampling order."""
    state: dict[str, np.ndarray]
    """The memory after the last step, `[rows, …]`, by name."""


class Runner(Protocol):
    """A form of a policy."""

    def run(self, games: GameBatch, *, steps: int) -> Iterator[Segment]:
        """Plays all steps from an empty memory, `steps` at a time.

        Args:
          games: their length is a multiple of `steps`.
          steps: length of a segment.
        """
        ...


class KerasRunner:
    """A Keras policy, unrolled over each segment with its state carried along.

    Args:
      policy: the network; dropout is off, and so is every update of quantization ranges.
      jit: compile with XLA, which pays from some ten thousand frames on.
    """

    def __init__(self, policy: Policy, *, jit: bool = False):
        self._policy = policy

        @tf.function(jit_compile=jit, autograph=False, reduce_retracing=False)
        def unroll(inputs: dict[str, Any], state: Any) -> tuple[Any, Any]:
            logits, state = policy.unroll(
                inputs["columns"],
                inputs["prev_action"],
                inputs["targets"],
                state=state,
                is_resetting=inputs["is_resetting"],
                training=False,
            )
            return tf.concat([logits[name] for name in COMPONENTS], axis=-1), state

        self._unroll = unroll

    def run(self, games: GameBatch, *, steps: int) -> Iterator[Segment]:
        """See `Runner`."""
        codec = self._policy.config.head.codec
        uses_prev = self._policy.config.embedding.with_prev_action
        prev_action = codec.decode(games.previous(codec)) if uses_prev else None
        state = self._policy.initial_state(games.num_rows)
        for start in range(0, games.num_steps, steps):
            span = slice(start, start + steps)
            inputs = {
                "columns": _cut(games.columns, span),
                "prev_action": None if prev_action is None else _cut(prev_action, span),
                "targets": _cut(games.targets, span),
                "is_resetting": tf.constant(games.is_resetting[:, span]),
            }
            logits, state = self._unroll(inputs, state)
            parts = [np.asarray(part) for part in tf.nest.flatten(state)]
            names = self._policy.state_names
            yield Segment(np.asarray(logits), dict(zip(names, parts, strict=True)))


class OnnxRunner:
    """An exported policy, stepped frame by frame.

    Args:
      bundle: an opened bundle; one with a fixed batch plays the rows group by group.
      codec: the policy's buckets.
      threads: of a call.
    """

    def __init__(self, bundle: Bundle, codec: ControllerCodec, *, threads: int = 1):
        self._bundle = bundle
        self._codec = codec
        self._threads = threads

    def run(self, games: GameBatch, *, steps: int) -> Iterator[Segment]:
        """See `Runner`.

        Raises: ValueError: if the graph chose other buckets than the human's (see `force`).
        """
        size = self._bundle.config.batch_size or games.num_rows
        groups = [
            _Group(
                Stepper(self._bundle, batch_size=size, threads=self._threads),
                games,
                _rows(games.num_rows, first, size),
            )
            for first in range(0, games.num_rows, size)
        ]
        targets = games.joined_targets()
        uniforms = force(targets, self._codec.sizes)
        for start in range(0, games.num_steps, steps):
            logits = [
                group.play(range(start, start + steps), uniforms=uniforms, targets=targets)
                for group in groups
            ]
            state = {
                name: np.concatenate([group.stepper.state[name] for group in groups])
                for name in groups[0].stepper.state
            }
            # Rows of a fixed batch that are too many repeat the last.
            count = games.num_rows
            yield Segment(
                np.concatenate(logits)[:count], {n: part[:count] for n, part in state.items()}
            )


class _Group(NamedTuple):
    """Rows of the games that one stepper plays."""

    stepper: Stepper
    games: GameBatch
    rows: slice | np.ndarray

    def play(self, steps: range, *, uniforms: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Logits float32 `[rows, steps, logits]`, teacher-forced."""
        rows = self.rows
        logits = np.empty((self.stepper.batch_size, len(steps), uniforms.shape[-1]), np.float32)
        for place, step in enumerate(steps):
            self.stepper.reset(self.games.is_resetting[rows, step])
            columns = {name: column[rows] for name, column in self.games.at(step).items()}
            output = self.stepper.step(
                columns, uniforms=uniforms[rows, step], temperature=FORCING_TEMPERATURE
            )
            _check_forced(output.buckets, targets[rows, step])
            logits[:, place] = output.logits
        return logits


def _rows(num_rows: int, first: int, size: int) -> slice | np.ndarray:
    """`size` rows from `first` on; the last is repeated where there are fewer."""
    if first + size <= num_rows:
        return slice(first, first + size)
    return np.minimum(np.arange(first, first + size), num_rows - 1)


def _check_forced(chosen: np.ndarray, wanted: np.ndarray) -> None:
    if not np.array_equal(chosen, wanted):
        row = int(np.flatnonzero((chosen != wanted).any(-1))[0])
        raise ValueError(
            f"parity: want the graph to choose the human's buckets {wanted[row].tolist()}. "
            f"Received: {chosen[row].tolist()}"
        )


def _cut(arrays: Mapping[str, np.ndarray], span: slice) -> dict[str, Any]:
    return {name: tf.constant(array[:, span]) for name, array in arrays.items()}
