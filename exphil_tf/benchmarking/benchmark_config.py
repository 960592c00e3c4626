"""Options of `python -m exphil_tf.benchmark`, free of what is measured: help is there at once."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import tyro

from exphil_tf.foundation.kinds import Kind
from models.backbones import BACKBONES
from models.quantization_config import check_choice

Subject = Literal["preprocess", "input", "training", "layers"]


@dataclass(frozen=True)
class SpeedConfig:
    """Measures preprocessing, input, training and layers on this machine, each beside a bound."""

    KIND: ClassVar = Kind.RESULT

    subjects: Annotated[tuple[Subject, ...], tyro.conf.Positional]
    """What to measure, one or more."""
    replays: tuple[str, ...] = ()
    """Folders or .slp files to measure on; none makes sample games."""
    games: int = field(default=16)
    """How many sample games are made."""
    output: Path = Path("benchmark-results/speed.json")
    """JSON file with the figures and the machine; written after each subject."""
    seconds: float = 5.0
    """How long each row of input and training is timed, after a warm-up."""
    backbones: tuple[str, ...] = ()
    """Those that training and layers are measured with; none takes all."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the backbone that is not there."""
        for name in self.backbones:
            check_choice("backbones", name, tuple(BACKBONES))


@dataclass(frozen=True)
class LatencyConfig:
    """Times exported policies in turns: a raw frame in, a controller out (see docs/latency.md)."""

    KIND: ClassVar = Kind.RESULT

    bundles: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders of exported policies, best several forms of one: only rows of one run compare."""
    threads: tuple[int, ...] = (1, 2)
    """Threads that a call may use, each tried."""
    batch_sizes: tuple[int, ...] = (1, 8, 64, 256)
    """Rows of a call, each tried."""
    frames: int = 10_000
    """Calls at batch 1; larger batches make fewer."""
    data: Path | None = None
    """Dataset whose games are played; none plays sample games."""
    split: Literal["validation", "test", "train"] = "validation"
    """Which of its games."""
    cold: bool = False
    """Also with empty caches, as between two frames of an emulator; a tenth of the calls."""
    paced: bool = False
    """Also at 60 calls a second, asleep in between as play is; a tenth of the calls."""
    profile: bool = False
    """Also tell which operations take the time."""
    output: Path = Path("benchmark-results/latency")
    """Folder for latency.json and latency.png."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the option that is out of range."""
        for name in ("bundles", "threads", "batch_sizes"):
            if not getattr(self, name):
                raise ValueError(f"{name}: want at least one. Received: none")
        for name in ("threads", "batch_sizes"):
            if min(getattr(self, name)) < 1:
                raise ValueError(f"{name}: want at least 1. Received: {getattr(self, name)}")
        if self.frames < 1:
            raise ValueError(f"frames: want at least 1. Received: {self.frames}")
