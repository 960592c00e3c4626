"""Stick readings of a collection, for the centres of `ControllerCodec`.

A stick axis has 161 readings, so the histogram is exact and small, and no sampling is needed; see
`exphil_tf.records.stick_centres` for what is fitted to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from beam_pipelines.build_dataset import OnProgress
from beam_pipelines.scan import inspect_collection
from exphil_tf.preprocessing.dataset_config import DatasetConfig
from exphil_tf.preprocessing.inspection import count_sticks
from exphil_tf.records.stats import add


def count_collection(
    config: DatasetConfig,
    *,
    beam_flags: Sequence[str] = (),
    on_progress: OnProgress | None = None,
) -> dict[str, Any]:
    """Sum of `count_sticks` over the games that the filters admit, `max_files` of them at most.

    Empty if there is none.

    Raises:
      UserError, OSError: as `build_dataset`.
    """
    found = inspect_collection(count_sticks, config, beam_flags=beam_flags, on_progress=on_progress)
    total: dict[str, Any] = {}
    admitted = (game for game in found.games if not game["exclusion"])
    for game in sorted(admitted, key=lambda game: game["key"])[: config.max_files]:
        total = add(total, game["tally"])
    return total
