"""The first layer of every policy: typed frame columns to one dense vector per frame.

Scales and clips come from the feature schema, so that replays, live frames and the simulator can't
disagree. All numeric columns are joined first and scaled by one multiplication; both players, both
Nanas and all item slots go through the same operations and share their tables. An exported step
pays about a microsecond per operation, which is what this layout saves.

The order of the dense vector is `embedding_tables.layout`, not the one of the original project: a
trunk's first matrix is learned, so order has no meaning, and a reordering would cost operations.
"""

from typing import Any

import keras
import numpy as np

from exphil_tf.features.controller import COMPONENTS
from exphil_tf.melee.enums import ACTION_COUNT
from models.config import EmbeddingConfig
from models.layers import embedding_tables as tables
from models.layers.backend import dense_value, ops, take_rows
from models.layers.seeding import derive_seed
from models.layers.temporal import Tensor

Columns = dict[str, Tensor]


class FrameEmbedding(keras.layers.Layer):
    """Columns from the own player's perspective to `[…, dense_width]`.

    Leading axes are `[batch]` (a step) or `[batch, time]` (an unroll). Columns are those of the
    feature schema, player axis 0 = own and 1 = opponent: `p.*` and `n.*` `[…, 2]`, `i.*` `[…, 5]`,
    `s.*` and `frame` `[…]`, of any number dtype. `name` (int32 registry id, 0 = nobody) has the
    leading axes or just `[batch]`, and is read only with `learn_player_styles`.

    Args:
      config: modes and table widths.
      seed: initial tables are a function of it.
    """

    def __init__(self, config: EmbeddingConfig, *, seed: int = 0, **kwargs):
        super().__init__(**kwargs)
        self.config = config
        self.seed = seed
        self.width = tables.dense_width(config)
        self.fields = tables.numeric_fields(config)
        self.rules = tables.numeric_rules(self.fields)
        self.stage_rows = tables.stage_table(config)
        self.uses_items = config.with_projectiles or config.with_items

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
        stage = take_rows(self.stage_rows, _index(columns["s.stage"], tables.STAGE_COUNT))
        parts = [
            self._numbers(columns),
            2.0 * _float(columns["n.facing"]) - _float(columns["n.exists"]),
            ops.maximum(1.0 - ops.abs(_float(columns["p.x"])) * stage[..., -1:], -10.0),
            *_relative_position(columns),
            self._action(columns["p.action"]),
            self._character(columns["p.character"]),
            *self._jumps(columns["p.jumps_left"]),
            *self._nana(columns),
            *self._stage(columns, stage),
            *self._items(columns),
            *self._name(columns),
            *self.previous_controller(prev_action),
        ]
        padding = self.width - sum(part.shape[-1] for part in parts)
        if padding:
            parts.append(ops.zeros_like(parts[0][..., :padding]))
        return ops.cast(ops.concatenate(parts, axis=-1), self.compute_dtype)

    def _table(self, name: str, count: int, width: int) -> keras.Variable:
        initializer = keras.initializers.RandomNormal(
            stddev=width**-0.5, seed=derive_seed(self.seed, name)
        )
        return self.add_weight(
            name=f"{name}_table", shape=(count, width), initializer=initializer, dtype="float32"
        )

    def _numbers(self, columns: Columns) -> Tensor:
        scale, offset, low, high = self.rules
        joined = [
            _float(columns[field.name] if field.shape else columns[field.name][..., None])
            for field in self.fields
        ]
        return ops.clip(ops.concatenate(joined, axis=-1) * scale + offset, low, high)

    def _action(self, ids: Tensor) -> Tensor:
        if self.config.action_mode == "learned":
            return _look_up(self.action_table, _index(ids, ACTION_COUNT + 1))
        return _flatten(ops.one_hot(ops.cast(ids, "int32"), ACTION_COUNT, dtype="float32"))

    def _character(self, ids: Tensor) -> Tensor:
        if self.config.character_mode == "learned":
            return _look_up(self.character_table, _index(ids, tables.CHARACTER_COUNT))
        return _flatten(
            ops.one_hot(ops.cast(ids, "int32"), tables.CHARACTER_COUNT, dtype="float32")
        )

    def _jumps(self, jumps: Tensor) -> list[Tensor]:
        if self.config.jumps_normalized:
            return []
        return [
            _flatten(ops.one_hot(ops.cast(jumps, "int32"), tables.JUMPS_COUNT, dtype="float32"))
        ]

    def _nana(self, columns: Columns) -> list[Tensor]:
        """What a Nana has besides numbers; all zeros where she is absent."""
        exists = _float(columns["n.exists"])
        if self.config.nana_mode == "full":
            parts = [
                self._action(columns["n.action"]),
                self._character(columns["n.character"]),
                *self._jumps(columns["n.jumps_left"]),
            ]
            # Zero one-hots and vectors of an absent Nana: repeat `exists` along each part.
            return [part * _repeat(exists, part.shape[-1] // 2) for part in parts]
        action = _index(columns["n.action"], ACTION_COUNT + 1)
        facts = take_rows(tables.nana_table(), action)
        own_action = _index(columns["p.action"], ACTION_COUNT + 1)
        if self.config.nana_mode == "enhanced":
            synced = ops.cast(action == own_action, "float32") * exists
            vectors = _look_up(self.action_table, action)
            flags = _flatten(facts[..., -3:] * exists[..., None])
            return [flags, synced, vectors * _repeat(exists, self.config.action_dim)]
        own_facts = take_rows(tables.nana_table()[:, :-3], own_action)
        synced = ops.sum(facts[..., :-3] * own_facts, axis=-1) * exists
        return [_flatten(facts * exists[..., None]), synced]

    def _stage(self, columns: Columns, stage: Tensor) -> list[Tensor]:
        parts = [stage[..., :-1]]
        if self.config.stage_mode == "learned":
            index = _index(columns["s.stage"], tables.STAGE_COUNT)
            parts = [take_rows(dense_value(self.stage_vectors), index)]
        if self.config.with_stage_state:
            index = _index(columns["s.stadium"], len(tables.stadium_table()))
            parts.append(take_rows(tables.stadium_table(), index))
        return parts

    def _items(self, columns: Columns) -> list[Tensor]:
        """Owner (+1 own, -1 opponent, 0 nobody), and type or category and grip."""
        if not self.uses_items:
            return []
        owned = take_rows(tables.owner_table(), _index(columns["p.items_owned"], 32))
        owner = owned[..., 0, :] - owned[..., 1, :]
        parts = [owner]
        kind = _index(columns["i.type"], tables.ITEM_TYPE_COUNT) + 1
        kind = kind * ops.cast(columns["i.exists"], "int32")
        if self.config.with_projectiles and self.config.item_type_dim:
            parts.append(_look_up(self.item_type_table, kind))
        if self.config.with_items:
            parts.append(_flatten(take_rows(tables.item_category_table(), kind)))
            moves = ops.abs(_float(columns["i.speed_x"])) + ops.abs(_float(columns["i.speed_y"]))
            # Replays do not say who holds an item: one that is owned and rests counts as held.
            held = ops.abs(owner) * ops.cast(moves == 0, "float32")
            parts += [held, held * ops.maximum(owner, 0.0)]
        return parts

    def _name(self, columns: Columns) -> list[Tensor]:
        if not self.config.learn_player_styles:
            return []
        name, frame = columns["name"], columns["frame"]
        if len(name.shape) < len(frame.shape):
            name = ops.broadcast_to(name[:, None], ops.shape(frame))
        index = ops.cast(name, "int32") - 1
        return [ops.one_hot(index, self.config.num_player_names, dtype="float32")]

    def previous_controller(self, values: Columns | None) -> list[Tensor]:
        """The previous action's numbers as float32 parts, `[…, 13]` in all; none if not embedded.

        Raises: ValueError: if they are embedded and missing.
        """
        if not self.config.with_prev_action:
            return []
        if values is None:
            raise ValueError("embedding.prev_action: want the previous controller. Received: None")
        rest = [_float(values[name][..., None]) for name in COMPONENTS[1:]]
        return [_float(values["buttons"]), *rest]


def _float(x: Tensor) -> Tensor:
    return ops.cast(x, "float32")


def _index(ids: Tensor, count: int) -> Tensor:
    """int32 ids, those beyond the table clamped to its last row."""
    return ops.minimum(ops.cast(ids, "int32"), count - 1)


def _look_up(table: keras.Variable, index: Tensor) -> Tensor:
    """Rows for ids `[…, n]`, side by side: `[…, n * width]`."""
    return _flatten(take_rows(dense_value(table), index))


def _flatten(x: Tensor) -> Tensor:
    """Joins the last two axes; only the first axis may be unknown."""
    return ops.reshape(x, (-1, *x.shape[1:-2], int(np.prod(x.shape[-2:]))))


def _repeat(x: Tensor, count: int) -> Tensor:
    return ops.repeat(x, count, axis=-1)


def _relative_position(columns: Columns) -> list[Tensor]:
    """Opponent minus own: dx / 200, dy / 100, and distance / 200 clipped to 1.5."""
    x, y = _float(columns["p.x"]), _float(columns["p.y"])
    dx, dy = x[..., 1:] - x[..., :1], y[..., 1:] - y[..., :1]
    distance = ops.sqrt(dx * dx + dy * dy)
    return [dx * 0.005, dy * 0.01, ops.minimum(distance * 0.005, 1.5)]
