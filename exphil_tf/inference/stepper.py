"""Plays an exported policy frame by frame: schema columns in, a controller out.

Memory and previous action never leave ONNX Runtime's buffers: they are bound as inputs and outputs
of two bindings that take turns, so that what one call writes the next one reads. Nothing is
allocated or copied per frame but the frame itself, which is written into one row of numbers and one
of ids. Against `session.run` on a dict that saves about 120 µs of a graph with a column per input,
and 10 µs of one with joined columns.

Only numpy and ONNX Runtime are needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import onnxruntime as ort

from exphil_tf.features.conditions import CONDITIONS
from exphil_tf.features.schema import SCHEMA
from exphil_tf.inference.bundle import Bundle, refused
from exphil_tf.inference.session import session_options
from exphil_tf.rewards.win_score import win_probability

_DTYPES: dict[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
}
_STATE, _NEW = "state.", "new."


class StepOutput(NamedTuple):
    """What a step gives: views that later steps overwrite, copy what is to be kept."""

    controller: np.ndarray
    """float32 `[batch, 13]`: 8 buttons of 0/1, main_x, main_y, c_x, c_y, shoulder."""
    buckets: np.ndarray
    """int32 `[batch, 13]`: the same as buckets."""
    logits: np.ndarray
    """float32 `[batch, logits]`: what it was drawn from, before temperature."""


class Stepper:
    """A policy at play in `batch_size` independent games at once.

    Args:
      bundle: an opened bundle.
      batch_size: rows; what a bundle with a fixed batch was exported for.
      threads: that one call may use.
      seed: decides the drawn actions.
      session: of the bundle's graph, opened with other options; None opens one.
      told: ids by condition that take the place of the bundle's defaults, in every game
        (`bundle.config.told().ids(…)` makes them of words).

    Raises: ValueError: if the graph's batch is another, it reads windows and not frames, or it
      cannot be told that.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        batch_size: int = 1,
        threads: int = 1,
        seed: int = 0,
        session: ort.InferenceSession | None = None,
        told: Mapping[str, int] = MappingProxyType({}),
    ):
        if bundle.config.form != "step":
            raise ValueError(f"stepper: want the form step. Received: {bundle.config.form}")
        session = session or bundle.session(session_options(threads=threads, batch_size=batch_size))
        self.batch_size = batch_size
        self._session, self._folder = session, bundle.folder
        self._rng = np.random.default_rng(seed)
        inputs = {port.name: _buffer(port, batch_size) for port in session.get_inputs()}
        outputs = {port.name: _buffer(port, batch_size) for port in session.get_outputs()}
        self.numbers, self.ids = inputs["numbers"], inputs["ids"]
        self.uniforms, self._temperature = inputs["uniforms"], inputs["temperature"]
        self._flat = self.numbers.reshape(-1)
        columns = bundle.config.columns
        places = [
            *_places(self.numbers, columns["numbers"]),
            *_places(self.ids, columns["ids"]),
        ]
        self._places = [(name, place) for name, place in places if name not in CONDITIONS]
        self._conditions = {name: place for name, place in places if name in CONDITIONS}
        self._win_weights = bundle.config.win_probability
        conditions = bundle.config.told()
        self._spans, self._told = conditions.spans, conditions.defaults()
        self._told |= self._checked_ids(told)
        pairs = _pairs(inputs, outputs)
        self._sides = [_Side(session, inputs, outputs, pairs=pairs, turn=turn) for turn in (0, 1)]
        self._turn = 0
        self._checked = False
        self.reset()

    @property
    def num_uniforms(self) -> int:
        """Random numbers in [0, 1) that a row of a step consumes."""
        return self.uniforms.shape[1]

    @property
    def state(self) -> dict[str, np.ndarray]:
        """The memory that the next frame starts from, by name: views, do not write."""
        return {
            name.removeprefix(_STATE): buffer
            for name, buffer in self._sides[self._turn].fed.items()
            if name.startswith(_STATE)
        }

    def reset(
        self,
        rows: Sequence[int] | np.ndarray | None = None,
        *,
        told: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        """Starts a game in some rows (None: in all): the next frame finds no memory there.

        Args:
          rows: indices, or bool `[batch]`.
          told: ids by condition for these games; the stepper's own for the others.

        Raises: ValueError: if the policy cannot be told that.
        """
        where = slice(None) if rows is None else rows
        for buffer in self._sides[self._turn].fed.values():
            # Every codec decodes the untouched controller to zeros.
            buffer[where] = 0
        for name, number in (self._told | self._checked_ids(told)).items():
            self._conditions[name][where] = number

    def commit(self, controller: np.ndarray) -> None:
        """Tells what is done in place of the last answer: the next frame's previous action.

        Without a word that is the answer itself. A policy that reads no previous action is told
        nothing.

        Args:
          controller: float32 `[batch, 13]`, as `StepOutput.controller`.
        """
        previous = self._sides[self._turn].fed.get("prev_action")
        if previous is not None:
            previous[...] = controller

    def step(
        self,
        columns: Mapping[str, np.ndarray],
        *,
        uniforms: np.ndarray | None = None,
        temperature: float | np.ndarray = 1.0,
    ) -> StepOutput:
        """Answers one frame.

        Args:
          columns: schema columns `[batch, …]`, own player first; others are ignored. A condition
            among them is told from this frame on, until the row's next game.
          uniforms: float32 `[batch, logits]` in [0, 1); drawn if None.
          temperature: of sampling, a number or float32 `[batch]`; 0 takes the likeliest.

        Raises: ValueError: if a column is missing, has another shape (seen on the first frame) or
          is not finite, which would stay in the memory for the rest of the game.
        """
        if not self._checked:
            self._check(columns)
        try:
            for name, place in self._places:
                place[...] = columns[name]
            for name, place in self._conditions.items():
                if name in columns:
                    place[...] = columns[name]
        except KeyError as error:
            raise ValueError(f"stepper.columns: want {error.args[0]}. Received: none") from None
        return self._run(uniforms, temperature)

    def step_joined(
        self,
        numbers: np.ndarray,
        ids: np.ndarray,
        *,
        uniforms: np.ndarray | None = None,
        temperature: float | np.ndarray = 1.0,
    ) -> StepOutput:
        """As `step`, on columns that are joined already.

        Args:
          numbers: float32 `[batch, numbers]`, as the bundle's `columns` place them.
          ids: int32 `[batch, ids]`.
          uniforms: see `step`.
          temperature: see `step`.
        """
        self.numbers[...] = numbers
        self.ids[...] = ids
        return self._run(uniforms, temperature)

    def win_probability(self) -> np.ndarray:
        """Probability that the own player wins from the last frame on, float32 `[batch]`.

        Raises: ValueError: if the bundle knows none.
        """
        if self._win_weights is None:
            raise ValueError(
                "stepper.win_probability: want a bundle that knows it (train --win-probability). "
                "Received: none"
            )
        return win_probability(dict(self._places), self._win_weights)

    def advance(self) -> StepOutput:
        """Runs the graph on what the buffers hold and hands its memory to the next frame.

        Raises: UserError: if ONNX Runtime gives up, which no sound bundle lets it (65).
        """
        side = self._sides[self._turn]
        try:
            self._session.run_with_iobinding(side.binding)
        except Exception as error:  # ONNX Runtime's errors share no other base
            raise refused(self._folder, error) from error
        self._turn = 1 - self._turn
        return side.output

    def _run(self, uniforms: np.ndarray | None, temperature: float | np.ndarray) -> StepOutput:
        # A sum of squares is finite just where all numbers are, at a third of isfinite's price.
        if not self._flat.dot(self._flat) < np.inf:
            raise self._not_finite()
        if uniforms is None:
            self._rng.random(out=self.uniforms, dtype=np.float32)
        else:
            self.uniforms[...] = uniforms
        self._temperature[...] = temperature
        return self.advance()

    def _checked_ids(self, told: Mapping[str, int]) -> dict[str, int]:
        for name, number in told.items():
            span = self._spans.get(name)
            if span is None:
                raise ValueError(
                    f"stepper.told: want some of {list(self._spans)}. Received: {name}"
                )
            if not span.least <= number <= span.most:
                want = f"{span.least} to {span.most}"
                raise ValueError(f"stepper.told.{name}: want {want}. Received: {number}")
        return dict(told)

    def _check(self, columns: Mapping[str, np.ndarray]) -> None:
        for name, place in self._places:
            found = np.shape(columns[name]) if name in columns else None
            if found != place.shape:
                received = "none" if found is None else list(found)
                raise ValueError(
                    f"stepper.columns.{name}: want shape {list(place.shape)}. Received: {received}"
                )
        self._checked = True

    def _not_finite(self) -> ValueError:
        wrong = [name for name, place in self._places if not np.isfinite(place).all()]
        return ValueError(f"stepper.columns: want finite numbers. Received: {', '.join(wrong)}")


class _Side:
    """One of the two bindings: reads the memory that the other one writes."""

    def __init__(
        self,
        session: ort.InferenceSession,
        inputs: Mapping[str, np.ndarray],
        outputs: Mapping[str, np.ndarray],
        *,
        pairs: Mapping[str, tuple[str, tuple[np.ndarray, np.ndarray]]],
        turn: int,
    ):
        self.fed = {name: buffers[turn] for name, (_, buffers) in pairs.items()}
        written = {out: buffers[1 - turn] for out, buffers in pairs.values()}
        # Outputs have buffers of their own on each side, so that one survives the next step.
        own = {name: np.empty_like(buffer) for name, buffer in outputs.items()} | written
        self.output = StepOutput(own["controller"], own["buckets"], own["logits"])
        self.binding = session.io_binding()
        for name, buffer in ({**inputs, **self.fed}).items():
            self.binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(buffer))
        for name, buffer in own.items():
            self.binding.bind_ortvalue_output(name, ort.OrtValue.ortvalue_from_numpy(buffer))


