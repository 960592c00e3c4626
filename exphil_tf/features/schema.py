"""The declarative list of every per-frame field; everything else about a field is derived from here.

Derived: the columns of `Frames`, checks, the packed row of the records, mirror and noise augmentation, the model's
embedding, hypothesis strategies, `docs/features.md` and the fingerprint that manifests, checkpoints and ONNX files
carry. To add a field, add one `Field` here and teach `exphil_tf.replays.parse` to fill it; nothing else lists names.

Vocabulary: a *group* fixes the trailing shape of a column (`[time]`, `[time, players]`, `[time, items]`). `mirror` says
what a left-right reflection of the game does to a field, `store` how it lies on disk, `embed` how the network sees it.
Column names match libmelee's and UMI's where they name the same thing. A nested class per player (libmelee, slippi-ai)
was dropped because it forces 150 leaves per batch on every consumer.
"""

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum

import numpy as np

from exphil_tf.melee.enums import ACTION_COUNT
from exphil_tf.melee.types import Frames

PLAYERS = 2
ITEM_SLOTS = 5
CONVENTIONS = 1
"""Raised when a field keeps its name but changes its meaning, so that old data stops matching."""


class Group(StrEnum):
    """Trailing shape and owner of a field."""

    FRAME = "frame"
    STAGE = "stage"
    PLAYER = "player"
    NANA = "nana"
    CONTROLLER = "controller"
    ITEM = "item"


SHAPES: dict[Group, tuple[int, ...]] = {
    Group.FRAME: (),
    Group.STAGE: (),
    Group.PLAYER: (PLAYERS,),
    Group.NANA: (PLAYERS,),
    Group.CONTROLLER: (PLAYERS,),
    Group.ITEM: (ITEM_SLOTS,),
}


class Mirror(StrEnum):
    """What a left-right reflection does."""

    KEEP = "keep"
    NEGATE = "negate"
    FLIP = "flip"
    """0 ↔ 1."""
    SWAP = "swap"
    """Exchange with the field named in `mirror_with`."""


class Store(StrEnum):
    """How a value lies in a packed row; little-endian."""

    F32 = "f32"
    I32 = "i32"
    U16 = "u16"
    I16 = "i16"
    U8 = "u8"
    I8 = "i8"
    STICK = "stick"
    """int8 of 1/80: the game's own stick grid, exact for human ports."""
    TRIGGER = "trigger"
    """uint8 of 1/140: the game's own trigger grid."""


class EmbedKind(StrEnum):
    """How the network sees a value."""

    SCALE = "scale"
    """`clip((value + bias) * scale, low, high)`."""
    FLAG = "flag"
    """0 or 1."""
    SIGN = "sign"
    """0 → -1, 1 → +1."""
    CATEGORY = "category"
    """A learned table or a one-hot of `size`."""
    NONE = "none"
    """Not an input by itself (used by a derived feature, or bookkeeping)."""


@dataclass(frozen=True)
class Embed:
    """The embedding rule of a field; see `EmbedKind`."""

    kind: EmbedKind
    scale: float = 1.0
    bias: float = 0.0
    low: float = -10.0
    high: float = 10.0
    size: int = 0


@dataclass(frozen=True)
class Field:
    """One column.

    Args:
      name: column name, `<group letter>.<libmelee name>`.
      group: decides the shape.
      dtype: numpy dtype of the column in `Frames`.
      store: layout on disk.
      low, high: inclusive range of legal values, in `unit`; checks and generated test data keep to it.
      embed: embedding rule.
      mirror: reflection rule; `mirror_with` names the partner of SWAP.
      noise: Gaussian noise σ in multiples of the user's `noise_scale`; 0 = never noised.
      peppi, libmelee: where the value comes from in either reader.
      doc: one line.
    """

    name: str
    group: Group
    dtype: str
    store: Store
    unit: str
    low: float
    high: float
    embed: Embed
    doc: str
    mirror: Mirror = Mirror.KEEP
    mirror_with: str = ""
    noise: float = 0.0
    peppi: str = ""
    libmelee: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        """Trailing shape of the column: `[time, *shape]`."""
        return SHAPES[self.group]

    def digest(self) -> str:
        """Hash of everything that decides the meaning of stored or fed values (not of documentation)."""
        facts = asdict(self)
        for cosmetic in ("doc", "low", "high", "noise", "peppi", "libmelee"):
            del facts[cosmetic]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _scale(scale: float, low: float = -10.0, high: float = 10.0) -> Embed:
    return Embed(EmbedKind.SCALE, scale=scale, low=low, high=high)


