"""Which columns the embedding reads and where they lie, in its input and in its dense vector.

Which are read follows from the schema: a group's columns by the kind of their rule. A new column is
read without a change here, behind those that trained policies know; only what the embedding knows
more of (`embedding_tables`) has a name of its own.

Two widths are in use. The *raw* width counts an id as one number, as the user's documents do (287
by default, 288 padded; 1204 with one-hot ids); it is what `--dry-run` and the documents talk about.
The *dense* width is what the backbone really reads: learned vectors instead of ids, names only
where styles are learned, plus what the original lacked (hitlag, moving stage parts, Kirby's copies,
character state, and flags of what an old replay did not record).
"""

import math
from typing import Any, NamedTuple

import numpy as np

from exphil_tf.features.conditions import CONDITIONS, DELAY, NAME, RETURN
from exphil_tf.features.schema import ITEM_SLOTS, PLAYERS, SCHEMA, EmbedKind, Field, Group
from exphil_tf.melee.enums import ACTION_CATEGORIES, ACTION_COUNT, BUTTONS
from models.layers.embedding_tables import (
    ABSENT_GROUPS,
    CHARACTER_COUNT,
    DELAY_KNOTS,
    ITEM_CATEGORIES,
    JUMPS_COUNT,
    LEGAL_STAGES,
    STADIUM_TYPES,
    STAGE_COUNT,
)
from models.policy_config import EmbeddingConfig

RAW_ACTION_COUNT = 399
"""Actions of a one-hot as the documents count, which end at libmelee's names: without the abilities
that Kirby copies."""
ALIGNMENT = 8
"""The dense vector is padded with zeros to a multiple of this, which GPU kernels like."""
CONTROLLER_NUMBERS = len(BUTTONS) + 5

_NUMERIC = (EmbedKind.SCALE, EmbedKind.FLAG, EmbedKind.SIGN)
"""Rules of columns that are numbers; which columns are read follows from these and the group."""
_FIRST = (
    "exists", "percent", "facing", "x", "y", "invulnerable", "jumps_left", "shield", "on_ground",
    "speed_air_x_self", "speed_ground_x_self", "speed_y_self", "speed_x_attack", "speed_y_attack",
    "speed_x", "speed_y", "hitstun", "action_frame", "stock", "hitlag",
)  # fmt: skip
"""Order of a group's numbers, by short name, as trained policies have it; others follow these in
the schema's order."""
RAW_PLAYER_NUMBERS = 16
"""Numbers of a player that the raw layout counts, which lacks hitlag."""
NANA_NUMBERS = (
    "x",
    "y",
    "on_ground",
    "percent",
    "stock",
    "hitstun",
    "action_frame",
    "invulnerable",
)
"""Columns of the compact and the enhanced Nana block, besides `exists` and `facing`; a choice of
those modes, which a new column does not change."""
_OWN_TABLES = ("p.action", "p.character", "n.action", "n.character", "s.stage")
"""Categories that the embedding knows more of than their number; others become one-hots."""


def numeric_fields(config: EmbeddingConfig) -> tuple[Field, ...]:
    """The columns that are scaled and clipped by their schema rule, in the dense vector's order."""
    player = _numbers(Group.PLAYER)
    if not config.jumps_normalized:
        player.remove("jumps_left")
    names = [f"p.{name}" for name in player]
    names += [f"n.{name}" for name in ("exists", *_nana_numbers(config))]
    names += [field.name for field in SCHEMA.group(Group.FRAME) if field.embed.kind in _NUMERIC]
    if config.with_stage_state:
        names += [f"s.{name}" for name in _numbers(Group.STAGE)]
    if _uses_items(config):
        names += [f"i.{name}" for name in _numbers(Group.ITEM) if name not in ("timer", "type")]
    if config.with_items:
        names.append("i.timer")
    if config.with_projectiles and not config.item_type_dim:
        names.append("i.type")
    return tuple(SCHEMA.field(name) for name in names)


def _numbers(group: Group) -> list[str]:
    """Short names of a group's numbers, in order."""
    names = [f.name[2:] for f in SCHEMA.group(group) if f.embed.kind in _NUMERIC]
    return sorted(names, key=lambda name: _FIRST.index(name) if name in _FIRST else len(_FIRST))


def _nana_numbers(config: EmbeddingConfig) -> list[str]:
    if config.nana_mode != "full":
        return list(NANA_NUMBERS)
    dropped = {"exists", "facing"} | (set() if config.jumps_normalized else {"jumps_left"})
    return [name for name in _numbers(Group.NANA) if name not in dropped]


