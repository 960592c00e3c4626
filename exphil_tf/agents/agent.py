"""The agent: frames in, controllers out, for one player or for players of many games at once.

What a policy learnt, and what therefore has to be done in play. A training row at frame f holds
(`data.batches.copy_unrolls`, `models.policy_inputs`), with delay d:

    columns       the state of frame f, own player first
    prev_action   the own controller of frame f + d, as the codec can say it
    target        the own controller of frame f + 1 + d

and at a game's first frame the previous action is not read: it counts as the untouched controller.
So the previous action is not what the state of frame f shows to be held (that is the controller of
frame f), but the last one that was decided on: between the two lie d inputs that are on their way.
In play it is the policy's own newest answer, whether it has taken effect or not:

    state f arrives  →  answer for frame f + 1 + d, given the answer for frame f + d
                     →  to be sent now: the answer for frame f + 1, which was given at frame f - d

The answers in between wait in a `DelayQueue`, neutral at a game's start. Whoever delays inputs
itself (a netplay connection, an arena) is told by `queued_frames` to be given them that much
sooner, so that nothing waits twice. With `action_repeat` the previous action is what is held, not
what the policy would have chosen, as that is what the game will see. A mirrored agent lives on the
other side of the mirror: it is shown reflected frames and its answer is reflected on the way out.

Only numpy is needed here. What answers frames, an exported policy or a Keras one, comes in as a
`FrameStepper`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np

from exphil_tf.features.controller import to_bytes
from exphil_tf.features.delay_queue import DelayQueue
from exphil_tf.features.packing import ACTION_BYTES
from exphil_tf.features.schema import SCHEMA
from exphil_tf.features.viewpoint import mirror_columns
from exphil_tf.inference.latency_histogram import LatencyHistogram
from exphil_tf.inference.stepper import StepOutput
from exphil_tf.melee.controls import AXES
from exphil_tf.melee.enums import BUTTONS

Decode = Literal["sampled", "deterministic", "mixed"]
_NUM_BUTTONS = len(BUTTONS)
_AXIS = {name: _NUM_BUTTONS + place for place, name in enumerate(AXES)}
_SHOULDER = _NUM_BUTTONS + len(AXES)
_SIDED = [_AXIS["main_x"], _AXIS["c_x"]]
_NO_NOISE = 0.5
"""The uniform that leaves a button's logit as it is."""
WARM_UP_FRAMES = 30


class FrameStepper(Protocol):
    """What answers frames: `inference.stepper.Stepper`, or a Keras policy in its place."""

    batch_size: int

    @property
    def num_uniforms(self) -> int:
        """Random numbers of a row."""
        ...

    def reset(self, rows: Sequence[int] | np.ndarray | None = None) -> None:
        """Starts a game in some rows, or in all."""
        ...

    def commit(self, controller: np.ndarray) -> None:
        """Tells what is done in place of the last answer."""
        ...

    def step(
        self,
        columns: Mapping[str, np.ndarray],
        *,
        uniforms: np.ndarray | None = None,
        temperature: float | np.ndarray = 1.0,
    ) -> StepOutput:
        """Answers one frame."""
        ...


@dataclass(frozen=True)
class AgentOptions:
    """How a policy is played.

    Raises: ValueError: naming what is out of range.
    """

    delay: int = 0
    """Frames between a state and the input that answers it, beyond the game's own."""
    queued_frames: int | None = None
    """Of those, the frames that the agent itself holds inputs back; None for all. 0 where somebody
    else does: an arena, a connection."""
    temperature: float = 1.0
    decode: Decode = "sampled"
    """`mixed`: the likelier state of each button, sampled sticks and shoulder."""
    action_repeat: int = 1
    """Frames that an answer is held. Memory reads all of them, as it did in training."""
    is_mirrored: bool = False

    def __post_init__(self) -> None:
        """Raises ValueError naming what is out of range."""
        if not 0 <= self.temperature < np.inf:
            raise ValueError(f"temperature: want at least 0. Received: {self.temperature}")
        if self.action_repeat < 1:
            raise ValueError(f"action_repeat: want at least 1. Received: {self.action_repeat}")
        if not 0 <= self.held_back <= self.delay:
            raise ValueError(
                f"queued_frames: want 0 to {self.delay}, the delay. Received: {self.queued_frames}"
            )

    @property
    def held_back(self) -> int:
        """Frames that the agent holds inputs back."""
        return self.delay if self.queued_frames is None else self.queued_frames


class Decision(NamedTuple):
    """An agent's answer to one frame."""

    controller: np.ndarray
    """uint8 `[batch, ACTION_BYTES]`: what to send now; the input of the next frame."""
    chosen: np.ndarray
    """uint8 `[batch, ACTION_BYTES]`: what was decided on this frame, due later by the delay."""
    is_repeat: np.ndarray
    """bool `[batch]`: `chosen` is held on from an earlier frame."""
    output: StepOutput
    """The policy's own answer, in the mirror if the agent is mirrored: views that the step after
    the next overwrites."""


