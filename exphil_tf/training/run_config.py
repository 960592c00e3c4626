"""Options of training, free of TensorFlow: a mistyped flag is answered at once, not after 8 s.

One frozen dataclass per concern; leaf names are flag names (`exphil_tf.foundation.config`).
"""

import math
import re
from dataclasses import dataclass
from typing import ClassVar, Literal

from exphil_tf.foundation.kinds import Kind, option
from exphil_tf.melee.enums import BUTTONS
from exphil_tf.training.devices import ONE, check_batch, parse_devices

OptimizerName = Literal["adam", "adamw", "radam", "muon", "lamb", "sgd", "rmsprop"]
ScheduleName = Literal["constant", "linear", "cosine", "cosine_restarts", "exponential"]
Precision = Literal["f32", "bf16"]
MAX_SEED = 2**31
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class LossConfig:
    """How the optimised loss departs from plain likelihood; the defaults are plain likelihood."""

    KIND: ClassVar = Kind.TRAINING

    label_smoothing: float = 0.0
    """Probability moved from the true bucket to the others, of sticks and shoulder only."""
    focal_loss: bool = False
    """Weigh each term by (1 - probability of the truth) ** focal_gamma."""
    focal_gamma: float = option(2.0, only_with={"focal_loss": True})
    """Exponent of focal_loss."""
    button_pos_weight: str = "1"
    """Weight of a pressed button: one number, eight (A,B,X,Y,Z,L,R,D_UP), or `auto` from rates."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that is out of range."""
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing: want 0 <= x < 1. Received: {self.label_smoothing}")
        if self.focal_gamma < 0:
            raise ValueError(f"focal_gamma: want at least 0. Received: {self.focal_gamma}")
        if self.button_pos_weight != "auto":
            button_numbers(self.button_pos_weight)


def button_numbers(text: str) -> list[float]:
    """The one or eight weights that a `button_pos_weight` other than `auto` spells out."""
    try:
        numbers = [float(word) for word in text.replace(",", " ").split()]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, len(BUTTONS)) or min(numbers) <= 0:
        raise ValueError(
            f"button_pos_weight: want auto, one number or {len(BUTTONS)} numbers above 0. "
            f"Received: {text!r}"
        )
    return numbers


@dataclass(frozen=True)
class ScheduleConfig:
    """Learning rate over a run: durations in updates, or as shares of the run."""

    KIND: ClassVar = Kind.TRAINING

    lr: float = option(2e-3, kind=Kind.RUN)
    """Learning rate at the end of warm-up."""
    lr_schedule: ScheduleName = "cosine"
    """What follows: constant, linear or cosine to 0, cosine_restarts, or 0.95 per 1000 steps."""
    warmup_share: float = option(0.03, kind=Kind.RUN, only_with={"warmup_steps": None})
    """Share of the run that warms up linearly from 0."""
    warmup_steps: int | None = option(None, kind=Kind.RUN)
    """Updates of warm-up instead; 0 and 1 mean none. A tenth of a run that is shorter."""
    decay_steps: int | None = option(
        None, kind=Kind.RUN, only_with={"lr_schedule": ("linear", "cosine")}
    )
    """Step at which linear and cosine reach 0; none means the whole run."""
    restart_period: int | None = option(None, only_with={"lr_schedule": "cosine_restarts"})
    """Updates of the first period of cosine_restarts; none lets the run end with its third."""
    restart_mult: float = option(2.0, only_with={"lr_schedule": "cosine_restarts"})
    """Each period of cosine_restarts is this many times the one before."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that is out of range."""
        if not 0 < self.lr < math.inf:
            raise ValueError(f"lr: want a positive number. Received: {self.lr}")
        if not 0 <= self.warmup_share < 1:
            raise ValueError(f"warmup_share: want 0 <= x < 1. Received: {self.warmup_share}")
        if self.warmup_steps is not None and self.warmup_steps < 0:
            raise ValueError(f"warmup_steps: want at least 0. Received: {self.warmup_steps}")
        if self.decay_steps is not None and self.decay_steps < 1:
            raise ValueError(f"decay_steps: want at least 1. Received: {self.decay_steps}")
        if self.restart_period is not None and self.restart_period < 1:
            raise ValueError(f"restart_period: want at least 1. Received: {self.restart_period}")
        if not 1 <= self.restart_mult < math.inf:
            raise ValueError(f"restart_mult: want at least 1. Received: {self.restart_mult}")


