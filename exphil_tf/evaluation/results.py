"""What is measured of a policy: plain figures, the shape of `evaluation.json`.

Vocabulary: a *component* is a part of the controller (`controller.COMPONENTS`). NLL is in nats per
frame; that of `buttons` is the sum over the eight, so components add up to the whole action's
likelihood. The logits of an autoregressive head are conditioned on the human's components before
them (teacher forcing), which makes that sum exact. A *changed* frame is one where the human's
component differs from the frame before; on all others, repeating the previous action is right by
definition.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

COMPONENT_TITLES = {
    "buttons": "Buttons",
    "main_x": "Main stick x",
    "main_y": "Main stick y",
    "c_x": "C-stick x",
    "c_y": "C-stick y",
    "shoulder": "Shoulder",
}


SCORE_WEIGHTS = {
    "buttons": 0.3,
    "main_x": 0.2,
    "main_y": 0.2,
    "c_x": 0.1,
    "c_y": 0.1,
    "shoulder": 0.1,
}
"""Of each component's accuracy in the overall score."""


def overall_score(accuracy: Mapping[str, float]) -> float:
    """One number from 0 to 1, weighted as users of the original trainer know it.

    It is a mean of accuracies, and so rewards holding still: whoever repeats the previous action
    scores 0.95 on people's games, a good policy 0.97. So it never stands without the likelihood.

    Args:
      accuracy: by component.
    """
    return sum(weight * accuracy[name] for name, weight in SCORE_WEIGHTS.items())


@dataclass(frozen=True)
class Calibration:
    """How often a prediction of a given confidence came true, per bin of confidence."""

    weight: list[float]
    confidence: list[float | None]
    """Mean confidence of the bin; None if the bin is empty."""
    accuracy: list[float | None]
    """Share that came true."""

    @property
    def ece(self) -> float:
        """Expected calibration error: mean |confidence - accuracy|, weighted by the bins."""
        bins = zip(self.weight, self.confidence, self.accuracy, strict=True)
        gaps = [w * abs(c - a) for w, c, a in bins if c is not None and a is not None]
        return sum(gaps) / sum(self.weight)


@dataclass(frozen=True)
class ComponentMetrics:
    """Figures of one component."""

    nll: float
    accuracy: float
    """Share of frames whose likeliest bucket is the human's; `buttons`: mean over the eight."""
    top3: float | None
    """Share of frames whose bucket is among the three likeliest; None for `buttons`."""
    entropy: float
    """Mean entropy of the prediction, nats."""
    ece: float
    """Expected calibration error of the likeliest bucket; `buttons`: of p(pressed), mean of all."""
    changed_share: float
    """Share of frames where the human changed this component."""
    changed_nll: float | None
    """NLL on those; None if there are none."""
    changed_accuracy: float | None
    calibration: Calibration


@dataclass(frozen=True)
class ButtonMetrics:
    """Figures of one button; p > 0.5 counts as pressed. None where a ratio is undefined."""

    nll: float
    accuracy: float
    entropy: float
    ece: float
    rate: float
    """Share of frames on which the human holds the button."""
    predicted_rate: float
    """Mean probability of holding it: the rate of sampled play on these frames."""
    likeliest_rate: float
    """Share of frames with p > 0.5: the rate of play that always takes the likelier choice."""
    gap: float
    """`predicted_rate - rate`."""
    precision: float | None
    recall: float | None
    f1: float | None
    calibration: Calibration


@dataclass(frozen=True)
class CharacterMetrics:
    """NLL on the frames of one own character."""

    id: int
    name: str
    frames: int
    nll: float
    components: dict[str, float]


@dataclass(frozen=True)
class AxisUse:
    """How often each bucket of a stick axis is held; each sums to 1."""

    human: list[float]
    model: list[float]
    """Mean probability: the rates of sampled play on these frames."""


@dataclass(frozen=True)
class MatchupMetrics:
    """Figures on the frames of one own character, one opponent's and one stage."""

    character: str
    opponent: str
    stage: str
    frames: int
    nll: float
    """Nats per frame of the whole action."""
    score: float
    """See `overall_score`."""
    components: dict[str, float]
    """NLL by component."""
    accuracy: dict[str, float]
    """By component."""


