"""Where the conditions of a batch come from; free of TensorFlow (`exphil_tf.features.conditions`).

Delays are drawn with the unrolls (`InputConfig`); this is about the others.
"""

from dataclasses import dataclass

from exphil_tf.rewards.coming_second import ReturnLevels


@dataclass(frozen=True)
class ConditionSource:
    """What a policy is told of the games it learns from."""

    players: tuple[int, ...] | None = None
    """The policy's player id for each id of the dataset, from 0; None takes the dataset's own."""
    returns: ReturnLevels | None = None
    """Tell the level of each frame's return; None tells none."""
    dropout: float = 0.0
    """Share of records, drawn for each player, condition and epoch, of which training hides it."""
