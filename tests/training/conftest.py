"""A small dataset of sample games, and a process that runs the train command quickly."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def dataset(tmp_path_factory) -> Path:
    """Four games of 9 to 10 s, one of them for validation."""
    from exphil_tf import preprocess, samples

    folder = tmp_path_factory.mktemp("training")
    lengths = ["--min-seconds", "9", "--max-seconds", "10"]
    samples.main(["--output", str(folder / "replays"), "--games", "4", "--seed", "5", *lengths])
    options = ["--chunk-frames", "256", "--min-frames", "100", "--workers", "1"]
    arguments = ["--replays", str(folder / "replays"), "--output", str(folder / "dataset")]
    preprocess.main([*arguments, *options])
    return folder / "dataset"


class Ended(NamedTuple):
    """How a run of the command ended."""

    status: int
    output: str
    seconds: float

    @property
    def sha256(self) -> str:
        """The digest of the final weights that it printed."""
        return self.output.split("weights sha256 ")[1].split()[0]


class Trainer:
    """Runs commands in small; see `zygote` for the faults."""

    def __init__(self, dataset: Path, process: subprocess.Popen):
        self.dataset = dataset
        self.process = process

    def __call__(self, cwd: Path, *flags: str, **faults: Any) -> Ended:
        """Runs `exphil_tf.train` on the small dataset with small options."""
        return self.command(cwd, "--data", str(self.dataset), *SMALL, *flags, **faults)

    def command(
        self,
        cwd: Path,
        *argv: object,
        module: str = "train",
        environ: Mapping[str, str] | None = None,
        **faults: int | str,
    ) -> Ended:
        """Runs a command with exactly these arguments, and more variables in its environment."""
        request = {
            "module": module,
            "argv": [str(word) for word in argv],
            "cwd": str(cwd),
            "environ": dict(environ or {}),
            "faults": faults,
        }
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return Ended(**json.loads(self.process.stdout.readline()))


SMALL = (
    "--name", "run", "--backbone", "mlp", "--hidden", "8", "--head-hidden", "4", "--action-dim",
    "4", "--batch-size", "4", "--window-size", "30", "--max-steps", "24", "--epochs", "99",
    "--lr", "0.01", "--warmup-steps", "3", "--lr-schedule", "cosine", "--optimizer", "adamw",
    "--ema", "--ema-decay", "0.9", "--augment", "--dropout", "0.2", "--seed", "7", "--no-jit",
    "--save-every-steps", "5", "--log-interval", "4", "--block-records", "4",
)  # fmt: skip


@pytest.fixture(scope="session")
def trainer(dataset):
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("zygote.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""},
    )
    yield Trainer(dataset, process)
    assert process.stdin is not None
    process.stdin.close()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()
