"""From nothing to an evaluated policy in a few minutes: `make quickstart`.

Runs the real commands one after another and prints each, so that its output is also a recipe. What
is there already and made of the same things is not made again: a second run takes seconds.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from exphil_tf.checkpoints import provenance
from exphil_tf.checkpoints.file_names import WEIGHTS
from exphil_tf.foundation import atomic
from exphil_tf.foundation.config import load
from exphil_tf.foundation.errors import run
from exphil_tf.foundation.kinds import Kind
from exphil_tf.process import signals
from exphil_tf.records.manifest import load_manifest
from exphil_tf.training import run_folder

PROG = "python -m exphil_tf.quickstart"
STAMP = "made-by.json"
TABLE = "table.txt"
MODEL = (
    "--backbone", "mamba", "--hidden", "64", "--num-layers", "1", "--head-hidden", "32",
    "--batch-size", "16", "--window-size", "60", "--lr", "0.003", "--lr-schedule", "cosine",
    "--warmup-steps", "50", "--ema", "--ema-decay", "0.99", "--epochs", "1000",
)  # fmt: skip
"""A small Mamba; `--epochs` is a bound, `--max-steps` decides."""


@dataclass(frozen=True)
class QuickstartConfig:
    """Makes sample replays, a dataset of them, trains a small Mamba on it and evaluates it."""

    KIND: ClassVar = Kind.RESULT

    output: Path = Path("quickstart")
    """Folder for everything that is made."""
    games: int = 16
    """Sample games."""
    max_steps: int = 600
    """Updates of training; the default takes about a minute on two cores."""
    seed: int = 0
    """The same seed makes the same games and the same policy."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the option that is out of range."""
        for name, low in (("games", 1), ("max_steps", 1), ("seed", 0)):
            if getattr(self, name) < low:
                raise ValueError(f"{name}: want at least {low}. Received: {getattr(self, name)}")


RunCommand = Callable[[str, list[str]], tuple[int, str]]
"""Runs a command of this package by name and arguments, showing what it prints; its exit code and
what it printed."""


def main(argv: Sequence[str]) -> int:
    """Runs the steps that have something to do; returns the exit code of the first that fails."""
    return quickstart(load(QuickstartConfig, argv, prog=PROG), run_command)


def quickstart(config: QuickstartConfig, run_command: RunCommand) -> int:
    """As `main`, on options that were read, by whatever runs commands."""
    began = time.monotonic()
    steps = _Steps(config, run_command)
    code = steps.make_replays() or steps.preprocess() or steps.train() or steps.evaluate()
    if not code:
        _say_next(config, steps.dataset, run_dir=steps.run_dir, seconds=time.monotonic() - began)
    return code


def run_command(name: str, words: list[str]) -> tuple[int, str]:
    """Runs a command in a process of its own; see `RunCommand`."""
    argv, printed = [sys.executable, "-m", f"exphil_tf.{name}", *words], []
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, encoding="utf-8") as child:
        assert child.stdout is not None
        try:
            for line in child.stdout:
                printed.append(line)
                _show(line)
        except KeyboardInterrupt:
            # It saves what it has. Ctrl-C reached it too; other signals reach this process alone.
            number = signals.received()
            if number not in (None, signal.SIGINT):
                child.send_signal(number)
            for line in child.stdout:
                _show(line)
        return child.wait(), "".join(printed)


class _Steps:
    """The steps, each an exit code; what is there is not made again."""

    def __init__(self, config: QuickstartConfig, run_command: RunCommand):
        self.config = config
        self.replays, self.dataset = config.output / "replays", config.output / "dataset"
        self.run_dir = config.output
        self._run_command = run_command

    def make_replays(self) -> int:
        """Replays of these options, unless exactly they are there."""
        config, replays = self.config, self.replays
        stamp = {"games": config.games, "seed": config.seed}
        made = run_folder.read_json(replays / STAMP)
        names = sorted(path.name for path in replays.glob("*.slp"))
        if made == {**stamp, "files": names} and names:
            _say(f"replays: {len(names)} in {replays}, made before")
            return 0
        for path in replays.glob("*.slp"):
            path.unlink()
        options = ["--games", config.games, "--seed", config.seed]
        code, _ = self._run("samples", "--output", replays, *options)
        if not code:
            names = sorted(path.name for path in replays.glob("*.slp"))
            atomic.write_json(replays / STAMP, {**stamp, "files": names})
        return code

    def preprocess(self) -> int:
        """A dataset of the replays."""
        return self._run("preprocess", "--replays", self.replays, "--output", self.dataset)[0]

    def train(self) -> int:
        """A run of these options on this data, unless it is finished."""
        config = self.config
        options = [*MODEL, "--max-steps", str(config.max_steps), "--seed", str(config.seed)]
        content = {
            "options": options,
            "data": provenance.manifest_sha256(load_manifest(self.dataset)),
            "packages": provenance.package_versions(),
        }
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        self.run_dir = run_dir = config.output / f"run-{digest[:8]}"
        if run_folder.read_json(run_dir / run_folder.CONFIG_JSON).get("results"):
            _say(f"policy: {run_dir / run_folder.POLICY}, trained before")
            return 0
        place = ["--data", self.dataset, "--run-dir", run_dir, "--resume", "auto"]
        return self._run("train", *place, *options)[0]

    def evaluate(self) -> int:
        """Evaluates the policy, or shows what the evaluation of just this policy printed."""
        folder = self.run_dir / "evaluation" / "validation"
        facts = run_folder.read_json(folder / "evaluation.json").get("provenance", {})
        weights = atomic.sha256(self.run_dir / run_folder.POLICY / WEIGHTS)
        if facts.get("weights_sha256") == weights and (folder / TABLE).is_file():
            _say((folder / TABLE).read_text(encoding="utf-8").rstrip())
            return 0
        code, printed = self._run("evaluate", self.run_dir, "--data", self.dataset)
        if not code:
            atomic.write_bytes(folder / TABLE, printed.encode())
        return code

    def _run(self, command: str, *argv: object) -> tuple[int, str]:
        words = [str(word) for word in argv]
        _say(f"\n$ python -m exphil_tf.{command} {shlex.join(words)}")
        return self._run_command(command, words)


def _say_next(config: QuickstartConfig, dataset: Path, *, run_dir: Path, seconds: float) -> None:
    page = run_dir / "evaluation" / "validation" / "evaluation.html"
    data = shlex.quote(str(dataset))
    tensorboard = shlex.quote(str(Path(sys.executable).parent / "tensorboard"))
    _say(
        f"""
Done in {seconds:.0f} s. The page with the figures: {page}

Next:
  on your own replays  python -m exphil_tf.train --preset quick --replays FOLDER
  the real thing       python -m exphil_tf.train --preset production --replays FOLDER
  what would it take   python -m exphil_tf.train --preset production --data {data} --dry-run
  look at training     {tensorboard} --logdir {shlex.quote(str(config.output))}"""
    )


def _say(text: str) -> None:
    _show(text + "\n")


def _show(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    run(main, sys.argv[1:])
