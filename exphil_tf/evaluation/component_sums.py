"""Running sums of one component's figures: a stick axis or the shoulder, and the eight buttons.

Sums are float64 over all frames so far. Equal logits count as drawn by lot, so that a constant
prediction is right by chance only.
"""

from typing import NamedTuple

import numpy as np

from exphil_tf.evaluation.results import (
    AxisUse,
    ButtonMetrics,
    Calibration,
    ComponentMetrics,
)
from exphil_tf.melee.enums import BUTTONS

NUM_BINS = 10
"""Equal-width confidence bins of the expected calibration error (Guo et al. 2017)."""
TOP = 3


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """float64 log-probabilities over the last axis; finite for any finite logits."""
    logits = np.asarray(logits, np.float64)
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def log_sigmoid(logits: np.ndarray) -> np.ndarray:
    """float64 log(1 / (1 + exp(-logits))); finite for any finite logits."""
    return -np.logaddexp(0.0, -np.asarray(logits, np.float64))


def top_share(log_probs: np.ndarray, targets: np.ndarray, k: int) -> np.ndarray:
    """float64 `[frames]`: chance that the target is among the `k` likeliest; ties by lot.

    Args:
      log_probs: float64 `[frames, buckets]`.
      targets: integers `[frames]`.
      k: buckets that count.
    """
    of_target = np.take_along_axis(log_probs, targets[:, None], -1)
    better = (log_probs > of_target).sum(-1)
    tied = (log_probs == of_target).sum(-1)
    return np.clip((k - better) / tied, 0.0, 1.0)


class _CalibrationSums:
    """Sums behind a `Calibration`."""

    def __init__(self) -> None:
        self.sums = np.zeros((3, NUM_BINS))  # weight, weight·confidence, weight·came true

    def add(self, confidence: np.ndarray, correct: np.ndarray, weights: np.ndarray) -> None:
        bins = np.minimum((confidence * NUM_BINS).astype(np.int64), NUM_BINS - 1)
        for row, values in enumerate((weights, weights * confidence, weights * correct)):
            self.sums[row] += np.bincount(bins, values, NUM_BINS)

    def result(self) -> Calibration:
        weight, confidence, correct = self.sums
        return Calibration(
            weight.tolist(),
            [_ratio(c, w) for c, w in zip(confidence, weight, strict=True)],
            [_ratio(c, w) for c, w in zip(correct, weight, strict=True)],
        )


class _Sums:
    """Weighted sums of per-frame figures by name."""

    def __init__(self) -> None:
        self.values: dict[str, np.ndarray] = {}

    def add(self, weights: np.ndarray, **per_frame: np.ndarray) -> None:
        """Adds `weights @ values` for values `[frames]` or `[frames, buttons]`."""
        for name, values in per_frame.items():
            self.values[name] = self.values.get(name, np.zeros(())) + weights @ values

    def __getitem__(self, name: str) -> np.ndarray:
        return self.values[name]


class PerFrame(NamedTuple):
    """What was found of one component, frame by frame."""

    nll: np.ndarray
    """float64 `[frames]`."""
    accuracy: np.ndarray
    """float64 `[frames]`: share of it that is right; of buttons the mean over the eight."""


class AxisSums:
    """Sums of a stick axis or the shoulder."""

    def __init__(self, num_buckets: int) -> None:
        self.num_buckets = num_buckets
        self.sums = _Sums()
        self.calibration = _CalibrationSums()
        self.confusion = np.zeros((num_buckets, num_buckets))

    def add(
        self, logits: np.ndarray, targets: np.ndarray, weights: np.ndarray, *, changed: np.ndarray
    ) -> PerFrame:
        """Adds a batch."""
        log_probs = log_softmax(logits)
        probs = np.exp(log_probs)
        nll = -np.take_along_axis(log_probs, targets[:, None], -1)[:, 0]
        accuracy = top_share(log_probs, targets, 1)
        self.sums.add(
            weights,
            nll=nll,
            accuracy=accuracy,
            top3=top_share(log_probs, targets, TOP),
            entropy=-(probs * log_probs).sum(-1),
            changed=changed,
            changed_nll=changed * nll,
            changed_accuracy=changed * accuracy,
        )
        self.calibration.add(probs.max(-1), accuracy, weights)
        self.confusion += (np.eye(self.num_buckets)[targets] * weights[:, None]).T @ probs
        return PerFrame(nll, accuracy)

    def result(self, weight: float) -> ComponentMetrics:
        """Means over the total weight `weight`."""
        calibration = self.calibration.result()
        sums = self.sums
        return ComponentMetrics(
            nll=float(sums["nll"] / weight),
            accuracy=float(sums["accuracy"] / weight),
            entropy=float(sums["entropy"] / weight),
            ece=calibration.ece,
            top3=float(sums["top3"] / weight),
            changed_share=float(sums["changed"] / weight),
            changed_nll=_ratio(sums["changed_nll"], sums["changed"]),
            changed_accuracy=_ratio(sums["changed_accuracy"], sums["changed"]),
            calibration=calibration,
        )

    def use(self, weight: float) -> AxisUse:
        """How often the human holds each bucket, and the policy would, over the total `weight`."""
        human, model = (self.confusion.sum(axis) / weight for axis in (1, 0))
        return AxisUse(human.tolist(), model.tolist())

    def confusion_rows(self) -> list[list[float]]:
        """Mean probability of each bucket, per bucket of the human's: `[human][bucket]`."""
        totals = self.confusion.sum(-1, keepdims=True)
        return np.divide(
            self.confusion, totals, out=np.zeros_like(self.confusion), where=totals > 0
        ).tolist()


