"""Frozen configurations of a policy: what is saved beside its weights and rebuilt from.

One dataclass per concern; a policy is fully described by `PolicyConfig`, whose JSON travels in
checkpoints and bundles. Leaf names are the command line's flag names, and unique across the
classes, so a trainer can nest these classes and expose them as flat flags. The backbone is one of
several classes (`models.backbones`); its JSON has its name and its own options.

Checks live in `__post_init__`, so a configuration that exists is a valid one. Unknown keys in JSON
are refused: a renamed field must fail on load instead of silently taking its default. Options of
other backbones are passed over: older bundles name all of them, and they decide nothing.
"""

import dataclasses
import difflib
import functools
import json
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeVar

from exphil_tf.features.conditions import DELAY, NAME, RETURN
from exphil_tf.features.controller import ControllerCodec
from exphil_tf.foundation.kinds import Kind, former_values, option
from exphil_tf.rewards.coming_second import ReturnLevels
from models.backbones import BACKBONES, DEFAULT, backbone_config
from models.backbones.backbone_options import BackboneConfig, TemporalConfig
from models.quantization_config import (
    LARGEST,
    QuantizationConfig,
    Rounding,
    check_at_least,
    check_choice,
)

__all__ = [
    "LARGEST",
    "BackboneConfig",
    "EmbeddingConfig",
    "HeadConfig",
    "PolicyConfig",
    "QuantizationConfig",
    "Rounding",
    "backbone_config",
]

StageMode = Literal["compact", "full", "learned"]
IdMode = Literal["learned", "one_hot"]
NanaMode = Literal["compact", "enhanced", "full"]
HeadName = Literal["autoregressive", "independent"]

MOST_BUCKETS = 1025

_T = TypeVar("_T")


@dataclass(frozen=True)
class EmbeddingConfig:
    """How typed frame columns become numbers for the network."""

    KIND: ClassVar = Kind.NETWORK

    stage_mode: StageMode = "compact"
    """Stage as 7-way one-hot of the legal stages (compact), 64-way one-hot (full) or learned."""
    action_mode: IdMode = "learned"
    """Action state of each player: a learned table, or a 544-way one-hot."""
    character_mode: IdMode = "learned"
    """Character of each player: a learned table, or a 33-way one-hot."""
    nana_mode: NanaMode = "compact"
    """Nana as 39 numbers (compact), 14 and a learned action (enhanced), or a full player."""
    jumps_normalized: bool = True
    """Jumps left as one number (jumps / 6); otherwise a 7-way one-hot."""
    num_player_names: int = option(112, only_with={"learn_player_styles": True}, off=(0,))
    """Size of the player-name one-hot; registry ids run from 1 to this, 0 is nobody."""
    learn_player_styles: bool = False
    """Feed the player-name one-hot; otherwise names are left out of the dense vector."""
    with_delay: bool = option(False, is_derived=True)
    """Feed the delay of the unroll or game. The trainer sets it (`--condition-on-delay`)."""
    condition_on_return: bool = False
    """Tell the policy, frame by frame, what the coming second brings at least (percent dealt minus
    percent taken, a stock counting 100), in levels, so that play can ask for one."""
    return_edges: tuple[float, ...] = option(
        (1.0, 4.0, 8.0, 12.0), only_with={"condition_on_return": True}
    )
    """Percent that each level of the return but the first asks for at least."""
    return_half_life: float = option(30.0, only_with={"condition_on_return": True})
    """Frames after which a gain counts half in the return of the coming second."""
    with_projectiles: bool = True
    """Feed the five item slots as projectiles (position, speed, owner, type)."""
    with_items: bool = False
    """Feed the five item slots as items too (category, held, timer)."""
    with_prev_action: bool = True
    """Feed the controller of the previous frame (13 numbers)."""
    with_stage_state: bool = True
    """Feed moving parts of stages (platform heights, Randall, transformation, wind) and hitlag."""
    action_dim: int = option(64, only_with={"action_mode": "learned", "nana_mode": "enhanced"})
    """Width of a learned action vector."""
    character_dim: int = option(16, only_with={"character_mode": "learned"})
    """Width of a learned character vector."""
    stage_dim: int = option(8, only_with={"stage_mode": "learned"})
    """Width of the learned stage vector (stage_mode learned)."""
    item_type_dim: int = option(8, only_with={"with_projectiles": True})
    """Width of a learned item-type vector; 0 feeds the type as one number, type / 100."""
    unrecorded: int = option(0, kind=Kind.GAMES, is_derived=True)
    """Bits of the column `absent`: what no replay of the training set recorded. It is fed as zeros,
    in play too, which otherwise would show what training never did. The trainer sets it."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that is out of range."""
        check_choice("embedding.stage_mode", self.stage_mode, typing.get_args(StageMode))
        check_choice("embedding.action_mode", self.action_mode, typing.get_args(IdMode))
        check_choice("embedding.character_mode", self.character_mode, typing.get_args(IdMode))
        check_choice("embedding.nana_mode", self.nana_mode, typing.get_args(NanaMode))
        for name in ("num_player_names", "action_dim", "character_dim", "stage_dim"):
            check_at_least(f"embedding.{name}", getattr(self, name), 1)
        for name in ("item_type_dim", "unrecorded"):
            check_at_least(f"embedding.{name}", getattr(self, name), 0)
        ReturnLevels(self.return_edges, self.return_half_life)  # Raises for levels out of order.

    @property
    def conditions(self) -> tuple[str, ...]:
        """What the policy can be told (`features.conditions`), in order."""
        is_read = {
            NAME: self.learn_player_styles,
            DELAY: self.with_delay,
            RETURN: self.condition_on_return,
        }
        return tuple(name for name, reads in is_read.items() if reads)

    @property
    def return_levels(self) -> ReturnLevels | None:
        """The levels that it tells apart; None without `condition_on_return`."""
        if not self.condition_on_return:
            return None
        return ReturnLevels(self.return_edges, self.return_half_life)


