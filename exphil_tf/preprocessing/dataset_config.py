"""Configuration of the jobs, free of Beam so that workers can import it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal

import tyro

from exphil_tf.foundation.config import to_dict
from exphil_tf.foundation.kinds import Kind, option, required
from exphil_tf.foundation.options import options
from exphil_tf.preprocessing.reject_config import RejectConfig
from exphil_tf.process.cores import usable_cores
from exphil_tf.records.example import CHUNK_FRAMES, OVERLAP_FRAMES
from exphil_tf.replays.filters import FilterConfig
from exphil_tf.replays.isolation import Limits
from exphil_tf.replays.players import PUBLIC_KEY, key_fingerprint, key_of
from exphil_tf.replays.splits import SplitConfig

Variant = Literal["original", "mirrored"]


@dataclass(frozen=True)
class RecordConfig:
    """What is stored of each game."""

    KIND: ClassVar = Kind.RECORDS

    variants: tuple[Variant, ...] = ("original",)
    """Stored variants. Mirrored: left and right exchanged, in states and controllers alike; twice
    the disk, and only read with --augment-from variants, as training mirrors by itself."""
    num_noisy_variants: int = 0
    """Stored variants with Gaussian noise on positions, speeds and percent. Each needs four times
    the disk of an original; noise drawn while training is free, so 0 is the usual choice."""
    noise_scale: float = 0.01
    """σ of the noise in game units and units per frame; ten times as much on percent."""
    num_shards: int | None = None
    """Files per variant of the training split (the other splits get their share); none: by size,
    about 128 MB each."""
    chunk_frames: int = CHUNK_FRAMES
    """Frames that a record owns."""
    overlap_frames: int = OVERLAP_FRAMES
    """Frames behind those that it repeats: the longest window, frame delay included, that fits
    everywhere."""
    max_players: int = 112
    """Size of the table of players, those with most games first; id 0 is anybody else."""
    pseudonym_key: Annotated[str, tyro.conf.Suppress, tyro.conf.Fixed] = field(
        default=PUBLIC_KEY, repr=False
    )
    """Of the pseudonyms under which players are recorded; see `keyed`."""

    def __post_init__(self) -> None:
        """Refuses what can't be stored."""
        if "original" not in self.variants or len(set(self.variants)) != len(self.variants):
            raise ValueError(
                f"variants: want original, once each. Received: {' '.join(self.variants)}"
            )
        if not 0 <= self.num_noisy_variants <= 99:
            raise ValueError(
                f"num_noisy_variants: want 0 to 99. Received: {self.num_noisy_variants}"
            )
        if not 0 < self.noise_scale <= 100:
            raise ValueError(
                f"noise_scale: want a positive scale, at most 100. Received: {self.noise_scale}"
            )
        if self.num_shards is not None and not 1 <= self.num_shards <= 99_999:
            raise ValueError(f"num_shards: want 1 to 99999. Received: {self.num_shards}")
        if (
            not 16 <= self.chunk_frames <= 1 << 16
            or not 0 <= self.overlap_frames <= self.chunk_frames
        ):
            raise ValueError(
                "want 16 ≤ chunk_frames ≤ 65536 and 0 ≤ overlap_frames ≤ chunk_frames. "
                f"Received: chunk_frames={self.chunk_frames}, overlap_frames={self.overlap_frames}"
            )
        if not 1 <= self.max_players <= 100_000:
            raise ValueError(f"max_players: want 1 to 100000. Received: {self.max_players}")

    @property
    def all_variants(self) -> tuple[str, ...]:
        """Names of the stored variants, noisy ones included."""
        return (*self.variants, *(f"noisy_{i + 1}" for i in range(self.num_noisy_variants)))


@dataclass(frozen=True)
class WorkerConfig:
    """How replays are parsed: in processes that may die."""

    KIND: ClassVar = Kind.WORK

    workers: int | None = None
    """Parsing processes; none: one per core (one per Beam worker if Beam runs several)."""
    parse_timeout_s: float = 10.0
    """Processor seconds after which a replay is given up, or three times as many by the clock; a
    second attempt, alone, has twice the time."""
    parse_memory_mb: int = 2048
    """Address space of a parsing process, MiB; 0 for no limit."""

    def __post_init__(self) -> None:
        """Refuses limits under which nothing could run."""
        if self.workers is not None and not 1 <= self.workers <= 1024:
            raise ValueError(f"workers: want 1 to 1024. Received: {self.workers}")
        if self.parse_timeout_s <= 0 or (self.parse_memory_mb and self.parse_memory_mb < 256):
            raise ValueError(
                "want parse_timeout_s > 0 and parse_memory_mb ≥ 256, or 0 for no limit. "
                f"Received: {self.parse_timeout_s}, {self.parse_memory_mb}"
            )

    @property
    def limits(self) -> Limits:
        """For the isolation pool."""
        return Limits(timeout_s=self.parse_timeout_s, memory_bytes=self.parse_memory_mb << 20)

    @property
    def processes(self) -> int:
        """Parsing processes of one Beam worker."""
        return self.workers or usable_cores()


@dataclass(frozen=True)
class DatasetConfig:
    """Turns Slippi replays into a dataset of TFRecord shards for training."""

    replays: tuple[str, ...] = required(kind=Kind.SOURCE)
    """Folders, .slp files (packed or not), zips or tars."""
    output: str = required(kind=Kind.PLACE)
    """Folder of the dataset."""
    max_files: int | None = option(None, kind=Kind.SHARE)
    """At most this many games, of those that the filters leave (picked by hash, so evenly)."""
    overwrite: bool = option(False, kind=Kind.START)
    """Replace a finished dataset of other replays or another configuration."""
    filters: FilterConfig = field(default_factory=FilterConfig)
    splits: SplitConfig = field(default_factory=SplitConfig)
    records: RecordConfig = field(default_factory=RecordConfig)
    worker: WorkerConfig = field(default_factory=WorkerConfig)
    rejects: RejectConfig = field(default_factory=RejectConfig)

    def __post_init__(self) -> None:
        """Refuses an empty job."""
        if not self.replays or not all(self.replays):
            raise ValueError("replays: want at least one folder, archive or .slp file")
        if not self.output:
            raise ValueError("output: want a folder")
        if self.max_files is not None and self.max_files < 1:
            raise ValueError(f"max_files: want at least 1. Received: {self.max_files}")


def content_config(config: DatasetConfig) -> dict[str, Any]:
    """Options that decide what a dataset holds, as plain values."""
    kinds = {name: known.kind for name, known in options(type(config)).items()}
    content = {
        name: value
        for name, value in to_dict(config).items()
        if (kind := kinds[name]) is not None and kind.is_content
    }
    return content | {"pseudonyms": key_fingerprint(config.records.pseudonym_key)}


def keyed(config: DatasetConfig, environment: Mapping[str, str]) -> DatasetConfig:
    """The configuration with the pseudonyms' key of the environment; every command calls this.

    Raises: UserError: if the secret there is weak.
    """
    records = replace(config.records, pseudonym_key=key_of(environment))
    return replace(config, records=records)
