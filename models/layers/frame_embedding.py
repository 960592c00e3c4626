"""The first layer of every policy: typed frame columns to one dense vector per frame.

Scales and clips come from the feature schema, so that replays, live frames and the simulator can't
disagree. All numeric columns are joined first and scaled by one multiplication; both players, both
Nanas and all item slots go through the same operations and share their tables. An exported step
pays about a microsecond per operation, which is what this layout saves.

The order of the dense vector is `embedding_layout.layout`, not the one of the original project: a
backbone's first matrix is learned, so order has no meaning, and a reordering would cost operations.
"""

from typing import Any

import keras
import numpy as np

from exphil_tf.features.conditions import CONDITIONS, NAME
from exphil_tf.features.controller import COMPONENTS
from exphil_tf.features.schema import SCHEMA
from exphil_tf.melee.enums import ACTION_COUNT
from models.layers import embedding_layout
from models.layers import embedding_tables as tables
from models.layers.backend import dense_value, ops, take_features, take_rows
from models.layers.quantized import quantize_kernel
from models.layers.seeding import derive_seed
from models.layers.temporal import Tensor
from models.policy_config import EmbeddingConfig

Columns = dict[str, Tensor]


class FrameEmbedding(keras.layers.Layer):
    """Columns from the own player's perspective to `[…, dense_width]`.

    Leading axes are `[batch]` (a step) or `[batch, time]` (an unroll). Columns are those of the
    feature schema, player axis 0 = own and 1 = opponent: `p.*` and `n.*` `[…, 2]`, `i.*` `[…, 5]`,
    `s.*`, `frame` and `absent` `[…]`, of any number dtype. Conditions (int32 ids of
    `features.conditions`) have the leading axes or just `[batch]`; those of `config.conditions` are
    read.

    Args:
      config: modes and table widths.
      seed: initial tables are a function of it.
      quantize_tables: keep learned tables on an int8 grid per column.
    """

    def __init__(
        self, config: EmbeddingConfig, *, seed: int = 0, quantize_tables: bool = False, **kwargs
    ):
        super().__init__(**kwargs)
        self.config = config
        self.seed = seed
        self.quantize_tables = quantize_tables
        self.inputs = embedding_layout.input_layout(config)
        self.width = embedding_layout.dense_width(config)
        self.fields = embedding_layout.numeric_fields(config)
        self.rules = embedding_layout.numeric_rules(self.fields, config.unrecorded)
        self.stage_rows = tables.stage_table(config)
        self.absent_rows = tables.absent_table(config.unrecorded)
        self.condition_rows = tables.condition_tables(config)
        self.uses_items = config.with_projectiles or config.with_items
        self.last_id, self.id_offset = _id_rules(config, self.inputs.ids)

    def build(self, input_shape: Any = None) -> None:
        """Builds the learned tables that the configuration asks for."""
        config = self.config
        learned_action = config.action_mode == "learned"
        if learned_action or config.nana_mode == "enhanced":
            # One more row, for ids beyond the known ones.
            self.action_table = self._table("action", ACTION_COUNT + 1, config.action_dim)
        if config.character_mode == "learned":
            count = tables.CHARACTER_COUNT
            self.character_table = self._table("character", count, config.character_dim)
        if config.stage_mode == "learned":
            self.stage_vectors = self._table("stage", tables.STAGE_COUNT, config.stage_dim)
        if config.with_projectiles and config.item_type_dim:
            # Row 0 is an empty slot.
            count = tables.ITEM_TYPE_COUNT + 1
            self.item_type_table = self._table("item_type", count, config.item_type_dim)

    def call(self, columns: Columns, prev_action: Columns | None = None) -> Tensor:
        """Embeds frames.

        Args:
          columns: see the class.
          prev_action: decoded controller of the frame before, with the same leading axes:
            `buttons` `[…, 8]` of 0/1; `main_x`, `main_y`, `c_x`, `c_y` in [-1, 1] and `shoulder` in
            [0, 1], `[…]`. Needed with `with_prev_action`.

        Returns: `[…, dense_width]` in the layer's compute dtype.
        """
        return self.embed(*self.inputs.join(columns, ops), self.join_controller(prev_action))

    def embed(self, numbers: Tensor, ids: Tensor, controller: Tensor | None) -> Tensor:
        """As `call`, of columns that are joined already.

        Args:
          numbers: float32 `[…, num_numbers]`, raw game values laid out by `inputs`.
          ids: int32 `[…, num_ids]`, laid out by `inputs`.
          controller: float32 `[…, 13]` from `join_controller`; None if not embedded.
        """
        scale, offset, low, high = self.rules
        places = self.inputs.numbers
        count = len(scale)
        # Nana's facing is the last column: +1 right, -1 left, 0 where she is absent.
        scaled = numbers * np.append(scale, [2.0, 2.0]).astype(np.float32)
        facing, apart = self._differences(scaled)
        ids = self._split_ids(ids)
        edge = take_rows(self.stage_rows[:, -1], ids["s.stage"])
        parts = [
            ops.clip(scaled[..., :count] + offset, low, high),
            facing,
            ops.maximum(1.0 - ops.abs(numbers[..., places["p.x"]]) * edge, -10.0),
            *_relative_position(apart),
            self._action(ids["p.action"]),
            self._character(ids["p.character"]),
            *self._jumps(ids, "p"),
            *self._nana(numbers, ids),
            *self._stage(ids),
            *self._items(numbers, ids),
            *self._conditions(ids),
            _flatten(take_rows(self.absent_rows, ids["absent"])),
            *self._one_hots(numbers, ids),
            *([] if controller is None else [controller]),
        ]
        x = ops.concatenate(parts, axis=-1)
        if x.shape[-1] < self.width:
            x = ops.pad(x, [(0, 0)] * (len(x.shape) - 1) + [(0, self.width - x.shape[-1])])
        return ops.cast(x, self.compute_dtype)

    def join_controller(self, values: Columns | None) -> Tensor | None:
        """The previous action as float32 `[…, 13]`, None if it is not embedded.

        Raises: ValueError: if it is embedded and missing.
        """
        if not self.config.with_prev_action:
            return None
        if values is None:
            raise ValueError("embedding.prev_action: want the previous controller. Received: None")
        rest = [_float(values[name][..., None]) for name in COMPONENTS[1:]]
        return ops.concatenate([_float(values["buttons"]), *rest], axis=-1)

    def _split_ids(self, ids: Tensor) -> Columns:
        """Row numbers per column: clamped to the tables, 0 for what doesn't exist."""
        ids = ops.minimum(ids, self.last_id) + self.id_offset
        places = self.inputs.ids
        gated = [name for name in ("n.action", "i.type") if name in places]
        count = places[gated[-1]].stop
        names = list(places)[2 * len(gated) :]
        stops = [count, 2 * count, *(places[name].stop for name in names)][:-1]
        rows, gates, *rest = ops.split(ids, stops, axis=-1)
        rows = rows * gates
        if len(gated) > 1:
            rest += ops.split(rows, [places["n.action"].stop], axis=-1)
        else:
            rest.append(rows)
        return dict(zip([*names, *gated], rest, strict=True))

    def _differences(self, scaled: Tensor) -> tuple[Tensor, Tensor]:
        """Nana's signed facing `[…, 2]`, and opponent minus own position x, y in units of 20."""
        places = self.inputs.numbers
        facing, exists = places["n.facing"].start, places["n.exists"].start
        x, y = places["p.x"].start, places["p.y"].start
        minuend = np.array([facing, facing + 1, x + 1, y + 1], np.int32)
        subtrahend = np.array([exists, exists + 1, x, y], np.int32)
        difference = take_features(scaled, minuend) - take_features(scaled, subtrahend)
        facing, apart = ops.split(difference, 2, axis=-1)
        return facing, apart

    def _table(self, name: str, count: int, width: int) -> keras.Variable:
        initializer = keras.initializers.RandomNormal(
            stddev=width**-0.5, seed=derive_seed(self.seed, name)
        )
        return self.add_weight(
            name=f"{name}_table", shape=(count, width), initializer=initializer, dtype="float32"
        )

    def _action(self, ids: Tensor) -> Tensor:
        if self.config.action_mode == "learned":
            return self._look_up(self.action_table, ids)
        return _flatten(ops.one_hot(ids, ACTION_COUNT, dtype="float32"))

    def _character(self, ids: Tensor) -> Tensor:
        if self.config.character_mode == "learned":
            return self._look_up(self.character_table, ids)
        return _flatten(ops.one_hot(ids, tables.CHARACTER_COUNT, dtype="float32"))

    def _jumps(self, ids: Columns, group: str) -> list[Tensor]:
        if self.config.jumps_normalized:
            return []
        jumps = ids[f"{group}.jumps_left"]
        return [_flatten(ops.one_hot(jumps, tables.JUMPS_COUNT, dtype="float32"))]

    def _nana(self, numbers: Tensor, ids: Columns) -> list[Tensor]:
        """What a Nana has besides numbers; all zeros where she is absent."""
        row, own = ids["n.action"], ids["p.action"]
        own_category = take_rows(tables.own_category_table(), own)
        if self.config.nana_mode == "compact":
            category = take_rows(tables.nana_category_table(), row)
            synced = ops.cast(category == own_category, "float32")
            return [_flatten(take_rows(tables.nana_table(), row)), synced]
        exists = numbers[..., self.inputs.numbers["n.exists"]]
        # Row 0 is an absent Nana; learned tables know actions only.
        action = ops.maximum(row - 1, 0)
        if self.config.nana_mode == "enhanced":
            flags = _flatten(take_rows(tables.nana_table()[:, -3:], row))
            synced = ops.cast(row == own + 1, "float32")
            vectors = self._look_up(self.action_table, action)
            return [flags, synced, vectors * _repeat(exists, self.config.action_dim)]
        parts = [
            self._action(action),
            self._character(ids["n.character"]),
            *self._jumps(ids, "n"),
        ]
        # Zero one-hots and vectors of an absent Nana: repeat `exists` along each part.
        return [part * _repeat(exists, part.shape[-1] // 2) for part in parts]

    def _stage(self, ids: Columns) -> list[Tensor]:
        stage = ids["s.stage"]
        if self.config.stage_mode == "learned":
            parts = [self._look_up(self.stage_vectors, stage)]
        else:
            parts = [_flatten(take_rows(self.stage_rows[:, :-1], stage))]
        if self.config.with_stage_state:
            parts.append(_flatten(take_rows(tables.stadium_table(), ids["s.stadium"])))
        return parts

    def _items(self, numbers: Tensor, ids: Columns) -> list[Tensor]:
        """Owner (+1 own, -1 opponent, 0 nobody), and type or category and grip."""
        if not self.uses_items:
            return []
        owner = ops.sum(take_rows(tables.owner_table(), ids["p.items_owned"]), axis=-2)
        parts, kind = [owner], ids["i.type"]
        if self.config.with_projectiles and self.config.item_type_dim:
            parts.append(self._look_up(self.item_type_table, kind))
        if self.config.with_items:
            places = self.inputs.numbers
            parts.append(_flatten(take_rows(tables.item_category_table(), kind)))
            speeds = [numbers[..., places[name]] for name in ("i.speed_x", "i.speed_y")]
            moves = ops.abs(speeds[0]) + ops.abs(speeds[1])
            # Replays do not say who holds an item: one that is owned and rests counts as held.
            held = ops.abs(owner) * ops.cast(moves == 0, "float32")
            parts += [held, held * ops.maximum(owner, 0.0)]
        return parts

    def _conditions(self, ids: Columns) -> list[Tensor]:
        """What the policy was told; zeros where it was told nothing."""
        parts: list[Tensor] = []
        if NAME in self.config.conditions:
            index = ids[NAME][..., 0] - 1
            parts.append(ops.one_hot(index, self.config.num_player_names, dtype="float32"))
        parts += [_flatten(take_rows(rows, ids[n])) for n, rows in self.condition_rows.items()]
        return parts

    def _one_hots(self, numbers: Tensor, ids: Columns) -> list[Tensor]:
        """Categories without a table of their own; all zeros where the thing is not there."""
        parts: list[Tensor] = []
        for field in embedding_layout.one_hot_fields(self.config):
            part = ops.one_hot(ids[field.name], field.embed.size, dtype="float32")
            if field.present:
                part = part * numbers[..., self.inputs.numbers[field.present], None]
            parts.append(_flatten(part))
        return parts

    def _table_value(self, table: keras.Variable) -> Tensor:
        value = dense_value(table)
        return quantize_kernel(value) if self.quantize_tables else value

    def _look_up(self, table: keras.Variable, index: Tensor) -> Tensor:
        """Rows for ids `[…, n]`, side by side: `[…, n * width]`."""
        return _flatten(take_rows(self._table_value(table), index))


def _id_rules(config: EmbeddingConfig, places: dict[str, slice]) -> tuple[np.ndarray, np.ndarray]:
    """Greatest id and what is added to ids, int32 `[num_ids]` each.

    One-hot ids are not clamped: what lies beyond is all zeros. What training never saw is 0. In a
    gated column row 0 means that
    there is nothing, so its ids move up by one.
    """
    count = {
        "n.action": ACTION_COUNT + 1,
        "p.action": ACTION_COUNT + 1,
        "i.type": tables.ITEM_TYPE_COUNT,
        "s.stage": tables.STAGE_COUNT,
        "p.items_owned": tables.OWNER_MASKS,
        "s.stadium": len(tables.stadium_table()),
        "absent": 256,
    }
    if config.character_mode == "learned":
        count |= {"p.character": tables.CHARACTER_COUNT, "n.character": tables.CHARACTER_COUNT}
    count |= {name: len(table) for name, table in tables.condition_tables(config).items()}
    width = max(place.stop for place in places.values())
    last, offset = np.full(width, 2**30, np.int32), np.zeros(width, np.int32)
    for name, place in places.items():
        if name in count:
            last[place] = count[name] - 1
        if name not in CONDITIONS and SCHEMA.absent_bit(SCHEMA.field(name)) & config.unrecorded:
            last[place] = 0
    offset[places["n.action"]] = 1
    if "i.type" in places:
        offset[places["i.type"]] = 1
        offset[places["p.items_owned"]] = (0, tables.OWNER_MASKS)
    return last, offset


def _float(x: Tensor) -> Tensor:
    return ops.cast(x, "float32")


def _flatten(x: Tensor) -> Tensor:
    """Joins the last two axes; only the first axis may be unknown."""
    return ops.reshape(x, (-1, *x.shape[1:-2], int(np.prod(x.shape[-2:]))))


def _repeat(x: Tensor, count: int) -> Tensor:
    return ops.repeat(x, count, axis=-1)


def _relative_position(apart: Tensor) -> list[Tensor]:
    """Of opponent minus own in units of 20: dx / 200 and dy / 100, distance / 200 up to 1.5."""
    distance = ops.sqrt(ops.sum(apart * apart, axis=-1, keepdims=True))
    return [apart * np.array([0.1, 0.2], np.float32), ops.minimum(distance * 0.1, 1.5)]
