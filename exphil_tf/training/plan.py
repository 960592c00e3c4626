"""What a run will be, before it is: frames, updates, parameters, memory."""

from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from exphil_tf.data.input import EpochSize
from exphil_tf.features.packing import ROW_BYTES
from exphil_tf.training.horizon import Horizon
from exphil_tf.training.imitation_config import ImitationConfig
from exphil_tf.training.run_config import RunConfig
from models.policy import Policy

_BLOCKS_IN_FLIGHT = 4
_RECORD_BYTES = 2 << 20


@dataclass(frozen=True)
class Plan:
    """The numbers of a run."""

    train: EpochSize
    validation: EpochSize | None
    horizon: Horizon
    num_parameters: int
    model_bytes: int
    """Weights, gradients, optimizer state, averages: exact but for the allocator."""
    activation_bytes: int
    """What one batch keeps for its gradients: an estimate, good to a factor of two."""
    input_bytes: int
    """Decoded records in flight."""

    def show(self, console: Console) -> None:
        """Prints the plan in place of a run."""
        console.print(table(self))
        console.print("dry run: nothing was trained")


def horizon_of(num_unrolls: int, *, run: RunConfig, accumulation_steps: int) -> Horizon:
    """The horizon of `epochs` passes over `num_unrolls`, or of `max_steps` if that is less."""
    per_epoch = num_unrolls / (run.batch_size * accumulation_steps)
    return Horizon.of_epochs(run.epochs, steps_per_epoch=per_epoch, max_steps=run.max_steps)


def make_plan(
    config: ImitationConfig, policy: Policy, *, train: EpochSize, validation: EpochSize | None
) -> Plan:
    """Computes the plan of a configuration on a dataset of these sizes."""
    horizon = horizon_of(
        train.unrolls, run=config.run, accumulation_steps=config.optimizer.accumulation_steps
    )
    records = config.input.records_at_once(config.run.batch_size)
    copies = 2 + {"sgd": 1, "rmsprop": 1}.get(config.optimizer.optimizer, 2)
    copies += config.optimizer.ema + (config.optimizer.accumulation_steps > 1)
    return Plan(
        train=train,
        validation=validation,
        horizon=horizon,
        num_parameters=policy.num_parameters,
        model_bytes=4 * copies * policy.num_parameters,
        activation_bytes=_activation_bytes(config, policy),
        input_bytes=_BLOCKS_IN_FLIGHT * records * _RECORD_BYTES,
    )


def _activation_bytes(config: ImitationConfig, policy: Policy) -> int:
    """Floats that a frame leaves behind: the embedding, the backbone's layers, the logits."""
    frames = config.run.batch_size * config.input.window_size
    backbone = config.policy.backbone.floats_per_frame(config.input.window_size)
    head = 2 * sum(policy.config.head.codec.sizes.values()) + 12 * config.policy.head.head_hidden
    per_frame = 3 * policy.embedding.width + backbone + head
    return frames * (4 * per_frame + ROW_BYTES)


def table(plan: Plan) -> Table:
    """The plan as a table."""
    rows = Table("what", "count", title="Plan", title_justify="left")
    rows.columns[1].justify = "right"
    rows.add_row("training frames per epoch", f"{plan.train.labelled_frames:,}")
    rows.add_row("unrolls per epoch", f"{plan.train.unrolls:,}")
    if plan.validation is not None:
        rows.add_row("validation frames", f"{plan.validation.labelled_frames:,}")
    rows.add_row("updates per epoch", f"{plan.horizon.steps_per_epoch:,.1f}")
    rows.add_row("updates", f"{plan.horizon.total_steps:,}")
    rows.add_row("parameters", f"{plan.num_parameters:,}")
    rows.add_row("memory: weights and their updates", _megabytes(plan.model_bytes))
    rows.add_row("memory: one batch (estimate)", _megabytes(plan.activation_bytes))
    rows.add_row("memory: input (at most)", _megabytes(plan.input_bytes))
    return rows


def _megabytes(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB"
