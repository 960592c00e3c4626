"""The schema's `s.*` columns: what a stage is, and how its moving parts stand."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from exphil_tf.features.schema import SCHEMA, Group
from exphil_tf.melee import stages
from exphil_tf.melee.enums import Stage

_RESTING = (
    ("s.fod_left", Stage.FOUNTAIN_OF_DREAMS, stages.FOD_START_HEIGHTS[0]),
    ("s.fod_right", Stage.FOUNTAIN_OF_DREAMS, stages.FOD_START_HEIGHTS[1]),
    ("s.stadium", Stage.POKEMON_STADIUM, stages.STADIUM_NORMAL),
)
"""Columns that are not 0 on a stage at rest, besides Randall's (from the frame id)."""


def stage_columns(
    stage: int | np.ndarray, frame_id: np.ndarray, moving: Mapping[str, np.ndarray] | None = None
) -> dict[str, np.ndarray]:
    """Every `s.*` column, of the shape of `frame_id`.

    Args:
      stage: external stage id, or one for each frame.
      frame_id: int32 `[…]`: frames of a game, games on a frame, or a single frame.
      moving: moving parts that the source tells, by column; the others hold the stage's resting
        state.
    """
    frame_id = np.asarray(frame_id)
    columns = {
        field.name: np.zeros(frame_id.shape, field.dtype) for field in SCHEMA.group(Group.STAGE)
    }
    columns["s.stage"][...] = stage
    for name, place, values in _RESTING:
        at = stage == place
        if np.any(at):
            columns[name][at] = values
    at = stage == Stage.YOSHIS_STORY
    if np.any(at):  # reads libmelee's table, which takes a while
        columns["s.randall_x"][at], columns["s.randall_y"][at] = stages.randall(frame_id[at])
    for name, values in (moving or {}).items():
        columns[name] = np.asarray(values).astype(columns[name].dtype)
    return columns
