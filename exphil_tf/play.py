"""Plays a trained policy, in Slippi Dolphin or in the simulator.

    python -m exphil_tf.play --policy BUNDLE --dolphin DOLPHIN --iso MELEE.iso --character mewtwo
    python -m exphil_tf.play --sim --policy BUNDLE --opponent script:spacer --games 20
    python -m exphil_tf.play --doctor --dolphin DOLPHIN --iso MELEE.iso

Against you, a computer, another policy or a script. Dolphin is started in a folder of its own,
never in the user's. A game's frames are answered in step or, with `--async`, beside them. See
docs/play.md.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from rich.console import Console

from exphil_tf.agents.game_record import totals
from exphil_tf.agents.play_config import PlayConfig
from exphil_tf.foundation.config import load
from exphil_tf.foundation.errors import run
from exphil_tf.process.checkup import show
from exphil_tf.process.console import make_console
from exphil_tf.process.exit_codes import EXIT_OK

PROG = "python -m exphil_tf.play"


def main(argv: Sequence[str]) -> int:
    """Plays, or looks whether that would work."""
    config = load(PlayConfig, argv, prog=PROG)
    console = make_console()
    if config.doctor:
        return _examine(config, console)
    from exphil_tf.agents.play_session import play

    report = play(config, lambda line: console.print(line, markup=False))
    found = totals(report.records)
    low, high = found["win_rate_95"]
    console.print(
        f"{found['games']} games, {found['wins']} of {found['decided']} won "
        f"(95 % interval {low:.0%} to {high:.0%})",
        markup=False,
    )
    return EXIT_OK


def _examine(config: PlayConfig, console: Console) -> int:
    from exphil_tf.agents.doctor import examine

    return show(examine(config, os.environ), console)


if __name__ == "__main__":
    run(main, sys.argv[1:])
