"""`Game` → a `.slp` file that peppi-py, libmelee and other readers take for a recording.

Version 3.16.0, or 3.18.0 where the stage moves (platform heights, wind and transformations have no
earlier event). Frame starts, pre-frames, items, post-frames and bookends in that order, metadata,
and a Game End if the game has a method of ending. Every schema column reads back exactly: action
frames are stored as memory counts them, hitstun in the reused register, raw analog bytes are the
stick's 1/80 steps. What the schema does not hold is set to what a quiet game holds (animations as
the action, no last hit); Randall follows from the frame id, so his columns are not stored.

Rows are written without a Python loop over frames: one numpy record array per kind of event.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from exphil_tf.features.schema import PLAYERS, SCHEMA
from exphil_tf.features.stage_columns import stage_columns
from exphil_tf.melee.controls import AXES, STICK_STEPS
from exphil_tf.melee.enums import (
    BUTTON_MASKS,
    BUTTONS,
    INTERNAL_TO_EXTERNAL,
    Character,
    Stage,
    zero_index_table,
)
from exphil_tf.melee.types import Frames, Game, GameInfo, PlayerInfo
from exphil_tf.replays import absent, events, ubjson

_EMPTY_PORT = 3
_NOBODY = 6
"""`last_hit_by` of a character that was not hit."""
_STADIUM_RISING = 5
_FLOATS = (
    "percent", "x", "y", "shield", "speed_air_x_self", "speed_ground_x_self", "speed_y_self",
    "speed_x_attack",
    "speed_y_attack", "hitlag", "character", "action",
)  # fmt: skip
"""Post-frame fields that carry the schema's name and value."""


def write_slp(game: Game, path: Path | str | None = None) -> bytes:
    """The game as a `.slp` file.

    Args:
      game: of two players, with every schema column in range; items in slots as
        `items.assign_slots` deals them.
      path: where to write it; nothing is written if None.

    Returns: the file's bytes, the same for the same game.

    Raises:
      ValueError: if columns are missing or out of range, or the frames contradict the description.
    """
    _require_writable(game)
    info, frames = game.info, game.frames
    raw = b"".join([opening(info), frame_events(info, frames), game_end(info, frames)])
    data = events.container(raw, ubjson.write_object(_metadata(info, frames)))
    if path is not None:
        Path(path).write_bytes(data)
    return data


def opening(info: GameInfo) -> bytes:
    """What a game's events begin with: the payload table and Game Start."""
    version = (3, 18, 0) if _tells_stage(info) else (3, 16, 0)
    return events.payload_table(_sizes(info)) + game_start(info, version)


def frame_events(info: GameInfo, frames: Frames) -> bytes:
    """The events of frames that follow one another, in the layout that `opening` declares."""
    blocks = [
        *_mark_blocks(info, frames),
        *_stage_blocks(info, frames),
        *_item_blocks(info, frames),
    ]
    pre_size = _sizes(info)[events.PRE] + 1
    for player in range(PLAYERS):
        blocks += _player_blocks(info, frames, player=player, pre_size=pre_size)
    return events.assemble(blocks).tobytes()


def _sizes(info: GameInfo) -> dict[int, int]:
    return events.SIZES_3_18 if _tells_stage(info) else events.SIZES_3_16


def _require_writable(game: Game) -> None:
    info, frames = game.info, game.frames
    problems = SCHEMA.check(frames)
    if len(info.players) != PLAYERS:
        problems.append(f"want {PLAYERS} players. Received: {len(info.players)}")
    elif not len(frames):
        problems.append("want at least one frame")
    elif not problems:
        climbers = [player.character in (Character.POPO, Character.NANA) for player in info.players]
        if (frames["n.exists"].any(axis=0) & ~np.array(climbers)).any():
            problems.append("n.exists: only a player who picked Ice Climbers has a Nana")
        if (frames["s.stage"] != info.stage).any():
            problems.append(f"s.stage: want the game's stage {info.stage}")
        if (np.diff(frames["frame"]) != 1).any():
            problems.append("frame: want ids ascending by 1")
        if (frames["absent"] != info.absent & _untold(info)).any():
            problems.append("absent: want every column in every row, but for moving stage parts")
    if problems:
        raise ValueError(f"write_slp: {'; '.join(problems)}")


