"""Streaming metrics of a policy: logits, targets and weights of a batch in, exact means out.

Everything is summed in float64 over all batches, never averaged per batch, so the batch size cannot
change a figure. Equal logits count as drawn by lot: a constant prediction is right by chance only.
Accuracy alone is no verdict, as an untouched controller is right on most buttons of most frames;
hence macro-F1, press rates and the frames where something changes. Terms: `evaluation.results`.

`keras.metrics` were dropped: their float32 sums lose digits after a million frames, and numpy
serves the baselines, a Keras policy and an exported one alike.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from exphil_tf.evaluation.component_sums import AxisSums, ButtonsSums
from exphil_tf.evaluation.matchup_sums import UNKNOWN, MatchupSums
from exphil_tf.evaluation.results import (
    CharacterMetrics,
    PolicyMetrics,
    StickHistogram,
    overall_score,
)
from exphil_tf.features.controller import AXES, COMPONENTS
from exphil_tf.melee.enums import BUTTONS, character_name

_CHARACTER_IDS = 256
STICKS = ("main", "c")

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Sample:
    """The counted frames of a batch, flattened: what a policy and its baselines are held against.

    Build it with `Sample.of`.
    """

    targets: dict[str, np.ndarray]
    """The human's buckets, int64: `buttons` `[frames, 8]` of 0/1, other components `[frames]`."""
    previous: dict[str, np.ndarray]
    """The buckets of the frame before, likewise."""
    weights: np.ndarray
    """float64 `[frames]`, > 0."""
    characters: np.ndarray
    """int64 `[frames]`: own internal character id."""
    opponents: np.ndarray
    """int64 `[frames]`: the opponent's; `UNKNOWN` if nobody told."""
    stages: np.ndarray
    """int64 `[frames]`: external stage id; `UNKNOWN` if nobody told."""
    counted: np.ndarray
    """bool `[…]`: which frames of the batch these are."""

    @classmethod
    def of(
        cls,
        targets: Arrays,
        previous: Arrays,
        *,
        weights: np.ndarray,
        characters: np.ndarray,
        opponents: np.ndarray | None = None,
        stages: np.ndarray | None = None,
    ) -> "Sample":
        """The frames of weight > 0; leading axes are free (`[frames]`, `[batch, time]`…).

        Args:
          targets: the human's buckets.
          previous: those of the frame before.
          weights: at least 0.
          characters: own internal ids.
          opponents: theirs; None if they don't matter.
          stages: external ids; None if they don't matter.

        Raises:
          ValueError: if shapes do not fit or a weight is negative.
        """
        weights, characters = np.asarray(weights, np.float64), np.asarray(characters)
        if weights.size and not weights.min() >= 0:
            raise ValueError(f"metrics.weights: want ≥ 0. Received: {weights.min()}")
        counted = weights > 0
        unknown = np.full(weights.shape, UNKNOWN)
        arrays = {
            "characters": characters,
            "opponents": unknown if opponents is None else np.asarray(opponents),
            "stages": unknown if stages is None else np.asarray(stages),
        }
        for kind, buckets in (("targets", targets), ("previous", previous)):
            arrays |= {f"{kind}.{name}": np.asarray(buckets[name]) for name in COMPONENTS}
        for name, array in arrays.items():
            wanted = (*weights.shape, len(BUTTONS)) if "buttons" in name else weights.shape
            if array.shape != wanted:
                raise _shape_error(name, wanted, array)
        picked = {name: array[counted].astype(np.int64) for name, array in arrays.items()}
        return cls(
            targets={name: picked[f"targets.{name}"] for name in COMPONENTS},
            previous={name: picked[f"previous.{name}"] for name in COMPONENTS},
            weights=weights[counted],
            characters=picked["characters"],
            opponents=picked["opponents"],
            stages=picked["stages"],
            counted=counted,
        )

    def __len__(self) -> int:
        """Number of counted frames."""
        return len(self.weights)

    def pick(self, arrays: Arrays) -> dict[str, np.ndarray]:
        """The counted frames `[frames, …]` of a whole batch's logits or buckets."""
        lead = self.counted.shape
        for name in COMPONENTS:
            if arrays[name].shape[: len(lead)] != lead:
                wanted = (*lead, *arrays[name].shape[len(lead) :])
                raise _shape_error(f"logits.{name}", wanted, arrays[name])
        return {name: np.asarray(arrays[name])[self.counted] for name in COMPONENTS}


