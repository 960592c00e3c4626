"""What can be said of one field; `exphil_tf.features.fields` says it of each."""

import hashlib
import json
from dataclasses import asdict, dataclass
from enum import StrEnum

PLAYERS = 2
ITEM_SLOTS = 5


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
    """The other sign; a zero has no side and stays as it is, down to its bits."""
    FLIP = "flip"
    """0 ↔ 1, where the thing is there (`present`)."""
    SWAP = "swap"
    """Exchange with the field named in `mirror_with`."""
    SIDES = "sides"
    """Action ids: those that name a side are exchanged (`enums.mirrored_actions`), by the character
    in the field named in `mirror_with`."""
    COUNT = "count"
    """Shifted by 1 where the action named in `mirror_with` and its mirror image are counted from
    different numbers (`enums.zero_index_table`)."""


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


@dataclass(frozen=True, kw_only=True)
class Field:
    """One column.

    Args:
      name: column name, `<group letter>.<libmelee name>`.
      group: decides the shape.
      dtype: numpy dtype of the column in `Frames`.
      store: layout on disk.
      unit: what 1 means.
      low: lowest legal value; checks and generated test data keep to it.
      high: highest legal value.
      embed: embedding rule.
      doc: one line.
      mirror: reflection rule.
      mirror_with: the partner of SWAP, the character of SIDES, the action of COUNT.
      present: the flag column, of the same shape, that says whether the thing is there; empty if it
        always is. What is absent is all zeros, mirrored or not, and is never noised.
      noise: Gaussian noise σ in multiples of the user's `noise_scale`; 0 = never noised.
      peppi: where peppi has the value.
      libmelee: where libmelee has it.
      since: first replay version that records it; earlier ones are marked in `absent`.
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
    present: str = ""
    noise: float = 0.0
    peppi: str = ""
    libmelee: str = ""
    since: tuple[int, int] = (0, 0)

    @property
    def shape(self) -> tuple[int, ...]:
        """Trailing shape of the column: `[time, *shape]`."""
        return SHAPES[self.group]

    def digest(self) -> str:
        """Hash of what decides the meaning of stored or fed values, documentation aside."""
        facts = asdict(self)
        for cosmetic in ("doc", "low", "high", "noise", "peppi", "libmelee"):
            del facts[cosmetic]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
