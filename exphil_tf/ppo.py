"""Improves a trained policy by playing: PPO or V-trace against scripts, policies or itself.

    python -m exphil_tf.ppo --pretrained RUN --timesteps 10000
    python -m exphil_tf.ppo --pretrained RUN --character fox --preset all_scripts

A run's folder is as one of `exphil_tf.train`; `--resume auto` goes on with it. See docs/rl.md.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Sequence

from exphil_tf.foundation.config import PLAYING_PRESETS
from exphil_tf.foundation.errors import run
from exphil_tf.training.ppo_config import PpoConfig
from exphil_tf.training.run_options import read_playing_run
from exphil_tf.training.run_sync import fetch_run

PROG = "python -m exphil_tf.ppo"


def main(argv: Sequence[str]) -> int:
    """Learns as the arguments say; returns the exit code."""
    from exphil_tf.rl.playing_run import learn

    fetch = functools.partial(fetch_run, environ=os.environ)
    loaded, location = read_playing_run(
        PpoConfig, argv, prog=PROG, fetch=fetch, presets=PLAYING_PRESETS
    )
    return learn(loaded, location, prog=PROG, argv=argv)


if __name__ == "__main__":
    run(main, sys.argv[1:])
