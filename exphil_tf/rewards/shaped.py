"""Shaped rewards: what usually leads to stocks, paid in small coin.

A term reads the schema's columns before and after, `[…, own/opponent]` where they are of players,
and gives float32 `[…]`, the own player's; numpy only, as who learns by playing computes rewards of
whole unrolls beside the device. Formulas and weights are the original's, but for two defects: off
stage means beyond this stage's edge, not beyond 85 units on every stage, and who has died is not
there, where a second of lying below the stage cost more than the stock. Unlike `terms`, most of
these are not zero-sum, and a policy may collect them instead of winning: keep their weights small.
"""

from __future__ import annotations

import functools

import numpy as np

from exphil_tf.melee.specials import LAST_DEAD_ACTION
from exphil_tf.melee.stages import GEOMETRY
from exphil_tf.rewards.terms import OPPONENT, OWN, Columns, decided, suffered

OFF_STAGE_Y = -20.0
"""Below this a player is off stage wherever it is, in game units."""
APPROACH_UNITS = 3.0
COMBO_FRAMES = 30.0
COMBO_HOLD = 0.1
RISK_X, RISK_Y = 50.0, 100.0
NEAR_UNITS, FAR_UNITS = 20.0, 100.0


def win(before: Columns, after: Columns) -> np.ndarray:
    """1 where the opponent loses the last stock, -1 where the own player does, 0 for both."""
    lost = (after["p.stock"] == 0).astype(np.float32)
    gained = lost[..., OPPONENT] - lost[..., OWN]
    return np.where(decided(before, after), gained, 0).astype(np.float32)


def approach(before: Columns, after: Columns) -> np.ndarray:
    """Units by which the players came nearer, / 3; within ±1, and 0 where a stock was lost.

    Who is reborn crosses the stage in a frame.
    """
    nearer = (_distance(before) - _distance(after)) / APPROACH_UNITS
    is_same_stock = np.all(before["p.stock"] == after["p.stock"], axis=-1)
    return np.where(is_same_stock, np.clip(nearer, -1, 1), 0).astype(np.float32)


def distance(before: Columns, after: Columns) -> np.ndarray:
    """How far apart the players are: 0 within 20 units, 1 from 100 on; 0 while one is dead."""
    del before
    far = (_distance(after) - NEAR_UNITS) / (FAR_UNITS - NEAR_UNITS)
    return np.where(_live(after).all(-1), np.clip(far, 0, 1), 0).astype(np.float32)


def dealt(before: Columns, after: Columns) -> np.ndarray:
    """Percent dealt, whatever was taken meanwhile: who fears damage most learns to stay away."""
    return suffered(before, after)[..., OPPONENT]


def lead(before: Columns, after: Columns) -> np.ndarray:
    """1 while the own player is ahead, -1 while behind, by the rule that ends a game by time."""
    del before
    return ahead(after)


def combo(before: Columns, after: Columns) -> np.ndarray:
    """min(1, hitstun / 30) where the opponent's hitstun rises, 0.1 on frames that it lasts."""
    had, has = (c["p.hitstun"][..., OPPONENT].astype(np.float32) for c in (before, after))
    fresh = np.minimum(has / COMBO_FRAMES, 1)
    return np.where(has > had, fresh, np.where(has > 0, COMBO_HOLD, 0)).astype(np.float32)


def edge_guard(before: Columns, after: Columns) -> np.ndarray:
    """1 where the opponent is hit off stage while the own player is not there."""
    away = off_stage(after)
    found = hit(before, after)[..., OPPONENT] & away[..., OPPONENT] & ~away[..., OWN]
    return found.astype(np.float32)


def recovery_risk(before: Columns, after: Columns) -> np.ndarray:
    """How far off stage the own player is: units beyond the edge / 50 and below 0 / 100.

    Each at most 1; 0 on stage.
    """
    del before
    x, y = np.abs(after["p.x"][..., OWN]), after["p.y"][..., OWN]
    beyond = np.clip((x - edge_of(after)) / RISK_X, 0, 1)
    below = np.clip(-y / RISK_Y, 0, 1)
    return np.where(off_stage(after)[..., OWN], beyond + below, 0).astype(np.float32)


# -- What terms of characters ask, too -----------------------------------------------------------


def ahead(columns: Columns) -> np.ndarray:
    """float32 `[…]`: who has more stocks, then who has less percent: 1 the own player, 0 nobody."""
    stocks = np.asarray(columns["p.stock"], np.float32)
    percent = np.asarray(columns["p.percent"], np.float32)
    by_stocks = np.sign(stocks[..., OWN] - stocks[..., OPPONENT])
    by_percent = np.sign(percent[..., OPPONENT] - percent[..., OWN])
    return np.where(by_stocks != 0, by_stocks, by_percent)


def hit(before: Columns, after: Columns) -> np.ndarray:
    """Bool `[…, own/opponent]`: whose percent rose while no stock of theirs was lost."""
    return (after["p.percent"] > before["p.percent"]) & (after["p.stock"] == before["p.stock"])


def off_stage(columns: Columns) -> np.ndarray:
    """Bool `[…, own/opponent]`: beyond the edge, or below the stage, and alive in the air."""
    beyond = np.abs(columns["p.x"]) > edge_of(columns)[..., None]
    flies = (columns["p.on_ground"] == 0) & _live(columns)
    return (beyond | (columns["p.y"] < OFF_STAGE_Y)) & flies


def edge_of(columns: Columns) -> np.ndarray:
    """float32 `[…]`: |x| of the ground's edge, in game units."""
    return _edges()[np.asarray(columns["s.stage"], np.int64)]


@functools.cache
def _edges() -> np.ndarray:
    table = np.full(256, min(one.edge for one in GEOMETRY.values()), np.float32)
    for stage, geometry in GEOMETRY.items():
        table[int(stage)] = geometry.edge
    return table


def _live(columns: Columns) -> np.ndarray:
    """Bool `[…, own/opponent]`."""
    return np.asarray(columns["p.action"]) > LAST_DEAD_ACTION


def _distance(columns: Columns) -> np.ndarray:
    apart = [columns[name][..., OPPONENT] - columns[name][..., OWN] for name in ("p.x", "p.y")]
    return np.hypot(*apart)