class Agent:
    """Plays a policy, in as many independent games as the stepper has rows.

    Args:
      stepper: what answers frames.
      options: see `AgentOptions`.
      seed: of what the agent itself draws, which `mixed` does.
    """

    def __init__(
        self, stepper: FrameStepper, options: AgentOptions | None = None, *, seed: int = 0
    ):
        self.options = options or AgentOptions()
        self._rng = np.random.default_rng(seed)
        self.latency = LatencyHistogram()
        self._next: FrameStepper | None = None
        self._take(stepper)

    @property
    def batch_size(self) -> int:
        """Games at once."""
        return self._stepper.batch_size

    def _take(self, stepper: FrameStepper) -> None:
        self._stepper = stepper
        rows = stepper.batch_size
        self._queue = DelayQueue(self.options.held_back, (rows,))
        self._held = np.zeros((rows, _SHOULDER + 1), np.float32)
        self._age = np.zeros(rows, np.int64)
        self._no_repeat = np.zeros(rows, bool)

    def swap(self, stepper: FrameStepper) -> None:
        """Plays another policy from the next game on: from the next reset of all rows.

        Raises: ValueError: if it plays another number of games.
        """
        if stepper.batch_size != self.batch_size:
            raise ValueError(
                f"agent.swap: want {self.batch_size} rows. Received: {stepper.batch_size}"
            )
        self._next = stepper

    def reset(self, rows: Sequence[int] | np.ndarray | None = None) -> None:
        """A game starts in some rows (None: in all): no memory, nothing held, nothing on its way.

        Args:
          rows: indices, or bool `[batch]`.
        """
        if rows is None:
            if self._next is not None:
                self._take(self._next)
                self._next = None
            self._stepper.reset()
            self._queue.reset()
            self._held[:], self._age[:] = 0, 0
            return
        where = np.zeros(self.batch_size, bool)
        where[rows] = True
        self._stepper.reset(where)
        self._queue.reset(where)
        self._held[where], self._age[where] = 0, 0

    def act(
        self,
        columns: Mapping[str, np.ndarray],
        *,
        uniforms: np.ndarray | None = None,
        temperature: float | np.ndarray | None = None,
    ) -> Decision:
        """Answers one frame of every game.

        Args:
          columns: schema columns `[batch, …]`, own player first; all of them if mirrored.
          uniforms: float32 `[batch, num_uniforms]` in [0, 1); the stepper's own draw if None.
          temperature: in place of the options'.

        Raises: ValueError: as of the stepper.
        """
        began = time.perf_counter()
        if self.options.is_mirrored:
            columns = mirror_columns(columns)
        output = self._stepper.step(
            columns, uniforms=self._noise(uniforms), temperature=self._temperature(temperature)
        )
        answer, is_repeat = self._repeated(output.controller)
        chosen = self._bytes(answer)
        sent = self._queue.push(chosen)
        self.latency.record(time.perf_counter() - began)
        return Decision(sent, chosen, is_repeat, output)

    def pending(self) -> np.ndarray:
        """Inputs on their way, uint8 `[queued frames, batch, ACTION_BYTES]`, the next one first."""
        return self._queue.pending

    def warm_up(self, frames: int = WARM_UP_FRAMES) -> None:
        """Plays empty frames, so that the first real one costs no more than others, and resets.

        Random numbers and the histogram stay as they were.
        """
        columns = SCHEMA.zeros(self.batch_size)
        still = np.full((self.batch_size, self._stepper.num_uniforms), _NO_NOISE, np.float32)
        for _ in range(frames):
            self.act(columns, uniforms=still)
        self.latency = LatencyHistogram()
        self.reset()

    def _temperature(self, given: float | np.ndarray | None) -> float | np.ndarray:
        if given is not None:
            return given
        return 0.0 if self.options.decode == "deterministic" else self.options.temperature

    def _noise(self, given: np.ndarray | None) -> np.ndarray | None:
        if self.options.decode != "mixed":
            return given
        shape = self.batch_size, self._stepper.num_uniforms
        noise = self._rng.random(shape, np.float32) if given is None else given.copy()
        noise[:, :_NUM_BUTTONS] = _NO_NOISE
        return noise

    def _repeated(self, answer: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What is held, float32 `[batch, 13]`, and where it is from an earlier frame."""
        if self.options.action_repeat == 1:
            return answer, self._no_repeat
        is_repeat = self._age % self.options.action_repeat != 0
        self._age += 1
        if not is_repeat.any():
            self._held[...] = answer
            return answer, is_repeat
        self._held[~is_repeat] = answer[~is_repeat]
        self._stepper.commit(self._held)
        return self._held, is_repeat

    def _bytes(self, answer: np.ndarray) -> np.ndarray:
        if self.options.is_mirrored:
            answer = answer.copy()
            answer[:, _SIDED] = -answer[:, _SIDED]
        return controller_bytes(answer)


def controller_bytes(controller: np.ndarray) -> np.ndarray:
    """Stored controller bytes uint8 `[batch, ACTION_BYTES]` of `StepOutput.controller`."""
    values = {name: controller[:, place] for name, place in _AXIS.items()}
    values |= {"buttons": controller[:, :_NUM_BUTTONS], "shoulder": controller[:, _SHOULDER]}
    stored = to_bytes(values)
    assert stored.shape[-1] == ACTION_BYTES
    return stored


def confidence(output: StepOutput, sizes: Mapping[str, int]) -> np.ndarray:
    """float32 `[batch]`: probability of what was chosen, averaged over the six components.

    Of the buttons it is the average over the eight. Of an answer that is held on from an earlier
    frame there is none to speak of.

    Args:
      output: of a step.
      sizes: logits per component, in sampling order.
    """
    logits, buckets = output.logits.astype(np.float64), output.buckets
    pressed = 1 / (1 + np.exp(-logits[:, :_NUM_BUTTONS]))
    shares = [np.where(buckets[:, :_NUM_BUTTONS] > 0, pressed, 1 - pressed).mean(-1)]
    start = _NUM_BUTTONS
    for place, size in enumerate(list(sizes.values())[1:], start=_NUM_BUTTONS):
        part = logits[:, start : start + size]
        weights = np.exp(part - part.max(-1, keepdims=True))
        chosen = np.take_along_axis(weights, buckets[:, place : place + 1].astype(int), -1)[:, 0]
        shares.append(chosen / weights.sum(-1))
        start += size
    return np.mean(shares, axis=0).astype(np.float32)
