"""Options of what a policy is told besides the frames; free of TensorFlow.

Which conditions a network reads stands with the network (`EmbeddingConfig`), what they are in
`features.conditions`.
"""

from dataclasses import dataclass
from typing import ClassVar

from exphil_tf.foundation.kinds import Kind, option

_STYLES = {"learn_player_styles": True}


@dataclass(frozen=True)
class ConditionConfig:
    """What the policy is told besides the frames, and may be told in play."""

    KIND: ClassVar = Kind.TRAINING

    condition_on_delay: bool | None = option(None, kind=Kind.NETWORK, former=False)
    """Tell the policy the delay of its inputs, so that one policy serves all that were drawn; none:
    where delays are drawn (--online-robust, --frame-delay-augment)."""
    condition_dropout: float = option(
        0.1, only_with={**_STYLES, "condition_on_return": True}, former=0.0
    )
    """Share of records of which training hides the player or the returns, so that play without a
    style or a desired return stays good."""
    player_registry: str | None = option(None, kind=Kind.SOURCE, only_with=_STYLES)
    """File of players whose ids stay over datasets and runs: read if it is there, and written with
    the players of this dataset who are new. Without it, ids are those of the run that this one
    starts from, else the dataset's."""
    min_player_games: int = option(1, only_with=_STYLES)
    """Players with fewer games in the dataset are nobody in particular, id 0."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that is out of range."""
        if not 0 <= self.condition_dropout < 1:
            raise ValueError(
                f"condition_dropout: want 0 <= x < 1. Received: {self.condition_dropout}"
            )
        if self.min_player_games < 1:
            raise ValueError(
                f"min_player_games: want at least 1. Received: {self.min_player_games}"
            )