class Accumulator:
    """Collects samples and gives `PolicyMetrics`.

    Args:
      sizes: logits per component, as `ControllerCodec.sizes`.
    """

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self._sizes = dict(sizes)
        self._buttons = ButtonsSums()
        self._axes = {n: AxisSums(sizes[n]) for n in COMPONENTS if n != "buttons"}
        self._frames = 0
        self._weight = 0.0
        self._stick_shape = (sizes["main_x"], sizes["main_y"])
        self._sticks: dict[str, np.ndarray] = {}
        # Rows: weight, then NLL of each component; columns: own character.
        self._characters = np.zeros((1 + len(COMPONENTS), _CHARACTER_IDS))
        self._character_frames = np.zeros(_CHARACTER_IDS, np.int64)
        self._matchups = MatchupSums()

    def add(self, logits: Arrays, sample: Sample, drawn: Arrays | None = None) -> np.ndarray:
        """Adds the predictions for a sample; its NLL, float64 `[components, frames]`.

        Args:
          logits: `buttons` `[frames, 8]`, every other component `[frames, buckets]`.
          sample: the same frames.
          drawn: buckets that the policy drew on these frames, for the stick histograms.

        Raises:
          ValueError: if shapes do not fit or a logit is not finite.
        """
        nll, accuracy = np.empty((2, len(COMPONENTS), len(sample)))
        if not len(sample):
            return nll
        for row, name in enumerate(COMPONENTS):
            self._check(name, logits[name], len(sample))
            target = sample.targets[name]
            changed = np.asarray(target != sample.previous[name])
            component = self._axes.get(name, self._buttons)
            nll[row], accuracy[row] = component.add(
                logits[name], target, sample.weights, changed=changed
            )
        self._frames += len(sample)
        self._weight += sample.weights.sum()
        self._add_characters(nll, sample)
        who = np.stack([sample.characters, sample.opponents, sample.stages])
        self._matchups.add(who, sample.weights, nll=nll, accuracy=accuracy)
        if drawn is not None:
            self._add_sticks(sample, drawn)
        return nll

    def _check(self, name: str, logits: np.ndarray, frames: int) -> None:
        if logits.shape != (frames, self._sizes[name]):
            raise _shape_error(f"logits.{name}", (frames, self._sizes[name]), logits)
        if not np.isfinite(logits).all():
            raise ValueError(f"metrics.logits.{name}: want finite. Received: NaN or infinity")

    def _add_characters(self, nll: np.ndarray, sample: Sample) -> None:
        characters = sample.characters
        self._character_frames += np.bincount(characters, minlength=_CHARACTER_IDS)
        for row, values in enumerate((sample.weights, *(sample.weights * nll))):
            self._characters[row] += np.bincount(characters, values, _CHARACTER_IDS)

    def _add_sticks(self, sample: Sample, drawn: Arrays) -> None:
        for stick in STICKS:
            sums = self._sticks.setdefault(stick, np.zeros((2, *self._stick_shape)))
            for histogram, buckets in zip(sums, (sample.targets, drawn), strict=True):
                at = buckets[f"{stick}_x"], buckets[f"{stick}_y"]
                np.add.at(histogram, at, sample.weights)

    def result(self) -> PolicyMetrics:
        """The figures of all frames so far.

        Raises:
          ValueError: if no frame was counted.
        """
        if not self._frames:
            raise ValueError("metrics: want at least one frame of weight > 0. Received: 0")
        components = {"buttons": self._buttons.result(self._weight)}
        components |= {
            name: component.result(self._weight) for name, component in self._axes.items()
        }
        buttons = self._buttons.buttons(self._weight)
        pressed = [button for button in buttons.values() if button.rate > 0]
        return PolicyMetrics(
            frames=self._frames,
            weight=float(self._weight),
            nll=sum(component.nll for component in components.values()),
            components=components,
            buttons=buttons,
            macro_f1=_mean([button.f1 for button in pressed]),
            macro_recall=_mean([button.recall for button in pressed]),
            press_rate_gap=float(np.mean([abs(button.gap) for button in buttons.values()])),
            score=overall_score({name: found.accuracy for name, found in components.items()}),
            characters=self._character_rows(),
            sticks={
                name: StickHistogram(*(histograms / self._weight).tolist())
                for name, histograms in self._sticks.items()
            },
            confusion={axis: self._axes[axis].confusion_rows() for axis in AXES},
            axis_use={axis: self._axes[axis].use(self._weight) for axis in AXES},
            matchups=self._matchups.result(),
        )

    def _character_rows(self) -> list[CharacterMetrics]:
        rows: list[CharacterMetrics] = []
        for index in map(int, np.argsort(-self._character_frames, kind="stable")):
            frames = int(self._character_frames[index])
            if frames:
                nll = (self._characters[1:, index] / self._characters[0, index]).tolist()
                components: dict[str, float] = dict(zip(COMPONENTS, nll, strict=True))
                rows.append(
                    CharacterMetrics(index, character_name(index), frames, sum(nll), components)
                )
        return rows


def _shape_error(name: str, wanted: tuple[int, ...], array: np.ndarray) -> ValueError:
    return ValueError(
        f"metrics.{name}: want shape {list(wanted)}. Received: {list(np.shape(array))}"
    )


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
