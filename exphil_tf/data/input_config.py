"""What training asks of the input: lengths, delays, augmentation, shuffling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from exphil_tf.data.condition_source import ConditionSource
from exphil_tf.data.grid import Grid
from exphil_tf.features.delay import MAX_DELAY
from exphil_tf.foundation.errors import UserError
from exphil_tf.foundation.kinds import Kind, option

ONLINE_ROBUST_DELAYS = (0, 18)


@dataclass(frozen=True)
class InputConfig:
    """How games become batches."""

    KIND: ClassVar = Kind.TRAINING

    window_size: int = 80
    """Unroll length in frames: the context that one training step sees."""
    carry_state: bool | None = option(None, former=False)
    """Walk through whole games, memory carried from unroll to unroll, as in play; otherwise each
    unroll starts with empty memory, wherever it was cut out of a game. None: wherever it can be."""
    cursors_per_row: int = option(8, only_with={"carry_state": (None, True)})
    """Games that take turns in a row of a batch while training, each with a memory of its own: more
    of them mix batches better, and take more memory."""
    stride: int | None = option(None, only_with={"carry_state": (None, False)})
    """Frames between the starts of unrolls. None: window_size − burn_in, which labels every frame
    once an epoch (1 with --loss-frames last)."""
    burn_in: int = option(
        0, only_with={"carry_state": (None, False)}, only_without=("loss_frames",)
    )
    """States at the start of an unroll which only warm up the memory (loss weight 0), except at a
    game's start."""
    loss_frames: Literal["all", "last"] = option("all", only_with={"carry_state": (None, False)})
    """Label every state of an unroll, or its last only (one label per window, as the original
    trainer)."""
    frame_delay: int = 0
    """Frames between a state and the input that answers it, beyond the 1 that the game takes: 0–4
    LAN, 12–18 online."""
    frame_delay_augment: bool = False
    """Draw the delay of each unroll from frame_delay_min … frame_delay_max while training; of each
    game with carry_state, as everything that is drawn."""
    frame_delay_min: int = option(0, only_with={"frame_delay_augment": True})
    """Least random delay in frames."""
    frame_delay_max: int = option(18, only_with={"frame_delay_augment": True})
    """Greatest random delay in frames."""
    online_robust: bool = False
    """Short for --frame-delay-augment over 0 … 18."""
    augment: bool = False
    """Mirror and noise while training."""
    mirror_prob: float = option(0.5, only_with={"augment": True})
    """Share reflected left-right, labels included; drawn for each record, player and epoch."""
    noise_prob: float = option(0.3, only_with={"augment": True})
    """Share with noise on positions, own speeds and percent; drawn likewise."""
    noise_scale: float = option(0.01, only_with={"augment": True})
    """σ of the noise in game units (percent: 10 times that)."""
    augment_from: Literal["live", "variants"] = option("live", only_with={"augment": True})
    """Augment in the input graph, or choose per record among variants that preprocessing wrote
    (`preprocess --variants`, --num-noisy-variants)."""
    balance_characters: bool = False
    """Weight each frame by the inverse frequency of the own character on it, clipped to 0.1 … 10,
    mean 1."""
    block_records: int = option(64, kind=Kind.ORDER)
    """Records decoded and mixed together: more mixes better and takes 2 MB each, a few blocks at a
    time."""
    shuffle_records: int = option(1024, kind=Kind.ORDER)
    """Records whose order is shuffled at a time, still compressed (20 kB each); files are shuffled
    as a whole."""
    shuffle_files: int = option(8, kind=Kind.ORDER)
    """Shards read in turn."""
    conditions: ConditionSource = option(ConditionSource(), is_derived=True)
    """What the policy is told besides; the network's options decide it."""

    def __post_init__(self) -> None:
        """Refuses values out of range.

        Raises:
          ValueError: names the field, what it wants and what it got.
        """
        self._check("window_size", 1, None)
        self._check("burn_in", 0, self.window_size - 1)
        self._check("frame_delay", 0, MAX_DELAY)
        self._check("frame_delay_max", 0, MAX_DELAY)
        self._check("frame_delay_min", 0, self.frame_delay_max)
        self._check("mirror_prob", 0, 1)
        self._check("noise_prob", 0, 1)
        self._check("noise_scale", 0, None)
        for name in ("block_records", "shuffle_records", "shuffle_files", "cursors_per_row"):
            self._check(name, 1, None)
        if self.stride is not None:
            self._check("stride", 1, None)
        if self.carry_state and self.cuts_unrolls:
            raise ValueError(
                "input.carry_state: want no stride, burn_in or loss_frames, as each frame is read "
                f"once. Received: {self.stride}, {self.burn_in}, {self.loss_frames}"
            )

    @property
    def cuts_unrolls(self) -> bool:
        """Whether options say how unrolls are cut that start with empty memory."""
        return bool(self.stride or self.burn_in or self.loss_frames != "all")

    def _check(self, name: str, low: float, high: float | None) -> None:
        value = getattr(self, name)
        if not (low <= value and (high is None or value <= high)):
            want = f"at least {low}" if high is None else f"{low} to {high}"
            raise ValueError(f"input.{name}: want {want}. Received: {value}")

    def records_at_once(self, batch_size: int) -> int:
        """Records decoded together for batches of a size.

        Where memory is carried, what a block leaves is copied, some six unrolls a row: so blocks
        must not be much smaller than that.
        """
        if not self.carry_state:
            return self.block_records
        return max(self.block_records, batch_size * self.cursors_per_row // 2)

    def delays(self, *, training: bool) -> tuple[int, int]:
        """Least and greatest delay in frames; random delays are for training only."""
        if not training or not (self.online_robust or self.frame_delay_augment):
            return self.frame_delay, self.frame_delay
        return (
            ONLINE_ROBUST_DELAYS
            if self.online_robust
            else (self.frame_delay_min, self.frame_delay_max)
        )

    @property
    def unroll_stride(self) -> int:
        """Frames between the starts of unrolls, whether it was given or follows."""
        unlabelled = self.window_size - 1 if self.loss_frames == "last" else self.burn_in
        return self.stride or self.window_size - unlabelled

    def grid(self, *, chunk: int, overlap: int, training: bool) -> Grid:
        """How games of a dataset are cut.

        Args:
          chunk: rows that a record owns.
          overlap: rows behind those that it repeats.
          training: random delays or not.

        Raises:
          UserError: if the dataset's chunks are too short for this config.
        """
        low, high = self.delays(training=training)
        grid = Grid(
            window=self.window_size,
            stride=self.unroll_stride,
            burn_in=self.burn_in,
            last_only=self.loss_frames == "last",
            delay_min=low,
            delay_max=high,
            chunk=chunk,
            overlap=overlap,
        )
        if self.window_size > chunk:
            raise UserError(
                f"window_size: want at most the {chunk} frames of this dataset's chunks. "
                f"Received: {self.window_size}.",
                f"Preprocess with --chunk-frames {self.window_size} or choose a shorter "
                "--window-size.",
            )
        unlabelled = grid.unlabelled
        if self.carry_state and not grid.spans_chunks:
            raise UserError(
                f"--carry-state: want window_size + delay of at most the {overlap} overlapping "
                f"frames of this dataset's chunks. Received: {self.window_size} + {high}.",
                f"Preprocess with --overlap-frames {self.window_size + high} or more, or choose a "
                "shorter --window-size or --no-carry-state.",
            )
        if not grid.spans_chunks and unlabelled + high + 1 > overlap:
            raise UserError(
                f"delay {high} + burn-in {unlabelled} + 1 frames do not fit into the {overlap} "
                "overlapping frames of this dataset's chunks.",
                f"Preprocess with --overlap-frames {unlabelled + high + 1} or more.",
            )
        return grid


@dataclass(frozen=True)
class VariantConfig:
    """What preprocessing stores for --augment-from variants."""

    KIND: ClassVar = Kind.RECORDS

    num_noisy_variants: int = option(2, only_with={"augment_from": "variants"})
    """Noisy copies of each record that preprocessing --replays stores."""