def _untold(info: GameInfo) -> int:
    """Bits of `absent` for what 3.16 does not record of a game."""
    return absent.bits(info, {code: size + 1 for code, size in events.SIZES_3_16.items()})


def _tells_stage(info: GameInfo) -> bool:
    """Whether the stage has moving parts, which are then to be recorded unless they are absent."""
    return bool(_untold(info) & ~info.absent)


def game_start(info: GameInfo, version: tuple[int, int, int]) -> bytes:
    """The Game Start event, 761 bytes."""
    block = bytearray(events.SIZES_3_16[events.GAME_START] + 1)
    block[0] = events.GAME_START
    block[1:4] = bytes(version)
    block[5:9] = b"\x32\x01\x86\x4c"  # the game settings of an ordinary stock match
    block[0xD] = info.is_teams
    block[0x10:0x12] = b"\xff\xff"  # no items; a self-destruct costs one point
    struct.pack_into(">HI", block, 0x13, info.stage, info.timer_s)
    block[0x28:0x2D] = b"\xff" * 5
    struct.pack_into(">f", block, 0x35, 1.0)
    for port in range(6):
        block[0x65 + 0x24 * port + 1] = _EMPTY_PORT
    for player in info.players:
        _put_player(block, player)
    struct.pack_into(">I", block, 0x13D, info.seed & 0xFFFFFFFF)
    block[0x1A1], block[0x1A2] = info.is_pal, info.is_frozen_ps
    block[0x1A3], block[0x1A4] = 2, 8 if info.match_id else 2
    block[0x2BD] = 1  # English
    _put_text(block, 0x2BE, 51, info.match_id)
    struct.pack_into(">II", block, 0x2F1, info.game_index, info.tiebreak)
    return bytes(block)


def _put_player(block: bytearray, player: PlayerInfo) -> None:
    index = player.port - 1
    base = 0x65 + 0x24 * index
    if player.character not in INTERNAL_TO_EXTERNAL:
        raise ValueError(
            f"write_slp: want a playable character. Received: character={player.character}"
        )
    block[base] = INTERNAL_TO_EXTERNAL[Character(player.character)]
    block[base + 1] = int(player.is_cpu)
    block[base + 2], block[base + 3] = player.stocks, player.costume
    block[base + 8], block[base + 9] = 9, player.team
    block[base + 0xC] = 0xC0
    block[base + 0xF] = player.cpu_level
    struct.pack_into(">fff", block, base + 0x18, 1.0, 1.0, 1.0)
    struct.pack_into(">II", block, 0x141 + 8 * index, 1, 1)  # UCF
    _put_text(block, 0x161 + 0x10 * index, 0x10, player.tag)
    _put_text(block, 0x1A5 + 0x1F * index, 0x1F, player.name)
    _put_text(block, 0x221 + 0xA * index, 0xA, player.code.replace("#", "\uff03"))


def _put_text(block: bytearray, offset: int, length: int, text: str) -> None:  # noqa: PLR0917
    """Shift-JIS text as Windows has it, cut to whole characters before the final NUL."""
    encoded = b""
    for character in text:
        piece = character.encode("cp932", "replace")
        if len(encoded) + len(piece) >= length:
            break
        encoded += piece
    block[offset : offset + len(encoded)] = encoded


def _records(dtype: np.dtype, code: int, frame: np.ndarray) -> np.ndarray:
    records = np.zeros(len(frame), dtype)
    records["command"], records["frame"] = code, frame
    return records


def _block(records: np.ndarray, row: np.ndarray, *, size: int = 0) -> events.Block:
    code = int(records["command"][0]) if len(records) else events.ITEM
    return events.Block(
        events.as_bytes(records, size or records.dtype.itemsize), row, events.RANKS[code]
    )