_FLAG, _SIGN, _NONE = Embed(EmbedKind.FLAG), Embed(EmbedKind.SIGN), Embed(EmbedKind.NONE)
_POSITION = _scale(0.05)
_VELOCITY = _scale(0.5)


def _float(name: str, unit: str, low: float, high: float, embed: Embed, doc: str, **rules) -> Field:
    return Field(name, Group.PLAYER, "float32", Store.F32, unit, low, high, embed, doc, **rules)


def _small(name: str, unit: str, high: float, embed: Embed, doc: str, **rules) -> Field:
    return Field(name, Group.PLAYER, "uint8", Store.U8, unit, 0, high, embed, doc, **rules)


_NEGATE = Mirror.NEGATE
_PLAYER_FIELDS: tuple[Field, ...] = (
    _float("p.percent", "%", 0, 999, _scale(0.01, 0, 5), "Damage taken; fractional.", noise=10.0,
           peppi="post.percent", libmelee="percent"),
    _float("p.x", "game units", -1000, 1000, _POSITION, "Horizontal position.", mirror=_NEGATE, noise=1.0,
           peppi="post.position.x", libmelee="position.x"),
    _float("p.y", "game units", -1000, 1000, _POSITION, "Vertical position, 0 at the main ground.", noise=1.0,
           peppi="post.position.y", libmelee="position.y"),
    _float("p.speed_air_x_self", "game units/frame", -100, 100, _VELOCITY, "Own horizontal speed in the air.",
           mirror=_NEGATE, noise=1.0, peppi="post.velocities.self_x_air", libmelee="speed_air_x_self"),
    _float("p.speed_ground_x_self", "game units/frame", -100, 100, _VELOCITY, "Own horizontal speed on the ground.",
           mirror=_NEGATE, noise=1.0, peppi="post.velocities.self_x_ground", libmelee="speed_ground_x_self"),
    _float("p.speed_y_self", "game units/frame", -100, 100, _VELOCITY, "Own vertical speed.", noise=1.0,
           peppi="post.velocities.self_y", libmelee="speed_y_self"),
    _float("p.speed_x_attack", "game units/frame", -100, 100, _VELOCITY, "Horizontal knockback speed.",
           mirror=_NEGATE, peppi="post.velocities.knockback_x", libmelee="speed_x_attack"),
    _float("p.speed_y_attack", "game units/frame", -100, 100, _VELOCITY, "Vertical knockback speed.",
           peppi="post.velocities.knockback_y", libmelee="speed_y_attack"),
    _float("p.shield", "0 to 60", 0, 60, _scale(0.01, 0, 1), "Shield health.", peppi="post.shield",
           libmelee="shield_strength"),
    Field("p.action", Group.PLAYER, "uint16", Store.U16, "id", 0, 511, Embed(EmbedKind.CATEGORY, size=ACTION_COUNT),
          "Action state id.", peppi="post.state", libmelee="action.value"),
    Field("p.action_frame", Group.PLAYER, "int16", Store.I16, "frames", -1000, 32767, _scale(1 / 60, -2, 2),
          "Frame of the action, counted from 1: int(state_age), plus 1 for (character, action) pairs in libmelee's "
          "zero-index table (leaders only).", peppi="post.state_age", libmelee="action_frame"),
    Field("p.hitstun", Group.PLAYER, "int16", Store.I16, "frames", -1000, 32767, _scale(1 / 120, 0, 1),
          "Hitstun left; 0 unless the action is a damage action (75 to 91), where the register means something else.",
          peppi="post.misc_as", libmelee="hitstun_frames_left"),
    _small("p.hitlag", "frames", 255, _scale(1 / 20, 0, 1), "Hitlag left.", peppi="post.hitlag",
           libmelee="hitlag_left"),
    _small("p.character", "id", 32, Embed(EmbedKind.CATEGORY, size=33), "Internal character id; Zelda/Sheik change.",
           peppi="post.character", libmelee="character.value"),
    _small("p.facing", "bool", 1, _SIGN, "1 faces right.", mirror=Mirror.FLIP, peppi="post.direction > 0",
           libmelee="facing"),
    _small("p.jumps_left", "count", 6, _scale(1 / 6, 0, 1), "Jumps left.", peppi="post.jumps",
           libmelee="jumps_left"),
    _small("p.on_ground", "bool", 1, _FLAG, "Standing on something.", peppi="post.airborne == 0",
           libmelee="on_ground"),
    _small("p.invulnerable", "bool", 1, _FLAG, "Cannot be hit.", peppi="post.hurtbox_state != 0",
           libmelee="invulnerable"),
    _small("p.stock", "count", 99, _scale(1 / 4, 0, 1), "Stocks left.", peppi="post.stocks", libmelee="stock"),
)  # fmt: skip


