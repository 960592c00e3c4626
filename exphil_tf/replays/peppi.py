"""peppi-py's arrow table → schema columns, without Python work per frame.

The only module that touches peppi-py, and it uses its private `_peppi` because the public classes
drop items and stage events (0.8.6). `peppi-py-vladfi`, which installs under the same import name,
has the same private function.

peppi-py raises `PanicException`, derived from BaseException, on inputs that it did not foresee. It
cannot be pickled, so it is turned into a `ReplayError` here. A deeper failure (stack overflow,
abort) ends the process: untrusted files belong behind `exphil_tf.replays.isolation`.
"""

# pyright: reportMissingTypeStubs=false, reportPrivateUsage=false
from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
from peppi_py import _peppi

from exphil_tf.features.item_slots import NO_ITEMS, Items, item_columns
from exphil_tf.features.schema import SCHEMA
from exphil_tf.features.stage_columns import stage_columns
from exphil_tf.melee import stages
from exphil_tf.melee.enums import Stage
from exphil_tf.melee.types import Frames, GameInfo
from exphil_tf.replays import columns
from exphil_tf.replays.refusals import Reason, ReplayError
from exphil_tf.replays.rows import Version, select_rows

_Rows = np.ndarray | slice
_ARROW_FLOATS = {"float": "float32", "double": "float64"}
"""Arrow's names of types that numpy calls otherwise."""


def read_frames(data: bytes | str, info: GameInfo, *, version: Version = "last") -> Frames:
    """Frames of a replay of two players.

    Args:
      data: a whole `.slp` file that passed `slp.scan`, or the path of one (saves two copies).
      info: its header.
      version: which version of rolled-back frames to keep.

    Raises:
      ReplayError: parser_error, parser_panic, no_frames, frame_gap or out_of_range.
    """
    table = _read(data)
    if table is None or not len(table):
        raise ReplayError(Reason.NO_FRAMES, "not one whole frame")
    return frames_from_arrow(table, info, version)


def _read(data: bytes | str) -> Any:
    try:
        with _as_path(data) as path:
            return cast(Any, _peppi).read_slippi(path, False).frames
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:
        if type(error).__name__ == "PanicException":
            raise ReplayError(Reason.PARSER_PANIC, _one_line(error)) from None
        if isinstance(error, Exception):
            raise ReplayError(Reason.PARSER_ERROR, _one_line(error)) from error
        raise


def _one_line(error: BaseException) -> str:
    return f"peppi: {' '.join(str(error).split())[:200]}"


@contextmanager
def _as_path(data: bytes | str) -> Generator[str]:
    """A path under which `data` can be read (peppi-py takes only paths), in memory if possible."""
    if isinstance(data, str):
        yield data
        return
    if not hasattr(os, "memfd_create"):
        with tempfile.TemporaryDirectory(prefix="replay-") as folder:
            path = Path(folder) / "game.slp"
            path.write_bytes(data)
            yield str(path)
        return
    descriptor = _scratch()
    os.ftruncate(descriptor, len(data))
    written = 0
    while written < len(data):
        written += os.pwrite(descriptor, memoryview(data)[written:], written)
    yield f"/proc/self/fd/{descriptor}"
    if len(data) > _SCRATCH_KEPT_BYTES:
        os.ftruncate(descriptor, 0)


_SCRATCH_KEPT_BYTES = 16 << 20
_kept = threading.local()


def _scratch() -> int:
    """This thread's memory file. It is reused, as fresh pages cost a seventh of the parsing.

    A forked child shares the parent's file, so the process is part of what identifies it.
    """
    if getattr(_kept, "process", None) != os.getpid():
        _kept.process = os.getpid()
        _kept.descriptor = os.memfd_create("replay", os.MFD_CLOEXEC)
    return _kept.descriptor


