"""A dataset of sample games."""

from collections.abc import Sequence
from pathlib import Path

from exphil_tf import preprocess, samples


def make_dataset(folder: Path, sample: Sequence[str], *options: str) -> Path:
    """Makes games by `sample` and their dataset in chunks of 256 frames; returns its folder."""
    replays, output = str(folder / "replays"), folder / "dataset"
    samples.main(["--output", replays, "--seed", "5", *sample])
    fixed = ("--chunk-frames", "256", "--workers", "1")
    preprocess.main(["--replays", replays, "--output", str(output), *fixed, *options])
    return output