@dataclass(frozen=True)
class StickHistogram:
    """Where a stick is held: `[x][y]`, each summing to 1."""

    human: list[list[float]]
    model: list[list[float]]
    """Of actions drawn from the policy, one per frame."""


@dataclass(frozen=True)
class PolicyMetrics:
    """Everything measured of one policy on one set of frames."""

    frames: int
    weight: float
    nll: float
    """Total: nats per frame of the whole action."""
    components: dict[str, ComponentMetrics]
    buttons: dict[str, ButtonMetrics]
    macro_f1: float | None
    """Mean F1 of the buttons that the human pressed at least once; None if none was."""
    macro_recall: float | None
    press_rate_gap: float
    """Mean |gap| over the eight buttons."""
    score: float
    """See `overall_score`."""
    characters: list[CharacterMetrics]
    """Most frames first."""
    sticks: dict[str, StickHistogram]
    """`main` and `c`; empty for baselines."""
    confusion: dict[str, list[list[float]]]
    """Per axis `[human bucket][bucket]`: mean probability; rows sum to 1, or 0 if never held."""
    axis_use: dict[str, AxisUse] = field(default_factory=dict[str, AxisUse])
    """By stick axis."""
    matchups: list[MatchupMetrics] = field(default_factory=list[MatchupMetrics])
    """Most frames first; empty where nobody told who played whom where."""


@dataclass(frozen=True)
class Measured:
    """One of several that stand side by side: a policy, or a guess without a network."""

    facts: Mapping[str, str | int | float]
    """What it is: form, backbone, parameters, checksum, delay."""
    metrics: PolicyMetrics


@dataclass(frozen=True)
class DelayMetrics:
    """NLL at one frame delay."""

    delay: int
    frames: int
    nll: float
    components: dict[str, float]

    @classmethod
    def of(cls, delay: int, metrics: PolicyMetrics) -> "DelayMetrics":
        """What is told of it beside the report."""
        components = {name: found.nll for name, found in metrics.components.items()}
        return cls(delay, metrics.frames, metrics.nll, components)


@dataclass(frozen=True)
class ReturnMetrics:
    """What a policy is predicted to do that is asked for a return; see `return_response`."""

    level: int
    """0 is the policy that is told nothing."""
    asked: str
    """The level in words."""
    frames: int
    damage: float
    """Percent dealt in the second."""
    returns: float
    """Its return: percent dealt minus taken, stocks counting 100, discounted. That is asked for."""
    error: float | None
    """Standard error of the return over that of the policy that is told nothing."""
    effective_share: float
    """Effective number of frames by their number; the less, the further from the recorded play."""


def correlation_of(levels: Sequence[ReturnMetrics]) -> float | None:
    """Spearman's rank correlation of desired and predicted return; None of fewer than 3 levels."""
    asked = sorted((one.level, one.returns) for one in levels if one.level)
    if len(asked) < 3:
        return None
    ranks = np.argsort(np.argsort([found for _, found in asked]))
    return float(np.corrcoef(ranks, np.arange(len(ranks)))[0, 1])


@dataclass(frozen=True)
class ActionChanges:
    """How often somebody's action changes, all components together."""

    changes_per_s: float
    held_share: float
    """Share of frames in stretches of one action that last a second or more."""
    stuck_share: float
    """Share of frames of an action that is never left: it lasts until the unroll ends, and for two
    seconds or more."""


@dataclass(frozen=True)
class OwnActions:
    """A policy that is fed its own actions on recorded states, beside the human on them."""

    frames: int
    unroll_frames: int
    """Frames after which it starts anew from the human's action, at most."""
    policy: ActionChanges
    human: ActionChanges


@dataclass(frozen=True)
class Curve:
    """One curve of a training log."""

    steps: list[int]
    values: list[float]


@dataclass(frozen=True)
class ResetMetrics:
    """The policy on the same frames with its memory emptied at every unroll."""

    unroll_frames: int
    burn_in: int
    """Frames of an unroll, beyond the game's first one, that only warm the memory up."""
    nll: float
    """Nats per frame of the whole action."""
    components: dict[str, float]


