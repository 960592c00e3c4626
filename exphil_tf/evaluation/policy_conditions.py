"""What a policy bundle says that its policy can be told."""

from exphil_tf.checkpoints.policy_bundle import PolicyInfo
from exphil_tf.features.conditions import DELAY, NAME, RETURN
from exphil_tf.inference.conditions import Conditions, Span


def conditions_of(info: PolicyInfo) -> Conditions:
    """What the policy of a bundle can be told, nothing being said by default."""
    embedding, delay = info.config.embedding, info.delay
    returns = embedding.return_levels
    spans = {
        NAME: Span(0, 0, embedding.num_player_names),
        DELAY: Span(
            delay.frames, min(delay.trained_min, delay.frames), max(delay.trained_max, delay.frames)
        ),
        RETURN: Span(0, 0, 0 if returns is None else returns.count),
    }
    return Conditions(
        delay, {name: spans[name] for name in embedding.conditions}, info.players, returns
    )
