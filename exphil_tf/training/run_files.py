"""Names of what lies in a run's folder; `training.run_folder` says what each is."""

import json
from pathlib import Path
from typing import Any

CONFIG_YAML = "config.yaml"
CONFIG_JSON = "config.json"
LOG = "log.jsonl"
TENSORBOARD = "tb"
CHECKPOINTS = "checkpoints"
POLICY = "policy"
EVALUATION = "evaluation"
"""What `exphil_tf.evaluate` makes of the policy."""
SNAPSHOTS = "snapshots"
"""Earlier policies of a run by playing."""
CONTEST = "contest.json"
"""Games counted at the end of one."""
RATINGS = "ratings.json"
"""Of snapshots, if they were asked for."""
LEAGUE = "league.json"
TURNS = "turns"
"""Runs of a league's players, by snapshot."""
SHOWN_GAMES = "shown-games"
"""Games of a league to look at."""
LEAGUE_PAGE = "report.html"
CONTENTS = (
    CONFIG_YAML, CONFIG_JSON, LOG, TENSORBOARD, CHECKPOINTS, POLICY, EVALUATION,
    "wandb", "comparison", "hard-labels", SNAPSHOTS, CONTEST,
    RATINGS, LEAGUE, TURNS, SHOWN_GAMES, LEAGUE_PAGE,
)  # fmt: skip
"""What a run leaves in its folder; whatever else lies there is not the run's."""


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object, or an empty one where there is none."""
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}
