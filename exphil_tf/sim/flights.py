"""Projectiles in recorded games: each item's flights, and the hits that they end in."""

from __future__ import annotations

import numpy as np

from exphil_tf.sim.recorded import Recorded

FLIGHT = np.dtype(
    [("slot", "i1"), ("first", "i4"), ("after", "i4"), ("type", "i2"), ("state", "i2"),
     ("owner", "i1"), ("bounced", "i1")]
)  # fmt: skip
"""Frames from `first` to before `after` on which an item moves in one state; whose it is, and
whether it has come off a body or a shield, and hits nobody any more."""
_JUMP = 0.5
"""Change of the horizontal speed on one frame that only a body or a shield makes."""
_RISE = 1e-4


def flights(game: Recorded) -> np.ndarray:
    """`FLIGHT` rows of a game: of items that a player owns."""
    if "i.exists" not in game.columns:
        return np.zeros(0, FLIGHT)
    moves = (game["i.speed_x"] != 0) | (game["i.speed_y"] != 0)
    moves &= (game["i.exists"] != 0) & (_owner(game) >= 0)
    parts = [_of_slot(game, slot, moves[:, slot]) for slot in range(moves.shape[1])]
    return np.concatenate(parts)


def _owner(game: Recorded) -> np.ndarray:
    """Player 0 or 1 of each slot, -1 for nobody, `[frames, slots]`."""
    bits = 1 << np.arange(game["i.exists"].shape[1])
    mine = (game["items_owned"].astype(int)[..., None] & bits) != 0
    return np.where(mine[:, 0], 0, np.where(mine[:, 1], 1, -1))


def _of_slot(game: Recorded, slot: int, moves: np.ndarray) -> np.ndarray:
    columns = game["i.type"][:, slot], game["i.state"][:, slot], _owner(game)[:, slot]
    changes = np.append(True, np.diff(moves.astype(int)) != 0)
    for column in columns:
        changes[1:] |= np.diff(column.astype(int)) != 0
    # Another item may take the slot on the very next frame.
    changes[1:] |= np.diff(game["i.timer"][:, slot].astype(int)) > 0
    bounces = ~changes
    bounces[1:] &= np.abs(np.diff(game["i.speed_x"][:, slot])) > _JUMP
    first = np.flatnonzero(changes | bounces)
    after = np.append(first[1:], len(moves))
    kept = moves[first]
    found = np.zeros(int(kept.sum()), FLIGHT)
    found["slot"], found["first"], found["after"] = slot, first[kept], after[kept]
    found["bounced"] = bounces[first[kept]]
    for name, column in zip(("type", "state", "owner"), columns, strict=True):
        found[name] = column[first[kept]]
    return found


def shot_hits(game: Recorded, victim: int) -> np.ndarray:
    """Frames on which a projectile of the other player hits, bool `[frames]`; see `shot_uses`."""
    return shot_uses(game, victim) > 0


def shot_uses(game: Recorded, victim: int) -> np.ndarray:
    """The use that a projectile of the other player which hits on a frame left in; else 0.

    Uint16 `[frames]`. It hits where its flight ends and percent rises. Projectiles that are seen on
    no frame, because they hit at once, are not told.
    """
    found = np.zeros(len(game), np.uint16)
    mine, uses = flights(game), use_numbers(game, 1 - victim)
    hits = (mine["owner"] == 1 - victim) & (mine["after"] < len(game)) & (mine["bounced"] == 0)
    found[mine["after"][hits]] = uses[mine["first"][hits]]
    return np.where(np.append(False, np.diff(game["percent"][:, victim]) > _RISE), found, 0)


def action_starts(game: Recorded, player: int) -> np.ndarray:
    """Frame on which the action under way began, for every frame."""
    action, age = game["action"][:, player], game["state_age"][:, player]
    fresh = np.append(True, (action[1:] != action[:-1]) | (age[1:] < age[:-1]))
    return np.maximum.accumulate(np.where(fresh, np.arange(len(fresh)), 0))


def use_numbers(game: Recorded, player: int) -> np.ndarray:
    """Uint16 `[frames]`: a number of the action under way that no other one soon has; never 0."""
    return (action_starts(game, player) % _MOST_USES + 1).astype(np.uint16)


_MOST_USES = 65_535