def _mark_blocks(info: GameInfo, frames: Frames) -> list[events.Block]:
    frame, row = frames["frame"], np.arange(len(frames))
    start = _records(events.FRAME_START_DTYPE, events.FRAME_START, frame)
    start["seed"] = (info.seed + row) & 0xFFFFFFFF
    start["scene_frame"] = row
    end = _records(events.FRAME_END_DTYPE, events.FRAME_END, frame)
    end["finalized"] = frame
    return [_block(start, row), _block(end, row)]


def _player_blocks(
    info: GameInfo, frames: Frames, *, player: int, pre_size: int
) -> list[events.Block]:
    port = info.players[player].port - 1
    row = np.arange(len(frames))
    pre, post = _character(frames, "p", player)
    _put_controller(pre, frames, player)
    blocks = []
    nana = np.flatnonzero(frames["n.exists"][:, player])
    if len(nana):
        follower_pre, follower_post = (part[nana] for part in _character(frames, "n", player))
        blocks = [(follower_pre, nana, 1), (follower_post, nana, 1)]
    blocks = [(pre, row, 0), (post, row, 0), *blocks]
    for records, _, follower in blocks:
        records["port"], records["follower"] = port, follower
    return [
        _block(records, rows, size=pre_size if records.dtype == events.PRE_DTYPE else 0)
        for records, rows, _ in blocks
    ]


def _character(frames: Frames, group: str, player: int) -> tuple[np.ndarray, np.ndarray]:
    """Pre- and post-frame records `[frames]` of a leader (group "p") or Nana ("n")."""
    value = {
        name[2:]: frames[name][:, player] for name in SCHEMA.names if name.startswith(f"{group}.")
    }
    post = _records(events.POST_DTYPE, events.POST, frames["frame"])
    for name in _FLOATS:
        post[name] = value[name]
    zero_index = zero_index_table()
    action = np.minimum(value["action"], zero_index.shape[1] - 1)
    shift = zero_index[value["character"], action] if group == "p" else 0
    post["state_age"] = value["action_frame"].astype(np.int32) - shift
    post["misc"] = value["hitstun"]
    post["facing"] = np.where(value["facing"], 1.0, -1.0)
    post["stocks"], post["jumps"] = value["stock"], value["jumps_left"]
    post["airborne"] = value["on_ground"] == 0
    post["hurtbox"] = value["invulnerable"]
    post["last_hit_by"], post["animation"] = _NOBODY, value["action"]
    pre = _records(events.PRE_DTYPE, events.PRE, frames["frame"])
    before = np.maximum(np.arange(len(frames)) - 1, 0)
    for name in ("action", "x", "y", "facing", "percent"):
        pre[name] = post[name][before]
    return pre, post


def _put_controller(pre: np.ndarray, frames: Frames, player: int) -> None:
    for name in AXES:
        pre[name] = frames[f"c.{name}"][:, player]
    for raw, name in (
        ("raw_x", "main_x"),
        ("raw_y", "main_y"),
        ("raw_c_x", "c_x"),
        ("raw_c_y", "c_y"),
    ):
        pre[raw] = np.rint(frames[f"c.{name}"][:, player] * STICK_STEPS)
    shoulder = frames["c.shoulder"][:, player]
    pre["trigger"], pre["physical_l"] = shoulder, shoulder
    mask = frames["c.buttons"][:, player]
    word = np.zeros(len(mask), np.uint16)
    for bit, button in enumerate(BUTTONS):
        word |= np.where(mask >> bit & 1, BUTTON_MASKS[button], 0).astype(np.uint16)
    pre["physical_buttons"], pre["buttons"] = word, word


