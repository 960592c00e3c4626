"""Rollouts: matches played by policies and scripts, as batches to learn from.

One batch holds `length` frames of every row that learns, and what is behind them: a frame whose
value is bootstrapped from, and `delay` frames more for the rewards of the last actions. Those
`delay + 1` frames are the next batch's first ones, with the answers that were given then. Memory
before a batch's first frame goes with it.

A match that is over shows its last frame, on which nothing that is pressed counts; the next one is
a new game's first.

The iterator is a TensorFlow trackable: a checkpoint holds everything that decides what is played
next, but for the weights.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from exphil_tf.rewards import terms
from exphil_tf.rewards.playing import COLUMNS, rewards
from exphil_tf.rl import generator_state
from exphil_tf.rl.actor import Actor, Answer
from exphil_tf.rl.matches import Matches
from exphil_tf.rl.results import outcome
from exphil_tf.rl.returns import Transitions
from exphil_tf.rl.script_matchmaking import Matchmaking
from exphil_tf.rl.seats import Seats
from exphil_tf.rl.snapshots import Snapshots
from exphil_tf.training.spent import Spent
from models.policy import PREVIOUS_CONTROLLER


class Rollout(NamedTuple):
    """Frames of every row that learns; numpy, rows first, `time` being the length."""

    numbers: np.ndarray
    """float32 `[rows, time + 1, …]`, what the network reads (`FrameEmbedding.inputs`)."""
    ids: np.ndarray
    """int32 `[rows, time + 1, …]`."""
    previous: np.ndarray
    """float32 `[rows, time + 1, 13]`, the answer to the frame before."""
    is_resetting: np.ndarray
    """bool `[rows, time + 1]`."""
    buckets: np.ndarray
    """int32 `[rows, time, 13]`, the answer."""
    log_prob: np.ndarray
    """float32 `[rows, time]`, of the answer by the policy that gave it."""
    memory: tuple[Any, ...]
    """The network's, before the first frame: tensors `[rows, …]`."""
    transitions: Transitions
    """`[rows, time + delay]`."""
    reward_terms: dict[str, float]
    """Mean of each term's share per frame."""
    ended: dict[str, np.ndarray]
    """Of the games that ended: `won` and `stocks` as of `results.Ended`, and `row` that saw it."""


@dataclass(frozen=True)
class RolloutOptions:
    """How rollouts are cut and paid."""

    length: int
    discount: float
    """Per frame."""
    weights: Mapping[str, float]
    """Of reward terms (`rewards.playing`)."""
    seed: int
    late_weights: Mapping[str, float] | None = None
    """Instead of those, from a batch on."""
    late_from: int = 0
    """Number of the first such batch, from 0."""

    def weights_at(self, batch: int) -> dict[str, float]:
        """Weights of a batch, by number; of the same terms throughout, so that logs go on."""
        late = self.weights if self.late_weights is None else self.late_weights
        found = late if batch >= self.late_from else self.weights
        return {name: found.get(name, 0.0) for name in {**self.weights, **late}}