def _nana(field: Field) -> Field:
    """The same field of the second Ice Climber: zero while she is absent, never noised."""
    doc = f"Nana: {field.doc}"
    if field.name == "p.action_frame":
        doc = "Nana: int(state_age), never shifted (as libmelee does)."
    facts = {**field.__dict__, "name": "n." + field.name[2:], "group": Group.NANA, "noise": 0.0, "doc": doc}
    if facts["peppi"]:
        facts["peppi"] = "follower." + facts["peppi"]
        facts["libmelee"] = "nana." + facts["libmelee"]
    if field.embed.kind is EmbedKind.SIGN:
        facts["low"] = 0
    return Field(**facts)


_STICK = {"group": Group.CONTROLLER, "dtype": "float32", "store": Store.STICK, "unit": "-1 to 1", "low": -1, "high": 1}
_CONTROLLER_FIELDS: tuple[Field, ...] = (
    Field("c.main_x", embed=_scale(1.0), mirror=_NEGATE, doc="Main stick, + right; the input that produced this state.",
          peppi="pre.joystick.x", libmelee="controller_state.main_stick[0]", **_STICK),
    Field("c.main_y", embed=_scale(1.0), doc="Main stick, + up.", peppi="pre.joystick.y",
          libmelee="controller_state.main_stick[1]", **_STICK),
    Field("c.c_x", embed=_scale(1.0), mirror=_NEGATE, doc="C-stick, + right.", peppi="pre.cstick.x",
          libmelee="controller_state.c_stick[0]", **_STICK),
    Field("c.c_y", embed=_scale(1.0), doc="C-stick, + up.", peppi="pre.cstick.y",
          libmelee="controller_state.c_stick[1]", **_STICK),
    Field("c.shoulder", Group.CONTROLLER, "float32", Store.TRIGGER, "0 to 1", 0, 1, _scale(1.0),
          "Analog shoulder as the game sees it (the stronger of L and R; 1 when clicked, ≥ 0.35 with Z).",
          peppi="pre.triggers", libmelee="controller_state.l_shoulder"),
    Field("c.buttons", Group.CONTROLLER, "uint8", Store.U8, "bitmask", 0, 255, _FLAG,
          "Physical buttons, bit 0 to 7 = A B X Y Z L R D_UP.", peppi="pre.buttons_physical",
          libmelee="controller_state.button"),
)  # fmt: skip


def _item(name: str, dtype: str, store: Store, unit: str, low: float, high: float, embed: Embed, doc: str,
          **rules) -> Field:  # fmt: skip
    return Field(name, Group.ITEM, dtype, store, unit, low, high, embed, doc, **rules)


