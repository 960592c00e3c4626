"""Measures a trained policy on games it has not seen, against four baselines.

    python -m exphil_tf.evaluate RUN --data DATASET

Prints a table, and writes `evaluation.json` and a self-contained `evaluation.html`.
"""

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

import tyro

from exphil_tf.evaluation.evaluation_config import EvaluationConfig
from exphil_tf.evaluation.policy_evaluation import evaluate
from exphil_tf.foundation.config import load
from exphil_tf.foundation.errors import run
from exphil_tf.foundation.kinds import Kind
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
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)


def main(argv: Sequence[str]) -> int:
    """Measures, prints the table, writes the report."""
    config = load(EvaluateConfig, argv, prog=PROG)
    console = make_console()
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


if __name__ == "__main__":
    run(main, sys.argv[1:], is_product=True)
