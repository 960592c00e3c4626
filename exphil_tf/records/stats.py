"""Counts of a split, gathered game by game: what is pressed, where sticks stand, who plays where.

A *tally* is a JSON-able nest of integers whose sum is meaningful (`SplitStats` as a dict), so
tallies of games, batches and workers add up in any order to the same total.
"""

from __future__ import annotations

import functools
from typing import Any, cast

import numpy as np

from exphil_tf.features.packing import LAYOUT
from exphil_tf.features.schema import SCHEMA, SPOILED
from exphil_tf.melee.controls import AXES
from exphil_tf.melee.enums import BUTTONS, Stage, character_name, stage_name
from exphil_tf.melee.types import Frames
from exphil_tf.records.manifest import STICK_VALUES

Tally = dict[str, Any]


def tally_game(
    frames: Frames, planes: np.ndarray, *, perspectives: int, stage: int, route: str
) -> Tally:
    """Counts of one game.

    Args:
      frames: the game.
      planes: uint8 `[ROW_BYTES, frames]`, the same, packed.
      perspectives: bit mask of the players that may be imitated.
      stage: external stage id.
      route: how the replay was read.
    """
    tally: Tally = {
        "games": 1,
        "frames": len(frames),
        "perspective_frames": len(frames) * perspectives.bit_count(),
        "stages": {stage_name(stage): 1},
        "routes": {route: 1},
        "spoiled_frames": int((frames["absent"] & SPOILED != 0).sum()),
        "lengths": {str(perspectives): {str(len(frames)): 1}},
    } | _tally_versions(int(frames["absent"][0]), stage)
    for player in (0, 1):
        if perspectives >> player & 1:
            tally = add(tally, _tally_player(frames, planes, player))
    return tally


def _tally_versions(absent: int, stage: int) -> Tally:
    """Which groups of columns a game lacks, and which it has."""
    moves = stage in (Stage.FOUNTAIN_OF_DREAMS, Stage.POKEMON_STADIUM, Stage.DREAMLAND)
    counts: Tally = {"absent": {}, "recorded": {}}
    for version, bit in SCHEMA.absent_bits.items():
        name = "{}.{}".format(*version)
        if absent & bit:
            counts["absent"][name] = 1
        elif moves or version != SCHEMA.field("s.whispy").since:
            counts["recorded"][name] = 1
    return counts


def _tally_player(frames: Frames, planes: np.ndarray, player: int) -> Tally:
    buttons = planes[LAYOUT.slots["c.buttons"].offset + player]
    down, pressed = _count_bits(buttons), _count_bits(buttons[1:] & ~buttons[:-1])
    sticks = {}
    for axis in AXES:
        plane = planes[LAYOUT.slots[f"c.{axis}"].offset + player]
        by_byte = np.bincount(plane ^ 0x80, minlength=256)  # -128…127 in order
        sticks[axis] = by_byte[128 - STICK_VALUES // 2 : 129 + STICK_VALUES // 2].tolist()
    return {
        "characters": _count_characters(frames["p.character"][:, player]),
        "opponents": _count_characters(frames["p.character"][:, 1 - player]),
        "buttons_down": down,
        "buttons_pressed": pressed,
        "sticks": sticks,
    }


@functools.cache
def _bits() -> np.ndarray:
    return np.arange(256)[:, None] >> np.arange(len(BUTTONS)) & 1


def _count_bits(plane: np.ndarray) -> dict[str, int]:
    counts = np.bincount(plane, minlength=256) @ _bits()
    return dict(zip(BUTTONS, counts.tolist(), strict=True))


def _count_characters(column: np.ndarray) -> dict[str, int]:
    counts = np.bincount(column)
    return {character_name(int(i)): int(counts[i]) for i in np.flatnonzero(counts)}


def add(one: Any, two: Any) -> Any:
    """The sum of two tallies.

    Raises:
      ValueError: if they are nested differently.
    """
    if isinstance(one, dict) and isinstance(two, dict):
        left, right = cast(Tally, one), cast(Tally, two)
        shared = {key: add(left[key], right[key]) for key in left.keys() & right.keys()}
        merged = left | right | shared
        return {key: merged[key] for key in sorted(merged)}
    if isinstance(one, list) and isinstance(two, list):
        counts, others = cast(list[int], one), cast(list[int], two)
        if len(counts) == len(others):
            return [a + b for a, b in zip(counts, others, strict=True)]
    if isinstance(one, int) and isinstance(two, int):
        return one + two
    raise ValueError(f"tally: want equal nests. Received: {one!r:.40} and {two!r:.40}")
