"""All tables that recorded games fill, as files: what `python -m exphil_tf.sim fit` writes."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from exphil_tf.foundation.atomic import write_file
from exphil_tf.melee.enums import character_name
from exphil_tf.sim import actions as act
from exphil_tf.sim import fit_actions
from exphil_tf.sim.attributes import melee_values
from exphil_tf.sim.fit import fit_character
from exphil_tf.sim.fit_charges import charges
from exphil_tf.sim.fit_diamonds import diamonds
from exphil_tf.sim.fit_feet import feet
from exphil_tf.sim.fit_hits import fit_hits
from exphil_tf.sim.fit_ledges import catches
from exphil_tf.sim.fit_shots import fit_shots
from exphil_tf.sim.fit_speeds import speeds
from exphil_tf.sim.fit_widths import widths
from exphil_tf.sim.recorded import Recorded
from exphil_tf.sim.sequences import by_character
from exphil_tf.sim.stage_lines import STAGES, stage_table

Row = dict[str, Any]
_DIFFERENT = 0.01
"""Share by which two values of a constant differ if they are listed."""
_ACTIONS = {
    "feet": feet,
    "aerials": fit_actions.aerials,
    "specials": fit_actions.specials,
    "courses": fit_actions.courses,
    "curves": fit_actions.curves,
    "speeds": speeds,
}


def fit_tables(games: Sequence[Recorded]) -> dict[str, list[Row]]:
    """Name of a table → its rows."""
    found: dict[str, list[Row]] = {"attributes": [], **{name: [] for name in _ACTIONS}}
    for character, sequences in by_character(games):
        for name, one in fit_character(sequences).items():
            if one.count:
                found["attributes"].append(
                    {
                        "character": character, "attribute": name, "value": round(one.value, 5),
                        "count": one.count, "spread": round(one.spread, 5),
                        "share": round(one.share, 3),
                    }
                )  # fmt: skip
        for name, estimate in _ACTIONS.items():
            found[name] += estimate(character, sequences)
    found["attributes"] += widths(games)
    found["attributes"].sort(key=lambda row: row["character"])
    found["ledge"], found["charges"] = ledges(games), list(charges(games))
    found["catch"], found["hangs"] = catches(games)
    found["diamonds"] = list(diamonds(games))
    return found | fit_hits(games) | {"shots": fit_shots(games)}


def ledges(games: Iterable[Recorded]) -> list[Row]:
    """Places on a ledge by character and frame of catching it, from its corner outwards."""
    stages, places = stage_table(), {}
    for game in games:
        stage = stages[STAGES.index(game.stage)]  # pyright: ignore[reportArgumentType]
        for player in (0, 1):
            action = game["action"][:, player]
            on = (action == act.LEDGE_CATCH) | (action == act.LEDGE_WAIT)
            if game.held_out[player] or not on.any():
                continue
            age = np.round(game["state_age"][on, player]).astype(int)
            frame = np.where(action[on] == act.LEDGE_CATCH, np.minimum(age, 8), 8)
            out = np.abs(game["x"][on, player]) - stage["edge"]
            up = game["y"][on, player] - stage["ledge_y"]
            for who, at, *place in zip(
                game["character"][on, player].tolist(), frame.tolist(), out, up, strict=True
            ):
                places.setdefault((who, at), []).append(place)
    return [
        {"character": who, "frame": frame, "out": round(float(np.median(found, 0)[0]), 4),
         "up": round(float(np.median(found, 0)[1]), 4), "count": len(found)}
        for (who, frame), found in sorted(places.items())
        if len(found) >= fit_actions.MIN_COUNT
    ]  # fmt: skip


def write_tables(tables: dict[str, list[Row]], folder: Path) -> None:
    """Writes each as `NAME.csv` in a folder, which is made if missing."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in tables.items():
        text = io.StringIO()
        if rows:
            writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        write_file(folder / f"{name}.csv", [text.getvalue().encode()])


def compared(attributes: Iterable[Row]) -> list[list[str]]:
    """Where libmelee's table has the constant too: name, ours, frames, theirs, whether they agree.

    Rows that agree are left out.
    """
    theirs = melee_values()
    rows: list[list[str]] = []
    for row in attributes:
        other = theirs.get((row["character"], row["attribute"]))
        if not other or row["attribute"] == "air_jump_stick":  # libmelee's has friction in it
            continue
        if abs(row["value"] - other) > _DIFFERENT * abs(other):
            who = character_name(row["character"])
            rows.append([who, row["attribute"], f"{row['value']:g}", f"{row['count']:,}",
                         f"{other:g}"])  # fmt: skip
    return rows
