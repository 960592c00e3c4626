"""Writes a game as one HTML page to look at, with a policy's opinion if one is given.

    python -m exphil_tf.view GAME.slp [--policy BUNDLE] [--output PAGE.html]

The page needs nothing else: no network, no files beside it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import tyro

from exphil_tf.foundation import atomic
from exphil_tf.foundation.config import load
from exphil_tf.foundation.errors import UserError, run
from exphil_tf.foundation.kinds import Kind, option
from exphil_tf.process.console import make_console
from exphil_tf.process.exit_codes import EXIT_DATA, EXIT_NO_INPUT

PROG = "python -m exphil_tf.view"


@dataclass(frozen=True)
class ViewConfig:
    """Writes a game as one HTML page."""

    KIND: ClassVar = Kind.RESULT

    game: Annotated[Path, tyro.conf.Positional]
    """A replay (.slp)."""
    output: Path | None = option(None, kind=Kind.PLACE)
    """Page to write; none means the replay's name with .html, in this folder."""
    policy: Path | None = None
    """An exported policy, or a run's folder, whose opinion is shown."""
    frame_delay: int | None = None
    """Frames of delay to judge at; none means what the policy was made for."""


def main(argv: Sequence[str]) -> int:
    """Writes the page."""
    config = load(ViewConfig, argv, prog=PROG)
    from exphil_tf.agents.game_judgement import judge
    from exphil_tf.agents.game_page import game_page
    from exphil_tf.agents.policy_source import open_policy
    from exphil_tf.replays.parse import parse
    from exphil_tf.replays.refusals import ReplayError

    if not config.game.is_file():
        raise UserError(f"{config.game}: no such file", "Give a replay.", exit_code=EXIT_NO_INPUT)
    source = None if config.policy is None else open_policy(config.policy)
    try:
        game = parse(config.game)
    except ReplayError as error:
        raise UserError(
            f"{config.game}: {error}", "Give a game of two players.", exit_code=EXIT_DATA
        ) from error
    judged = None if source is None else judge(source, game, delay=config.frame_delay)
    page = game_page(game, judged, title=config.game.stem).encode()
    output = config.output or Path(f"{config.game.stem}.html")
    atomic.write_bytes(output, page)
    make_console().print(f"wrote {output} ({len(page) / 1e6:.2f} MB)", markup=False)
    return 0


if __name__ == "__main__":
    run(main, sys.argv[1:])