_ITEM_FIELDS: tuple[Field, ...] = (
    _item("i.x", "float32", Store.F32, "game units", -2000, 2000, _POSITION, "Position of the item or projectile.",
          mirror=_NEGATE, peppi="item.position.x", libmelee="projectiles[].position.x"),
    _item("i.y", "float32", Store.F32, "game units", -2000, 2000, _POSITION, "Height.", peppi="item.position.y",
          libmelee="projectiles[].position.y"),
    _item("i.speed_x", "float32", Store.F32, "game units/frame", -100, 100, _VELOCITY, "Horizontal speed.",
          mirror=_NEGATE, peppi="item.velocity.x", libmelee="projectiles[].speed.x"),
    _item("i.speed_y", "float32", Store.F32, "game units/frame", -100, 100, _VELOCITY, "Vertical speed.",
          peppi="item.velocity.y", libmelee="projectiles[].speed.y"),
    _item("i.type", "uint16", Store.U16, "id", 0, 65535, _scale(0.01), "Item id (libmelee ProjectileType).",
          peppi="item.type", libmelee="projectiles[].type"),
    _item("i.timer", "int16", Store.I16, "frames", -1, 32767, _scale(1 / 180, 0, 1), "Frames until it expires.",
          peppi="item.timer", libmelee="projectiles[].expiration_frames"),
    _item("i.exists", "uint8", Store.U8, "bool", 0, 1, _FLAG, "The slot holds an item; a slot keeps one item for its "
          "whole life.", peppi="item", libmelee="projectiles"),
    _item("i.state", "uint8", Store.U8, "id", 0, 255, _NONE, "Item state.", peppi="item.state",
          libmelee="projectiles[].subtype"),
)  # fmt: skip


def _stage(name: str, dtype: str, store: Store, unit: str, low: float, high: float, embed: Embed, doc: str,
           **rules) -> Field:  # fmt: skip
    return Field(name, Group.STAGE, dtype, store, unit, low, high, embed, doc, **rules)


_SWAP = Mirror.SWAP
_STAGE_FIELDS: tuple[Field, ...] = (
    _stage("s.fod_left", "float32", Store.F32, "game units", -100, 100, _POSITION,
           "Fountain of Dreams: height of the left platform (20 until the replay says otherwise; 0 elsewhere).",
           mirror=_SWAP, mirror_with="s.fod_right", peppi="fod_platform[platform=1].height",
           libmelee="fod_platforms.left"),
    _stage("s.fod_right", "float32", Store.F32, "game units", -100, 100, _POSITION,
           "Fountain of Dreams: height of the right platform (28 at the start).", mirror=_SWAP,
           mirror_with="s.fod_left", peppi="fod_platform[platform=0].height", libmelee="fod_platforms.right"),
    _stage("s.randall_x", "float32", Store.F32, "game units", -150, 150, _POSITION,
           "Yoshi's Story: centre of the cloud, computed from the frame id; 0 elsewhere.", mirror=_NEGATE,
           libmelee="stages.randall_position"),
    _stage("s.randall_y", "float32", Store.F32, "game units", -150, 150, _POSITION, "Yoshi's Story: cloud height.",
           libmelee="stages.randall_position"),
    _stage("s.stage", "uint8", Store.U8, "id", 0, 63, Embed(EmbedKind.CATEGORY, size=64),
           "Stage, external (replay) id: FoD 2, PS 3, YS 8, DL 28, BF 31, FD 32.", peppi="start.stage",
           libmelee="stage"),
    _stage("s.stadium", "uint8", Store.U8, "id", 0, 9, _NONE,
           "Pokémon Stadium: transformation (3 fire, 4 grass, 5 normal, 6 rock, 9 water); 0 elsewhere.",
           peppi="stadium_transformation.type", libmelee="stadium_transformation.type"),
    _stage("s.whispy", "int8", Store.I8, "-1, 0, 1", -1, 1, _scale(1.0), "Dream Land: wind to the left, none, right.",
           mirror=_NEGATE, peppi="dreamland_whispy.direction", libmelee="whispy"),
)  # fmt: skip

