"""Everything that decides what an imitation run learns, and how; free of TensorFlow."""

from dataclasses import dataclass, field

from exphil_tf.data.input_config import InputConfig
from exphil_tf.replays.players import KnownPlayers
from exphil_tf.training.run_config import (
    FineTuneConfig,
    LossConfig,
    OptimizerConfig,
    RunConfig,
    ScheduleConfig,
)
from exphil_tf.training.value_config import ValueConfig
from models.policy_config import PolicyConfig


@dataclass(frozen=True)
class ImitationConfig:
    """The options that an imitation learner and its data are built from, resolved."""

    policy: PolicyConfig
    input: InputConfig
    loss: LossConfig
    optimizer: OptimizerConfig
    schedule: ScheduleConfig
    fine_tune: FineTuneConfig
    run: RunConfig
    """Its seed is set."""
    value: ValueConfig = field(default_factory=ValueConfig)
    players: KnownPlayers | None = None
    """Whose styles are learnt, where it is not all of the dataset's under its ids."""

    @property
    def carried_rows(self) -> int:
        """Rows of a batch, if they go on from batch to batch; 0 where they do not."""
        return self.run.batch_size if self.input.carry_state else 0

    @property
    def seed(self) -> int:
        """Of initial weights, dropout, order and augmentation.

        Raises: ValueError: if none was drawn yet.
        """
        return self.run.drawn_seed