def one_hot_fields(config: EmbeddingConfig) -> tuple[Field, ...]:
    """Categories without a table of their own, in the dense vector's order."""
    is_read = {
        Group.NANA: config.nana_mode == "full",
        Group.STAGE: config.with_stage_state,
        Group.ITEM: _uses_items(config),
    }
    return tuple(
        field
        for field in SCHEMA.fields
        if field.embed.kind is EmbedKind.CATEGORY
        and field.name not in _OWN_TABLES
        and is_read.get(field.group, True)
    )


def _uses_items(config: EmbeddingConfig) -> bool:
    return config.with_projectiles or config.with_items


def numeric_rules(fields: tuple[Field, ...], unrecorded: int = 0) -> tuple[np.ndarray, ...]:
    """Returns scale, offset, low and high, float32 `[numbers]`: `clip(v * scale + offset)`.

    Fields whose bit of `absent` is in `unrecorded` become 0.
    """
    rules = []
    for field in fields:
        embed = field.embed
        if embed.kind is EmbedKind.SIGN:
            rule = (2.0, -1.0, -1.0, 1.0)
        elif embed.kind is EmbedKind.FLAG:
            rule = (1.0, 0.0, 0.0, 1.0)
        else:
            rule = (embed.scale, embed.bias * embed.scale, embed.low, embed.high)
        if SCHEMA.absent_bit(field) & unrecorded:
            rule = (0.0, 0.0, *rule[2:])
        rules += [rule] * int(np.prod(field.shape, dtype=int))
    return tuple(np.array(column, np.float32) for column in zip(*rules, strict=True))


class InputLayout(NamedTuple):
    """How a frame's columns lie in the two tensors that the embedding (and an export) reads."""

    numbers: dict[str, slice]
    """Columns as raw game values in float32 `[…, num_numbers]`; own player first."""
    ids: dict[str, slice]
    """Columns that index tables, in int32 `[…, num_ids]`."""

    @property
    def num_numbers(self) -> int:
        """Width of the float tensor."""
        return max(place.stop for place in self.numbers.values())

    @property
    def num_ids(self) -> int:
        """Width of the id tensor."""
        return max(place.stop for place in self.ids.values())

    def join(self, columns: dict[str, Any], xp: Any) -> tuple[Any, Any]:
        """Lays columns side by side.

        Args:
          columns: schema columns `[…]` or `[…, n]` with common leading axes, of any number dtype;
            conditions may lack the time axis.
          xp: numpy or `keras.ops`, whichever made the columns.

        Returns: float32 numbers and int32 ids. Raises: KeyError: for a missing column.
        """
        numbers = _join(columns, self.numbers, dtype="float32", xp=xp)
        return numbers, _join(columns, self.ids, dtype="int32", xp=xp)


def _join(columns: dict[str, Any], places: dict[str, slice], *, dtype: str, xp: Any) -> Any:
    rank = len(columns["frame"].shape)
    parts = []
    for name, place in places.items():
        column = columns[name]
        while len(column.shape) < rank:
            column = column[:, None] + xp.zeros_like(columns["frame"])
        column = column if len(column.shape) > rank else column[..., None]
        if column.shape[-1] != place.stop - place.start:
            raise ValueError(
                f"{name}: want {place.stop - place.start} per frame. Received: {column.shape}"
            )
        parts.append(column.astype(dtype) if xp is np else xp.cast(column, dtype))
    return xp.concatenate(parts, axis=-1)


def input_layout(config: EmbeddingConfig) -> InputLayout:
    """Which columns a configuration reads, and where.

    Ids that count only where something exists (Nana's action, item types) come first, in the order
    of the flags behind them, so that one product gates them all.
    """
    uses_items = _uses_items(config)
    gated = ["n.action", *(["i.type"] if uses_items else [])]
    ids = [*gated, *(f"{name[0]}.exists" for name in gated)]
    ids += ["p.action", "p.character", "s.stage", "absent"]
    if uses_items:
        ids.append("p.items_owned")
    if config.with_stage_state:
        ids.append("s.stadium")
    if not config.jumps_normalized:
        ids.append("p.jumps_left")
    if config.nana_mode == "full":
        ids += ["n.character", *([] if config.jumps_normalized else ["n.jumps_left"])]
    ids += config.conditions
    ids += [field.name for field in one_hot_fields(config)]
    numbers = [field.name for field in numeric_fields(config)]
    return InputLayout(_places([*numbers, "n.facing"]), _places(ids))


def _places(names: list[str]) -> dict[str, slice]:
    places, start = {}, 0
    for name in names:
        width = 1 if name in CONDITIONS else int(np.prod(SCHEMA.field(name).shape, dtype=int))
        places[name] = slice(start, start + width)
        start += width
    return places


def raw_width(config: EmbeddingConfig) -> int:
    """Numbers per frame as the documents count: an id is one, no padding (287 by default)."""
    player = _raw_block(config, ledge=True) + _raw_nana(config)
    stage = {"compact": len(LEGAL_STAGES) + 1, "full": STAGE_COUNT, "learned": 0}
    width = PLAYERS * player + stage[config.stage_mode] + config.num_player_names + 4
    width += CONTROLLER_NUMBERS * config.with_prev_action
    width += ITEM_SLOTS * (7 * config.with_projectiles + 12 * config.with_items)
    return width + _raw_ids(config)