@dataclass(frozen=True)
class OptimizerConfig:
    """How gradients become updates."""

    KIND: ClassVar = Kind.TRAINING

    optimizer: OptimizerName = "muon"
    """Update rule. Adam, AdamW and RAdam have β 0.9 and 0.999, ε 1e-8; SGD momentum 0.9; muon moves
    matrices between hidden units orthogonally (Keras' Muon) and all else as AdamW."""
    weight_decay: float = option(1e-5, only_with={"optimizer": ("adamw", "radam", "muon", "lamb")})
    """Decoupled decay of matrices, where the rule has one; biases, scales and tables have none."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this global norm; 0 never."""
    accumulation_steps: int = 1
    """Batches whose gradients make one update; the same as a batch this many times larger."""
    ema: bool = True
    """Keep an exponential moving average of the weights, validate with it and export it."""
    ema_decay: float = option(0.99, only_with={"ema": True})
    """Share of the average that stays at each update (less during the first updates)."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that is out of range."""
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"weight_decay: want at least 0. Received: {self.weight_decay}")
        if not 0 <= self.max_grad_norm < math.inf:
            raise ValueError(f"max_grad_norm: want at least 0. Received: {self.max_grad_norm}")
        if self.accumulation_steps < 1:
            raise ValueError(
                f"accumulation_steps: want at least 1. Received: {self.accumulation_steps}"
            )
        if not 0 < self.ema_decay < 1:
            raise ValueError(f"ema_decay: want 0 < x < 1. Received: {self.ema_decay}")


@dataclass(frozen=True)
class FineTuneConfig:
    """Where the weights start, and how 8-bit grids settle."""

    KIND: ClassVar = Kind.RUN

    init_from: str | None = None
    """Start from the weights of this run (or policy bundle), and with its network, data and other
    options; run length, learning rate and warm-up are this run's own."""
    calibration_batches: int = option(16, only_with={"qat_activations": "moving_average"})
    """With moving_average ranges: batches whose extremes are the first ranges."""
    freeze_ranges: float = option(0.5, only_with={"qat_activations": "moving_average"})
    """With moving_average ranges: share of the run after which they stay as they are."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that is out of range."""
        _check_at_least("calibration_batches", self.calibration_batches, 1)
        if not 0 <= self.freeze_ranges <= 1:
            raise ValueError(f"freeze_ranges: want 0 <= x <= 1. Received: {self.freeze_ranges}")


@dataclass(frozen=True)
class StoppingConfig:
    """What validation decides."""

    KIND: ClassVar = Kind.TRAINING

    early_stopping: bool = option(False, kind=Kind.ENDING)
    """Stop once `patience` validations in a row brought no improvement of `min_delta`."""
    patience: int = option(5, kind=Kind.ENDING, only_with={"early_stopping": True})
    """Validations without improvement to sit through."""
    min_delta: float = option(0.01, kind=Kind.ENDING, only_with={"early_stopping": True})
    """Nats per frame that count as an improvement for early stopping."""
    save_best: bool = True
    """Export the policy of the lowest validation loss; otherwise the latest."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that is out of range."""
        if self.patience < 1:
            raise ValueError(f"patience: want at least 1. Received: {self.patience}")
        if not self.min_delta >= 0:
            raise ValueError(f"min_delta: want at least 0. Received: {self.min_delta}")


