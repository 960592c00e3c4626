"""Melee's identifier spaces, kept apart by type, and the conversions between them.

Characters have three id spaces: *internal* (post-frame events, libmelee's enum), *external* (the
replay's start block and metadata), and libmelee's CSS icon order, which we never use. Stages have
two: *external* (replays; canonical here) and libmelee's *internal* enum values. 8 is Yoshi's Story
in one and Fountain of Dreams in the other: never mix them. A test holds these tables to libmelee's.
"""

import csv
import functools
import importlib.util
import re
from enum import IntEnum
from pathlib import Path

import numpy as np


class Character(IntEnum):
    """Internal character ids, as in post-frame events."""

    MARIO = 0
    FOX = 1
    CPTFALCON = 2
    DK = 3
    KIRBY = 4
    BOWSER = 5
    LINK = 6
    SHEIK = 7
    NESS = 8
    PEACH = 9
    POPO = 10
    NANA = 11
    PIKACHU = 12
    SAMUS = 13
    YOSHI = 14
    JIGGLYPUFF = 15
    MEWTWO = 16
    LUIGI = 17
    MARTH = 18
    ZELDA = 19
    YLINK = 20
    DOC = 21
    FALCO = 22
    PICHU = 23
    GAMEANDWATCH = 24
    GANONDORF = 25
    ROY = 26


class Stage(IntEnum):
    """External stage ids (replay start block): the canonical space of this project."""

    FOUNTAIN_OF_DREAMS = 2
    POKEMON_STADIUM = 3
    YOSHIS_STORY = 8
    DREAMLAND = 28
    BATTLEFIELD = 31
    FINAL_DESTINATION = 32


_BY_EXTERNAL_ID = (
    "CPTFALCON", "DK", "FOX", "GAMEANDWATCH", "KIRBY", "BOWSER", "LINK", "LUIGI", "MARIO",
    "MARTH", "MEWTWO", "NESS", "PEACH", "PIKACHU", "POPO", "JIGGLYPUFF", "SAMUS", "YOSHI",
    "ZELDA", "SHEIK", "FALCO", "YLINK", "DOC", "ROY", "PICHU", "GANONDORF",
)  # fmt: skip
EXTERNAL_TO_INTERNAL: dict[int, Character] = {
    external: Character[name] for external, name in enumerate(_BY_EXTERNAL_ID)
}
"""External (start block) → internal character id."""
INTERNAL_TO_EXTERNAL: dict[Character, int] = {
    **{internal: external for external, internal in EXTERNAL_TO_INTERNAL.items()},
    Character.NANA: 14,
}
"""Internal → external character id; Nana is picked as Ice Climbers."""
STAGE_TO_LIBMELEE: dict[Stage, int] = {
    Stage.FOUNTAIN_OF_DREAMS: 8,
    Stage.POKEMON_STADIUM: 18,
    Stage.YOSHIS_STORY: 6,
    Stage.DREAMLAND: 26,
    Stage.BATTLEFIELD: 24,
    Stage.FINAL_DESTINATION: 25,
}
"""Canonical (external) stage → libmelee `enums.Stage` value."""
STAGE_FROM_LIBMELEE: dict[int, Stage] = {value: stage for stage, value in STAGE_TO_LIBMELEE.items()}

BUTTONS = ("A", "B", "X", "Y", "Z", "L", "R", "D_UP")
"""The eight buttons a policy controls, in the order of every button vector; bit i of `c.buttons` is
BUTTONS[i]."""
BUTTON_MASKS = {
    "A": 0x0100, "B": 0x0200, "X": 0x0400, "Y": 0x0800, "Z": 0x0010, "L": 0x0040, "R": 0x0020,
    "D_UP": 0x0008,
}  # fmt: skip
"""Masks in the replay's physical button word (pre-frame `buttons_physical`)."""

HITSTUN_ACTIONS = (75, 91)
"""First and last damage action (DAMAGE_HIGH_1…DAMAGE_FLY_ROLL); outside, the hitstun register holds
other things."""

ACTION_COUNT = 544
"""Action state ids lie in [0, 544). 341 are common to all, each character's own follow; Kirby's
abilities, copied from everybody else, reach farthest: 399 (Mario's hat) to 543 (Ganondorf's)."""

