"""Whether the forms of a policy play alike: Keras float, Keras QAT, ONNX float, ONNX INT8.

All forms read the same whole games, frame by frame with the memory carried along, several games
side by side, and in lockstep, so that nothing but sums is kept. Every form is *teacher-forced*:
later components of an action are conditioned on the human's earlier ones, or else one differing
button would count against all that follow. Keras heads take the human's action as an argument. An
exported graph samples by itself, and is made to choose the human's buckets by its own inputs:
bucket = argmax(logit + temperature · gumbel(u)), so at a temperature of a million and u = 1 for the
wanted bucket, 0 for all others, noise alone decides, and the `logits` it reports are conditioned on
the human's action, as is the action that it remembers. Each step checks that it worked.

Memories are compared on one long game that is never reset: after a reset, parts of a memory that
nobody reads may hold anything.

A form is held against its *reference*: an exported graph against the Keras network it was made
from. Likelihoods of all are held against one *baseline*, the float network.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np

from exphil_tf.evaluation.checks import Check
from exphil_tf.evaluation.episodes import GameBatch, sample_of
from exphil_tf.evaluation.metrics import Accumulator, Sample
from exphil_tf.evaluation.parity_report import ComponentParity, Drift, FormParity, ParityReport
from exphil_tf.evaluation.policy_runners import Runner, Segment
from exphil_tf.features.controller import COMPONENTS, ControllerCodec

STEPS = 250
"""Steps that are compared at a time; batches of games are filled up to multiples of it."""
DRIFT_FRAMES = 10_000
"""Frames after which the drift of the memory is judged."""

LEAST_AGREEMENT = 0.99
"""Least share of frames on which a component's likeliest action is the reference's."""
GREATEST_NLL_LOSS = 0.01
"""Greatest relative increase of the whole action's NLL over the baseline's."""
GREATEST_DRIFT = 1e-3
"""Greatest difference of an exact copy's memory after `DRIFT_FRAMES`."""
GREATEST_GROWTH = 2.0
"""Greatest |logit| in the long game, in multiples of the baseline's."""


class Form(NamedTuple):
    """A form of a policy and what is asked of it."""

    runner: Runner
    reference: str = ""
    """Name of the form that it was made from; empty if it is no copy."""
    demand: Literal["exact", "quantized", "none"] = "none"
    """`exact`: its memory may not drift from the reference's. `quantized`: it must act and score
    like the reference and stay bounded. `none`: it is shown beside the others."""


def run_parity(
    forms: Mapping[str, Form],
    games: GameBatch,
    *,
    codec: ControllerCodec,
    long: GameBatch | None = None,
    baseline: str = "keras float",
) -> ParityReport:
    """Plays all forms and compares them.

    Args:
      forms: by name, such as "keras float", "keras qat", "onnx float32", "onnx int8-qat".
      games: whole held-out games, from `batch_games(…, multiple=STEPS)`.
      codec: the policy's buckets.
      long: one long game for the drift of the memory, from `long_game`; None: not measured.
      baseline: the form whose likelihood the others' is held against.

    Raises: ValueError: if a reference or the baseline is missing, or a graph cannot be
      teacher-forced.
    """
    missing = {baseline, *(form.reference for form in forms.values())} - {"", *forms}
    if missing:
        raise ValueError(f"parity.forms: want {sorted(missing)}. Received: {sorted(forms)}")
    sums = {name: _Sums(codec) for name in forms}
    runs = {name: form.runner.run(games, steps=STEPS) for name, form in forms.items()}
    for start in range(0, games.num_steps, STEPS):
        sample = sample_of(games, codec, slice(start, start + STEPS))
        found = {name: next(run) for name, run in runs.items()}
        for name, form in forms.items():
            sums[name].add(found[name], sample, found.get(form.reference))
    nll = {name: total.nll() for name, total in sums.items()}
    results = {
        name: sums[name].result(form.reference, nll[baseline]) for name, form in forms.items()
    }
    drift = {} if long is None else _drift(forms, long)
    return ParityReport(
        frames=games.frames,
        baseline=baseline,
        forms=results,
        drift=drift,
        checks=_checks(forms, results, drift, baseline=baseline),
    )