def _item_blocks(info: GameInfo, frames: Frames) -> list[events.Block]:
    """Item events; frames on which a slot is occupied without a break share a spawn id."""
    exists = frames["i.exists"] != 0
    row, slot = np.nonzero(exists)
    if not len(row):
        return []
    appears = exists.copy()
    appears[1:] &= ~exists[:-1]
    spawn_id = np.full(exists.shape, -1)
    spawn_id[appears] = np.arange(int(appears.sum()))  # by frame, then slot
    spawn_id = np.maximum.accumulate(spawn_id, axis=0)
    records = _records(events.ITEM_DTYPE, events.ITEM, frames["frame"][row])
    for name in ("type", "state", "speed_x", "speed_y", "x", "y", "timer"):
        records[name] = frames[f"i.{name}"][row, slot]
    records["id"] = spawn_id[row, slot]
    records["facing"] = 1.0
    records["owner"] = -1
    for player, described in enumerate(info.players):
        owned = frames["p.items_owned"][row, player] >> slot & 1
        records["owner"][owned != 0] = described.port - 1
    return [_block(records, row)]


def _stage_blocks(info: GameInfo, frames: Frames) -> list[events.Block]:
    """Events at each change from the stage's resting state; none if it rests throughout."""
    rest = stage_columns(info.stage, frames["frame"][:1])
    if info.stage == Stage.FOUNTAIN_OF_DREAMS:
        parts = [
            _changes(
                frames, rest, column="s.fod_right", dtype=events.FOD_DTYPE, code=events.FOD_PLATFORM
            ),
            _changes(
                frames, rest, column="s.fod_left", dtype=events.FOD_DTYPE, code=events.FOD_PLATFORM
            ),
        ]
        for platform, (records, row) in enumerate(parts):
            records["platform"], records["height"] = (
                platform,
                frames[("s.fod_right", "s.fod_left")[platform]][row],
            )
    elif info.stage == Stage.DREAMLAND:
        parts = [
            _changes(frames, rest, column="s.whispy", dtype=events.WHISPY_DTYPE, code=events.WHISPY)
        ]
        records, row = parts[0]
        records["direction"] = np.array([0, 2, 1])[frames["s.whispy"][row]]
    elif info.stage == Stage.POKEMON_STADIUM:
        parts = [
            _changes(
                frames, rest, column="s.stadium", dtype=events.STADIUM_DTYPE, code=events.STADIUM
            )
        ]
        records, row = parts[0]
        records["event"], records["type"] = _STADIUM_RISING, frames["s.stadium"][row]
    else:
        parts = []
    return [_block(records, row) for records, row in parts if len(row)]


def _changes(
    frames: Frames, rest: dict[str, np.ndarray], *, column: str, dtype: np.dtype, code: int
) -> tuple[np.ndarray, np.ndarray]:
    """Blank records for, and indices of, the frames on which a column differs from before."""
    values = frames[column]
    row = np.flatnonzero(values != np.concatenate([rest[column], values[:-1]]))
    return _records(dtype, code, frames["frame"][row]), row


def game_end(info: GameInfo, frames: Frames) -> bytes:
    """The Game End event after some frames; nothing if the game has no way of ending."""
    if info.end_method is None:
        return b""
    score = frames["p.stock"][-1] * 1000.0 - frames["p.percent"][-1]
    places = [0xFF] * 4
    for player, described in enumerate(info.players):
        places[described.port - 1] = int(score[1 - player] > score[player])
    quitter = 0xFF if info.lras is None else info.lras - 1
    return bytes([events.GAME_END, info.end_method, quitter, *places])


def _metadata(info: GameInfo, frames: Frames) -> dict[str, object]:
    players = {}
    for player, described in enumerate(info.players):
        seen, counts = np.unique(frames["p.character"][:, player], return_counts=True)
        players[str(described.port - 1)] = {
            "names": {"netplay": described.name, "code": described.code},
            "characters": {str(kind): int(count) for kind, count in zip(seen, counts, strict=True)},
        }
    return {
        "startAt": info.start_at,
        "lastFrame": int(frames["frame"][-1]),
        "players": players,
        "playedOn": "dolphin",
    }