class Rollouts(tf.train.experimental.PythonState):
    """Plays without end; an iterator of `Rollout`, and training data of a learner.

    Args:
      matches: what is played.
      learner: the policy that learns, in all its seats.
      others: policies that do not.
      options: see `RolloutOptions`.
    """

    def __init__(
        self,
        matches: Matches,
        learner: Actor,
        *,
        others: Sequence[Actor] = (),
        options: RolloutOptions,
    ):
        super().__init__()
        self.matches, self.learner, self.options = matches, learner, options
        self.stopwatch = Spent(time.process_time)  # a busy machine's clock tells nothing
        self._actors = (learner, *others)
        self._rng = np.random.Generator(np.random.PCG64(options.seed))
        self._frames = _Storage(options.length + learner.delay + 1)
        self._memory = learner.memory
        self._controllers = np.zeros((matches.count, 2, PREVIOUS_CONTROLLER), np.float32)
        self._is_begun = False
        self._made = 0
        self.snapshots: Snapshots | None = None
        """Who plays in the seats of the policy's past, if it has any."""
        self.matchmaking: Matchmaking | None = None
        """Who draws scripts for games to come, if they are drawn."""

    def batches(self) -> Rollouts:
        """Itself."""
        return self

    def named_errors(self) -> AbstractContextManager[None]:
        """Nothing is read that could be damaged."""
        return nullcontext()

    def __iter__(self) -> Iterator[Rollout]:
        """Itself."""
        return self

    def __next__(self) -> Rollout:
        """Plays until the next batch is full."""
        length, delay = self.options.length, self.learner.delay
        if not self._is_begun:
            self._observe(0)
            self._is_begun = True
            at = 0
        else:
            self._frames.shift(length)
            at = delay
        memory = self._memory
        while at < length + delay:
            if at == length:
                self._memory = self.learner.memory
            self._play(at)
            at += 1
            self._observe(at)
        if not delay:
            self._memory = self.learner.memory
        with self.stopwatch.on("rewards"):
            found = self._rollout(memory)
        self._made += 1
        return found

    # -- A frame -----------------------------------------------------------------------------------

    def _observe(self, at: int) -> None:
        with self.stopwatch.on("observations"):
            columns = self.matches.columns()
        row: dict[str, np.ndarray] = {f"c.{name}": columns[name] for name in COLUMNS}
        row |= {"over": self.matches.is_over, "broken_off": self.matches.is_broken_off}
        with self.stopwatch.on("inputs"):
            self._seen = self._look()
        numbers, ids = self._seen[0]
        row |= {"numbers": numbers, "ids": ids}
        row |= {"previous": self.learner.previous, "starts": self.learner.starts}
        self._frames.put(at, row)

    def _look(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """What each actor reads."""
        return [actor.look(self.matches.inputs(actor.layout)) for actor in self._actors]

    def _play(self, at: int) -> None:
        with self.stopwatch.on("policy"):
            answers = [self._answer(*one) for one in zip(self._actors, self._seen, strict=True)]
        own = answers[0]
        self._frames.put(at, {"buckets": own.buckets, "log_prob": own.log_prob})
        over = self.matches.is_over
        with self.stopwatch.on("simulator"):
            self.matches.step(self._controllers)
            if over.any():
                if self.matchmaking is not None:
                    self.matchmaking.next_games(over)
                self.matches.reset(np.flatnonzero(over))
        if over.any():
            for actor in self._actors:
                actor.begin(over)

    def _answer(self, actor: Actor, seen: tuple[np.ndarray, np.ndarray]) -> Answer:
        shape = len(actor.seats), actor.policy.num_uniforms
        answer = actor.act(seen, self._rng.random(shape, np.float32))
        self._controllers[actor.seats.match, actor.seats.player] = actor.due()
        return answer

    # -- A batch -----------------------------------------------------------------------------------

    def _rollout(self, memory: tuple[Any, ...]) -> Rollout:
        length, found, seats = self.options.length, self._frames.arrays, self.learner.seats
        columns = {name: self._seen_by(seats, found[f"c.{name}"]) for name in COLUMNS}
        before = {name: column[:-1] for name, column in columns.items()}
        after = {name: column[1:] for name, column in columns.items()}
        is_cut = found["over"][:-1][:, seats.match]
        gained, parts = rewards(before, after, self.options.weights_at(self._made))
        is_decided = terms.decided(before, after)
        discount = np.where(is_decided, np.float32(0), np.float32(self.options.discount))
        transitions = Transitions(
            *(
                np.ascontiguousarray(part.swapaxes(0, 1))
                for part in (np.where(is_cut, np.float32(0), gained), discount, is_cut)
            )
        )
        fresh = slice(self.learner.delay, None)
        return Rollout(
            *(
                _rows_first(found[name][: length + 1])
                for name in ("numbers", "ids", "previous", "starts")
            ),
            buckets=_rows_first(found["buckets"][:length]),
            log_prob=_rows_first(found["log_prob"][:length]),
            memory=memory,
            transitions=transitions,
            reward_terms={n: float((p * ~is_cut)[fresh].mean()) for n, p in parts.items()},
            ended=self._ended(found, columns),
        )

    def _ended(
        self, found: Mapping[str, np.ndarray], columns: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Games whose last frame is among the new ones, but for those that were broken off."""
        first = self.learner.delay + 1
        over = (found["over"] & ~found["broken_off"])[:, self.learner.seats.match]
        over[:first] = False
        time, row = np.nonzero(over)
        last = {name: columns[name][time, row] for name in ("p.stock", "p.percent")}
        ended = outcome(last)
        return {"won": ended.won, "stocks": ended.stocks, "row": row}

    @staticmethod
    def _seen_by(seats: Seats, column: np.ndarray) -> np.ndarray:
        """A column `[time, matches, …]` as rows see it."""
        return seats.own_first(column) if column.ndim == 3 else column[:, seats.match]

    # -- Checkpoints -------------------------------------------------------------------------------

    def serialize(self) -> bytes:
        """Everything that decides what is played next, as bytes of an `.npz`."""
        found = {f"matches/{name}": v for name, v in self.matches.state().items()}
        for index, actor in enumerate(self._actors):
            found |= {f"actor{index}/{name}": v for name, v in actor.state().items()}
        found |= {f"memory/{i}": part.numpy() for i, part in enumerate(self._memory)}
        kept = self._frames.kept(self.options.length) if self._is_begun else {}
        found |= {f"frames/{name}": v for name, v in kept.items()}
        if self.snapshots is not None:
            found |= {f"snapshots/{name}": v for name, v in self.snapshots.state().items()}
        if self.matchmaking is not None:
            found |= {f"matchmaking/{name}": v for name, v in self.matchmaking.state().items()}
        found["rng"] = generator_state.to_array(self._rng)
        found["controllers"] = self._controllers
        found["made"] = np.array(self._made)
        file = io.BytesIO()
        np.savez(file, allow_pickle=False, **found)
        return file.getvalue()

    def deserialize(self, string: bytes) -> None:
        """The inverse of `serialize`."""
        with np.load(io.BytesIO(string), allow_pickle=False) as found:
            state = dict(found)
        self.matches.restore(_part(state, "matches/"))
        for index, actor in enumerate(self._actors):
            actor.restore(_part(state, f"actor{index}/"))
        if self.snapshots is not None:
            self.snapshots.restore(_part(state, "snapshots/"))
        if self.matchmaking is not None:
            self.matchmaking.restore(_part(state, "matchmaking/"))
        memory = _part(state, "memory/")
        self._memory = tuple(tf.constant(memory[str(i)]) for i in range(len(memory)))
        kept = _part(state, "frames/")
        self._is_begun = bool(kept)
        if kept:
            self._frames.restore(kept, self.options.length)
            # Games that could not be kept have ended with the last frame that was seen.
            self._frames.put(-1, {"over": self.matches.is_over})
            self._frames.put(-1, {"broken_off": self.matches.is_broken_off})
            self._seen = self._look()
        generator_state.restore(self._rng, state["rng"])
        self._controllers[:] = state["controllers"]
        self._made = int(state.get("made", 0))  # which older checkpoints do not tell


class _Storage:
    """Arrays by name, a row per frame; allocated when a name is first put."""

    def __init__(self, frames: int):
        self._count = frames
        self.arrays: dict[str, np.ndarray] = {}

    def put(self, at: int, row: Mapping[str, np.ndarray]) -> None:
        """Writes one frame."""
        for name, value in row.items():
            if name not in self.arrays:
                self.arrays[name] = np.zeros((self._count, *value.shape), value.dtype)
            self.arrays[name][at] = value

    def shift(self, length: int) -> None:
        """What lies behind a batch becomes the first frames of the next."""
        for array in self.arrays.values():
            array[: self._count - length] = array[length:].copy()

    def kept(self, length: int) -> dict[str, np.ndarray]:
        """What `shift` would keep."""
        return {name: array[length:] for name, array in self.arrays.items()}

    def restore(self, kept: Mapping[str, np.ndarray], length: int) -> None:
        """The inverse of `kept`."""
        for name, value in kept.items():
            self.arrays[name] = np.zeros((self._count, *value.shape[1:]), value.dtype)
            self.arrays[name][length:] = value


def _rows_first(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array.swapaxes(0, 1))


def _part(state: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)}