_SIDED_COMMON = ((1, 2), (264, 265))
"""Dead at the left and right blast zone; taunting to the right and left."""
_SIDED_SPACE_TAUNT = ((370, 371), (372, 373), (374, 375))
_SIDED: dict[Character, tuple[tuple[int, int], ...]] = {
    Character.FOX: _SIDED_SPACE_TAUNT,
    Character.FALCO: _SIDED_SPACE_TAUNT,
    # Rollout on the ground and in the air, Sing, Rest.
    Character.JIGGLYPUFF: (
        (346, 347), (352, 353), (354, 355), (360, 361), (365, 367), (366, 368), (369, 371),
        (370, 372),
    ),
    # Rollout with Jigglypuff's hat.
    Character.KIRBY: ((475, 476), (481, 482), (483, 484), (489, 490)),
}  # fmt: skip
"""Pairs of ids of one move to the right and to the left, by who has them, besides the common ones.
From the game's tables (doldecomp/melee, names that end in R and L); every other move is the same
id both ways, with the facing beside it."""

_ALIASES = {
    "gnw": "GAMEANDWATCH", "gw": "GAMEANDWATCH", "gandw": "GAMEANDWATCH",
    "mrgameandwatch": "GAMEANDWATCH", "mrgandw": "GAMEANDWATCH", "falcon": "CPTFALCON",
    "captainfalcon": "CPTFALCON", "cfalcon": "CPTFALCON", "donkeykong": "DK", "puff": "JIGGLYPUFF",
    "ganon": "GANONDORF", "iceclimbers": "POPO", "ics": "POPO", "ic": "POPO", "icies": "POPO",
    "younglink": "YLINK", "drmario": "DOC", "doctormario": "DOC", "pika": "PIKACHU",
}  # fmt: skip
_STAGE_ALIASES = {
    "fd": "FINAL_DESTINATION", "final": "FINAL_DESTINATION", "bf": "BATTLEFIELD",
    "ys": "YOSHIS_STORY", "yoshis": "YOSHIS_STORY", "dl": "DREAMLAND", "dreamland64": "DREAMLAND",
    "dl64": "DREAMLAND", "fod": "FOUNTAIN_OF_DREAMS", "fountain": "FOUNTAIN_OF_DREAMS",
    "ps": "POKEMON_STADIUM", "stadium": "POKEMON_STADIUM",
}  # fmt: skip


def _squash(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower().replace("&", "and"))


def character_from_name(text: str) -> Character:
    """The character a user means: case, `_`, `&`, spaces and common short names do not matter.

    Raises:
      ValueError: if no character has that name; the message lists the known ones.
    """
    key = _squash(text)
    by_key = {_squash(character.name): character for character in Character}
    if key in _ALIASES:
        return Character[_ALIASES[key]]
    if key in by_key:
        return by_key[key]
    raise ValueError(
        f"character: want one of {', '.join(c.name.lower() for c in Character)}. Received: {text!r}"
    )


def character_name(character: int) -> str:
    """Lower-case name of an internal id; `character_29` for one outside the roster."""
    known = character in set(Character)
    return Character(character).name.lower() if known else f"character_{character}"


def stage_name(stage: int) -> str:
    """Lower-case name of an external id; the number of a stage that is not legal."""
    return Stage(stage).name.lower() if stage in set(Stage) else str(stage)


def stage_from_name(text: str) -> Stage:
    """The stage a user means (`fd`, `Final Destination`, `FINAL_DESTINATION`…).

    Raises:
      ValueError: if no legal stage has that name.
    """
    key = _squash(text)
    by_key = {_squash(stage.name): stage for stage in Stage}
    if key in _STAGE_ALIASES:
        return Stage[_STAGE_ALIASES[key]]
    if key in by_key:
        return by_key[key]
    raise ValueError(
        f"stage: want one of {', '.join(s.name.lower() for s in Stage)}. Received: {text!r}"
    )


