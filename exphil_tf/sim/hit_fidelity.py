"""How true hits are: which recorded ones the rules make too, on the same frame, and how alike.

Every frame is made from the recorded frame before. A recorded hit is a rise of percent; it is
*covered* where the rules know how it comes about: a hitbox of the attacker's own action, a throw or
a pummel, a projectile. Rows are judged by attackers whose games nothing was
estimated on.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import numpy as np

from exphil_tf.sim import actions as act
from exphil_tf.sim.hit_events import are_held
from exphil_tf.sim.hit_tables import hit_tables

KINDS = ("aerial", "ground attack", "special", "throw, pummel", "projectile", "other", "not judged")
"""Classes of the attacker's action; what is under way without a hitbox of its own is other, and not
judged is what only games of players that are held out show."""
COVERED = KINDS[:5]
"""Those that the rules know how to make."""
_RISE = 1e-4
_PERCENT, _SPEED, _STUN = 1e-3, 0.01, 1


@dataclass
class HitCounts:
    """Hits of one kind.

    Attributes:
      recorded: hits in the record.
      made: of those, which the rules make on the same frame.
      imagined: that the rules make on a frame without one in the record.
      early: of those imagined, with one in the record up to three frames later.
      percent: of those made: with the same percent.
      launched: of those made, that launch.
      speed: of those, within 1 % of the recorded launch speed.
      stun: of those made, with hitstun within one frame.
      hitlag: of those made, with the same hitlag.
      action: of those made, with the same action of the victim.
    """

    recorded: int = 0
    made: int = 0
    imagined: int = 0
    early: int = 0
    percent: int = 0
    launched: int = 0
    speed: int = 0
    stun: int = 0
    hitlag: int = 0
    action: int = 0

    def add(self, other: HitCounts) -> None:
        """Adds those of other games."""
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))

    def to_dict(self) -> dict[str, float | int | None]:
        """Counts, and shares of those made."""

        def share(part: int, whole: int) -> float | None:
            return round(part / whole, 5) if whole else None

        found: dict[str, float | int | None] = {
            "recorded": self.recorded, "made": self.made, "imagined": self.imagined,
            "early": self.early, "missed": self.recorded - self.made,
            "made_share": share(self.made, self.recorded),
        }  # fmt: skip
        found |= {
            name: share(getattr(self, name), self.made)
            for name in ("percent", "stun", "hitlag", "action")
        }
        return found | {"speed": share(self.speed, self.launched)}


@dataclass
class HitTable:
    """Counts by kind, and stocks lost.

    Attributes:
      kinds: by name of `KINDS`.
      stocks: lost in the record, on the same frame by the rules, and imagined.
    """

    kinds: dict[str, HitCounts] = field(default_factory=dict)
    stocks: np.ndarray = field(default_factory=lambda: np.zeros(3, np.int64))

    def add(self, other: HitTable) -> None:
        """Adds those of another game."""
        for name, counts in other.kinds.items():
            self.kinds.setdefault(name, HitCounts()).add(counts)
        self.stocks = self.stocks + other.stocks


def hit_table(
    truth: np.ndarray, ahead: np.ndarray, *, judged: np.ndarray, by_shot: np.ndarray | None = None
) -> HitTable:
    """Compares the hits of a game.

    Args:
      truth: `SEEN` `[frames, 2]`.
      ahead: `PLAYER` `[frames, 2]`: row f is made of row f - 1 of the truth.
      judged: bool `[frames - 1, 2]`, by the attacker.
      by_shot: bool `[frames, 2]`, whether a player's projectile hits, in the record or as the rules
        make it; None for never.
    """
    table = HitTable()
    before, after, made = truth[:-1], truth[1:], ahead[1:]
    shot = np.zeros(before.shape, bool) if by_shot is None else by_shot[1:]
    kinds = np.where(shot, KINDS.index("projectile"), _kind_of(before, after))
    for victim in (0, 1):
        attacker = 1 - victim
        b, t, m = before[:, victim], after[:, victim], made[:, victim]
        counted = judged[:, attacker] & (b["stock"] > 0)
        real = (t["percent"] > b["percent"] + _RISE) & counted
        real &= _felt(b, t) | shot[:, attacker]
        ours = (m["percent"] > b["percent"] + _RISE) & counted
        for at, name in enumerate(KINDS):
            here = kinds[:, attacker] == at
            counts = _counted(t, m, real=real & here, ours=ours & here)
            counts.early = _early(real & here, ours & here & ~real)
            table.kinds.setdefault(name, HitCounts()).add(counts)
        lost, ours = t["stock"] < b["stock"], m["stock"] < b["stock"]
        mine = judged[:, victim]
        both = (lost & mine).sum(), (lost & ours & mine).sum(), (ours & ~lost & mine).sum()
        table.stocks = table.stocks + np.array(both)
    return table


_EARLY_FRAMES = 3


def _early(real: np.ndarray, imagined: np.ndarray) -> int:
    """How many imagined hits come shortly before a recorded one."""
    soon = np.zeros(len(real), bool)
    for frames in range(1, _EARLY_FRAMES + 1):
        soon[:-frames] |= real[frames:]
    return int((imagined & soon).sum())


def _felt(b: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Whether a rise of percent is a hit, as `exphil_tf.sim.hit_events.begins` says it."""
    felt = (t["hitlag"] > 0) | are_held(t["action"])
    return felt | (np.hypot(t["kx"], t["ky"]) > np.hypot(b["kx"], b["ky"]) + 0.06)


