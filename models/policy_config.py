"""Frozen configurations of a policy: what is saved beside its weights and rebuilt from.

One dataclass per concern; a policy is fully described by `PolicyConfig`, whose JSON travels in
checkpoints and bundles. Leaf names are the command line's flag names, and unique across the five
classes, so a trainer can nest these classes and expose them as flat flags.

Checks live in `__post_init__`, so a configuration that exists is a valid one. Unknown keys in JSON
are refused: a renamed field must fail on load instead of silently taking its default.
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
from typing import Any, Literal, TypeVar

from exphil_tf.features.controller import ControllerCodec

StageMode = Literal["compact", "full", "learned"]
IdMode = Literal["learned", "one_hot"]
NanaMode = Literal["compact", "enhanced", "full"]
BackboneName = Literal["mlp", "lstm", "mamba", "sliding_window"]
HeadName = Literal["autoregressive", "independent"]
Rounding = Literal["dynamic", "moving_average"]

LARGEST = 65_536
"""Of any width, table or window: far beyond what can be trained, and small enough to be counted."""
MOST_LAYERS = 1024
MOST_BUCKETS = 1025

_T = TypeVar("_T")


def _check_choice(path: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{path}: want one of {', '.join(choices)}. Received: {value!r:.80}")


def _check_at_least(path: str, value: int, low: int, *, most: int = LARGEST) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise ValueError(f"{path}: want an integer >= {low}. Received: {value!r:.80}")
    if value > most:
        raise ValueError(f"{path}: want at most {most:,}. Received: {value!r:.80}")


@dataclass(frozen=True)
class EmbeddingConfig:
    """How typed frame columns become numbers for the network."""

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
    num_player_names: int = 112
    """Size of the player-name one-hot; registry ids run from 1 to this, 0 is nobody."""
    learn_player_styles: bool = False
    """Feed the player-name one-hot; otherwise names are left out of the dense vector."""
    with_projectiles: bool = True
    """Feed the five item slots as projectiles (position, speed, owner, type)."""
    with_items: bool = False
    """Feed the five item slots as items too (category, held, timer)."""
    with_prev_action: bool = True
    """Feed the controller of the previous frame (13 numbers)."""
    with_stage_state: bool = True
    """Feed moving parts of stages (platform heights, Randall, transformation, wind) and hitlag."""
    action_dim: int = 64
    """Width of a learned action vector."""
    character_dim: int = 16
    """Width of a learned character vector."""
    stage_dim: int = 8
    """Width of the learned stage vector (stage_mode learned)."""
    item_type_dim: int = 8
    """Width of a learned item-type vector; 0 feeds the type as one number, type / 100."""
    unrecorded: int = 0
    """Bits of the column `absent`: what no replay of the training set recorded. It is fed as zeros,
    in play too, which otherwise would show what training never did. The trainer sets it."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that is out of range."""
        _check_choice("embedding.stage_mode", self.stage_mode, typing.get_args(StageMode))
        _check_choice("embedding.action_mode", self.action_mode, typing.get_args(IdMode))
        _check_choice("embedding.character_mode", self.character_mode, typing.get_args(IdMode))
        _check_choice("embedding.nana_mode", self.nana_mode, typing.get_args(NanaMode))
        for name in ("num_player_names", "action_dim", "character_dim", "stage_dim"):
            _check_at_least(f"embedding.{name}", getattr(self, name), 1)
        for name in ("item_type_dim", "unrecorded"):
            _check_at_least(f"embedding.{name}", getattr(self, name), 0)


