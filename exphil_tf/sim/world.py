"""Many matches at once: reset one by one, stepped in one call, seen as the schema's columns.

    world = World(characters, stages)
    world.step(pads)          # INPUT [matches, 2], from `controllers`
    columns = observe(world.matches)  # the schema's columns [matches, …]
    world.reset(np.flatnonzero(world.is_over))

A match's course depends on its own seed and controllers alone: neither on the batch that it is in,
nor on its place there, nor on how many threads step it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from exphil_tf.melee.enums import Character, Stage
from exphil_tf.melee.specials import FIRST_JUDGE
from exphil_tf.melee.stages import FOD_START_HEIGHTS
from exphil_tf.melee.types import GO_FRAME, TIME_LIMIT_FRAMES
from exphil_tf.sim import actions as act
from exphil_tf.sim.kernel import play_matches
from exphil_tf.sim.observe import NOTHING_ELSE, Observer
from exphil_tf.sim.rules import entry
from exphil_tf.sim.rules.stadium import STADIUM
from exphil_tf.sim.shares import Shares
from exphil_tf.sim.stage_lines import GAP, STAGES
from exphil_tf.sim.state import INPUT, MATCH
from exphil_tf.sim.tables import tables

STOCKS = 4
_LONG_AGO = 254
_WHOLE = np.dtype((np.void, MATCH.itemsize))
"""A match as bytes: copied field by field, what lies between fields would be anything."""
_RULES_ALONE = (*NOTHING_ELSE, *Observer(0).part(slice(0)))
"""Nothing, in place of what else `play_matches` does."""


class World:
    """Matches of two players.

    Args:
      characters: int `[matches, 2]`, internal ids.
      stages: external stage id of each match.
      limit_frames: frames after which a match is over by time.
      first_frame: of a match: `GO_FRAME`, or `FIRST_FRAME` with the countdown before.
      stadium_forms: whether Pokémon Stadium transforms; frozen, as matchmaking has it, if not.
      threads: that step the matches; the bits are the same.

    Raises: ValueError: if a character or a stage is unknown, or nobody plays.
    """

    def __init__(
        self,
        characters: np.ndarray,
        stages: Sequence[int],
        *,
        limit_frames: int = TIME_LIMIT_FRAMES,
        first_frame: int = GO_FRAME,
        stadium_forms: bool = False,
        threads: int = 1,
    ) -> None:
        self._limit, self._first = GO_FRAME + limit_frames, first_frame
        self._forms = stadium_forms
        self._beginnings = np.zeros(len(stages), MATCH)
        self.set_players(np.arange(len(stages)), characters, stages)
        self.matches = np.zeros(len(stages), MATCH)
        self.players = self.matches["players"]
        """`PLAYER` `[matches, 2]`, a view."""
        self.shares = Shares(len(stages), threads)
        self.reset(np.arange(len(stages)))

    @property
    def is_over(self) -> np.ndarray:
        """Bool `[matches]`."""
        return self.matches["over"] != 0

    def reset(self, which: np.ndarray, seeds: np.ndarray | None = None) -> None:
        """Puts matches back to their first frame.

        Args:
          which: int `[some]`, indices of matches.
          seeds: uint64 `[some]`, of what is drawn in them; None for 0.
        """
        self.matches.view(_WHOLE)[which] = self._beginnings.view(_WHOLE)[which]
        self.matches["seed"][which] = 0 if seeds is None else seeds

    def set_players(self, which: np.ndarray, characters: np.ndarray, stages: Sequence[int]) -> None:
        """Other characters `[some, 2]` and stages for some matches, from their next reset on."""
        characters = _checked(characters, stages)
        fresh = _beginnings(characters, np.array([STAGES.index(Stage(one)) for one in stages]))
        fresh["frame"], fresh["limit"] = self._first, self._limit
        fresh["transforms"] = self._forms & (fresh["stage"] == STADIUM)
        if self._first < GO_FRAME:
            players = fresh["players"]
            players["action"], players["grounded"], players["age"] = act.ENTRY, 0, -1
            players["y"] += entry.DROP_HEIGHT
            players["jumps"] -= 1
            _remember_nothing(players)
        self._beginnings[which] = fresh

    def step(self, pads: np.ndarray) -> None:
        """One frame of every match that is not over.

        Args:
          pads: `INPUT` `[matches, 2]`.
        """

        def work(part: slice) -> None:
            play_matches(self.matches[part], pads[part], *_RULES_ALONE, tables())

        self.shares.each(work)


def _beginnings(characters: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """`MATCH` `[matches]` as they begin at GO; rows of the stage tables."""
    table = tables()[0]
    fresh = np.zeros(len(rows), MATCH)
    fresh["stage"] = rows
    fresh["heights"] = fresh["goals"] = FOD_START_HEIGHTS
    players = fresh["players"]
    players["character"] = characters
    players["x"] = table["stages"]["start_x"][rows]
    players["y"] = table["stages"]["start_y"][rows] + GAP
    players["line"] = _lines_under(table, rows, x=players["x"], y=players["y"])
    players["facing"] = [1, -1]
    players["action"], players["grounded"], players["rate"] = act.WAIT, 1, 1
    players["stock"], players["shield"] = STOCKS, 60
    players["jumps"] = table["attributes"]["jumps"][characters]
    for name in ("tilt_x", "tilt_y", "tech_frames", "cancel_frames"):
        players[name] = _LONG_AGO
    _remember_nothing(players)
    return fresh


def _remember_nothing(players: np.ndarray) -> None:
    """Sets what is kept between actions to a game's beginning."""
    players["was_code"] = tables()["codes"][0][players["character"], players["action"]]
    players["was_character"] = players["character"]
    players["judge_last"], players["judge_before"] = FIRST_JUDGE


def _checked(characters: np.ndarray, stages: Sequence[int]) -> np.ndarray:
    """A copy of characters `[matches, 2]`, if those and the stages are known."""
    characters = np.array(characters)
    if characters.shape != (len(stages), 2) or not len(stages):
        raise ValueError(f"characters: want [{len(stages)}, 2]. Received: {list(characters.shape)}")
    unknown = set(characters.ravel().tolist()) - set(Character)
    if unknown or not set(stages) <= set(Stage):
        raise ValueError(f"want known characters and stages. Received: {unknown}, {stages}")
    return characters


def controllers(count: int) -> np.ndarray:
    """`INPUT` `[count, 2]`, nothing pressed."""
    return np.zeros((count, 2), INPUT)


def _lines_under(
    table: np.ndarray, rows: np.ndarray, *, x: np.ndarray, y: np.ndarray
) -> np.ndarray:
    """Rows of the lines that players stand on, int `[matches, 2]`."""
    lines = table["lines"][rows][:, None, : table["stages"]["lines"].max()]  # [matches, 1, lines]
    inside = (lines["x0"] <= x[..., None]) & (x[..., None] <= lines["x1"])
    inside &= (lines["id"] >= 0) & (lines["moving"] != 3)
    apart = np.where(inside, np.abs(lines["y0"] - y[..., None]), np.inf)
    rises = np.isin(lines["moving"], (1, 2))
    apart = np.where(rises & inside, 0.0, apart)
    return np.argmin(apart, -1)
