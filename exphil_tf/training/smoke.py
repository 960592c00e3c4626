"""Whether all of it works here: games, a dataset, a policy, its export, and a game played by it.

The real commands, one after another, in a folder that goes when it is over.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from exphil_tf.process.checkup import Check

RunCommand = Callable[[str, Sequence[str]], tuple[int, str]]
"""Runs a command of this package; its exit code and what it printed."""
_TINY = (
    "--backbone", "lstm", "--hidden", "16", "--num-layers", "1", "--head-hidden", "8",
    "--batch-size", "4", "--window-size", "20", "--max-steps", "20", "--epochs", "99", "--no-jit",
    "--no-register", "--seed", "0", "--lr", "0.01", "--save-every-minutes", "none",
)  # fmt: skip
_SHORT = ("--threads", "1", "--batch-sizes", "1", "--frames", "200")


def steps(folder: Path) -> list[tuple[str, str, list[str]]]:
    """What is done: (in words, command, arguments).

    Args:
      folder: for everything that is made.
    """
    names = ("games", "data", "run", "bundle", "times")
    games, data, run, bundle, times = (str(folder / name) for name in names)
    on = ["--data", data, "--split", "train"]
    lengths = ["--min-seconds", "9", "--max-seconds", "10"]
    return [
        ("makes games", "samples", ["--output", games, "--games", "2", "--seed", "1", *lengths]),
        ("preprocesses", "preprocess", ["--replays", games, "--output", data, "--workers", "1"]),
        ("trains", "train", ["--data", data, "--run-dir", run, *_TINY]),
        ("exports", "export", [run, "--output", bundle, *on, "--parity-frames", "200"]),
        ("plays", "benchmark", ["latency", bundle, *on, *_SHORT, "--output", times]),
    ]


def smoke(run: RunCommand) -> Iterator[Check]:
    """A check of each step, until one fails."""
    with tempfile.TemporaryDirectory(prefix="exphil-smoke-") as place:
        for what, command, words in steps(Path(place)):
            began = time.monotonic()
            code, printed = run(command, words)
            took = f"{what} in {time.monotonic() - began:.0f} s"
            if code:
                last = (printed.strip().splitlines() or ["it said nothing"])[-1]
                yield Check(command, "fail", f"{what} ends with {code}: {last[:300]}")
                return
            yield Check(command, "ok", took)


def run_command(name: str, words: Sequence[str]) -> tuple[int, str]:
    """See `RunCommand`."""
    ended = subprocess.run(
        [sys.executable, "-m", f"exphil_tf.{name}", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    return ended.returncode, ended.stdout + ended.stderr
