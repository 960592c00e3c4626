"""Measures how fast this machine is at it: `python -m exphil_tf.benchmark SUBJECT`.

    python -m exphil_tf.benchmark preprocess input training
    python -m exphil_tf.benchmark latency BUNDLE [BUNDLE ...]

Tables are printed, figures written as JSON. Those of other machines compare badly: the ratios, each
within one run, hold better.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import get_args

from exphil_tf.benchmarking.benchmark_config import LatencyConfig, SpeedConfig, Subject
from exphil_tf.foundation.config import load
from exphil_tf.foundation.errors import UserError, run
from exphil_tf.process.console import make_console

PROG = "python -m exphil_tf.benchmark"
LATENCY = "latency"
_WIDTH = 132
"""Columns of tables that go to a file."""


def main(argv: Sequence[str]) -> int:
    """Measures what the first arguments name."""
    subject = argv[0] if argv else "nothing"
    if subject in ("--help", "-h"):
        print(_HELP, end="")  # noqa: T201 - the command's product
        return 0
    console = make_console(soft_wrap=False)
    if not console.is_terminal:
        console = make_console(width=_WIDTH, soft_wrap=False)
    if subject == LATENCY:
        from exphil_tf.benchmarking import latency_turns

        latency_turns.run(load(LatencyConfig, argv[1:], prog=f"{PROG} {LATENCY}"), console)
        return 0
    if subject not in get_args(Subject):
        raise UserError(
            f"want a subject first, one of {', '.join((*get_args(Subject), LATENCY))}. "
            f"Received: {subject}",
            f"See `{PROG} --help`.",
        )
    from exphil_tf.benchmarking import speed

    speed.run(load(SpeedConfig, argv, prog=PROG), console)
    return 0


_HELP = f"""usage: {PROG} preprocess|input|training … [OPTIONS]
       {PROG} {LATENCY} BUNDLE [BUNDLE …] [OPTIONS]

Measures how fast this machine is. Subjects:

  preprocess  frames per processor-second from replays to shards, against parsing alone
  input       unrolls per second of the input, against copying memory
  training    frames per second of the compiled step, and what waits for input
  {LATENCY}     a raw frame in, a controller out, of exported policies

`{PROG} preprocess --help` and `{PROG} {LATENCY} --help` list the options.
"""


if __name__ == "__main__":
    run(main, sys.argv[1:], is_product=True)
