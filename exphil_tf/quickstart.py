"""From nothing to an evaluated policy in a few minutes: `make quickstart`.

Runs the real commands one after another and prints each, so that its output is also a recipe. What
is there already and made of the same things is not made again: a second run takes seconds.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from exphil_tf import evaluate, preprocess, samples, train
from exphil_tf.checkpoints import provenance
from exphil_tf.checkpoints.file_names import WEIGHTS
from exphil_tf.foundation import atomic
from exphil_tf.foundation.config import load
from exphil_tf.foundation.errors import run
from exphil_tf.foundation.kinds import Kind
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
    max_steps: int = 1200
    """Updates of training; the default takes about two minutes on two cores."""
    seed: int = 0
    """The same seed makes the same games and the same policy."""


def main(argv: Sequence[str]) -> int:
    """Runs the steps that have something to do; returns the exit code of the first that fails."""
    config = load(QuickstartConfig, argv, prog=PROG)
    began = time.monotonic()
    replays, dataset = config.output / "replays", config.output / "dataset"
    _make_replays(config, replays)
    code = _run("preprocess", preprocess.main, ["--replays", replays, "--output", dataset])
    if code:
        return code
    run_dir, code = _train(config, dataset)
    if code:
        return code
    code = _evaluate(run_dir, dataset)
    if not code:
        _say_next(config, dataset, run_dir=run_dir, seconds=time.monotonic() - began)
    return code


def _make_replays(config: QuickstartConfig, replays: Path) -> None:
    """Replays of these options, unless exactly they are there."""
    stamp = {"games": config.games, "seed": config.seed}
    made = run_folder.read_json(replays / STAMP)
    names = sorted(path.name for path in replays.glob("*.slp"))
    if made == {**stamp, "files": names} and names:
        _say(f"replays: {len(names)} in {replays}, made before")
        return
    for path in replays.glob("*.slp"):
        path.unlink()
    options = ["--games", config.games, "--seed", config.seed]
    _run("samples", samples.main, ["--output", replays, *options])
    names = sorted(path.name for path in replays.glob("*.slp"))
    atomic.write_json(replays / STAMP, {**stamp, "files": names})


def _train(config: QuickstartConfig, dataset: Path) -> tuple[Path, int]:
    """The folder of the finished run of these options on this data, and the exit code."""
    options = [*MODEL, "--max-steps", str(config.max_steps), "--seed", str(config.seed)]
    content = {
        "options": options,
        "data": provenance.manifest_sha256(load_manifest(dataset)),
        "packages": provenance.package_versions(),
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    run_dir = config.output / f"run-{digest[:8]}"
    if run_folder.read_json(run_dir / run_folder.CONFIG_JSON).get("results"):
        _say(f"policy: {run_dir / run_folder.POLICY}, trained before")
        return run_dir, 0
    place = ["--data", dataset, "--run-dir", run_dir, "--resume", "auto"]
    return run_dir, _run("train", train.main, [*place, *options])


def _evaluate(run_dir: Path, dataset: Path) -> int:
    """Evaluates the policy, or shows what the evaluation of just this policy printed."""
    folder = run_dir / "evaluation" / "validation"
    facts = run_folder.read_json(folder / "evaluation.json").get("provenance", {})
    weights = atomic.sha256(run_dir / run_folder.POLICY / WEIGHTS)
    if facts.get("weights_sha256") == weights and (folder / TABLE).is_file():
        _say((folder / TABLE).read_text(encoding="utf-8").rstrip())
        return 0
    words = [str(run_dir), "--data", str(dataset)]
    _announce("evaluate", words)
    printed = _Copy(sys.stdout)
    with contextlib.redirect_stdout(printed):
        code = evaluate.main(words)
    if not code:
        atomic.write_bytes(folder / TABLE, printed.text.encode())
    return code


def _run(command: str, main: Callable[[list[str]], int | None], argv: Sequence[object]) -> int:
    words = [str(word) for word in argv]
    _announce(command, words)
    return main(words) or 0


def _announce(command: str, words: list[str]) -> None:
    _say(f"\n$ python -m exphil_tf.{command} {shlex.join(words)}")


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
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


class _Copy(io.TextIOBase):
    """Passes text on and keeps it."""

    def __init__(self, stream: io.TextIOBase | object):
        super().__init__()
        self.stream = stream
        self.text = ""

    def write(self, text: str) -> int:
        """Writes to the stream and to `text`."""
        self.text += text
        return self.stream.write(text)  # type: ignore[attr-defined, no-any-return]

    def flush(self) -> None:
        """Flushes the stream."""
        self.stream.flush()  # type: ignore[attr-defined]


if __name__ == "__main__":
    run(main, sys.argv[1:])