class _Sums:
    """Sums of one form over all frames."""

    def __init__(self, codec: ControllerCodec):
        self._sizes = codec.sizes
        self._metrics = Accumulator(codec.sizes)
        self._frames = 0
        self._agreed = dict.fromkeys(COMPONENTS, 0)
        self._agreed_each = dict.fromkeys(COMPONENTS, 0.0)
        self._difference = 0.0
        self._total_difference = 0.0

    def add(self, found: Segment, sample: Sample, reference: Segment | None) -> None:
        """Adds the counted frames of a segment."""
        logits = sample.pick(self._split(found.logits))
        self._metrics.add(logits, sample)
        self._frames += len(sample)
        if reference is None:
            return
        wanted = sample.pick(self._split(reference.logits))
        for name in COMPONENTS:
            agrees = _agrees(name, logits[name], wanted[name])
            self._agreed[name] += int(agrees.all(-1).sum())
            self._agreed_each[name] += float(agrees.mean(-1).sum())
            difference = np.abs(logits[name] - wanted[name])
            self._difference = max(self._difference, float(difference.max(initial=0.0)))
            self._total_difference += float(difference.sum(dtype=np.float64))

    def nll(self) -> dict[str, float]:
        """Nats per frame by component."""
        return {
            name: component.nll for name, component in self._metrics.result().components.items()
        }

    def result(self, reference: str, baseline: Mapping[str, float]) -> FormParity:
        """The figures of the form; its NLL by component is held against that of `baseline`."""
        nll = self.nll()
        components = {
            name: ComponentParity(
                nll=nll[name],
                relative_nll=_relative(nll[name], baseline[name]),
                agreement=self._agreed[name] / self._frames if reference else None,
                agreement_each=self._agreed_each[name] / self._frames if reference else None,
            )
            for name in COMPONENTS
        }
        total = sum(nll.values())
        count = self._frames * sum(self._sizes.values())
        return FormParity(
            reference=reference,
            nll=total,
            relative_nll=_relative(total, sum(baseline.values())),
            components=components,
            max_logit_difference=self._difference if reference else None,
            mean_logit_difference=self._total_difference / count if reference else None,
        )

    def _split(self, logits: np.ndarray) -> dict[str, np.ndarray]:
        stops = np.cumsum(list(self._sizes.values()))[:-1]
        return dict(zip(self._sizes, np.split(logits, stops, axis=-1), strict=True))


def _agrees(name: str, logits: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Bool `[frames, choices]`: the likeliest is the same, for each button or for the component."""
    if name == "buttons":
        return (logits > 0) == (wanted > 0)
    return (logits.argmax(-1) == wanted.argmax(-1))[:, None]


def _differences(found: Segment, reference: Segment) -> list[float]:
    """Largest difference of each part of the memory."""
    return [
        float(np.abs(found.state[name] - wanted).max(initial=0.0))
        for name, wanted in reference.state.items()
    ]


def _relative(value: float, baseline: float) -> float:
    return (value - baseline) / baseline if baseline > 0 else 0.0


# -- Drift -----------------------------------------------------------------------------------------


def _drift(forms: Mapping[str, Form], long: GameBatch) -> dict[str, Drift]:
    """Every form in one long game, whose memory is emptied at its first frame only."""
    frames = range(STEPS, long.num_steps + 1, STEPS)
    differences: dict[str, list[float]] = {name: [] for name in forms}
    max_logits: dict[str, list[float]] = {name: [] for name in forms}
    runs = {name: form.runner.run(long, steps=STEPS) for name, form in forms.items()}
    for _ in frames:
        found = {name: next(run) for name, run in runs.items()}
        for name, form in forms.items():
            max_logits[name].append(float(np.abs(found[name].logits).max()))
            if form.reference:
                apart = _differences(found[name], found[form.reference])
                differences[name].append(max(apart, default=0.0))
    return {
        name: Drift(tuple(frames), tuple(differences[name]), tuple(max_logits[name]))
        for name in forms
    }


# -- Judgement -------------------------------------------------------------------------------------


def _checks(
    forms: Mapping[str, Form],
    results: Mapping[str, FormParity],
    drift: Mapping[str, Drift],
    *,
    baseline: str,
) -> tuple[Check, ...]:
    """What is asked of each form, and whether it holds."""
    found: list[Check] = []
    for name, form in forms.items():
        if form.demand == "exact" and drift:
            text = f"memory differs after {drift[name].frames[-1]:,} frames by less than"
            value = drift[name].differences[-1]
            found.append(Check.at_most(name, text, value=value, limit=GREATEST_DRIFT))
        if form.demand != "quantized":
            continue
        for component, figures in results[name].components.items():
            text = f"{component}: likeliest action as {form.reference}'s on at least"
            value = figures.agreement or 0.0
            found.append(Check.at_least(name, text, value=value, limit=LEAST_AGREEMENT))
        text = f"NLL above {baseline}'s by at most"
        value = results[name].relative_nll
        found.append(Check.at_most(name, text, value=value, limit=GREATEST_NLL_LOSS))
        if drift:
            limit = GREATEST_GROWTH * max(drift[baseline].max_logits)
            text = f"largest |logit| of {drift[name].frames[-1]:,} frames at most"
            value = max(drift[name].max_logits)
            found.append(Check.at_most(name, text, value=value, limit=limit))
    return tuple(found)
