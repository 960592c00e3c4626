"""Looks through a collection of replays and says what is in it, without storing a record.

The same line as the dataset's up to parsing, with a fact sheet per file instead of records; of the
files of one game the best is then kept. `inspect_collection` runs it, `report` turns the sheets
into counts and advice.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from beam_pipelines.beam_flags import pipeline_options
from beam_pipelines.build_dataset import (
    OnProgress,
    find_replays,
    processes_of,
    reporting,
    run_pipeline,
)
from beam_pipelines.sinks import GAME, JOB, REJECT
from beam_pipelines.transforms import InspectGames
from exphil_tf.preprocessing import quality_stats
from exphil_tf.preprocessing.dataset_config import DatasetConfig
from exphil_tf.preprocessing.game_records import EncodeItem
from exphil_tf.preprocessing.placement import best_copies, duplicate

FRAMES_PER_HOUR = 60 * 60 * 60
QUALITY_LABELS = ((80, "excellent"), (60, "good"), (40, "fair"), (0, "poor"))
_TOP_PLAYERS = 20
_BYTES_PER_FRAME = 100
"""Original and mirrored, both players."""


class Inspection(NamedTuple):
    """What a run over a collection left.

    Attributes:
      games: one dict per game, as the function gave it, with `file`, `key` and `sha256`.
      rejects: lines as in `rejected.jsonl`.
      num_files: files looked at; each is in one of the two lists.
    """

    games: list[dict[str, Any]]
    rejects: list[dict[str, Any]]
    num_files: int


def inspect_collection(
    function: Callable[[EncodeItem], dict[str, Any]],
    config: DatasetConfig,
    *,
    beam_flags: Sequence[str] = (),
    on_progress: OnProgress | None = None,
) -> Inspection:
    """Applies a function to every game of a collection.

    Args:
      function: module-level, runs in isolated workers.
      config: replays, filters and limits; the output folder is not used.
      beam_flags: Beam options.
      on_progress: called now and then with what is done.

    Raises:
      UserError, OSError: as `build_dataset`.
    """
    options = pipeline_options(beam_flags)
    found = find_replays(config.replays)
    with tempfile.TemporaryDirectory(prefix="exphil-scan-") as folder:
        config = replace(config, output=folder)
        job = InspectGames(function, config, processes=processes_of(config, options), found=found)
        with reporting(Path(folder), on_progress):
            run_pipeline(job, options)
        games, rejects = (_read_lines(Path(folder), kind) for kind in (GAME, REJECT))
        if config.filters.skip_duplicates:
            games, rejects = _distinct(games, rejects)
        return Inspection(games, rejects, _read_lines(Path(folder), JOB)[0]["num_files"])


def _distinct(
    games: list[dict[str, Any]], rejects: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    kept: list[dict[str, Any]] = []
    lines = list(rejects)
    for best, others in best_copies(games):
        kept.append(best)
        lines += [duplicate(one["file"], one["sha256"], best["file"]) for one in others]
    return kept, lines


def _read_lines(folder: Path, kind: str) -> list[dict[str, Any]]:
    path = folder / f"{kind}.jsonl"
    if not path.exists():
        return []
    with path.open("rb") as file:  # bytes: lines of text end at more than one character
        return [json.loads(line) for line in file]


# -- Report ---------------------------------------------------------------------------------------


def report(found: Inspection) -> dict[str, Any]:
    """Counts and advice on a collection, JSON-able and in a fixed order."""
    games = found.games
    frames = sum(game["frames"] for game in games)
    rejects = Counter(line["reason"] for line in found.rejects)
    usable = [game for game in games if not game["exclusion"]]
    result: dict[str, Any] = {
        "files": found.num_files,
        "games": len(games),
        "usable_games": len(usable),
        "frames": frames,
        "hours": round(frames / FRAMES_PER_HOUR, 2),
        "duplicates": rejects.pop("duplicate", 0),
        "rejects": _ranked(rejects),
        "exclusions": _ranked(Counter(game["exclusion"] for game in games if game["exclusion"])),
        "characters": _ranked(
            Counter(player["character"] for game in games for player in game["players"])
        ),
        "character_frames": _ranked(_character_frames(games)),
        "matchups": _ranked(Counter(_matchup(game) for game in games)),
        "stages": _ranked(Counter(game["stage"] for game in games)),
        "versions": _ranked(Counter(game["version"] for game in games)),
        "routes": _ranked(Counter(game["route"] for game in games)),
        "cpu_games": sum(any(player["cpu"] for player in game["players"]) for game in games),
        "players": _players(games),
        "quality": _quality(games),
    }
    return result | {"advice": advice(result)}


def _ranked(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _character_frames(games: list[dict[str, Any]]) -> Counter[str]:
    """Frames by the character played on them."""
    counts: Counter[str] = Counter()
    for game in games:
        for player in game["players"]:
            counts.update(player["frames"])
    return counts


def _matchup(game: dict[str, Any]) -> str:
    return " vs ".join(sorted(player["character"] for player in game["players"]))


def _players(games: list[dict[str, Any]]) -> dict[str, Any]:
    counts = Counter(
        name for game in games for name in {player["player"] for player in game["players"]} - {""}
    )
    return {"known": len(counts), "most_games": dict(list(_ranked(counts).items())[:_TOP_PLAYERS])}


def _quality(games: list[dict[str, Any]]) -> dict[str, Any]:
    labels = Counter(
        next(name for limit, name in QUALITY_LABELS if game["quality"] >= limit) for game in games
    )
    return {
        "histogram": quality_stats.histogram(game["quality"] for game in games),
        "labels": {name: labels.get(name, 0) for _, name in QUALITY_LABELS},
        "failures": _ranked(Counter(game["failure"] for game in games if game["failure"])),
    }


def advice(facts: dict[str, Any]) -> list[str]:
    """What to do about a collection, most important first; one sentence each."""
    lines: list[str] = []
    if not facts["usable_games"]:
        lines.append("No game can be used with the default options: see the exclusions above.")
    elif facts["usable_games"] < 100:
        lines.append(
            f"{facts['usable_games']} games teach a policy little beyond movement; "
            "a thousand of one character make a good start."
        )
    rejected = sum(facts["rejects"].values())
    if rejected > 0.1 * facts["files"]:
        reason, count = next(iter(facts["rejects"].items()))
        lines.append(
            f"{rejected} of {facts['files']} files give no game, most often: {reason} ({count})."
        )
    if facts["duplicates"]:
        lines.append(f"{facts['duplicates']} files hold games that are there twice; one is kept.")
    if facts["cpu_games"]:
        lines.append(
            f"{facts['cpu_games']} games have a computer player and are left out by default; "
            "--include-cpus admits them."
        )
    poor = facts["quality"]["labels"]["poor"]
    if poor:
        lines.append(
            f"{poor} games score below 40 (idle or very short); --min-quality 40 drops them."
        )
    if facts["characters"]:
        name, count = next(iter(facts["characters"].items()))
        lines.append(
            f"Most played: {name}, {count} times; --train-character {name} learns from these only."
        )
    megabytes = facts["frames"] * _BYTES_PER_FRAME / 1e6
    lines.append(f"A dataset with mirrored games will need about {megabytes:,.0f} MB.")
    return lines
