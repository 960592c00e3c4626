"""What a run will be, before it is: frames, updates, parameters, memory.

All of it follows from the options and the dataset's manifest, so a plan needs neither TensorFlow
nor a shard.
"""

from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from exphil_tf.data.epoch_size import EpochSize, epoch_size
from exphil_tf.features.packing import ROW_BYTES
from exphil_tf.training.dataset import Dataset
from exphil_tf.training.horizon import Horizon
from exphil_tf.training.imitation_config import ImitationConfig
from exphil_tf.training.run_config import RunConfig
from models.layers.embedding_layout import dense_width, raw_width
from models.parameter_count import num_parameters

_BLOCKS_IN_FLIGHT = 4
_RECORD_BYTES = 2 << 20
FEW_UPDATES = 500
"""With fewer a policy hardly learns more than to hold what it holds."""
FEW_FRAMES = 90_000
"""Labelled frames of about five games of two players."""
MANY_EPOCHS = 30
"""Passes after which a policy has most of its data by heart."""


@dataclass(frozen=True)
class Costs:
    """What a network and its batches take."""

    num_parameters: int
    raw_width: int
    """Numbers per frame as users of ExPhil count them."""
    dense_width: int
    """Numbers per frame that the backbone reads."""
    model_bytes: int
    """Weights, gradients, optimizer state, averages: exact but for the allocator."""
    activation_bytes: int
    """What one batch keeps for its gradients: an estimate, good to a factor of two."""
    input_bytes: int
    """Decoded records in flight."""


@dataclass(frozen=True)
class Plan:
    """The numbers of a run."""

    train: EpochSize
    validation: EpochSize | None
    horizon: Horizon
    costs: Costs

    @property
    def frames_per_update(self) -> float:
        """Labelled frames, on average."""
        return self.train.labelled_frames / self.horizon.steps_per_epoch

    def show(self, console: Console) -> None:
        """Prints the plan in place of a run."""
        console.print(table(self.costs, self))
        for text in self.cautions():
            console.print(f"note: {text}")
        console.print("dry run: nothing was trained")

    def summary(self) -> str:
        """The run in one sentence."""
        return (
            f"plan: {self.horizon.total_steps:,} updates of {self.frames_per_update:,.0f} labelled "
            f"frames, {self.horizon.epochs:.2f} epochs of {self.train.labelled_frames:,}; "
            f"{self.costs.num_parameters:,} parameters"
        )

    def cautions(self) -> list[str]:
        """A sentence for each reason to expect little of the run."""
        frames, epochs, updates = (
            self.train.labelled_frames,
            self.horizon.epochs,
            self.horizon.total_steps,
        )
        reasons = {
            f"{frames:,} labelled frames are little to learn from (a game of two players has about "
            "18,000): the policy will know these games by heart. More replays help most": (
                frames < FEW_FRAMES
            ),
            f"{epochs:.0f} passes over the same frames: watch the validation loss, or give more "
            "replays": frames >= FEW_FRAMES and epochs > MANY_EPOCHS,
            f"{updates:,} updates are too few to learn much: a policy takes some thousand. Give "
            "--min-steps, more --epochs or a smaller --batch-size": updates < FEW_UPDATES,
        }
        return [text for text, applies in reasons.items() if applies]


def horizon_of(num_unrolls: int, *, run: RunConfig, accumulation_steps: int) -> Horizon:
    """The horizon of `epochs` passes over `num_unrolls`, within `min_steps` and `max_steps`."""
    return Horizon.of_epochs(
        run.epochs,
        steps_per_epoch=num_unrolls / (run.batch_size * accumulation_steps),
        min_steps=run.min_steps,
        max_steps=run.max_steps,
        validate_every=run.validate_every_steps,
    )


def make_plan(config: ImitationConfig, *, train: EpochSize, validation: EpochSize | None) -> Plan:
    """Computes the plan of a configuration on a dataset of these sizes."""
    accumulation = config.optimizer.accumulation_steps
    horizon = horizon_of(train.unrolls, run=config.run, accumulation_steps=accumulation)
    return Plan(train=train, validation=validation, horizon=horizon, costs=costs_of(config))


def plan_dataset(config: ImitationConfig, dataset: Dataset) -> Plan:
    """Computes the plan of a configuration on a dataset.

    Raises: UserError: if its games can't be cut as the options ask.
    """

    def size(split: str) -> EpochSize:
        return epoch_size(
            dataset.manifest,
            config.input,
            folder=dataset.folder,
            split=split,
            batch_size=config.run.batch_size,
            seed=config.seed,
            training=split == "train",
        )

    validation = size("validation") if dataset.has_validation else None
    return make_plan(config, train=size("train"), validation=validation)


def plan_frames(config: ImitationConfig, frames: int) -> Plan:
    """The plan on about so many frames to learn from, over both players."""
    unrolls = max(1, frames // config.input.unroll_stride)
    return make_plan(
        config,
        train=EpochSize(unrolls, frames, -(-unrolls // config.run.batch_size)),
        validation=None,
    )


def costs_of(config: ImitationConfig) -> Costs:
    """What a configuration takes, whatever it learns from."""
    parameters = num_parameters(config.policy)
    copies = 2 + {"sgd": 1, "rmsprop": 1}.get(config.optimizer.optimizer, 2)
    copies += config.optimizer.ema + (config.optimizer.accumulation_steps > 1)
    records = config.input.records_at_once(config.run.batch_size)
    return Costs(
        num_parameters=parameters,
        raw_width=raw_width(config.policy.embedding),
        dense_width=dense_width(config.policy.embedding),
        model_bytes=4 * copies * parameters,
        activation_bytes=_activation_bytes(config),
        input_bytes=_BLOCKS_IN_FLIGHT * records * _RECORD_BYTES,
    )


def _activation_bytes(config: ImitationConfig) -> int:
    """Floats that a frame leaves behind: the embedding, the backbone's layers, the logits."""
    policy = config.policy
    frames = config.run.batch_size * config.input.window_size
    backbone = policy.backbone.floats_per_frame(config.input.window_size)
    head = 2 * sum(policy.head.codec.sizes.values()) + 12 * policy.head.head_hidden
    per_frame = 3 * dense_width(policy.embedding) + backbone + head
    return frames * (4 * per_frame + ROW_BYTES)


def table(costs: Costs, plan: Plan | None = None) -> Table:
    """The plan as a table; without one, what is known before there is a dataset."""
    rows = Table("what", "count", title="Plan", title_justify="left")
    rows.columns[1].justify = "right"
    if plan is not None:
        rows.add_row("training frames per epoch", f"{plan.train.labelled_frames:,}")
        rows.add_row("unrolls per epoch", f"{plan.train.unrolls:,}")
        if plan.validation is not None:
            rows.add_row("validation frames", f"{plan.validation.labelled_frames:,}")
        rows.add_row("updates per epoch", f"{plan.horizon.steps_per_epoch:,.1f}")
        rows.add_row("updates", f"{plan.horizon.total_steps:,}")
    rows.add_row("numbers per frame (as ExPhil counts)", f"{costs.raw_width:,}")
    rows.add_row("numbers per frame (for the backbone)", f"{costs.dense_width:,}")
    rows.add_row("parameters", f"{costs.num_parameters:,}")
    rows.add_row("memory: weights and their updates", _megabytes(costs.model_bytes))
    rows.add_row("memory: one batch (estimate)", _megabytes(costs.activation_bytes))
    rows.add_row("memory: input (at most)", _megabytes(costs.input_bytes))
    return rows


def _megabytes(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB"
