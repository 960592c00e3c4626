"""Measures how fast this machine is: `python -m exphil_tf.benchmark SUBJECT`.

    python -m exphil_tf.benchmark preprocess input training
    python -m exphil_tf.benchmark latency BUNDLE [BUNDLE ...]
    python -m exphil_tf.benchmark architectures --data DATASET
    python -m exphil_tf.benchmark simulator
    python -m exphil_tf.benchmark playing

Tables are printed, figures written as JSON. Those of other machines compare badly: the ratios, each
within one run, hold better.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import get_args

from rich.console import Console

from exphil_tf.benchmarking.benchmark_config import (
    ArchitecturesConfig,
    LatencyConfig,
    PlayingSpeedConfig,
    SimulatorConfig,
    SpeedConfig,
    Subject,
)
from exphil_tf.foundation.config import load
from exphil_tf.foundation.errors import UserError, run
from exphil_tf.process.console import make_console

PROG = "python -m exphil_tf.benchmark"
LATENCY, ARCHITECTURES, SIMULATOR, PLAYING = "latency", "architectures", "simulator", "playing"
HELP_FORMS = ("preprocess", LATENCY, ARCHITECTURES, SIMULATOR, PLAYING)
"""First words of the forms that have a `--help` of their own."""
_WIDTH = 132
"""Columns of tables that go to a file."""


def main(argv: Sequence[str]) -> int:
    """Measures what the first arguments name."""
    subject = argv[0] if argv else "nothing"
    if subject in ("--help", "-h"):
        print(_HELP, end="")  # noqa: T201 - the command's product
        return 0
    if subject == LATENCY:
        config = load(LatencyConfig, argv[1:], prog=f"{PROG} {LATENCY}")
        # What is measured takes seconds to import: mistakes above are answered at once.
        from exphil_tf.benchmarking import latency

        latency.run(config, _console())
        return 0
    if subject == ARCHITECTURES:
        return _compare(argv[1:])
    if subject == SIMULATOR:
        simulator_config = load(SimulatorConfig, argv[1:], prog=f"{PROG} {SIMULATOR}")
        from exphil_tf.benchmarking import simulator

        simulator.run(simulator_config, _console())
        return 0
    if subject == PLAYING:
        playing_config = load(PlayingSpeedConfig, argv[1:], prog=f"{PROG} {PLAYING}")
        from exphil_tf.benchmarking import playing_speed

        playing_speed.run(playing_config, _console())
        return 0
    if subject not in get_args(Subject):
        known = (*get_args(Subject), LATENCY, ARCHITECTURES, SIMULATOR, PLAYING)
        raise UserError(
            f"want a subject first, one of {', '.join(known)}. Received: {subject}",
            f"See `{PROG} --help`.",
        )
    speed_config = load(SpeedConfig, argv, prog=PROG)
    from exphil_tf.benchmarking import speed

    speed.run(speed_config, _console())
    return 0


def _compare(argv: Sequence[str]) -> int:
    config = load(ArchitecturesConfig, argv, prog=f"{PROG} {ARCHITECTURES}")
    from exphil_tf.benchmarking import architectures

    return architectures.run(config, _console())


def _console() -> Console:
    """One that does not wrap tables where there is no terminal."""
    console = make_console(soft_wrap=False)
    return console if console.is_terminal else make_console(width=_WIDTH, soft_wrap=False)


_HELP = f"""usage: {PROG} preprocess|input|training|layers … [OPTIONS]
       {PROG} {LATENCY} BUNDLE [BUNDLE …] [OPTIONS]
       {PROG} {ARCHITECTURES} --data DATASET [OPTIONS]
       {PROG} {SIMULATOR} [OPTIONS]
       {PROG} {PLAYING} [OPTIONS]

Measures how fast this machine is, each figure beside a bound of its own. Subjects:

  preprocess  frames per processor-second from replays to shards, against parsing alone
  input       unrolls per second of the input, against copying memory
  training    frames per second of the compiled step, beside its matrix products alone
  layers      scan, attention and gradient checkpointing, each beside its plain form
  {LATENCY}     a raw frame in, a controller out, of exported policies, against reading weights
  {ARCHITECTURES}
              every backbone trained alike, ranked by nats per frame, with what it costs
  {SIMULATOR}   match-frames per second of the simulator, on one thread and more
  {PLAYING}     frames per second of learning by playing, by part, beside its matrix products

The first four may be named together. Without replays or a dataset they run on sample games:

  {PROG} preprocess input training --replays replays/
  {PROG} {LATENCY} exported/float exported/int8 --data datasets/mine --paced --profile
  {PROG} {ARCHITECTURES} --data datasets/mine --quick

`--help` behind one of {", ".join(f"`{one}`" for one in HELP_FORMS)} lists its options.
Figures of one run compare well, those of another machine or hour do not.
"""


if __name__ == "__main__":
    run(main, sys.argv[1:], is_product=True)