@dataclass(frozen=True)
class RunConfig:
    """How long a run is, where it goes and how it is kept."""

    KIND: ClassVar = Kind.WORK

    epochs: int = option(10, kind=Kind.LENGTH)
    """Passes over the training split."""
    min_steps: int | None = option(None, kind=Kind.LENGTH)
    """At least this many updates: as many more epochs as a small collection takes for them."""
    max_steps: int | None = option(None, kind=Kind.LENGTH)
    """End after this many updates even if epochs or min_steps are left."""
    validate_every_steps: int | None = option(None, kind=Kind.RUN)
    """Updates between validations, besides those at epochs' ends."""
    batch_size: int = option(16, kind=Kind.TRAINING)
    """Unrolls of window_size frames in one batch."""
    auto_batch_size: bool = option(False, kind=Kind.START)
    """Measure which batch_size fits into memory and use that, in this run and its repeats."""
    auto_batch_max: int = option(1024, kind=Kind.START, only_with={"auto_batch_size": True})
    """Unrolls that auto_batch_size chooses at most."""
    memory_budget_mb: int | None = option(
        None, kind=Kind.START, only_with={"auto_batch_size": True}
    )
    """MiB that a run with auto_batch_size may take; none: 90 % of the GPU, or without one half of
    the memory that is free."""
    seed: int | None = option(None, kind=Kind.RUN)
    """Decides initial weights, dropout, order and augmentation; none draws one and shows it."""
    name: str | None = option(None, kind=Kind.PLACE, only_with={"run_dir": None})
    """Name of the run; none makes one up."""
    run_dir: str | None = option(None, kind=Kind.PLACE)
    """Folder of the run; none means runs/NAME."""
    runs_dir: str = option("runs", kind=Kind.PLACE, only_with={"run_dir": None})
    """Where runs without a run_dir go."""
    resume: str | None = option(None, kind=Kind.START)
    """Go on with this run (`auto`; without a name the newest unfinished), or with a path."""
    dry_run: bool = option(False, kind=Kind.START)
    """Check everything, print the plan, train nothing."""
    overwrite: bool = option(False, kind=Kind.START)
    """Start anew in a folder that holds a run, which becomes a backup: NAME.bak, NAME.bak.1."""
    backup_count: int = option(3, kind=Kind.START, only_with={"overwrite": True})
    """Backups to keep of the runs that --overwrite replaced; with 0 (--no-backup) those are
    deleted."""
    register: bool = option(True, kind=Kind.WORK)
    """Enter the policy into the registry of its folder (`python -m exphil_tf.registry`)."""
    keep_last: int = 3
    """Newest checkpoints to keep."""
    keep_best: int = 1
    """Checkpoints with the lowest validation loss to keep besides."""
    save_every: int = 1
    """Epochs between checkpoints."""
    save_every_steps: int | None = None
    """Updates between checkpoints, besides those at epochs' ends."""
    save_every_batches: int | None = None
    """The same in batches, of which accumulation_steps make one update."""
    save_every_minutes: float | None = 10.0
    """Minutes between checkpoints, besides the others."""
    verbosity: int = 1
    """0: errors and warnings only, 1: progress, 2: everything, with times and gradient norms."""
    log_interval: int = 100
    """Updates between lines of the log, and of the console where it is no terminal."""
    profile: bool = option(False, kind=Kind.START)
    """Trace some updates for TensorBoard's profile page, and print where the time went."""
    wandb: bool = False
    """Also log to Weights & Biases: online if WANDB_API_KEY is set, else offline (`wandb sync`
    uploads)."""
    wandb_project: str = option("exphil", only_with={"wandb": True})
    """Project in Weights & Biases."""
    wandb_name: str | None = option(None, only_with={"wandb": True})
    """Name of the run there; none means that of its folder."""
    devices: str = ONE
    """Number of GPUs, or names as GPU:0,GPU:2, that a batch is split over; 1 leaves the choice to
    TensorFlow, CPU:0,CPU:1 splits a CPU to try it out, and workers joins the processes that the
    environment's TF_CONFIG names."""
    precision: Precision = option("f32", kind=Kind.TRAINING)
    """Arithmetic of the network: f32, or bf16 with weights and losses in f32."""
    jit: bool = option(True, kind=Kind.TRAINING)
    """Compile the step with XLA: slower to start, faster from then on."""
    compile_cache: bool = option(True, only_with={"jit": True})
    """Keep compiled steps of the CPU in the user's cache folder, for runs of the same network."""
    deterministic: bool = option(True, kind=Kind.TRAINING)
    """Use deterministic kernels: a run repeats and resumes bit for bit (at some cost on GPUs)."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that is out of range."""
        for name in ("epochs", "batch_size", "auto_batch_max", "keep_last", "save_every"):
            _check_at_least(name, getattr(self, name), 1)
        _check_at_least("log_interval", self.log_interval, 1)
        limits = ("min_steps", "max_steps", "validate_every_steps", "save_every_steps")
        for name in (*limits, "save_every_batches", "memory_budget_mb"):
            if getattr(self, name) is not None:
                _check_at_least(name, getattr(self, name), 1)
        for name in ("keep_best", "backup_count"):
            _check_at_least(name, getattr(self, name), 0)
        check_batch(self.batch_size, len(parse_devices(self.devices)))
        if self.seed is not None and not 0 <= self.seed < MAX_SEED:
            raise ValueError(f"seed: want 0 <= x < 2**31. Received: {self.seed}")
        if self.save_every_minutes is not None and not self.save_every_minutes > 0:
            raise ValueError(
                f"save_every_minutes: want above 0. Received: {self.save_every_minutes}"
            )
        if self.verbosity not in (0, 1, 2):
            raise ValueError(f"verbosity: want 0, 1 or 2. Received: {self.verbosity}")
        if self.name is not None and not _NAME.fullmatch(self.name):
            raise ValueError(
                f"name: want letters, digits, dots, dashes and underscores. Received: {self.name!r}"
            )

    @property
    def keeps_compilations(self) -> bool:
        """Whether compiled steps are kept for later runs."""
        return self.jit and self.compile_cache


def _check_at_least(name: str, value: int, low: int) -> None:
    if value < low:
        raise ValueError(f"{name}: want at least {low}. Received: {value}")
