"""Three tiny real replays that any clone has, and how they were cut.

Each is some seconds of a replay from peppi's test data, read by our reader, given neutral players,
seeds and dates, and written by our writer; the frames are numbered from -123 on. `tests/fixtures/`
holds them; `tests/replays/test_fixtures.py` renews them where the originals are beside the checkout
(`pytest --update-golden tests/replays/test_fixtures.py`).
"""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np
from replay_games import as_old

from exphil_tf.melee.types import FIRST_FRAME, Frames, Game, GameInfo, PlayerInfo
from exphil_tf.replays import events, slp
from exphil_tf.replays.parse import parse
from exphil_tf.replays.writer import write_slp

FIXTURES = Path(__file__).resolve().parent / "fixtures"
REPLAYS = FIXTURES / "replays"
_HITLAG_FLAGS = (1, 0x20)
"""Byte of the state flags and bit in it: "in hitlag"."""


class Cut(NamedTuple):
    """Where a fixture comes from."""

    source: str
    first: int
    """Row of the source."""
    frames: int
    old_version: tuple[int, int, int] | None = None
    """The version whose layout the fixture has; None for the writer's own."""


CUTS = {
    "items": Cut("peppi/duplicate_game_end.slp", 1045, 156),
    "nana": Cut("peppi/ics2.slp", 1760, 128),
    "old": Cut("peppi/v2.0.slp", 850, 176, old_version=(2, 0, 1)),
}
"""Two Falcos and their lasers; an Ice Climber who loses Nana, and a Falco; Jigglypuff and Fox as
version 2.0 recorded them."""
NAMES = tuple(CUTS)


def fixture(name: str) -> Path:
    """The file of a fixture."""
    return REPLAYS / f"{name}.slp"


def cut(name: str, sources: Path) -> bytes:
    """A fixture made anew from the folder of original replays."""
    rule = CUTS[name]
    whole = parse(sources / rule.source)
    frames = whole.frames.slice(rule.first, rule.first + rule.frames)
    columns = dict(frames.columns)
    columns["frame"] = FIRST_FRAME + np.arange(len(frames), dtype=np.int32)
    info = _neutral(whole.info, seed=1 + NAMES.index(name))
    if rule.old_version:
        info = dataclasses.replace(info, absent=0)
        columns["absent"] = np.zeros_like(columns["absent"])
    data = write_slp(Game(info, Frames(columns)))
    return as_old(with_hitlag_flags(data), rule.old_version) if rule.old_version else data


def private_texts(name: str, sources: Path) -> set[bytes]:
    """What a fixture may not hold: names, codes, tags, ids and dates of its source, as bytes."""
    info = parse(sources / CUTS[name].source).info
    texts = {info.match_id, info.start_at}
    for player in info.players:
        texts |= {player.name, player.code, player.code.replace("#", "\uff03"), player.tag}
    codings = ("utf-8", "utf-16-le", "cp932")
    return {text.encode(coding, "replace") for text in texts - {""} for coding in codings}


def _neutral(info: GameInfo, *, seed: int) -> GameInfo:
    players = tuple(
        PlayerInfo(port=p.port, character=p.character, name=name, code=f"{name.upper()}#1")
        for p, name in zip(info.players, ("One", "Two"), strict=True)
    )
    return GameInfo(
        stage=info.stage,
        players=players,
        absent=info.absent,
        seed=seed,
        start_at="2000-01-01T00:00:00Z",
        end_method=2,
    )


def with_hitlag_flags(data: bytes) -> bytes:
    """The file with the state flag that old versions tell hitlag by; our writer leaves it out."""
    found, raw = slp.scan(data), bytearray(data)
    hitlag, flags = (events.POST_DTYPE.fields[name][1] for name in ("hitlag", "flags"))
    byte, bit = _HITLAG_FLAGS
    position = found.start
    while position < found.stop:
        if raw[position] == events.POST and any(raw[position + hitlag : position + hitlag + 4]):
            raw[position + flags + byte] |= bit
        position += found.sizes[raw[position]]
    return bytes(raw)
