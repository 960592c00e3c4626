"""What the embedding knows of ids besides their number: constant tables, numpy only."""

import functools

import numpy as np

from exphil_tf.features.conditions import DELAY, RETURN
from exphil_tf.features.delay import MAX_DELAY
from exphil_tf.features.schema import ITEM_SLOTS, SCHEMA
from exphil_tf.melee.enums import (
    ACTION_CATEGORIES,
    Stage,
    action_category_table,
)
from exphil_tf.melee.stages import GEOMETRY
from models.policy_config import EmbeddingConfig

CHARACTER_COUNT = SCHEMA.field("p.character").embed.size
STAGE_COUNT = SCHEMA.field("s.stage").embed.size
ITEM_TYPE_COUNT = 256
JUMPS_COUNT = int(SCHEMA.field("p.jumps_left").high) + 1
OWNER_MASKS = 2**ITEM_SLOTS
OTHER_STAGE_EDGE = 85.0
"""|x| of the ledge on stages that are not legal, as the original used everywhere."""
LEGAL_STAGES = tuple(sorted(Stage))
ABSENT_GROUPS: tuple[dict[tuple[int, int], float], ...] = (
    {(2, 0): 1.0}, {(2, 1): 1.0}, {(3, 0): 1.0, (3, 6): 0.5}, {(3, 5): 1.0}, {(3, 8): 1.0},
    {(3, 18): 1.0},
)  # fmt: skip
"""Flags of what a replay did not record: version that added it → value (items that are there but
have no owner are half absent)."""
STADIUM_TYPES = (3, 4, 5, 6, 9)
"""Pokémon Stadium: fire, grass, normal, rock, water."""
DELAY_KNOTS = (0, 1, 2, 4, 8, 12, 18, 24, 30, 42, MAX_DELAY)
"""Delays that have a number of their own; those between share the two beside them. Closer where a
frame more changes more."""
_ATTACKS = ("ground_attack", "smash", "aerial", "neutral_b", "side_b", "up_b", "down_b")
_GRABS = ("grab", "throw")
_FREE = ("idle", "walk", "dash", "jump", "fall", "crouch")

_ITEM_KINDS: dict[str, tuple[int, ...]] = {
    "bomb": (0x06, 0x13, 0x3A, 0x3B, 0x5D),
    "melee": (0x0B, 0x0C, 0x0D, 0x16, 0x17, 0x18, 0x1C, 0x33, 0x65, 0x67, 0x78),
    "ranged": (0x10, 0x15, 0x19, 0x4A, 0x4B),
    "container": (0x00, 0x01, 0x02, 0x03, 0x04, 0x05),
}
ITEM_CATEGORIES = ("none", *_ITEM_KINDS, "other")


@functools.cache
def nana_table() -> np.ndarray:
    """float32 `[1 + ACTION_COUNT + 1, 28]`: category one-hot, then attacking, grabbing, can act.

    Row 0 is an absent Nana, row a + 1 action a; the last row is for ids beyond the known ones. Both
    are all zeros.
    """
    categories = action_category_table()
    one_hot = np.eye(len(ACTION_CATEGORIES), dtype=np.float32)[categories]
    flags = [np.isin(categories, _indices(names)) for names in (_ATTACKS, _GRABS, _FREE)]
    table = np.concatenate([one_hot, np.stack(flags, axis=1)], axis=1)
    return np.pad(table, [(1, 1), (0, 0)]).astype(np.float32)


@functools.cache
def own_category_table() -> np.ndarray:
    """int32 `[ACTION_COUNT + 1]`: category of an action, -1 for ids beyond the known ones."""
    return np.pad(action_category_table(), (0, 1), constant_values=-1).astype(np.int32)


@functools.cache
def nana_category_table() -> np.ndarray:
    """int32, for the rows of `nana_table`: category, or -2 where there is none."""
    return np.pad(action_category_table(), 1, constant_values=-2).astype(np.int32)


