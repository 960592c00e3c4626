"""What the figures of an evaluation mean, in sentences: the part of a report that gets read.

Thresholds are rules of thumb, named here once. A low NLL alone says little about play, so press
rates and rare buttons are looked at however good it is.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from exphil_tf.evaluation.results import COMPONENT_TITLES, Evaluation
from exphil_tf.features.controller import COMPONENTS

FEW_FRAMES = 20_000
"""About five minutes of play, from which rare buttons cannot be judged."""
RARE = 1e-3
"""Buttons held on fewer frames are not judged."""
POOR_ECE = 0.05
HARD_CHARACTER = 1.25
"""A character is named if its NLL is this many times the mean."""
MEMORY_GAP = 0.002
"""Share of the NLL by which emptied and carried memory must differ to be called different."""
STUCK = 0.05
"""A policy is said to get stuck if it never lets go on this many more frames than the human."""
SLUGGISH = 2.0
"""Its action is said to change too seldom or too often if the human's rate is so many times off."""
OVERFIT = 1.02
"""Validation is said to have turned if it ends this many times above its best."""


@dataclass(frozen=True)
class Finding:
    """One sentence and what it is."""

    kind: Literal["good", "bad", "note"]
    text: str


def findings(evaluation: Evaluation) -> list[Finding]:
    """The sentences, most important first."""
    found = [
        *_against_baselines(evaluation),
        *_memory(evaluation),
        *_press_rates(evaluation),
        *_own_actions(evaluation),
        *_calibration(evaluation),
        *_win(evaluation),
        *_characters(evaluation),
        *_training(evaluation),
    ]
    if evaluation.policy.frames < FEW_FRAMES:
        text = f"Only {evaluation.policy.frames:,} frames were measured: take small differences"
        found.append(Finding("note", f"{text} and rare buttons with caution."))
    return found


def _against_baselines(evaluation: Evaluation) -> Iterator[Finding]:
    behind = [component for component in COMPONENTS if not evaluation.beats_baselines(component)]
    if not behind:
        best = evaluation.best_baseline()
        yield Finding(
            "good",
            "Beats every baseline on every component; the whole action costs "
            f"{evaluation.gain():.0%} fewer nats than the best of them ({best}).",
        )
    by_baseline: dict[str, list[str]] = {}
    for component in behind:
        best = evaluation.best_baseline(component)
        own, other = (evaluation.nll(name, component) for name in ("policy", best))
        values = f"{own:.3f} against {other:.3f}"
        by_baseline.setdefault(best, []).append(f"{COMPONENT_TITLES[component]} ({values})")
    for best, components in by_baseline.items():
        yield Finding("bad", f"Not better than the baseline “{best}” on {_listed(components)}.")


def _memory(evaluation: Evaluation) -> Iterator[Finding]:
    """What carrying memory over whole games, as play does, changes."""
    resets = evaluation.resets
    if resets is None:
        return
    gap = (resets.nll - evaluation.policy.nll) / evaluation.policy.nll
    text = (
        f"Memory emptied every {resets.unroll_frames} frames (burn-in {resets.burn_in}) gives "
        f"{resets.nll:.4f} nats instead of {evaluation.policy.nll:.4f} ({gap:+.1%})"
    )
    if gap < -MEMORY_GAP:
        hint = "long memory, which play has, does harm: train with --carry-state"
        yield Finding("bad", f"{text}: {hint}.")
    else:
        yield Finding("good" if gap > MEMORY_GAP else "note", f"{text}.")


def _press_rates(evaluation: Evaluation) -> Iterator[Finding]:
    judged = {n: b for n, b in evaluation.policy.buttons.items() if b.rate >= RARE}
    off = [
        f"{name} on {button.predicted_rate:.1%} (the human: {button.rate:.1%})"
        for name, button in judged.items()
        if not button.rate / 2 <= button.predicted_rate <= button.rate * 2
    ]
    if off:
        yield Finding("bad", f"Of all frames, sampled play would hold {_listed(off)}.")
    never = [name for name, button in judged.items() if button.likeliest_rate < button.rate / 10]
    if never:
        yield Finding(
            "note",
            f"Always taking the likelier choice would all but give up {_listed(never)}: "
            "play this policy by sampling.",
        )
    if judged and not off:
        yield Finding(
            "good", "Every common button is pressed at the human's rate within a factor 2."
        )


def _own_actions(evaluation: Evaluation) -> Iterator[Finding]:
    found = evaluation.own_actions
    if found is None:
        return
    policy, human = found.policy, found.human
    if policy.stuck_share > human.stuck_share + STUCK:
        yield Finding(
            "bad",
            f"Gets stuck: fed its own actions, on {policy.stuck_share:.0%} of the frames it holds "
            f"one that it never leaves again (the human: {human.stuck_share:.0%}).",
        )
    rates = f"{policy.changes_per_s:.1f} times a second (the human: {human.changes_per_s:.1f})"
    if not human.changes_per_s / SLUGGISH <= policy.changes_per_s <= human.changes_per_s * SLUGGISH:
        yield Finding("bad", f"Fed its own actions, it changes them {rates}.")


def _calibration(evaluation: Evaluation) -> Iterator[Finding]:
    components = evaluation.policy.components.items()
    poor = [
        f"{COMPONENT_TITLES[name]} ({component.ece:.1%})"
        for name, component in components
        if component.ece > POOR_ECE
    ]
    if poor:
        yield Finding("note", f"Confidence and outcome differ on {_listed(poor)}.")


def _win(evaluation: Evaluation) -> Iterator[Finding]:
    win = evaluation.win
    if win is None:
        return
    own, skill = win.policy, win.skill_over_base
    told = f", skill {skill.value:.2f} ({skill.low:.2f} to {skill.high:.2f})" if skill else ""
    yield Finding(
        "good" if own.ece.value <= own.ece_if_calibrated_most else "bad",
        f"Win probability: calibration error {own.ece.value:.3f} on {own.games:,} games, where a "
        f"perfectly calibrated one would show {own.ece_if_calibrated:.3f} (up to "
        f"{own.ece_if_calibrated_most:.3f}); Brier score {own.brier.value:.3f} "
        f"({own.brier.low:.3f} to {own.brier.high:.3f}){told}.",
    )
    turns = win.by_turns
    if turns is not None:
        yield Finding(
            "good" if turns.ece.value <= turns.ece_if_calibrated_most else "bad",
            f"Fitted and measured by turns on {turns.games:,} games of the train split, such a win "
            f"probability has a calibration error of {turns.ece.value:.3f} (calibrated: "
            f"{turns.ece_if_calibrated:.3f}, up to {turns.ece_if_calibrated_most:.3f}).",
        )


def _characters(evaluation: Evaluation) -> Iterator[Finding]:
    metrics = evaluation.policy
    hard = [
        f"{row.name} ({row.nll:.2f} nats)"
        for row in metrics.characters
        if row.frames >= metrics.frames / 50 and row.nll > HARD_CHARACTER * metrics.nll
    ]
    if hard:
        yield Finding("note", f"Much harder than the mean ({metrics.nll:.2f}): {_listed(hard)}.")


def _training(evaluation: Evaluation) -> Iterator[Finding]:
    curve = evaluation.curves.get("validation")
    if curve is not None and curve.values[-1] > OVERFIT * min(curve.values):
        best = curve.steps[curve.values.index(min(curve.values))]
        yield Finding(
            "note",
            f"Validation was best at step {best:,} and rose until step {curve.steps[-1]:,}: more "
            "games, more dropout or fewer epochs would help.",
        )


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