@dataclass(frozen=True)
class HeadConfig:
    """The controller's distribution over 8 buttons, 4 stick axes and the shoulder."""

    KIND: ClassVar = Kind.NETWORK

    head: HeadName = "autoregressive"
    """Condition each component on those before it, or sample all independently."""
    axis_buckets: int = option(17, only_with={"kmeans_centers": None})
    """Buckets per stick axis, odd; evenly over what a stick can say, 0 and ±23…80 of 80."""
    shoulder_buckets: int = 5
    """Buckets of the analog shoulder."""
    axis_centres: tuple[float, ...] = option((), is_derived=True)
    """K-means centres of the axis buckets in [-1, 1], replacing axis_buckets; empty for a grid."""
    head_hidden: int = 64
    """Hidden units per component."""
    prev_action_buckets: bool = option(True, only_with={"with_prev_action": True}, former=False)
    """Backbone and head read the previous action in buckets, and logits start as how often each
    bucket follows the one before it in the training games; otherwise they read 13 numbers."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that is out of range."""
        check_choice("head.head", self.head, typing.get_args(HeadName))
        check_at_least("head.axis_buckets", self.axis_buckets, 3, most=MOST_BUCKETS)
        check_at_least("head.shoulder_buckets", self.shoulder_buckets, 2, most=MOST_BUCKETS)
        check_at_least("len(head.axis_centres)", len(self.axis_centres), 0, most=MOST_BUCKETS)
        if not all(map(math.isfinite, self.axis_centres)):
            raise ValueError("head.axis_centres: want finite numbers. Received: NaN or infinity")
        check_at_least("head.head_hidden", self.head_hidden, 1)
        _ = self.codec  # Raises for buckets that are not symmetric or cannot be told apart.

    @functools.cached_property
    def codec(self) -> ControllerCodec:
        """The buckets, shared by targets, previous action, sampling and play."""
        return ControllerCodec(
            self.axis_buckets,
            self.shoulder_buckets,
            self.axis_centres,
            # The previous action's buckets are found by its values.
            within_reach=self.prev_action_buckets,
        )