def _buffer(port: Any, batch_size: int) -> np.ndarray:
    """Zeros of a port's type and shape.

    Raises: ValueError: if its batch is fixed to another size.
    """
    rows = port.shape[0]
    if isinstance(rows, int) and rows != batch_size:
        raise ValueError(
            f"stepper.batch_size: want {rows}, which the bundle was exported for. "
            f"Received: {batch_size}"
        )
    return np.zeros((batch_size, *port.shape[1:]), _DTYPES[port.type])


def _pairs(
    inputs: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]
) -> dict[str, tuple[str, tuple[np.ndarray, np.ndarray]]]:
    """Input → the output that feeds it, and the two buffers that take turns."""
    feeds = {name: _NEW + name.removeprefix(_STATE) for name in inputs if name.startswith(_STATE)}
    if "prev_action" in inputs:
        feeds["prev_action"] = "controller"
    for name, out in feeds.items():
        if out not in outputs or outputs[out].shape != inputs[name].shape:
            raise ValueError(f"stepper: want an output {out} shaped like the input {name}")
    return {n: (out, (inputs[n], np.zeros_like(inputs[n]))) for n, out in feeds.items()}


def _places(
    buffer: np.ndarray, columns: Mapping[str, Mapping[str, Any]]
) -> list[tuple[str, np.ndarray]]:
    """Where each column is written: views of a joined buffer, `[batch]` or `[batch, n]`."""
    widths = {field.name: field.shape for field in SCHEMA.fields}
    places: list[tuple[str, np.ndarray]] = []
    for name, place in columns.items():
        span = slice(place["start"], place["stop"])
        places.append((name, buffer[:, span] if widths.get(name) else buffer[:, span.start]))
    return places