def _counted(t: np.ndarray, m: np.ndarray, *, real: np.ndarray, ours: np.ndarray) -> HitCounts:
    both = real & ours
    t, m = t[both], m[both]
    speed, made = np.hypot(t["kx"], t["ky"]), np.hypot(m["kx"], m["ky"])
    launched = speed > 0
    return HitCounts(
        recorded=int(real.sum()), made=int(both.sum()), imagined=int((ours & ~real).sum()),
        percent=int((np.abs(t["percent"] - m["percent"]) < _PERCENT).sum()),
        launched=int(launched.sum()),
        speed=int((np.abs(made - speed) <= _SPEED * speed)[launched].sum()),
        stun=int((np.abs(t["hitstun"] - m["hitstun"]) <= _STUN).sum()),
        hitlag=int((np.abs(t["hitlag"] - m["hitlag"]) < 0.5).sum()),
        action=int((t["action"] == m["action"]).sum()),
    )  # fmt: skip


def _kind_of(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Int `[frames - 1, 2]`: index of `KINDS` of each player's attack.

    Of an attacker who is hit on the same frame, it is the action before.
    """
    hurt = (after["action"] >= act.DAMAGE_FIRST) & (after["action"] <= act.DAMAGE_LAST)
    action = np.where(hurt, before["action"], after["action"]).astype(int)
    known = np.minimum(action, act.ACTIONS - 1)
    boxes = (hit_tables()["box_row"][after["character"], known] >= 0) & (action < act.ACTIONS)
    found = np.full(action.shape, KINDS.index("other"))
    aerial = (action >= act.NAIR) & (action <= act.DAIR)
    found[boxes] = KINDS.index("ground attack")
    found[boxes & (action >= act.SPECIAL_FIRST)] = KINDS.index("special")
    found[boxes & aerial] = KINDS.index("aerial")
    holds = (action >= act.GRAB) & (action <= act.THROW_LOW)
    other = before["action"][:, ::-1]
    held = (other >= act.HELD_FIRST) & (other <= act.THROWN_LOW)
    found[holds & held] = KINDS.index("throw, pummel")
    found[holds & ~held] = KINDS.index("other")
    own = (hit_tables()["own_only"][after["character"], known] != 0) & (action < act.ACTIONS)
    found[own & (found != KINDS.index("other"))] = KINDS.index("not judged")
    return found