@dataclass(frozen=True)
class Interval:
    """A figure, and between what its bootstrap over games puts it, 95 times in 100."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class WinForecast:
    """One way to tell who will win."""

    games: int
    """That it was measured on."""
    brier: Interval
    """Mean squared error of the probability."""
    ece: Interval
    """Expected calibration error over equal bins; by chance alone it is above 0, and a draw's is
    above that of all games."""
    ece_if_calibrated: float
    """What a perfectly calibrated forecast would show on as many games, on average."""
    ece_if_calibrated_most: float
    """And at most, 95 times in 100."""
    calibration: Calibration
    came_true: list[Interval | None]
    """Share of wins by bin; None if the bin is empty."""


@dataclass(frozen=True)
class WinMetrics:
    """A policy's win probability on games that somebody won; see `win_forecast`."""

    frames: int
    """Of both players' views."""
    base_rate: float
    """Share of frames of the train split whose player won."""
    policy: WinForecast
    lead: WinForecast
    """Of leads in stocks and percent."""
    by_turns: WinForecast | None
    """Of the way in which win probabilities are fitted, on the train split: each game by weights of
    the others' folds; None of too few games."""
    base_brier: float
    """Of a forecast that always says the base rate."""
    skill_over_base: Interval | None
    """1 - Brier score / that of the base rate: 0 is no better, 1 an oracle; None if that is right
    throughout, as where all games were won."""
    skill_over_lead: Interval | None
    """The same against leads."""
    weights: dict[str, float]
    """By `rewards.win_score.NAMES`."""


@dataclass(frozen=True)
class Evaluation:
    """A policy and its baselines on the same frames, and where all of it came from."""

    provenance: dict[str, str | int | float]
    """What was measured on what: names, checksums, split, delay, versions."""
    policy: PolicyMetrics
    baselines: dict[str, PolicyMetrics]
    """By `baselines.NAMES`."""
    curves: dict[str, Curve]
    """NLL in nats per frame while training, by `train` and `validation`; empty without a log."""
    component_curves: dict[str, dict[str, Curve]] = field(
        default_factory=dict[str, dict[str, Curve]]
    )
    """The same by component, then by `train` and `validation`."""
    by_delay: list[DelayMetrics] = field(default_factory=list[DelayMetrics])
    """At every delay that was asked for, if there were several."""
    by_return: list[ReturnMetrics] = field(default_factory=list[ReturnMetrics])
    """By level of the desired return, if that was asked for."""
    return_correlation: float | None = None
    """Spearman's rank correlation of desired and predicted return."""
    resets: ResetMetrics | None = None
    """None where memory was not carried, or this was not asked for."""
    own_actions: OwnActions | None = None
    """What it does when it is fed its own actions; None where that was left out."""
    win: WinMetrics | None = None
    """None of a policy without a win probability, or where nobody is known to have won."""

    def best_baseline(self, component: str | None = None) -> str:
        """Name of the baseline with the lowest NLL: of one component, or of the whole action."""
        return min(self.baselines, key=lambda name: self.nll(name, component))

    def nll(self, name: str, component: str | None = None) -> float:
        """Nats per frame of `policy` or a baseline: of one component, or of the whole action."""
        metrics = self.policy if name == "policy" else self.baselines[name]
        return metrics.nll if component is None else metrics.components[component].nll

    def gain(self, component: str | None = None) -> float:
        """How far the policy's NLL is below the best baseline's, as a share of that; < 0: above."""
        best = self.nll(self.best_baseline(component), component)
        return (best - self.nll("policy", component)) / best

    def versus(self, component: str | None = None) -> str:
        """The gain as shown: `-12.3 %` is below the best baseline, `×5.1` so many times above."""
        share = -self.gain(component)
        if share < 1:
            return f"{100 * share:+.1f} %"
        return f"×{1 + share:.1f}" if share < 99 else f"×{1 + share:.0f}"

    def best_accuracy(self, component: str) -> float:
        """The highest accuracy of a baseline on one component."""
        return max(metrics.components[component].accuracy for metrics in self.baselines.values())

    def beats_baselines(self, component: str | None = None) -> bool:
        """Whether the policy's NLL is below that of every baseline."""
        return self.nll("policy", component) < self.nll(self.best_baseline(component), component)