class ButtonsSums:
    """Sums of the eight Bernoulli buttons."""

    def __init__(self) -> None:
        self.sums = _Sums()
        self.calibrations = [_CalibrationSums() for _ in BUTTONS]

    def add(
        self, logits: np.ndarray, targets: np.ndarray, weights: np.ndarray, *, changed: np.ndarray
    ) -> PerFrame:
        """Adds a batch; the NLL is that of all eight. `changed` is bool `[frames, 8]`."""
        logits = np.asarray(logits, np.float64)
        log_on, log_off = log_sigmoid(logits), log_sigmoid(-logits)
        probs, pressed, guessed = np.exp(log_on), targets.astype(bool), logits > 0
        nll = -np.where(pressed, log_on, log_off)
        correct = guessed == pressed
        any_changed = changed.any(-1)
        self.sums.add(
            weights,
            nll=nll,
            accuracy=correct,
            entropy=-(probs * log_on + np.exp(log_off) * log_off),
            pressed=pressed,
            predicted=probs,
            guessed=guessed,
            true_positives=guessed & pressed,
            changed=np.asarray(any_changed),
            changed_nll=any_changed * nll.sum(-1),
            changed_accuracy=any_changed * correct.mean(-1),
        )
        for index, calibration in enumerate(self.calibrations):
            calibration.add(probs[:, index], pressed[:, index], weights)
        return PerFrame(nll.sum(-1), correct.mean(-1))

    def buttons(self, weight: float) -> dict[str, ButtonMetrics]:
        """The figures of each button, by name."""
        return {name: self._button(index, weight) for index, name in enumerate(BUTTONS)}

    def _button(self, index: int, weight: float) -> ButtonMetrics:
        mean = {
            name: float(sums[index] / weight)
            for name, sums in self.sums.values.items()
            if sums.ndim
        }
        calibration = self.calibrations[index].result()
        hits = mean["true_positives"]
        return ButtonMetrics(
            nll=mean["nll"],
            accuracy=mean["accuracy"],
            entropy=mean["entropy"],
            ece=calibration.ece,
            rate=mean["pressed"],
            predicted_rate=mean["predicted"],
            likeliest_rate=mean["guessed"],
            gap=mean["predicted"] - mean["pressed"],
            precision=_ratio(hits, mean["guessed"]),
            recall=_ratio(hits, mean["pressed"]),
            f1=_ratio(2 * hits, mean["guessed"] + mean["pressed"]),
            calibration=calibration,
        )

    def result(self, weight: float) -> ComponentMetrics:
        """Means over the total weight `weight`; sums over the buttons where likelihoods add."""
        buttons = list(self.buttons(weight).values())
        pooled = _CalibrationSums()
        pooled.sums = np.sum([calibration.sums for calibration in self.calibrations], axis=0)
        return ComponentMetrics(
            nll=sum(button.nll for button in buttons),
            accuracy=float(np.mean([button.accuracy for button in buttons])),
            entropy=sum(button.entropy for button in buttons),
            ece=float(np.mean([button.ece for button in buttons])),
            top3=None,
            changed_share=float(self.sums["changed"] / weight),
            changed_nll=_ratio(self.sums["changed_nll"], self.sums["changed"]),
            changed_accuracy=_ratio(self.sums["changed_accuracy"], self.sums["changed"]),
            calibration=pooled.result(),
        )


def _ratio(part: float | np.ndarray, whole: float | np.ndarray) -> float | None:
    return float(part / whole) if whole > 0 else None
