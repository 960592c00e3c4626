"""Random games that are legal for the schema, for round trips: no physics, every column in
range."""

import struct

import numpy as np

from exphil_tf.features.character_state import COLUMNS, character_columns
from exphil_tf.features.item_slots import HELD, HELD_FRAMES, Items, item_columns
from exphil_tf.features.schema import SCHEMA
from exphil_tf.features.stage_columns import stage_columns
from exphil_tf.melee.enums import ACTION_COUNT, HITSTUN_ACTIONS, Character, Stage
from exphil_tf.melee.types import Frames, Game, GameInfo, PlayerInfo
from exphil_tf.replays import events, slp


def make_game(
    seed: int,
    *,
    length: int = 300,
    stage: Stage = Stage.BATTLEFIELD,
    ports: tuple[int, int] = (1, 2),
    picked: tuple[Character, Character] = (Character.FOX, Character.FALCO),
    moving_stage: bool = False,
    **info: object,
) -> Game:
    """A game of `length` frames; players who picked Popo have Nana on random stretches."""
    rng = np.random.default_rng(seed)
    frame = np.arange(length, dtype=np.int32) - 123
    derived = {*COLUMNS, HELD, HELD_FRAMES}
    drawn = [field for field in SCHEMA.fields if field.name not in derived]
    result = {field.name: _uniform(rng, field, length) for field in drawn}
    result["frame"] = frame
    result["absent"][:] = 0
    result["p.action"] = rng.integers(0, ACTION_COUNT, (length, 2)).astype(np.uint16)
    result["n.action"] = rng.integers(0, ACTION_COUNT, (length, 2)).astype(np.uint16)
    for group in ("p", "n"):
        result[f"{group}.character"] = rng.integers(0, 27, (length, 2)).astype(np.uint8)
        _mask_hitstun(result, group)
    result["p.stock"] = np.sort(result["p.stock"], axis=0)[::-1].copy()
    for name in ("main_x", "main_y", "c_x", "c_y"):
        result[f"c.{name}"] = (rng.integers(-80, 81, (length, 2)) / 80).astype(np.float32)
    result["c.shoulder"] = (rng.integers(0, 141, (length, 2)) / 140).astype(np.float32)
    _place_nana(rng, result, picked)
    result |= item_columns(_random_items(rng, length), length, [port - 1 for port in ports])
    result |= stage_columns(
        stage, frame, _random_stage(rng, stage, length) if moving_stage else None
    )
    result |= character_columns(result)
    players = tuple(
        PlayerInfo(port=port, character=int(character), name=f"Näme {port}"[:15],
        code=f"TEST#{port}", tag="TAG",
                   costume=port, is_cpu=port == ports[1], cpu_level=7 if port == ports[1] else 0)
        for port, character in zip(ports, picked, strict=True)
    )  # fmt: skip
    facts = {"seed": seed, "end_method": 2, "start_at": "2026-01-02T03:04:05Z"} | info
    described = GameInfo(stage=int(stage), players=players, **facts)
    return Game(described, Frames({name: result[name] for name in SCHEMA.names}))


def _uniform(rng: np.random.Generator, field, length: int) -> np.ndarray:
    shape = (length, *field.shape)
    if field.dtype == "float32":
        return rng.uniform(field.low, field.high, shape).astype(np.float32)
    high = min(int(field.high), int(np.iinfo(field.dtype).max))
    return rng.integers(int(field.low), high + 1, shape).astype(field.dtype)


def _mask_hitstun(result: dict[str, np.ndarray], group: str) -> None:
    action = result[f"{group}.action"]
    inside = (action >= HITSTUN_ACTIONS[0]) & (action <= HITSTUN_ACTIONS[1])
    result[f"{group}.hitstun"] = np.where(inside, result[f"{group}.hitstun"], 0).astype(np.int16)


