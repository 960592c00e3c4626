"""Options of `python -m exphil_tf.benchmark`, free of what is measured: help is there at once."""

import dataclasses
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import tyro

from exphil_tf.foundation.kinds import Kind, option, other_options
from models.backbones import BACKBONES
from models.quantization_config import check_choice

Subject = Literal["preprocess", "input", "training", "layers"]


@dataclass(frozen=True)
class SpeedConfig:
    """Measures preprocessing, input, training and layers on this machine, each beside a bound."""

    KIND: ClassVar = Kind.RESULT

    subjects: Annotated[tuple[Subject, ...], tyro.conf.Positional]
    """What to measure, one or more."""
    replays: tuple[str, ...] = option((), kind=Kind.SOURCE)
    """Folders or .slp files to measure on; none makes sample games."""
    games: int = field(default=16)
    """How many sample games are made."""
    output: Path = Path("benchmark-results/speed.json")
    """JSON file with the figures and the machine; written after each subject."""
    seconds: float = 3.0
    """How long each row of input and training is timed, after a warm-up."""
    parts: bool = False
    """Training also by the parts of an update, each compiled alone: it takes twice as long."""
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
    live: bool = False
    """Also the whole of play's part of a frame, from libmelee's game state to the controller's pipe
    (at 60 frames a second with --paced); a tenth of the calls."""
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


@dataclass(frozen=True)
class SimulatorConfig:
    """Plays matches between scripts, with all that a policy reads written, and times it."""

    KIND: ClassVar = Kind.RESULT

    matches: int = 1024
    """Matches that are stepped together."""
    frames: int = 100
    """Frames of each in a round; the best of sixty rounds counts."""
    threads: tuple[int, ...] = (1, 2)
    """Threads that step them, each tried."""
    seed: int = 0
    """Of characters, scripts and what they draw."""
    output: Path = Path("benchmark-results/simulator.json")
    """JSON file with the figures and the machine."""

    def __post_init__(self) -> None:
        """Raises ValueError naming what is below one."""
        if min(self.matches, self.frames, *self.threads, len(self.threads)) < 1:
            raise ValueError(f"want matches, frames, threads ≥ 1. Received: {self}")
        if self.seed < 0:
            raise ValueError(f"seed: want at least 0. Received: {self.seed}")


@dataclass(frozen=True)
class PlayingSpeedConfig:
    """Plays with new networks against scripts, learns from it, and tells what takes the time."""

    KIND: ClassVar = Kind.RESULT

    networks: tuple[Literal["mamba 2 × 256", "lstm 128", "tx_like 2 × 64"], ...] = ()
    """Networks to play with; none takes all."""
    num_games: int = 252
    """Games that are played together."""
    rollout: int = 32
    """Frames of each in an update."""
    updates: int = 10
    """Updates that are timed, after two that are not."""
    ppo_options: str = other_options()
    """Options of `python -m exphil_tf.ppo` where they are not to be its defaults."""
    output: Path = Path("benchmark-results/playing.json")
    """JSON file with the figures and the machine."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the option that is out of range."""
        for name in ("num_games", "rollout", "updates"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: want at least 1. Received: {getattr(self, name)}")


if TYPE_CHECKING:
    Backbone = str
else:
    Backbone = Literal[tuple(BACKBONES)]

QUICK_SHARE = 0.1
"""What --quick leaves of budget and measurements."""


@dataclass(frozen=True)
class ArchitecturesConfig:
    """Trains every backbone alike on a dataset and ranks them by validation nats per component."""

    KIND: ClassVar = Kind.RESULT

    data: Path
    """Folder of a dataset (python -m exphil_tf.preprocess) with a validation split."""
    only: tuple[Backbone, ...] = ()
    """Backbones to compare; none means all there are."""
    skip: tuple[Backbone, ...] = ()
    """Backbones to leave out."""
    cpu_seconds: float = 300.0
    """Budget of each: it makes as many updates as this much processor time pays for, as its first
    ones tell, its learning rate following its schedule to the end. Compiling and measuring are not
    counted."""
    updates: int | None = None
    """Updates of each instead: equal frames, whatever they cost."""
    parameters: int | None = 650_000
    """Trainable numbers of each policy, by choice of the width; none takes the widths of
    --train-options."""
    train_options: str = other_options()
    """Options of `python -m exphil_tf.train` that all share, where they are not to be its
    defaults."""
    seed: int = 0
    """Of initial weights, dropout and order."""
    points: int = 10
    """Points of each curve."""
    curve_frames: int = 30_000
    """Validation frames that a point of a curve is measured on."""
    limit_frames: int = 0
    """Validation frames that the ranking is measured on; 0 takes all."""
    latency_frames: int = 3_000
    """Frames that each exported form plays against the clock."""
    quick: bool = False
    """A tenth of budget, updates and frames: to see that all works, not who is better."""
    continue_on_error: bool = False
    """Go on with the others if one fails; the page names it and the exit code is its own."""
    output: Path = Path("benchmark-results/architectures")
    """Folder for architectures.json, architectures.html and a run of each. What is finished there,
    of the same options and data, is not done again."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the option that is out of range."""
        if not self.names:
            raise ValueError("skip: want at least one backbone left. Received: none")
        for name in ("updates", "parameters", "points", "curve_frames", "latency_frames"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}: want at least 1. Received: {value}")
        if not 0 < self.cpu_seconds < math.inf:
            raise ValueError(f"cpu_seconds: want above 0. Received: {self.cpu_seconds}")
        for name in ("limit_frames", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: want at least 0. Received: {getattr(self, name)}")

    @property
    def names(self) -> list[str]:
        """The backbones to compare."""
        return [n for n in BACKBONES if (not self.only or n in self.only) and n not in self.skip]

    def scaled(self) -> "ArchitecturesConfig":
        """With what --quick leaves."""
        if not self.quick:
            return self

        def part(count: int) -> int:
            return max(1, round(QUICK_SHARE * count))

        return dataclasses.replace(
            self,
            quick=False,
            cpu_seconds=QUICK_SHARE * self.cpu_seconds,
            updates=None if self.updates is None else part(self.updates),
            curve_frames=part(self.curve_frames),
            limit_frames=part(self.limit_frames or 10 * self.curve_frames),
            latency_frames=part(self.latency_frames),
        )