def frames_from_arrow(table: Any, info: GameInfo, version: Version = "last") -> Frames:
    """The schema's columns from peppi's frame table (a pyarrow StructArray).

    Raises:
      ReplayError: no_frames, frame_gap or out_of_range.
    """
    rows, frame_id, filled = select_rows(_array(table, ("id",)), version)
    ports = [player.port - 1 for player in info.players]
    seats = [_child(table, ("ports", f"P{port + 1}")) for port in ports]
    if len(seats) != 2 or any(seat is None for seat in seats):  # two players
        raise ReplayError(
            Reason.PLAYERS, f"ports {[port + 1 for port in ports]} are not two that played"
        )
    result = SCHEMA.empty(len(frame_id)) | {"frame": frame_id}
    for player, seat in enumerate(seats):
        _put_leader(result, player, seat, rows=rows)
        _put_nana(result, player, seat, rows=rows)
    result |= item_columns(_items(table, rows, len(table)), len(frame_id), ports)
    result |= stage_columns(info.stage, frame_id, _stage_events(table, info.stage, frame_id))
    return columns.finish(result, info, filled)


def read_raw(
    path: str, ports: Sequence[int], wanted: Mapping[str, Sequence[str]]
) -> list[dict[str, np.ndarray]]:
    """Columns of leaders as peppi has them, by port (1 to 4); zeros where the version lacks one.

    Args:
      path: of a replay that `read_frames` reads; the rows are the same.
      ports: whose columns.
      wanted: name → path in a leader's struct.

    Raises:
      ReplayError: as `read_frames`.
    """
    table = _read(path)
    rows, frame_id, _ = select_rows(_array(table, ("id",)), "last")
    found: list[dict[str, np.ndarray]] = []
    for port in ports:
        leader = _child(table, ("ports", f"P{port}", "leader"))
        columns_of = {name: _child(leader, way) for name, way in wanted.items()}
        nothing = np.zeros(len(frame_id), np.uint8)
        found.append(
            {n: nothing if node is None else _leaf(node)[rows] for n, node in columns_of.items()}
        )
    return found


def _child(node: Any, path: Sequence[str]) -> Any:
    """The nested struct member at `path`; None if this version lacks it."""
    for name in path:
        index = node.type.get_field_index(name)
        if index < 0:
            return None
        node = node.field(index)
    return node


def _leaf(column: Any) -> np.ndarray:
    """A primitive arrow column without a copy; what stands in null places is arbitrary."""
    name = str(column.type)
    values = np.frombuffer(column.buffers()[1], _ARROW_FLOATS.get(name, name))
    return values[column.offset : column.offset + len(column)]


def _array(node: Any, path: Sequence[str]) -> np.ndarray:
    child = _child(node, path)
    if child is None:
        raise ReplayError(Reason.PARSER_ERROR, f"peppi: no column {'.'.join(path)}")
    return _leaf(child)


def _put_leader(result: dict[str, np.ndarray], player: int, seat: Any, *, rows: _Rows) -> None:
    leader = _child(seat, ("leader",))
    if leader is None or leader.null_count:
        raise ReplayError(Reason.FRAME_GAP, "a player is missing from some frames")
    own = {name[2:]: column[:, player] for name, column in result.items() if name[:2] == "p."}
    _put_body(own, _child(leader, ("post",)), rows=rows, leader=True)
    pre = _child(leader, ("pre",))
    for name, path in columns.STICKS.items():
        result[f"c.{name}"][:, player] = _array(pre, path)[rows]
    physical = _array(pre, ("buttons_physical",))[rows]
    result["c.buttons"][:, player] = columns.buttons(physical)


def _put_nana(result: dict[str, np.ndarray], player: int, seat: Any, *, rows: _Rows) -> None:
    """The second climber's columns; they stay zero for players and on frames without one."""
    follower = _child(seat, ("follower",))
    if follower is None:
        return
    own = {name[2:]: column[:, player] for name, column in result.items() if name[:2] == "n."}
    _put_body(own, _child(follower, ("post",)), rows=rows, leader=False)
    exists = follower.is_valid().to_numpy(zero_copy_only=False)[rows]
    own["exists"][:] = exists
    for column in own.values():
        column[~exists] = 0


