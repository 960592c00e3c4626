"""The table of rewards of whoever learns by playing: terms by name, with weights, in groups.

A new term is a function in `shaped` or `of_characters` and a row here; `docs/rl.md` explains them.
Weights of the standard and shaped rows are the original's. Those of characters are ours: an event
counts as some percent of damage, a frame of standing well as a thousandth of that. Ours, too, is
pressure: who may stand away for nothing never learns to beat an opponent who waits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from exphil_tf.rewards import of_characters, shaped, terms
from exphil_tf.rewards.terms import Columns

CLIP = 10.0
"""A frame's reward lies within this."""


@dataclass(frozen=True)
class RewardTerm:
    """A term of the reward."""

    function: Callable[[Columns, Columns], np.ndarray]
    weight: float
    group: str


_STANDARD, _SHAPED = "standard", "shaped"
REWARDS: dict[str, RewardTerm] = {
    "stocks": RewardTerm(terms.stocks, 1.0, _STANDARD),
    "damage": RewardTerm(terms.damage, 0.01, _STANDARD),
    "win": RewardTerm(shaped.win, 5.0, _STANDARD),
    "approach": RewardTerm(shaped.approach, 0.001, _SHAPED),
    "combo": RewardTerm(shaped.combo, 0.05, _SHAPED),
    "edge_guard": RewardTerm(shaped.edge_guard, 0.1, _SHAPED),
    "recovery_risk": RewardTerm(shaped.recovery_risk, -0.02, _SHAPED),
    "distance": RewardTerm(shaped.distance, -0.002, "pressure"),
    "lead": RewardTerm(shaped.lead, 0.002, "pressure"),
    "dealt": RewardTerm(shaped.dealt, 0.01, "pressure"),
    "mewtwo_teleport": RewardTerm(of_characters.mewtwo_teleport, 0.1, "mewtwo"),
    "mewtwo_tail": RewardTerm(of_characters.mewtwo_tail, 0.05, "mewtwo"),
    "mewtwo_confusion": RewardTerm(of_characters.mewtwo_confusion, 0.1, "mewtwo"),
    "gameandwatch_bucket": RewardTerm(of_characters.gameandwatch_bucket, 0.2, "gameandwatch"),
    "gameandwatch_hammer": RewardTerm(of_characters.gameandwatch_hammer, 0.1, "gameandwatch"),
    "link_bomb": RewardTerm(of_characters.link_bomb, 0.1, "link"),
    "link_zoning": RewardTerm(of_characters.link_zoning, 0.05, "link"),
    "link_tether": RewardTerm(of_characters.link_tether, 0.1, "link"),
    "ganondorf_spacing": RewardTerm(of_characters.ganondorf_spacing, 0.0005, "ganondorf"),
    "ganondorf_stomp": RewardTerm(of_characters.ganondorf_stomp, 0.1, "ganondorf"),
    "ganondorf_edge_guard": RewardTerm(of_characters.ganondorf_edge_guard, 0.1, "ganondorf"),
    "zelda_lightning_kick": RewardTerm(of_characters.zelda_lightning_kick, 0.1, "zelda"),
    "zelda_transform": RewardTerm(of_characters.zelda_transform, 0.05, "zelda"),
    "zelda_dins_fire": RewardTerm(of_characters.zelda_dins_fire, 0.05, "zelda"),
}
GROUPS = tuple(dict.fromkeys(term.group for term in REWARDS.values()))
COLUMNS = (
    "p.stock", "p.percent", "p.x", "p.y", "p.hitstun", "p.speed_x_attack", "p.speed_y_attack",
    "p.on_ground", "p.facing", "p.action", "p.character", "p.charge", "p.judge_last",
    "p.held_item", "p.held_frames", "p.special_state", "s.stage",
)  # fmt: skip
"""What the terms read."""


def weights_of(groups: Sequence[str], changed: Mapping[str, float]) -> dict[str, float]:
    """Weights of the terms of some groups, but for those that are given.

    Args:
      groups: out of `GROUPS`.
      changed: weight by term, of any group; 0 drops one.

    Raises: ValueError: if a group or a term is unknown, or nothing is rewarded.
    """
    unknown = [name for name in groups if name not in GROUPS]
    unknown += [name for name in changed if name not in REWARDS]
    if unknown:
        raise ValueError(
            f"rewards: want groups of {list(GROUPS)} and terms of {sorted(REWARDS)}. "
            f"Received: {unknown}"
        )
    found = {name: term.weight for name, term in REWARDS.items() if term.group in groups}
    found = {name: weight for name, weight in {**found, **changed}.items() if weight}
    if not found:
        raise ValueError("rewards: want at least one term with a weight. Received: none")
    return found


def rewards(
    before: Columns, after: Columns, weights: Mapping[str, float]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The own player's rewards between frames.

    Args:
      before: columns `[…]` of the frames before, `[…, own/opponent]` of players.
      after: of the frames after, of the same games.
      weights: by term.

    Returns: float32 `[…]` within ±`CLIP`, and each term's weighted share.
    """
    parts = {
        name: np.float32(weight) * np.asarray(REWARDS[name].function(before, after), np.float32)
        for name, weight in weights.items()
    }
    total = np.sum(list(parts.values()), axis=0, dtype=np.float32)
    return np.clip(total, -CLIP, CLIP), parts
