"""When Pokémon Stadium changes its form in a recorded game, by who stands on what.

Replays of 3.18 and later tell the frame on which a form begins to rise. For others it is the one by
which most of those who stand on lines of the old and the new form stand at those lines' heights,
which change by as much as 0.58 units a frame.
"""

from __future__ import annotations

import numpy as np

from exphil_tf.melee.enums import Stage
from exphil_tf.melee.types import GO_FRAME
from exphil_tf.sim import actions as act
from exphil_tf.sim.recorded import Recorded
from exphil_tf.sim.rules.stadium import (
    DEPTH,
    HALF,
    LEAST_SHARE,
    LOW_FRAMES,
    RISE_FRAMES,
    SINK_FRAMES,
)
from exphil_tf.sim.stadium_lines import FIRST, KINDS
from exphil_tf.sim.stage_lines import GAP, OF_A_FORM, STAGES, line_table

NEVER = 30_000
"""Frames until a change that is not recorded."""
_SAME = 0.003
_STADIUM = STAGES.index(Stage.POKEMON_STADIUM)


def _lines() -> np.ndarray:
    return line_table()[_STADIUM]


def forms_of(game: Recorded) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The form that stands or sinks, the one that rises, and the frames until one does.

    Returns: int `[frames]` each, as in `MATCH`.
    """
    frames = game["frame"].astype(int)
    form, coming = np.full(len(frames), FIRST), np.full(len(frames), FIRST)
    wait = np.full(len(frames), NEVER)
    if not game.moving or game.stage != Stage.POKEMON_STADIUM:
        return form, coming, wait
    last = int(frames[0]) - NEVER
    for at, kind in _told(game) if game.tells_stage else _seen(game):
        wait[frames > last] = (at - frames)[frames > last]
        last = at + RISE_FRAMES
        coming[frames >= at] = kind
        form[frames > last] = kind
        wait[frames > last] = NEVER
    return form, coming, np.minimum(wait, NEVER)


def _told(game: Recorded) -> list[tuple[int, int]]:
    """Frames on which a form begins to rise, and which, as recorded."""
    kinds = game["stadium"].astype(int)
    at = np.flatnonzero(np.diff(kinds)) + 1
    return [(int(game["frame"][row]), KINDS.index(int(kinds[row]))) for row in at]


def _seen(game: Recorded) -> list[tuple[int, int]]:
    """Alike, by who stands on what."""
    frames, rows, rests, heights = _standing(game)
    kinds = _lines()["form"][rows]
    found: list[tuple[int, int]] = []
    now, last = FIRST, GO_FRAME
    while True:
        others = np.flatnonzero((kinds != now) & (frames > last))
        if not len(others):
            return found
        first, new = int(frames[others[0]]), int(kinds[others[0]])
        starts = np.arange(max(last + 1, first - RISE_FRAMES), first + 1)
        since = frames[None] - starts[:, None]  # [starts, standing]
        made = np.where(kinds == now, _old_height(since, rests), np.nan)
        made = np.where(kinds == new, _new_height(since, rests), made)
        agrees = (np.abs(made - heights) < _SAME).sum(1)
        start = int(starts[len(starts) - 1 - np.argmax(agrees[::-1])])
        found.append((start, new))
        now, last = new, start + RISE_FRAMES


def _standing(game: Recorded) -> tuple[np.ndarray, ...]:
    """Frames, rows of lines, their heights at rest there, and heights of who stands on a form."""
    lines = _lines()
    row_of = np.full(256, -1)
    on_form = (lines["moving"] == OF_A_FORM) & (lines["id"] >= 0)
    row_of[lines["id"][on_form]] = np.flatnonzero(on_form)
    rows = row_of[np.minimum(game["ground"].astype(int), 255)]
    stands = (rows >= 0) & (game["on_ground"] != 0) & (game["action"] >= act.WAIT)
    frame, seat = np.nonzero(stands)
    rows, x = rows[stands], game["x"][stands]
    here = lines[rows]
    slope = (here["y1"] - here["y0"]) / (here["x1"] - here["x0"])
    rests = here["y0"] + slope * (x - here["x0"])
    return game["frame"].astype(int)[frame], rows, rests, game["y"][frame, seat] - GAP


def _old_height(since: np.ndarray, rests: np.ndarray) -> np.ndarray:
    """Heights of what stood, so many frames since the next form began to rise; see `stadium`."""
    part = np.clip(since + SINK_FRAMES + LOW_FRAMES, 0, SINK_FRAMES) / SINK_FRAMES
    made = rests * (1 - (1 - LEAST_SHARE) * part) - DEPTH * np.maximum(0, (since - HALF) / HALF)
    return np.where(since <= RISE_FRAMES, made, np.nan)


def _new_height(since: np.ndarray, rests: np.ndarray) -> np.ndarray:
    """Alike, of what rises."""
    part = np.clip(since, 0, RISE_FRAMES) / RISE_FRAMES
    share = LEAST_SHARE + (1 - LEAST_SHARE) * part
    made = rests * share - DEPTH * np.maximum(0, 1 - since / HALF)
    return np.where(since >= 0, made, np.nan)
