"""How true the simulator is: its frames beside those of recorded games.

*One frame ahead*: the state of a recorded frame, both recorded controllers of the next one, a step;
then the record is looked at. *Freely*: the same for 10, 30 and 60 frames without looking. Rows are
classes of the action that the frame starts from, and characters; a frame on which a hit begins has
a row of its own, as have frames in hitlag and while Pokémon Stadium has another form. Players whose
games the constants were estimated on are left out unless they are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from exphil_tf.melee.enums import character_name
from exphil_tf.sim import actions as act
from exphil_tf.sim.compare import follow, run_freely
from exphil_tf.sim.hit_fidelity import HitTable, hit_table
from exphil_tf.sim.recorded import Recorded
from exphil_tf.sim.replay_state import hit_by_shots, match_of, pads, seen, shots, told
from exphil_tf.sim.shot_fidelity import ShotCounts, shot_counts, struck_by
from exphil_tf.sim.state import PLAYER
from exphil_tf.sim.tables import tables

DISTANCES = (1e-3, 1e-2, 1e-1)
"""Game units within which a position counts as the same."""
FREE_FRAMES = (10, 30, 60)
FREE_WITHIN = 1.0
"""Game units within which a position counts after running freely."""
IN_HITLAG, HIT_BEGINS, OTHER_FORM = "in hitlag", "hit begins", "other form of Stadium"
CLASSES = (*act.CLASSES, act.OTHER, IN_HITLAG, HIT_BEGINS, OTHER_FORM)
_FREE_EVERY = 30
_PERCENT, _SPEED = 1e-3, 0.01


@dataclass
class Counts:
    """Frames, and how many of them agree.

    Attributes:
      frames: that were compared.
      within: for each of `DISTANCES`.
      action: with the same action.
      both: with the same action, and within the second distance.
      percent: with the same percent.
      free: for each of `FREE_FRAMES`: runs, those within `FREE_WITHIN`, with the same action.
    """

    frames: int = 0
    within: np.ndarray = field(default_factory=lambda: np.zeros(len(DISTANCES), np.int64))
    action: int = 0
    both: int = 0
    percent: int = 0
    free: np.ndarray = field(default_factory=lambda: np.zeros((len(FREE_FRAMES), 3), np.int64))

    def add(self, other: Counts) -> None:
        """Adds those of another part of the frames."""
        self.frames += other.frames
        self.within = self.within + other.within
        self.action += other.action
        self.both += other.both
        self.percent += other.percent
        self.free = self.free + other.free

    def to_dict(self) -> dict[str, object]:
        """Shares of the frames, as plain values."""
        share = _share(self.frames)
        found: dict[str, object] = {"frames": self.frames}
        found |= {
            f"within_{d:g}": share(n) for d, n in zip(DISTANCES, self.within.tolist(), strict=True)
        }
        found |= {"action": share(self.action), "both": share(self.both)}
        found["percent"] = share(self.percent)
        for frames, (runs, near, same) in zip(FREE_FRAMES, self.free.tolist(), strict=True):
            part = _share(runs)
            found[f"free_{frames}"] = {"runs": runs, "within_1": part(near), "action": part(same)}
        return found


def _share(whole: int) -> Callable[[int], float | None]:
    return lambda part: round(part / whole, 5) if whole else None


Table = dict[tuple[str, str], Counts]
"""(Class, character) → counts."""


@dataclass
class Fidelity:
    """What a comparison finds.

    Attributes:
      frames: counts by class and character.
      hits: which hits happen, and what comes of them.
      shots: projectiles, by kind.
    """

    frames: Table = field(default_factory=dict)
    hits: HitTable = field(default_factory=HitTable)
    shots: dict[str, ShotCounts] = field(default_factory=dict)

    def add(self, other: Fidelity) -> None:
        """Adds that of another game."""
        for key, counts in other.frames.items():
            self.frames.setdefault(key, Counts()).add(counts)
        self.hits.add(other.hits)
        for name, one in other.shots.items():
            self.shots.setdefault(name, ShotCounts()).add(one)


def validate(games: Iterable[Recorded], *, everybody: bool = False) -> Fidelity:
    """The fidelity of some games.

    Args:
      games: to compare with.
      everybody: also players whose games the constants were estimated on.
    """
    found = Fidelity()
    for game in games:
        found.add(compare(game, everybody=everybody))
    return found


def compare(game: Recorded, *, everybody: bool) -> Fidelity:
    """That of one game."""
    walk = followed(game)
    truth = walk.truth
    judged = truth["stock"][:-1] > 0
    if not everybody:
        judged &= np.array(game.held_out)
    counts = _count(truth, walk.ahead, judged=judged, free=_freely(walk))
    by_shot = (walk.by_shot > 0) | struck_by(walk.flown)
    hits = hit_table(truth, walk.ahead, judged=judged, by_shot=by_shot)
    return Fidelity(counts, hits, shot_counts(walk.shots, walk.flown, judged=judged))


class Walk(NamedTuple):
    """A recorded game, and what the rules make of each of its frames from the one before.

    Attributes:
      truth: `SEEN` `[frames, 2]`.
      stage: `TOLD` `[frames]`.
      shots: `SHOT` `[frames, SHOTS]`, recorded.
      by_shot: uint16 `[frames, 2]`, the use of a player's projectile that hits; or 0.
      inputs: `INPUT` `[frames, 2]`.
      ahead: `PLAYER` `[frames, 2]`, made.
      flown: `SHOT` `[frames, SHOTS]`, made.
      starts: `MATCH` `[frames]`: the state of each recorded frame.
    """

    truth: np.ndarray
    stage: np.ndarray
    shots: np.ndarray
    by_shot: np.ndarray
    inputs: np.ndarray
    ahead: np.ndarray
    flown: np.ndarray
    starts: np.ndarray


def followed(game: Recorded) -> Walk:
    """The rules beside every frame of a game."""
    match, truth, recorded = match_of(game), seen(game), shots(game)
    match["frame"] = game["frame"][0]
    ahead, starts = np.zeros(truth.shape, PLAYER), np.zeros(len(truth), match.dtype)
    walk = Walk(truth, told(game), recorded, hit_by_shots(game), pads(game), ahead,
                np.zeros_like(recorded), starts)  # fmt: skip
    follow(
        match, match["players"], truth, walk.stage, recorded, walk.by_shot, walk.inputs, tables(),
        ahead, walk.flown, starts,
    )  # fmt: skip
    return walk


def _freely(walk: Walk) -> np.ndarray:
    """Int8 `[frames, players, free, 3]`: started, near, same action."""
    found = np.zeros((*walk.truth.shape, len(FREE_FRAMES), 3), np.int8)
    lengths = np.array(FREE_FRAMES)
    scratch = np.zeros(1, walk.starts.dtype)
    run_freely(
        walk.starts, scratch, scratch["players"], walk.truth, walk.stage, walk.inputs, tables(),
        lengths, _FREE_EVERY, found,
    )  # fmt: skip
    return found


def classes_of(truth: np.ndarray) -> np.ndarray:
    """Int `[frames - 1, players]`: index into `CLASSES` of the frame that each step starts from."""
    before, after = truth[:-1], truth[1:]
    found = act.class_table()[before["action"]].astype(int)
    found = np.where(before["hitlag"] > 0, CLASSES.index(IN_HITLAG), found)
    hit = (after["hitlag"] > 0) & (before["hitlag"] == 0)
    hit |= after["percent"] > before["percent"]
    found = np.where(hit, CLASSES.index(HIT_BEGINS), found)
    foreign = (before["foreign"] != 0) | (after["foreign"] != 0)
    return np.where(foreign, CLASSES.index(OTHER_FORM), found)


def _count(truth: np.ndarray, ahead: np.ndarray, *, judged: np.ndarray, free: np.ndarray) -> Table:
    after, made = truth[1:], ahead[1:]
    apart = np.hypot(after["x"] - made["x"], after["y"] - made["y"])
    same = after["action"] == made["action"]
    percent = np.abs(after["percent"] - made["percent"]) < _PERCENT
    kinds, characters = classes_of(truth), truth["character"][:-1]
    table: Table = {}
    for kind, character in np.unique(np.stack([kinds[judged], characters[judged]], 1), axis=0):
        here = judged & (kinds == kind) & (characters == character)
        table[CLASSES[kind], character_name(int(character))] = Counts(
            frames=int(here.sum()),
            within=np.array([(apart[here] < limit).sum() for limit in DISTANCES]),
            action=int(same[here].sum()),
            both=int((same & (apart < DISTANCES[1]))[here].sum()),
            percent=int(percent[here].sum()),
            free=free[:-1][here].sum(0, dtype=np.int64),
        )
    return table


def summed(table: Table, by: int) -> dict[str, Counts]:
    """Counts by class (0) or character (1), those with most frames first."""
    found: dict[str, Counts] = {}
    for key, counts in table.items():
        found.setdefault(key[by], Counts()).add(counts)
    return dict(sorted(found.items(), key=lambda pair: -pair[1].frames))
