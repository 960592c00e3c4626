"""How many trainable numbers a policy has, from its configuration alone; free of Keras.

A plan needs this number, and building the network to count it would cost the 8 s that Keras takes
to import. A test holds every formula to the real network.
"""

from exphil_tf.features.controller import COMPONENTS
from exphil_tf.melee.enums import ACTION_COUNT
from models.backbones.backbone_options import dense_parameters
from models.layers.embedding_layout import CONTROLLER_NUMBERS, dense_width
from models.layers.embedding_tables import CHARACTER_COUNT, ITEM_TYPE_COUNT, STAGE_COUNT
from models.policy_config import EmbeddingConfig, HeadConfig, PolicyConfig


def num_parameters(config: PolicyConfig) -> int:
    """Trainable numbers of the policy that a configuration describes."""
    has_previous = config.embedding.with_prev_action
    logits = sum(config.head.codec.sizes.values())
    buckets = logits if has_previous and config.head.prev_action_buckets else 0
    features = dense_width(config.embedding) + buckets
    # The head reads the previous action once: in buckets, or as numbers beside the backbone.
    numbers = CONTROLLER_NUMBERS if has_previous and not buckets else 0
    hidden = config.backbone.width + numbers
    return (
        _embedding(config.embedding)
        + config.backbone.num_parameters(features)
        + _head(config.head, hidden, buckets=buckets)
    )


def _embedding(config: EmbeddingConfig) -> int:
    """Learned tables; see `FrameEmbedding.build`."""
    total = 0
    if config.action_mode == "learned" or config.nana_mode == "enhanced":
        total += (ACTION_COUNT + 1) * config.action_dim
    if config.character_mode == "learned":
        total += CHARACTER_COUNT * config.character_dim
    if config.stage_mode == "learned":
        total += STAGE_COUNT * config.stage_dim
    if config.with_projectiles:
        total += (ITEM_TYPE_COUNT + 1) * config.item_type_dim
    return total


def _head(config: HeadConfig, features: int, *, buckets: int) -> int:
    """Units of every component, logits, and what conditions them on earlier ones and before."""
    units = len(COMPONENTS) * config.head_hidden
    logits = sum(config.codec.sizes.values())
    total = dense_parameters(features, units) + dense_parameters(config.head_hidden, logits)
    total += buckets * (units + logits)
    return total + logits * units * (config.head == "autoregressive")
