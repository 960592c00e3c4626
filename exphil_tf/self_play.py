"""Improves a trained policy against itself and its own past.

    python -m exphil_tf.self_play --pretrained RUN --num-games 4 --timesteps 100000

A run's folder is as one of `exphil_tf.train`, with `snapshots/` beside; `--mode league` makes a
league, as `exphil_tf.league run` does. See docs/rl.md.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import sys
from collections.abc import Sequence

from exphil_tf.foundation.config import refuse_given
from exphil_tf.foundation.errors import run
from exphil_tf.training.cloud_config import CloudConfig
from exphil_tf.training.ppo_config import SelfPlayConfig
from exphil_tf.training.run_options import read_playing_run
from exphil_tf.training.run_sync import fetch_run

PROG = "python -m exphil_tf.self_play"


def main(argv: Sequence[str]) -> int:
    """Learns as the arguments say; returns the exit code."""
    from exphil_tf.rl.league.league_run import RUN_PROG, of_playing, run_league
    from exphil_tf.rl.playing_run import learn

    fetch = functools.partial(fetch_run, environ=os.environ)
    loaded, location = read_playing_run(SelfPlayConfig, argv, prog=PROG, fetch=fetch)
    if loaded.config.mix.mode == "league":
        names = [one.name for one in dataclasses.fields(CloudConfig)]
        refuse_given(loaded.given, names, why="a league stays on its machine")
        return run_league(of_playing(loaded.config), location, prog=RUN_PROG, argv=argv)
    return learn(loaded, location, prog=PROG, argv=argv)


if __name__ == "__main__":
    run(main, sys.argv[1:])
