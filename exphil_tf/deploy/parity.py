"""Whether the forms of a policy play alike: Keras float, Keras QAT, ONNX float, ONNX INT8.

All forms read the same whole games, frame by frame with the memory carried along, several games
side by side, and in lockstep, so that nothing but sums is kept. Every form is *teacher-forced*:
later components of an action are conditioned on the human's earlier ones, or else one differing
button would count against all that follow. Keras heads take the human's action as an argument. An
exported graph samples by itself, and is made to choose the human's buckets by its own inputs:
bucket = argmax(logit + temperature · gumbel(u)), so at a temperature of a million and u = 1 for the
wanted bucket, 0 for all others, noise decides alone, and the `logits` it reports are conditioned on
the human's action, as is the action it remembers. Each step checks that it worked.

A form is held against its *reference*: an exported graph against the Keras network it was made
from. Likelihoods of all are held against one *baseline*, the float network.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from exphil_tf.deploy.streams import Streams
from exphil_tf.features.controller import COMPONENTS, ControllerCodec
from models.policy import Policy


class Stretch(NamedTuple):
    """Some consecutive steps of all rows."""

    logits: np.ndarray
    """float32 `[rows, steps, logits]`, teacher-forced."""
    state: dict[str, np.ndarray]
    """The memory after the last step, by name."""


class Runner(Protocol):
    """A form of a policy that can be played on streams, teacher-forced."""

    def run(self, streams: Streams, *, steps: int) -> Iterator[Stretch]:
        """Plays all steps from an empty memory, `steps` at a time.

        Args:
          streams: their length must be a multiple of `steps`.
          steps: length of a stretch.
        """
        ...


class Form(NamedTuple):
    """A form and what it should be equal to."""

    runner: Runner
    reference: str = ""
    """Name of the form that this one was made from; empty if it is none's copy."""


@dataclass(frozen=True)
class ParityReport:
    """How alike the forms of a policy play."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `parity.json` holds them."""
        raise NotImplementedError


class KerasRunner:
    """A Keras policy, unrolled."""

    def __init__(self, policy: Policy, *, jit: bool = True):
        raise NotImplementedError


class OnnxRunner:
    """An exported policy, stepped; rows of the stepper are rows of the streams."""

    def __init__(self, open_stepper: Any, codec: ControllerCodec):
        raise NotImplementedError


def run_parity(
    forms: Mapping[str, Form],
    streams: Streams,
    *,
    codec: ControllerCodec,
    long: Streams | None = None,
    baseline: str = "keras float",
) -> ParityReport:
    """Plays all forms and compares them.

    Args:
      forms: by name, such as "keras float", "keras qat", "onnx float32", "onnx int8-qat".
      streams: whole held-out games, from `streams.lay_out(…, multiple=STEPS)`.
      codec: the policy's buckets.
      long: a stream for the drift of the memory, from `streams.long_stream`; none: not measured.
      baseline: the form whose likelihood the others' is held against.
    """
    raise NotImplementedError


def joined_logits(logits: Mapping[str, np.ndarray]) -> np.ndarray:
    """Logits of all components side by side, `[…, logits]`, in sampling order."""
    return np.concatenate([logits[name] for name in COMPONENTS], axis=-1)
