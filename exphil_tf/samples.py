"""Makes short sample replays: real `.slp` files of scripted players in the simulator.

For a machine without any replays: everything downstream reads them as it reads recordings. They
teach a policy to imitate simple scripts, not to play Melee.

    python -m exphil_tf.samples --output samples --games 12 --seed 1
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from exphil_tf.foundation.config import load
from exphil_tf.foundation.errors import run
from exphil_tf.foundation.kinds import Kind
from exphil_tf.sim.sample_games import FPS, SampleConfig, write_games


@dataclass(frozen=True)
class SamplesConfig:
    """Options of `python -m exphil_tf.samples`."""

    KIND: ClassVar = Kind.RESULT

    output: Path
    """Folder for the replays; made if missing. Files of the same names are replaced."""
    samples: SampleConfig = field(default_factory=SampleConfig)


def main(argv: list[str]) -> int:
    """Plays the games and writes them."""
    config = load(SamplesConfig, argv, prog="python -m exphil_tf.samples")
    began = time.monotonic()
    total = write_games(config.output, config.samples)
    seconds = time.monotonic() - began
    print(  # noqa: T201 - the command's result
        f"{config.samples.games} games, {total:,} frames ({total / FPS / 60:.1f} minutes of play) "
        f"in {config.output}, {seconds:.1f} s"
    )
    return 0


if __name__ == "__main__":
    run(main, sys.argv[1:])