@functools.cache
def zero_index_table() -> np.ndarray:
    """Actions whose animation counts from 0 in memory: bool `[256, ACTION_COUNT]`.

    Indexed by (internal character, action); to these libmelee adds 1. Read from libmelee's own
    `actiondata.csv` (1,156 pairs), without importing libmelee.
    """
    table = np.zeros((256, ACTION_COUNT), bool)
    spec = importlib.util.find_spec("melee")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(
            "melee: the libmelee package (`pip install melee`) is needed for its action table"
        )
    path = Path(spec.submodule_search_locations[0]) / "actiondata.csv"
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["zeroindex"] == "True":
                table[int(row["character"]), int(row["action"])] = True
    table.setflags(write=False)
    return table


@functools.cache
def mirrored_actions() -> np.ndarray:
    """int32 `[256, ACTION_COUNT]`: the action that an action is in a mirror.

    Indexed by (internal character, action).
    """
    table = np.tile(np.arange(ACTION_COUNT, dtype=np.int32), (256, 1))
    for right, left in _SIDED_COMMON:
        table[:, [right, left]] = left, right
    for character, pairs in _SIDED.items():
        for right, left in pairs:
            table[character, [right, left]] = left, right
    table.setflags(write=False)
    return table


ACTION_CATEGORIES = (
    "dead", "entry", "idle", "walk", "dash", "jumpsquat", "jump", "fall", "land", "crouch",
    "ground_attack", "smash", "aerial", "neutral_b", "side_b", "up_b", "down_b", "grab", "throw",
    "grabbed", "shield", "dodge", "damage", "down", "ledge",
)  # fmt: skip
"""The 25 coarse action categories of the compact Nana block."""

_CATEGORY_RANGES: tuple[tuple[int, int, str], ...] = (
    (0x00, 0x0B, "dead"), (0x0C, 0x0D, "entry"), (0x0E, 0x0E, "idle"), (0x0F, 0x11, "walk"),
    (0x12, 0x17, "dash"), (0x18, 0x18, "jumpsquat"), (0x19, 0x1C, "jump"), (0x1D, 0x26, "fall"),
    (0x27, 0x29, "crouch"), (0x2A, 0x2B, "land"), (0x2C, 0x39, "ground_attack"),
    (0x3A, 0x40, "smash"), (0x41, 0x45, "aerial"), (0x46, 0x4A, "land"), (0x4B, 0x5B, "damage"),
    (0x5C, 0x5D, "idle"), (0x5E, 0x77, "throw"), (0x78, 0xB1, "ground_attack"),
    (0xB2, 0xB6, "shield"), (0xB7, 0xC6, "down"), (0xC7, 0xCC, "dodge"), (0xCD, 0xD3, "damage"),
    (0xD4, 0xDA, "grab"), (0xDB, 0xDE, "throw"), (0xDF, 0xE8, "grabbed"), (0xE9, 0xEC, "dodge"),
    (0xED, 0xEE, "ground_attack"), (0xEF, 0xF3, "grabbed"), (0xF4, 0xF4, "fall"),
    (0xF5, 0xF6, "idle"), (0xF7, 0xFA, "damage"), (0xFB, 0xFB, "fall"), (0xFC, 0x107, "ledge"),
    (0x108, 0x109, "idle"), (0x10A, 0x130, "grabbed"), (0x131, 0x139, "jump"),
    (0x13A, 0x141, "idle"), (0x142, 0x144, "entry"), (0x145, 0x146, "damage"),
    (0x147, 0x154, "grabbed"), (0x155, 0x15C, "neutral_b"), (0x15D, 0x167, "side_b"),
    (0x168, 0x16E, "down_b"), (0x16F, 0x170, "up_b"), (0x171, 0x177, "down_b"),
    (0x178, 0x17E, "grabbed"), (0x17F, 0x21F, "neutral_b"),
)  # fmt: skip


@functools.cache
def action_category_table() -> np.ndarray:
    """int32 `[ACTION_COUNT]`: index into `ACTION_CATEGORIES` per action id.

    Common actions (below 0x155) follow libmelee's `Action` names. Special moves share ids across
    characters, so the four special categories are the commonest use of an id, an approximation that
    the exact action id corrects.
    """
    table = np.full(ACTION_COUNT, ACTION_CATEGORIES.index("idle"), np.int32)
    for first, last, name in _CATEGORY_RANGES:
        table[first : last + 1] = ACTION_CATEGORIES.index(name)
    table.setflags(write=False)
    return table