def _place_nana(rng: np.random.Generator, result: dict[str, np.ndarray], picked: tuple) -> None:
    length = len(result["frame"])
    exists = np.repeat(rng.random((length // 20 + 1, 2)) < 0.6, 20, axis=0)[:length]
    exists &= np.array([character == Character.POPO for character in picked])
    for name in SCHEMA.names:
        if name.startswith("n."):
            result[name] = np.where(exists, result[name], 0).astype(result[name].dtype)
    result["n.exists"] = exists.astype(np.uint8)


def _random_items(rng: np.random.Generator, length: int) -> Items:
    """About one item per 15 frames, each alive for up to 120: often more than there are slots."""
    row, spawn_id = [], []
    for item in range(length // 15):
        start = int(rng.integers(0, length))
        stop = min(length, start + int(rng.integers(1, 120)))
        row += range(start, stop)
        spawn_id += [item] * (stop - start)
    count = len(row)
    kinds = rng.integers(0, 240, length)
    ids = np.array(spawn_id, np.int64)
    return Items(
        row=np.array(row, np.int64), spawn_id=ids, type=kinds[ids], state=rng.integers(0, 256,
        count),
        timer=rng.integers(0, 1400, count).astype(np.float32),
        x=rng.uniform(-300, 300, count), y=rng.uniform(-150, 200, count), speed_x=rng.uniform(-9,
        9, count),
        speed_y=rng.uniform(-9, 9, count), owner=rng.integers(-1, 4, count),
    )  # fmt: skip


def _random_stage(
    rng: np.random.Generator, stage: Stage, length: int
) -> dict[str, np.ndarray] | None:
    if stage == Stage.FOUNTAIN_OF_DREAMS:
        names = ("s.fod_left", "s.fod_right")
        return {name: rng.uniform(0, 40, length).astype(np.float32) for name in names}
    if stage == Stage.DREAMLAND:
        return {"s.whispy": np.repeat(rng.integers(-1, 2, length // 10 + 1), 10)[:length]}
    if stage == Stage.POKEMON_STADIUM:
        return {"s.stadium": np.repeat(rng.choice([3, 4, 5, 6, 9], length // 30 + 1), 30)[:length]}
    return None


def event_positions(data: bytes) -> list[tuple[int, int]]:
    """(code, position) of every event, by an independent walk."""
    found = slp.scan(data)
    position, result = found.start, []
    while position < found.stop:
        result.append((data[position], position))
        position += found.sizes[data[position]]
    return result


def rebuild(
    data: bytes, keep, *, sizes: dict[int, int] | None = None, version: bytes = b""
) -> bytes:
    """The file with only the events for which `keep(code, frame)` holds, optionally of an older
    layout."""
    found = slp.scan(data)
    table = dict(events.SIZES_3_16) if sizes is None else sizes
    raw = bytearray(events.payload_table(table))
    for code, position in event_positions(data):
        frame = (
            struct.unpack_from(">i", data, position + 1)[0] if code in events.FRAME_EVENTS else None
        )
        if keep(code, frame):
            event = data[position : position + found.sizes[code]][: table[code] + 1]
            raw += (
                event[:1] + version + event[1 + len(version) :]
                if code == events.GAME_START
                else event
            )
    return events.container(bytes(raw), b"{}")


OLD_LAYOUTS: dict[tuple[int, int, int], dict[int, int]] = {
    (1, 2, 0): {0x36: 352, 0x37: 59, 0x38: 37, 0x39: 1},
    (1, 7, 1): {0x36: 417, 0x37: 63, 0x38: 37, 0x39: 1},
    (2, 0, 1): {0x36: 418, 0x37: 63, 0x38: 51, 0x39: 2},
    (2, 2, 0): {0x36: 418, 0x37: 63, 0x38: 52, 0x39: 2, 0x3A: 8},
    (3, 0, 0): {0x36: 418, 0x37: 63, 0x38: 52, 0x39: 2, 0x3A: 8, 0x3B: 37, 0x3C: 4},
    (3, 5, 0): {0x36: 418, 0x37: 63, 0x38: 72, 0x39: 2, 0x3A: 8, 0x3B: 41, 0x3C: 4},
    (3, 7, 0): {0x36: 420, 0x37: 63, 0x38: 72, 0x39: 2, 0x3A: 8, 0x3B: 42, 0x3C: 8},
    (3, 9, 0): {0x36: 584, 0x37: 63, 0x38: 76, 0x39: 2, 0x3A: 8, 0x3B: 42, 0x3C: 8},
}
"""Payload tables of old versions, as files of them declare."""


def as_old(data: bytes, version: tuple[int, int, int]) -> bytes:
    """A replay with only what an older version recorded of it."""
    sizes = OLD_LAYOUTS[version]
    return rebuild(data, lambda code, _: code in sizes, sizes=sizes, version=bytes(version))