@dataclass(frozen=True)
class BackboneConfig:
    """The trunk between embedding and head. Fields a trunk has no use for are ignored by it."""

    backbone: BackboneName = "mamba"
    """Trunk: mlp (no memory), lstm, mamba, or sliding_window attention."""
    hidden: tuple[int, ...] = (512, 512)
    """MLP layer widths; a temporal trunk's width is the first entry."""
    num_layers: int = 2
    """Blocks of a temporal trunk."""
    state_size: int = 16
    """Mamba's states per channel."""
    expand_factor: int = 2
    """Mamba's inner width, and attention's feed-forward width, as a multiple of the width."""
    conv_size: int = 4
    """Frames under Mamba's causal convolution."""
    num_heads: int = 4
    """Attention heads; must divide the width."""
    window_size: int = 60
    """Frames an attention layer sees, the present one included."""
    qk_layernorm: bool = True
    """Normalise queries and keys per head, which bounds attention logits."""
    chunked_attention: bool = False
    """Attend in query chunks of chunk_size (less memory); the result is the same."""
    chunk_size: int = 32
    """Queries per attention chunk with chunked_attention."""
    memory_efficient_attention: bool = False
    """Walk each chunk's keys in blocks with an online softmax; the result is the same."""
    dropout: float = 0.1
    """Dropped share of activations while training."""
    layer_norm: bool = False
    """LayerNorm after each MLP layer."""
    residual: bool = False
    """Residual connections between MLP layers (projected where widths differ)."""
    truncate_bptt: int | None = None
    """Frames after which gradients through the carried state are cut; None never cuts."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that is out of range."""
        _check_choice("backbone.backbone", self.backbone, typing.get_args(BackboneName))
        if not self.hidden:
            raise ValueError("backbone.hidden: want at least one width. Received: ()")
        _check_at_least("len(backbone.hidden)", len(self.hidden), 1, most=MOST_LAYERS)
        for width in self.hidden:
            _check_at_least("backbone.hidden", width, 1)
        _check_at_least("backbone.num_layers", self.num_layers, 1, most=MOST_LAYERS)
        sizes = ("state_size", "expand_factor", "conv_size", "num_heads")
        for name in (*sizes, "window_size", "chunk_size"):
            _check_at_least(f"backbone.{name}", getattr(self, name), 1)
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"backbone.dropout: want 0 <= x < 1. Received: {self.dropout!r}")
        if self.truncate_bptt is not None:
            _check_at_least("backbone.truncate_bptt", self.truncate_bptt, 1)
        if self.backbone == "sliding_window" and self.width % self.num_heads:
            raise ValueError(
                "backbone.num_heads: want a divisor of the width. "
                f"Received: num_heads={self.num_heads}, hidden={self.hidden}"
            )

    @property
    def width(self) -> int:
        """Width of a temporal trunk."""
        return self.hidden[0]


@dataclass(frozen=True)
class HeadConfig:
    """The controller's distribution over 8 buttons, 4 stick axes and the shoulder."""

    head: HeadName = "autoregressive"
    """Condition each component on those before it, or sample all independently."""
    axis_buckets: int = 17
    """Buckets per stick axis, odd; evenly over what a stick can say, 0 and ±23…80 of 80."""
    shoulder_buckets: int = 5
    """Buckets of the analog shoulder."""
    axis_centres: tuple[float, ...] = ()
    """K-means centres of the axis buckets in [-1, 1], replacing axis_buckets; empty for a grid."""
    head_hidden: int = 64
    """Hidden units per component."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that is out of range."""
        _check_choice("head.head", self.head, typing.get_args(HeadName))
        _check_at_least("head.axis_buckets", self.axis_buckets, 3, most=MOST_BUCKETS)
        _check_at_least("head.shoulder_buckets", self.shoulder_buckets, 2, most=MOST_BUCKETS)
        _check_at_least("len(head.axis_centres)", len(self.axis_centres), 0, most=MOST_BUCKETS)
        if not all(map(math.isfinite, self.axis_centres)):
            raise ValueError("head.axis_centres: want finite numbers. Received: NaN or infinity")
        _check_at_least("head.head_hidden", self.head_hidden, 1)
        _ = self.codec  # Raises for buckets that are not symmetric or cannot be told apart.

    @functools.cached_property
    def codec(self) -> ControllerCodec:
        """The buckets, shared by targets, previous action, sampling and play."""
        return ControllerCodec(self.axis_buckets, self.shoulder_buckets, self.axis_centres)


@dataclass(frozen=True)
class QuantizationConfig:
    """Which numbers the network keeps on 8-bit grids."""

    qat: bool = False
    """Quantization-aware: kernels of products on int8 grids per channel, their inputs on 8-bit
    grids."""
    qat_activations: Rounding = "dynamic"
    """With qat, grids of inputs: by what is there, in blocks of a row (dynamic, fastest in play),
    or by ranges that follow training and are then frozen (moving_average, for many rows)."""
    quantize_embeddings: bool = True
    """With qat: learned tables (actions, characters, item types) on int8 grids too."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that is out of range."""
        choices = typing.get_args(Rounding)
        _check_choice("quantization.qat_activations", self.qat_activations, choices)

    @property
    def rounding(self) -> Rounding | None:
        """How inputs of products are rounded; None where nothing is quantized."""
        return self.qat_activations if self.qat else None


@dataclass(frozen=True)
class PolicyConfig:
    """Everything needed to rebuild a policy's network."""

    embedding: EmbeddingConfig = field(default_factory=EmbeddingConfig)
    """Columns to numbers."""
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    """Trunk."""
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
    hints = typing.get_type_hints(cls)
    for key in values:
        if key not in hints:
            near = difflib.get_close_matches(key, hints, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise ValueError(f"{path}: unknown key{hint}. Received: {key!r:.80}")
    known = {key: _coerce(hints[key], value, f"{path}.{key}") for key, value in values.items()}
    return cls(**known)


def _coerce(hint: Any, value: Any, path: str) -> Any:
    """Turns a JSON value into the annotated type, refusing a value of another type."""
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
        _check_choice(path, value, typing.get_args(hint))
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not hint:
        wanted = getattr(hint, "__name__", hint)
        raise ValueError(f"{path}: want {wanted}. Received: {value!r:.80}")
    return value