def _indices(names: tuple[str, ...]) -> list[int]:
    return [ACTION_CATEGORIES.index(name) for name in names]


def stage_table(config: EmbeddingConfig) -> np.ndarray:
    """float32 `[STAGE_COUNT, n + 1]`: one-hot of the stage, then 1 / |x| of its ledge.

    n is 7 (legal stages in order of id, then any other), 64, or 0 where the stage is learned.
    """
    edges = np.full((STAGE_COUNT, 1), OTHER_STAGE_EDGE)
    for stage, geometry in GEOMETRY.items():
        edges[stage] = geometry.edge
    one_hot = np.zeros((STAGE_COUNT, 0))
    if config.stage_mode == "full":
        one_hot = np.eye(STAGE_COUNT)
    elif config.stage_mode == "compact":
        index = np.full(STAGE_COUNT, len(LEGAL_STAGES))
        index[list(LEGAL_STAGES)] = np.arange(len(LEGAL_STAGES))
        one_hot = np.eye(len(LEGAL_STAGES) + 1)[index]
    return np.concatenate([one_hot, 1.0 / edges], axis=1).astype(np.float32)


@functools.cache
def stadium_table() -> np.ndarray:
    """float32 `[10, 5]`: one-hot of Pokémon Stadium's transformation; 0 elsewhere."""
    table = np.zeros((10, len(STADIUM_TYPES)), np.float32)
    table[list(STADIUM_TYPES), np.arange(len(STADIUM_TYPES))] = 1.0
    return table


def absent_table(unrecorded: int) -> np.ndarray:
    """float32 `[256, 6]`: flags of each value of `absent`; those of `unrecorded` are always 0.

    A spoiled row shows nothing: play has none.
    """
    table = np.zeros((256, len(ABSENT_GROUPS)), np.float32)
    for flag, group in enumerate(ABSENT_GROUPS):
        for version, value in group.items():
            bit = SCHEMA.absent_bits[version] & ~unrecorded
            is_set = np.arange(256) & bit != 0
            table[is_set, flag] = np.maximum(table[is_set, flag], value)
    return table


@functools.cache
def owner_table() -> np.ndarray:
    """float32 `[64, ITEM_SLOTS]`: bits of own `p.items_owned`, then the opponent's, negative."""
    bits = (np.arange(OWNER_MASKS)[:, None] >> np.arange(ITEM_SLOTS)) & 1
    return np.concatenate([bits, -bits]).astype(np.float32)


@functools.cache
def item_category_table() -> np.ndarray:
    """float32 `[ITEM_TYPE_COUNT + 1, 6]`: one-hot category of item type + 1; row 0 is no item."""
    index = np.full(ITEM_TYPE_COUNT + 1, ITEM_CATEGORIES.index("other"))
    index[0] = ITEM_CATEGORIES.index("none")
    for name, types in _ITEM_KINDS.items():
        index[np.array(types) + 1] = ITEM_CATEGORIES.index(name)
    return np.eye(len(ITEM_CATEGORIES), dtype=np.float32)[index]


@functools.cache
def delay_table() -> np.ndarray:
    """float32 `[MAX_DELAY + 1, 11]`: how near a delay is to each knot; a row sums to 1.

    Linear between neighbouring knots, so that a delay that training did not draw is what lies
    between those that it drew.
    """
    frames, knots = np.arange(MAX_DELAY + 1), np.array(DELAY_KNOTS)
    rows = [np.interp(frames, knots, np.eye(len(knots))[knot]) for knot in range(len(knots))]
    return np.stack(rows, axis=1).astype(np.float32)


def condition_tables(config: EmbeddingConfig) -> dict[str, np.ndarray]:
    """float32 `[ids, n]` by condition, of those that the policy looks up; nothing told is zeros."""
    levels = len(config.return_edges) + 1
    tables = {DELAY: delay_table(), RETURN: np.eye(levels + 1, levels, k=-1, dtype=np.float32)}
    return {name: table for name, table in tables.items() if name in config.conditions}
