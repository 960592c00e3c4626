"""Four policies without a network, which a trained one must beat on the same frames.

* `neutral`: the untouched controller.
* `repeat`: the previous action once more, which is right on most frames of Melee.
* `marginal`: how often each bucket occurs, whatever the state.
* `markov`: how often each bucket follows the one before it, per component and per button: all that
  the previous action alone can say of the next one, component by component. The strongest of the
  four.

The first two name one bucket, and a miss would cost infinitely many nats. So each is given its most
favourable honest form: probability 1 - ε on the bucket it names, ε shared evenly by the others, and
ε is fitted, per component and per button, as the share of misses on the *train* split: the
likelihood's own maximum. Counts are add-one smoothed, (misses + 1) / (frames + 2), so a miss that
never happened in training stays finite; ε ends where all buckets are alike, so that the one named
stays likeliest.
`marginal` is (count + 1) / (frames + buckets), likewise per component.

`markov` is a table per component, smoothed as `features.transitions` says; a policy starts as just
that (`--prev-action-buckets`). As every baseline reads the human's previous action, which at any
delay is that of the frame before the target, its table is that of neighbouring frames of one game,
whatever the delay.

One ε fixed at 0.01 was dropped: any policy beats a baseline that is set up to lose.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from exphil_tf.evaluation.metrics import Sample
from exphil_tf.features.controller import COMPONENTS
from exphil_tf.features.transitions import TransitionCounts
from exphil_tf.melee.enums import BUTTONS

NAMES = ("neutral", "repeat", "marginal", "markov")

Buckets = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Baseline:
    """A policy without a network.

    Args:
      name: one of `NAMES`.
      logits_fn: logits `[frames, buckets]` per component for a sample.
      rates: what was fitted: per component ε, the frequency of each bucket, or those after each
        bucket (`[previous][bucket]`; of buttons p(pressed), `[button][previous]`).
    """

    name: str
    logits_fn: Callable[[Sample], dict[str, np.ndarray]]
    rates: dict[str, list[Any]]


def neutral_buckets(sizes: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Buckets of the untouched controller: buttons and shoulder 0, axes in the middle."""
    middle = {name: np.asarray(size // 2) for name, size in sizes.items()}
    return middle | {"buttons": np.zeros(len(BUTTONS), np.int64), "shoulder": np.asarray(0)}


class BaselineFit:
    """Counts actions of the train split and gives the baselines.

    Args:
      sizes: logits per component, as `ControllerCodec.sizes`.
    """

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self._sizes = dict(sizes)
        self._neutral = neutral_buckets(sizes)
        self._weight = 0.0
        self.frames = 0
        """Frames counted so far."""
        self._transitions = TransitionCounts(sizes)
        misses = {name: np.zeros(len(BUTTONS) if name == "buttons" else 1) for name in COMPONENTS}
        self._misses = {"neutral": misses, "repeat": {n: m.copy() for n, m in misses.items()}}

    def add(self, sample: Sample) -> None:
        """Counts the frames of a sample."""
        self.frames += len(sample)
        self._weight += float(sample.weights.sum())
        self._transitions.add(sample.targets, sample.previous, sample.weights)
        for name, target in sample.targets.items():
            named = {"neutral": self._neutral[name], "repeat": sample.previous[name]}
            for baseline, buckets in named.items():
                self._misses[baseline][name] += sample.weights @ (target != buckets)

    def baselines(self) -> dict[str, Baseline]:
        """The fitted baselines by name.

        Raises:
          ValueError: if no frame was counted.
        """
        if not self.frames:
            raise ValueError("baselines: want at least one frame to fit them on. Received: 0")
        return {
            "neutral": self._deterministic("neutral", lambda _: self._neutral),
            "repeat": self._deterministic("repeat", lambda sample: sample.previous),
            "marginal": self._marginal(),
            "markov": self._markov(),
        }

    def _deterministic(self, name: str, buckets_fn: Callable[[Sample], Buckets]) -> Baseline:
        misses = self._misses[name]
        epsilon = {
            component: np.minimum(
                (misses[component] + 1) / (self._weight + 2), _largest(component, self._sizes)
            )
            for component in COMPONENTS
        }

        def logits_fn(sample: Sample) -> dict[str, np.ndarray]:
            named = buckets_fn(sample)
            logits = {"buttons": _button_logits(named["buttons"], epsilon["buttons"])}
            for component in COMPONENTS[1:]:
                logits[component] = _hedged(
                    named[component], float(epsilon[component][0]), self._sizes[component]
                )
            return _per_frame(logits, sample)

        return Baseline(
            name, logits_fn, {component: rate.tolist() for component, rate in epsilon.items()}
        )

    def _marginal(self) -> Baseline:
        smoothed = {
            component: pairs.sum(-2) + 1 for component, pairs in self._transitions.pairs.items()
        }
        rates = {
            component: counts / counts.sum(-1, keepdims=True)
            for component, counts in smoothed.items()
        }
        logits = {component: np.log(rate) for component, rate in rates.items()}
        logits["buttons"] = logits["buttons"][:, 1] - logits["buttons"][:, 0]
        rates["buttons"] = rates["buttons"][:, 1]
        listed = {component: rate.tolist() for component, rate in rates.items()}
        return Baseline("marginal", lambda sample: _per_frame(logits, sample), listed)

    def _markov(self) -> Baseline:
        rates = self._transitions.rates()
        log_rates = {component: np.log(rates[component]) for component in COMPONENTS[1:]}
        of_buttons = rates["buttons"]
        log_odds = np.log(of_buttons[..., 1]) - np.log(of_buttons[..., 0])

        def logits_fn(sample: Sample) -> dict[str, np.ndarray]:
            logits = {"buttons": log_odds[np.arange(len(BUTTONS)), sample.previous["buttons"]]}
            return logits | {h: table[sample.previous[h]] for h, table in log_rates.items()}

        listed = {component: rates[component].tolist() for component in COMPONENTS[1:]}
        return Baseline("markov", logits_fn, {"buttons": of_buttons[..., 1].tolist()} | listed)


def _largest(component: str, sizes: Mapping[str, int]) -> float:
    """Just below the ε that makes all buckets alike."""
    num_buckets = 2 if component == "buttons" else sizes[component]
    return (1 - 1 / num_buckets) * (1 - 1e-9)


def _button_logits(named: np.ndarray, epsilon: np.ndarray) -> np.ndarray:
    """Logits of pressing: log((1 - ε) / ε) where the button is named, its negative where not."""
    return np.where(named > 0, 1, -1) * np.log((1 - epsilon) / epsilon)


def _hedged(named: np.ndarray, epsilon: float, num_buckets: int) -> np.ndarray:
    """Log-probabilities `[…, buckets]`: 1 - ε on the named bucket, ε shared by the others."""
    is_named = np.arange(num_buckets) == np.asarray(named)[..., None]
    return np.where(is_named, np.log(1 - epsilon), np.log(epsilon / (num_buckets - 1)))


def _per_frame(logits: Buckets, sample: Sample) -> dict[str, np.ndarray]:
    """The logits `[frames, buckets]`; a constant prediction is not copied."""
    return {
        name: np.broadcast_to(values, (len(sample), values.shape[-1]))
        for name, values in logits.items()
    }