def _put_body(own: dict[str, np.ndarray], post: Any, *, rows: _Rows, leader: bool) -> None:
    """Fills one character's columns `[frames]` by plain name; absent ones stay as they are."""
    action = _array(post, ("state",))[rows]
    own["action"][:] = action
    for name, path in columns.COPIED.items():
        if (column := _child(post, path)) is not None:
            own[name][:] = _leaf(column)[rows]
    own["facing"][:] = _array(post, ("direction",))[rows] > 0
    own["on_ground"][:] = _array(post, ("airborne",))[rows] == 0
    own["action_frame"][:] = columns.action_frame(
        _array(post, ("state_age",))[rows], action, own["character"], leader=leader
    )
    own["hitstun"][:] = columns.hitstun(_array(post, ("misc_as",))[rows], action)
    if (hitlag := _child(post, ("hitlag",))) is not None:
        own["hitlag"][:] = columns.to_int(_leaf(hitlag)[rows], 0, 255)
    if (hurtbox := _child(post, ("hurtbox_state",))) is not None:
        own["invulnerable"][:] = _leaf(hurtbox)[rows] != 0


def _ragged(table: Any, name: str) -> tuple[np.ndarray, Any] | None:
    """Offsets int64 `[rows + 1]` and flat structs of a list column; None if absent or empty."""
    lists = _child(table, (name,))
    if lists is None or not len(lists.values):
        return None
    return lists.offsets.to_numpy().astype(np.int64), lists.values


def _items(table: Any, rows: _Rows, num_rows: int) -> Items:
    found = _ragged(table, "item")
    if found is None:
        return NO_ITEMS
    offsets, flat = found
    kept = np.arange(num_rows)[rows]
    counts = (offsets[1:] - offsets[:-1])[kept]
    row = np.repeat(np.arange(len(kept)), counts)
    source = np.arange(len(row)) + np.repeat(
        offsets[:-1][kept] - (np.cumsum(counts) - counts), counts
    )
    owner = _child(flat, ("owner",))
    return Items(
        row=row,
        spawn_id=_array(flat, ("id",))[source].astype(np.int64),
        type=_array(flat, ("type",))[source],
        state=_array(flat, ("state",))[source],
        timer=_array(flat, ("timer",))[source],
        x=_array(flat, ("position", "x"))[source],
        y=_array(flat, ("position", "y"))[source],
        speed_x=_array(flat, ("velocity", "x"))[source],
        speed_y=_array(flat, ("velocity", "y"))[source],
        owner=np.full(len(row), -1) if owner is None else _leaf(owner)[source].astype(np.int64),
    )


def _stage_events(table: Any, stage: int, frame_id: np.ndarray) -> dict[str, np.ndarray]:
    """State set by the stage events (3.18 and later); see `columns.carry`."""
    if stage == Stage.FOUNTAIN_OF_DREAMS and (found := _told(table, "fod_platform")):
        told, flat = found
        platform, height = (_array(flat, (name,)) for name in ("platform", "height"))
        starts = zip(("s.fod_right", "s.fod_left"), reversed(stages.FOD_START_HEIGHTS), strict=True)
        return {
            name: columns.carry(told[platform == at], height[platform == at], frame_id, start=start)
            for at, (name, start) in enumerate(starts)
        }
    if stage == Stage.DREAMLAND and (found := _told(table, "dreamland_whispy")):
        wind = columns.whispy(_array(found[1], ("direction",)))
        return {"s.whispy": columns.carry(found[0], wind, frame_id, start=0)}
    if stage == Stage.POKEMON_STADIUM and (found := _told(table, "stadium_transformation")):
        told, flat = found
        phase, kind = (_array(flat, (name,)) for name in ("event", "type"))
        return {"s.stadium": columns.stadium(told, phase, frame_id, kind=kind)}
    return {}


def _told(table: Any, name: str) -> tuple[np.ndarray, Any] | None:
    """Frame ids int32 `[events]` and flat structs of a kind of event, in the file's order."""
    found = _ragged(table, name)
    if found is None:
        return None
    offsets, flat = found
    return np.repeat(_array(table, ("id",)), np.diff(offsets)), flat