@dataclass(frozen=True)
class PolicyConfig:
    """Everything needed to rebuild a policy's network."""

    embedding: EmbeddingConfig = field(default_factory=EmbeddingConfig)
    """Columns to numbers."""
    backbone: BackboneConfig = field(default_factory=backbone_config)
    """What lies between embedding and head: one of `models.backbones.BACKBONES`."""
    head: HeadConfig = field(default_factory=HeadConfig)
    """Controller distribution."""
    quantization: QuantizationConfig = field(default_factory=QuantizationConfig)
    """8-bit grids."""

    def to_dict(self) -> dict[str, Any]:
        """Returns nested plain values (dict, list, str, int, float, bool, None)."""
        return json.loads(self.to_json())

    def to_json(self) -> str:
        """Returns indented JSON that `from_json` turns back into an equal configuration."""
        return json.dumps(dataclasses.asdict(self), indent=2)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "PolicyConfig":
        """Builds a configuration from nested plain values.

        Raises:
          ValueError: for an unknown key (naming the nearest known one) or a value out of range.
        """
        return _build(cls, values, path="policy")

    @classmethod
    def from_json(cls, text: str) -> "PolicyConfig":
        """Parses `to_json`'s text; raises ValueError as `from_dict` does."""
        values = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError(f"policy: want a JSON object. Received: {type(values).__name__}")
        return cls.from_dict(values)


def _build(cls: type[_T], values: Mapping[str, Any], *, path: str) -> _T:
    if not isinstance(values, Mapping):
        raise ValueError(f"{path}: want an object. Received: {values!r:.80}")
    hints = {n: hint for n, hint in typing.get_type_hints(cls).items() if n in _names(cls)}
    values = {**former_values(cls), **values}
    for key in values:
        if key not in hints:
            near = difflib.get_close_matches(key, hints, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise ValueError(f"{path}: unknown key{hint}. Received: {key!r:.80}")
    known = {key: _coerce(hints[key], value, f"{path}.{key}") for key, value in values.items()}
    return cls(**known)


def _names(cls: Any) -> set[str]:
    return {field.name for field in dataclasses.fields(cls)}


def _build_backbone(values: Mapping[str, Any], *, path: str) -> BackboneConfig:
    """The options of the backbone that `values` names, without those of others."""
    if not isinstance(values, Mapping):
        raise ValueError(f"{path}: want an object. Received: {values!r:.80}")
    name = values.get("backbone", DEFAULT)
    check_choice(f"{path}.backbone", name, tuple(BACKBONES))
    of_any = {key for cls in BACKBONES.values() for key in _names(cls)}
    passed_over = {"backbone", *(of_any - _names(BACKBONES[name]))}
    mine = {key: value for key, value in values.items() if key not in passed_over}
    if issubclass(BACKBONES[name], TemporalConfig) and isinstance(mine.get("hidden"), list):
        first = mine["hidden"][:1]  # older bundles may have others after it, which nobody read
        mine["hidden"] = mine["hidden"] if mine["hidden"] == first * len(mine["hidden"]) else first
    return _build(BACKBONES[name], mine, path=path)


def _coerce(hint: Any, value: Any, path: str) -> Any:  # noqa: PLR0911 - one line per type
    """Turns a JSON value into the annotated type, refusing a value of another type."""
    if hint is BackboneConfig:
        return _build_backbone(value, path=path)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _build(hint, value, path=path)
    origin = typing.get_origin(hint)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ValueError(f"{path}: want a list. Received: {value!r:.80}")
        return tuple(_coerce(typing.get_args(hint)[0], item, path) for item in value)
    if origin is types.UnionType:
        options = typing.get_args(hint)
        return None if value is None and type(None) in options else _coerce(options[0], value, path)
    if origin is Literal:
        check_choice(path, value, typing.get_args(hint))
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not hint:
        wanted = getattr(hint, "__name__", hint)
        raise ValueError(f"{path}: want {wanted}. Received: {value!r:.80}")
    return value