def _raw_block(config: EmbeddingConfig, *, ledge: bool) -> int:
    numbers = RAW_PLAYER_NUMBERS + ledge
    numbers += 0 if config.jumps_normalized else JUMPS_COUNT - 1
    numbers += RAW_ACTION_COUNT if config.action_mode == "one_hot" else 0
    return numbers + (CHARACTER_COUNT if config.character_mode == "one_hot" else 0)


def _raw_nana(config: EmbeddingConfig) -> int:
    enhanced = 2 + len(NANA_NUMBERS) + 4
    sizes = {"compact": enhanced + len(ACTION_CATEGORIES), "enhanced": enhanced}
    return sizes.get(config.nana_mode, 1 + _raw_block(config, ledge=False))


def _raw_ids(config: EmbeddingConfig) -> int:
    """Ids at the vector's tail: actions, Nana's actions, characters, stage."""
    learned_action = config.action_mode == "learned"
    nana_action = config.nana_mode == "enhanced" or (config.nana_mode == "full" and learned_action)
    ids = PLAYERS * (learned_action + nana_action + (config.character_mode == "learned"))
    return ids + (config.stage_mode == "learned")


def padded(width: int) -> int:
    """The next multiple of `ALIGNMENT`."""
    return -(-width // ALIGNMENT) * ALIGNMENT


def layout(config: EmbeddingConfig) -> dict[str, slice]:
    """Where each part of the dense vector lies, in order, without the padding.

    A column's part holds its players (own, opponent) or item slots side by side.
    """
    spans, start = {}, 0
    for name, width in _dense_parts(config):
        spans[name] = slice(start, start + width)
        start += width
    return spans


def dense_width(config: EmbeddingConfig) -> int:
    """Width of the vector that the backbone reads, padding included."""
    return padded(sum(width for _, width in _dense_parts(config)))


def _dense_parts(config: EmbeddingConfig) -> list[tuple[str, int]]:
    fields = numeric_fields(config)
    parts = [(field.name, int(np.prod(field.shape, dtype=int))) for field in fields]
    parts += [("n.facing", PLAYERS), ("ledge_distance", PLAYERS), ("relative_position", 3)]
    action = config.action_dim if config.action_mode == "learned" else ACTION_COUNT
    character = config.character_dim if config.character_mode == "learned" else CHARACTER_COUNT
    parts += [("p.action", PLAYERS * action), ("p.character", PLAYERS * character)]
    if not config.jumps_normalized:
        parts.append(("p.jumps_left", PLAYERS * JUMPS_COUNT))
    parts += _dense_nana(config, action=action, character=character)
    stage = {"compact": len(LEGAL_STAGES) + 1, "full": STAGE_COUNT, "learned": config.stage_dim}
    parts.append(("s.stage", stage[config.stage_mode]))
    if config.with_stage_state:
        parts.append(("s.stadium", len(STADIUM_TYPES)))
    if _uses_items(config):
        parts.append(("item_owner", ITEM_SLOTS))
    if config.with_projectiles and config.item_type_dim:
        parts.append(("i.type", ITEM_SLOTS * config.item_type_dim))
    if config.with_items:
        parts += [
            ("item_category", ITEM_SLOTS * len(ITEM_CATEGORIES)),
            ("item_held", 2 * ITEM_SLOTS),
        ]
    widths = {
        NAME: config.num_player_names,
        DELAY: len(DELAY_KNOTS),
        RETURN: len(config.return_edges) + 1,
    }
    parts += [(name, widths[name]) for name in config.conditions]
    parts.append(("absent", len(ABSENT_GROUPS)))
    parts += [
        (field.name, math.prod(field.shape) * field.embed.size) for field in one_hot_fields(config)
    ]
    if config.with_prev_action:
        parts.append(("prev_action", CONTROLLER_NUMBERS))
    return parts


def _dense_nana(config: EmbeddingConfig, *, action: int, character: int) -> list[tuple[str, int]]:
    if config.nana_mode == "compact":
        return [("nana_category", PLAYERS * (len(ACTION_CATEGORIES) + 3)), ("nana_synced", PLAYERS)]
    if config.nana_mode == "enhanced":
        flags = [("nana_flags", PLAYERS * 3), ("nana_synced", PLAYERS)]
        return [*flags, ("n.action", PLAYERS * config.action_dim)]
    parts = [("n.action", PLAYERS * action), ("n.character", PLAYERS * character)]
    jumps = [] if config.jumps_normalized else [("n.jumps_left", PLAYERS * JUMPS_COUNT)]
    return parts + jumps
