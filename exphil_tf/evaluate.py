"""Measures a trained policy on games it has not seen, against four baselines.

    python -m exphil_tf.evaluate RUN --data DATASET

Prints a table, and writes `evaluation.json` and a self-contained `evaluation.html`. With `--watch`
it scores a run's checkpoints as they appear, from another process, until the run ends.
"""

import functools
import math
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

import tyro
from rich.console import Console

from exphil_tf.evaluation.evaluation_config import EvaluationConfig
from exphil_tf.evaluation.policy_evaluation import evaluate
from exphil_tf.foundation.config import load
from exphil_tf.foundation.errors import run
from exphil_tf.foundation.kinds import Kind, option
from exphil_tf.process.console import make_console
from exphil_tf.replays.players import key_of

PROG = "python -m exphil_tf.evaluate"


@dataclass(frozen=True)
class EvaluateConfig:
    """Measures a trained policy against four baselines on the same frames."""

    KIND: ClassVar = Kind.RESULT

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of a run, or of a policy bundle (a run's policy/)."""
    data: Path
    """Folder of a dataset (python -m exphil_tf.preprocess)."""
    output: Path | None = None
    """Folder for evaluation.json and evaluation.html; none means RUN/evaluation/SPLIT."""
    watch: bool = False
    """Score the run's checkpoints as they appear, until it ends or Ctrl-C: a line each, also in
    watch.jsonl, instead of the report."""
    poll_seconds: float = option(10.0, only_with={"watch": True})
    """How often --watch looks for a new checkpoint."""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    def __post_init__(self) -> None:
        """Raises ValueError naming the option that is out of range."""
        if not 0 < self.poll_seconds < math.inf:
            raise ValueError(f"poll_seconds: want above 0. Received: {self.poll_seconds}")


def main(argv: Sequence[str]) -> int:
    """Measures, prints the table, writes the report."""
    config = load(EvaluateConfig, argv, prog=PROG)
    console = make_console()
    if config.watch:
        _watch(config, console)
        return 0
    began = time.monotonic()
    evaluation, paths = evaluate(
        config.run,
        config.data,
        config.evaluation,
        output=config.output,
        console=console,
        key=key_of(os.environ),
    )
    from exphil_tf.evaluation import table

    table.show(console, evaluation)
    console.print(
        f"{evaluation.policy.frames:,} frames in {time.monotonic() - began:.0f} s", markup=False
    )
    for path in paths:
        console.print(f"wrote {path}", markup=False)
    return 0


def _watch(config: EvaluateConfig, console: Console) -> None:
    from exphil_tf.evaluation import watch

    watch.watch(
        config.run,
        config.data,
        config.evaluation,
        output=config.output,
        console=console,
        sleep=functools.partial(time.sleep, config.poll_seconds),
    )


if __name__ == "__main__":
    run(main, sys.argv[1:], is_product=True)
