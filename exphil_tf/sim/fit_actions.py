"""What actions do, read off recorded games: landings, ledges, special moves.

Tables of the game's own data would say it exactly; without them, a table by character and action is
filled with what most recorded frames agree on, and its count says how many those are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from exphil_tf.sim import actions as act
from exphil_tf.sim import entries
from exphil_tf.sim.attributes import attribute_table
from exphil_tf.sim.estimates import commonest
from exphil_tf.sim.motion_kinds import KINDS_X, KINDS_Y, Flight, in_two_parts
from exphil_tf.sim.sequences import Sequences

Row = dict[str, Any]
MIN_COUNT = 5


def aerials(character: int, seq: Sequences) -> Iterator[Row]:
    """Frames of each aerial before and from which it lands without a lag of its own."""
    for action in range(act.NAIR, act.DAIR + 1):
        leaves = seq.follows[:-1] & (seq.before("action") == action)
        free = leaves & np.isin(seq.after("action"), (act.LANDING, act.WAIT))
        own = leaves & (seq.after("action") == action + act.NAIR_LANDING - act.NAIR)
        if own.sum() < MIN_COUNT:
            continue
        frames = np.round(seq.before("state_age")).astype(int)
        middle = np.median(frames[own])
        late, early = frames[free & (frames > middle)], frames[free & (frames <= middle)]
        yield {
            "character": character, "action": action,
            "before": _split(early, frames[own], above=False),
            "from": _split(late, frames[own], above=True),
            "count": int(own.sum() + free.sum()),
        }  # fmt: skip


def _split(free: np.ndarray, own: np.ndarray, *, above: bool) -> int:
    """The frame that tells the two best apart: free ones above it, or below."""
    if not len(free):
        return 999 if above else 0
    candidates = np.unique(np.concatenate([free, free + 1]))
    if above:
        wrong = [(free < at).sum() + (own >= at).sum() for at in candidates]
    else:
        wrong = [(free >= at).sum() + (own < at).sum() for at in candidates]
    return int(candidates[int(np.argmin(wrong))])


_DIRECTIONS = ("neutral", "side", "up", "down")


def specials(character: int, seq: Sequences) -> Iterator[Row]:
    """First action of each special move, on the ground and in the air."""
    x, y = np.abs(seq.after("main_x")), seq.after("main_y")
    direction = np.select([y >= 0.55, y <= -0.55, x >= 0.6], [2, 3, 1], 0)
    pressed = ((seq.after("buttons") & 2) != 0) & ((seq.before("buttons") & 2) == 0)
    begins = seq.free & pressed & (seq.before("action") < act.SPECIAL_FIRST)
    begins &= (seq.after("action") >= act.SPECIAL_FIRST) & (seq.after("action") < act.ACTIONS)
    for airborne in (0, 1):
        for at, _ in enumerate(_DIRECTIONS):
            here = begins & (direction == at) & ((seq.before("on_ground") == 0) == airborne)
            found = commonest(seq.after("action")[here])
            if found.count >= MIN_COUNT and found.share > 0.5:
                yield {"character": character, "airborne": airborne, "direction": at,
                       "action": int(found.value), "count": found.count}  # fmt: skip


def courses(character: int, seq: Sequences) -> Iterator[Row]:
    """How special moves run: length, what follows, where they land, how they fly."""
    present = np.unique(seq.columns["action"])
    for action in present[(present >= act.SPECIAL_FIRST) & (present < act.ACTIONS)].tolist():
        frames, following, _ = seq.runs(action)
        inside = seq.free & (seq.before("action") == action) & (seq.after("action") == action)
        begins = seq.free & (seq.before("action") != action) & (seq.after("action") == action)
        first = commonest(seq.after("state_age")[begins])
        rate = commonest(seq.change("state_age")[inside])
        leaves = seq.free & (seq.before("action") == action) & (seq.after("action") != action)
        lands = leaves & (seq.before("on_ground") == 0) & (seq.after("on_ground") != 0)
        length, after = _course(seq, action, frames, following=following)
        ground = commonest(seq.after("action")[lands])
        yield {
            "character": character, "action": action,
            "first": int(np.clip(np.nan_to_num(first.value, nan=1.0), -1, 120)),
            "rate": int(rate.value != 0 or rate.share < _CURVE_SHARE),
            "frames": length, "next": after,
            "landing": int(ground.value) if ground.count >= MIN_COUNT else 0,
            **_flight(character, seq, inside),
            **entries.entry(character, seq, action), **entries.aftermath(character, seq, action),
            "count": int(inside.sum()),
        }  # fmt: skip


_CURVE_SHARE = 0.5


def curves(character: int, seq: Sequences) -> Iterator[Row]:
    """Vertical speed of an air jump by frame, where an animation and not gravity makes it."""
    a = attribute_table()[character]
    frames = np.round(seq.after("state_age")).astype(int)
    speed = seq.after("speed_y_self")
    for action in (act.AIR_JUMP_F, act.AIR_JUMP_B):
        stays = seq.free & (seq.after("action") == action)
        begins = commonest(speed[stays & (frames == 0)])
        if not begins.count or abs(begins.value) > 0.5:
            continue  # those that gravity moves start at full speed
        for frame in range(60):
            found = commonest(speed[stays & (frames == frame)])
            if found.count < MIN_COUNT or abs(found.value + a["terminal"]) < 1e-3:
                break
            if found.share >= _CURVE_SHARE:
                yield {"character": character, "action": action, "frame": frame,
                       "speed": round(found.value, 5) or 1e-5,
                       "count": found.count}  # fmt: skip


_NATURAL = (act.WAIT, act.FALL, act.SPECIAL_FALL, act.SQUAT_WAIT)


def _course(
    seq: Sequences, action: int, frames: np.ndarray, *, following: np.ndarray
) -> tuple[int, int]:
    """Length and next action of most runs that end by themselves; 0, 0 if hardly any do."""
    natural = (following >= act.SPECIAL_FIRST) | np.isin(following, _NATURAL)
    if not _stands(seq, action):  # who comes down is not at an end
        natural &= ~np.isin(following, [one for one in np.unique(following) if _stands(seq, one)])
    frames, following = frames[natural], following[natural]
    if len(frames) < MIN_COUNT:
        return 0, 0
    pairs, counts = np.unique(np.stack([frames, following], 1), axis=0, return_counts=True)
    best = int(np.argmax(counts))
    if counts[best] < max(MIN_COUNT, 0.3 * len(frames)):
        return 0, 0
    return int(pairs[best, 0]), int(pairs[best, 1])


def _stands(seq: Sequences, action: int) -> bool:
    """Whether an action is mostly one of the ground."""
    return bool(seq.columns["on_ground"][seq.columns["action"] == action].mean() > 0.5)


def _flight(character: int, seq: Sequences, inside: np.ndarray) -> Row:
    """The rules that foretell most of the action's speeds, along x and along y."""
    air = inside & (seq.before("on_ground") == 0) & (seq.after("on_ground") == 0)
    a, fits, row = attribute_table()[character], [], {}
    for axis, kinds in (("x", KINDS_X), ("y", KINDS_Y)):
        found = Flight(0, 0.0, 0, 0, 0.0, 0.0)
        if air.sum() >= 4 * MIN_COUNT:
            found = in_two_parts(kinds, seq, air, a=a)
            fits.append(found.fits)
        row |= {f"{axis}_kind": found.kind, f"{axis}_value": round(float(found.value), 5),
                f"{axis}_since": found.since, f"{axis}_then": found.then,
                f"{axis}_more": round(float(found.more), 5)}  # fmt: skip
    return row | {"fits": round(min(fits, default=0.0), 3)}
