"""How true projectiles are, one frame ahead: where they fly, when they leave and when they end."""

from __future__ import annotations

import functools
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


def shot_counts(
    truth: np.ndarray, flown: np.ndarray, *, judged: np.ndarray
) -> dict[str, ShotCounts]:
    """By who shoots what.

    Args:
      truth: `SHOT` `[frames, SHOTS]`, recorded.
      flown: the same, each row made of the truth's row before.
      judged: bool `[frames - 1, 2]`, by the shooter.
    """
    before, after, made = truth[:-1], truth[1:], flown[1:]
    goes_on = (before["kind"] > 0) & (after["kind"] == before["kind"])
    goes_on &= after["life"] <= before["life"]
    begins = (after["kind"] > 0) & ~goes_on
    ours = (made["kind"] > 0) & ((before["kind"] == 0) | (made["life"] > before["life"]))
    found: dict[str, ShotCounts] = {}
    for name in {*_named(after), *_named(made)} - {""}:
        here, new, new_ours = (
            mask & _is_judged(part, name, judged)
            for part, mask in ((before, before["kind"] > 0), (after, begins), (made, ours))
        )
        found[name] = ShotCounts()
        found[name].add(_of_flights(after, made, goes_on=here & goes_on, ends=here & ~goes_on))
        found[name].add(_of_launches(after, made, new=new, ours=new_ours))
    return found


def _named(shots: np.ndarray) -> set[str]:
    return set(_names()[np.unique(shots["kind"])].tolist())


def _is_judged(shots: np.ndarray, name: str, judged: np.ndarray) -> np.ndarray:
    rows = np.arange(len(shots))[:, None]
    return (_names()[shots["kind"]] == name) & judged[rows, shots["owner"]]


def _of_flights(
    after: np.ndarray, made: np.ndarray, *, goes_on: np.ndarray, ends: np.ndarray
) -> ShotCounts:
    is_over = made["kind"] == 0
    apart = np.hypot(after["x"] - made["x"], after["y"] - made["y"])
    return ShotCounts(
        frames=int(goes_on.sum()), near=int((goes_on & ~is_over & (apart < NEAR)).sum()),
        lost=int((goes_on & is_over).sum()), ends=int(ends.sum()),
        ended=int((ends & is_over).sum()),
    )  # fmt: skip


def _of_launches(
    after: np.ndarray, made: np.ndarray, *, new: np.ndarray, ours: np.ndarray
) -> ShotCounts:
    both = np.minimum(new.sum(1), ours.sum(1))
    placed = 0
    for frame in np.flatnonzero(both).tolist():
        theirs, mine = after[frame][new[frame]], made[frame][ours[frame]]
        apart = np.hypot(theirs["x"][:, None] - mine["x"], theirs["y"][:, None] - mine["y"])
        placed += int((apart.min(1) < FAR).sum())
    return ShotCounts(
        launches=int(new.sum()), launched=int(both.sum()), placed=placed,
        imagined=int((ours.sum(1) - both).sum()),
    )  # fmt: skip


@functools.cache
def _names() -> np.ndarray:
    """Name of each `kind` of a `SHOT`; "" for none."""
    rows = shot_tables()["shots"]
    named = [f"{character_name(int(row['character']))} {row['type']:#x}" if row["life"] else ""
             for row in rows]  # fmt: skip
    return np.array(["", *named])