_OTHER_FIELDS: tuple[Field, ...] = (
    Field("frame", Group.FRAME, "int32", Store.I32, "frames", -123, 2**31 - 1, _scale(1 / 28800, 0, 1),
          "Frame id; the game starts at -123, players act from -39.", peppi="id", libmelee="frame"),
    Field("n.exists", Group.NANA, "uint8", Store.U8, "bool", 0, 1, _FLAG, "A second Ice Climber is alive.",
          peppi="follower", libmelee="nana"),
    _small("p.items_owned", "bitmask", 31, _NONE, "Bit i: this player owns the item in slot i.",
           peppi="item.owner", libmelee="projectiles[].owner"),
)  # fmt: skip


@dataclass(frozen=True)
class Schema:
    """An ordered set of fields with unique names."""

    fields: tuple[Field, ...]

    def __post_init__(self) -> None:
        """Refuses duplicate names and broken mirror partners."""
        names = [field.name for field in self.fields]
        if len(set(names)) != len(names):
            raise ValueError(f"schema: want unique names. Received: {sorted(names)}")
        for field in self.fields:
            if field.mirror is Mirror.SWAP and self.field(field.mirror_with).mirror_with != field.name:
                raise ValueError(f"schema.{field.name}: its mirror partner {field.mirror_with!r} must name it back")

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """Column names in order."""
        return tuple(field.name for field in self.fields)

    def field(self, name: str) -> Field:
        """The field called `name`; KeyError if there is none."""
        for field in self.fields:
            if field.name == name:
                return field
        raise KeyError(name)

    def group(self, group: Group) -> tuple[Field, ...]:
        """Fields of one group, in order."""
        return tuple(field for field in self.fields if field.group is group)

    def digests(self) -> dict[str, str]:
        """Name → digest; travels with every artefact so that a mismatch can name the differing fields."""
        return {field.name: field.digest() for field in self.fields}

    @functools.cache  # noqa: B019 - schemas are few and live for the whole process
    def fingerprint(self) -> str:
        """Hash of all fields, their order and `CONVENTIONS`."""
        facts = [CONVENTIONS, [[field.name, field.digest()] for field in self.fields]]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]

    def differences(self, digests: Mapping[str, str]) -> list[str]:
        """Readable differences between this schema and the digests of another."""
        own = self.digests()
        lines = [f"{name}: missing there" for name in own if name not in digests]
        lines += [f"{name}: unknown here" for name in digests if name not in own]
        lines += [f"{name}: defined differently" for name in own if digests.get(name, own[name]) != own[name]]
        return lines

    def empty(self, num_frames: int) -> dict[str, np.ndarray]:
        """Zeroed columns for `num_frames` frames; the frame ids count from -123."""
        columns = {field.name: np.zeros((num_frames, *field.shape), field.dtype) for field in self.fields}
        columns["frame"] += np.arange(num_frames, dtype=np.int32) - 123
        return columns

    def check(self, frames: Frames) -> list[str]:
        """Problems of dtype, shape, range and finiteness, one line each; empty if the frames are sound."""
        problems = [f"{name}: unknown column" for name in frames if name not in self.names]
        for field in self.fields:
            if field.name not in frames.columns:
                problems.append(f"{field.name}: missing")
            else:
                problems.extend(_column_problems(field, frames[field.name], len(frames)))
        return problems


def _column_problems(field: Field, column: np.ndarray, length: int) -> list[str]:
    want = (length, *field.shape)
    if column.dtype != np.dtype(field.dtype) or column.shape != want:
        return [f"{field.name}: want {field.dtype}{list(want)}. Received: {column.dtype}{list(column.shape)}"]
    if not column.size:
        return []
    low, high = column.min(), column.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        return [f"{field.name}: holds NaN or infinity"]
    if low < field.low or high > field.high:
        return [f"{field.name}: want {field.low:g} to {field.high:g} {field.unit}. Received: {low:g} to {high:g}"]
    return []


SCHEMA = Schema(
    (*_OTHER_FIELDS, *_PLAYER_FIELDS, *(_nana(field) for field in _PLAYER_FIELDS), *_CONTROLLER_FIELDS,
     *_ITEM_FIELDS, *_STAGE_FIELDS)
)  # fmt: skip
"""The schema of this version."""
