"""How true projectiles are, one frame ahead: where they fly, when they leave and when they end."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

import numpy as np

from exphil_tf.melee.enums import character_name
from exphil_tf.sim.shot_tables import shot_tables

NEAR, FAR = 1e-2, 1.0
"""Game units."""


@dataclass
class ShotCounts:
    """Projectiles of one kind.

    Attributes:
      frames: of flight, from one recorded frame to the next.
      near: of those, within `NEAR` of the record.
      lost: of those, that the rules end.
      launches: in the record.
      launched: of those, made on the same frame.
      placed: of those, within `FAR` of the record.
      imagined: launches that the rules make on a frame without one in the record.
      ends: in the record.
      ended: of those, made on the same frame.
    """

    frames: int = 0
    near: int = 0
    lost: int = 0
    launches: int = 0
    launched: int = 0
    placed: int = 0
    imagined: int = 0
    ends: int = 0
    ended: int = 0

    def add(self, other: ShotCounts) -> None:
        """Adds those of another game."""
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))

    def to_dict(self) -> dict[str, int]:
        """Every count."""
        return asdict(self)


def struck_by(flown: np.ndarray) -> np.ndarray:
    """Bool `[frames, players]`: whether a projectile of theirs hits, as the rules make it."""
    hit = flown["struck"] == 1
    return np.stack([(hit & (flown["owner"] == seat)).any(1) for seat in (0, 1)], 1)


def shot_counts(truth: np.ndarray, flown: np.ndarray, *, judged: np.ndarray) -> dict[str, ShotCounts]:
    """By who shoots what.

    Args:
      truth: `SHOT` `[frames, SHOTS]`, recorded.
      flown: the same, each row made of the truth's row before.
      judged: bool `[frames - 1, 2]`, by the shooter.
    """
    names = _names()
    found: dict[str, ShotCounts] = {}
    before, after, made = truth[:-1], truth[1:], flown[1:]
    name_before, name_after, name_made = (names[part["kind"]] for part in (before, after, made))
    rows = np.arange(len(before))[:, None]
    counted = [judged[rows, part["owner"]] for part in (before, after, made)]
    goes_on = (before["kind"] > 0) & (after["kind"] == before["kind"])
    goes_on &= after["life"] <= before["life"]
    begins = (after["kind"] > 0) & ~goes_on
    ours = (made["kind"] > 0) & ((before["kind"] == 0) | (made["life"] > before["life"]))
    apart = np.hypot(after["x"] - made["x"], after["y"] - made["y"])
    for name in {*np.unique(name_after), *np.unique(name_made)} - {""}:
        fly = goes_on & (name_before == name) & counted[0]
        ends = (before["kind"] > 0) & ~goes_on & (name_before == name) & counted[0]
        new, new_ours = (
            part & (who == name) & mask
            for part, who, mask in ((begins, name_after, counted[1]), (ours, name_made, counted[2]))
        )
        both = np.minimum(new.sum(1), new_ours.sum(1))
        found[name] = ShotCounts(
            frames=int(fly.sum()), near=int((fly & (made["kind"] > 0) & (apart < NEAR)).sum()),
            lost=int((fly & (made["kind"] == 0)).sum()),
            launches=int(new.sum()), launched=int(both.sum()),
            placed=_placed(after, made, new, new_ours), imagined=int((new_ours.sum(1) - both).sum()),
            ends=int(ends.sum()), ended=int((ends & (made["kind"] == 0)).sum()),
        )  # fmt: skip
    return found


def _placed(after: np.ndarray, made: np.ndarray, new: np.ndarray, ours: np.ndarray) -> int:
    """Launches with one of ours near them on the same frame."""
    count = 0
    for frame in np.flatnonzero(new.any(1) & ours.any(1)).tolist():
        theirs, mine = after[frame][new[frame]], made[frame][ours[frame]]
        apart = np.hypot(theirs["x"][:, None] - mine["x"], theirs["y"][:, None] - mine["y"])
        count += int((apart.min(1) < FAR).sum())
    return count


def _names() -> np.ndarray:
    """Name of each `kind` of a `SHOT`; "" for none."""
    rows = shot_tables()["shots"]
    named = [f"{character_name(int(row['character']))} {row['type']:#x}" if row["life"] else ""
             for row in rows]  # fmt: skip
    return np.array(["", *named])
