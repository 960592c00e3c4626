"""Checks a dataset against its manifest: `python -m exphil_tf.verify DIR`.

Exit code 0 if every checksum, CRC, count and bound is right and no file is missing or stray; 65 if
not.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import tyro

from exphil_tf.foundation.config import load
from exphil_tf.foundation.errors import UserError, run
from exphil_tf.foundation.kinds import Kind
from exphil_tf.process.console import make_console
from exphil_tf.records import integrity
from exphil_tf.records.verify import verify

PROG = "python -m exphil_tf.verify"
_SHOWN = 20


@dataclass(frozen=True)
class VerifyConfig:
    """Checks every checksum, CRC and count of a dataset."""

    KIND: ClassVar = Kind.RESULT

    data: Annotated[Path, tyro.conf.Positional]
    """Folder of the dataset."""
    deep: bool = False
    """Also decompress every record and check each of its columns."""


def main(argv: Sequence[str]) -> int:
    """Prints what is wrong, one line each."""
    config = load(VerifyConfig, argv, prog=PROG)
    console = make_console()
    report = verify(config.data, deep=config.deep)
    for problem in report.problems[:_SHOWN]:
        console.print(f"problem: {problem}", markup=False)
    if report.problems:
        raise UserError(
            f"{config.data}: {len(report.problems)} problems",
            "Preprocess the replays again with --overwrite, or copy the dataset anew.",
            exit_code=integrity.exit_code(report.problems),
        )
    console.print(
        f"{config.data}: sound: {report.shards} shards, {report.records:,} records, "
        f"{report.frames:,} frames, {report.bytes:,} bytes",
        markup=False,
    )
    return 0


if __name__ == "__main__":
    run(main, sys.argv[1:], is_product=True)
