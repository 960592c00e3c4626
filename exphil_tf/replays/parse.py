"""One replay file → `Game`: peppi-py first, then peppi-py on repaired bytes, then libmelee.

Routes, recorded with the result:

- `strict`: peppi-py reads the file as it is.
- `repaired`: peppi-py reads the prefix that `repair` could save. Versions before 3.8 always go this
  way (peppi-py 0.8.6 panics on those from 3.0 to 3.6, and hitlag is derived on it), and so do files
  whose container is visibly unfinished or that no Game End closes.
- `libmelee`: the pure-Python reader, about a hundred times slower, on the repaired bytes.

Older versions recorded fewer columns: see `exphil_tf.replays.absent`. Versions before 0.2 are
refused: they do not know how far an action has come. Parse untrusted files through
`exphil_tf.replays.isolation`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path

from exphil_tf.melee.types import Frames, Game, GameInfo
from exphil_tf.replays import absent, events, peppi, slp
from exphil_tf.replays.refusals import Reason, ReplayError
from exphil_tf.replays.repair import repair
from exphil_tf.replays.rows import Version

MIN_VERSION = (0, 2, 0)
_REPAIRED_BELOW = (3, 8, 0)
_NUM_PLAYERS = 2
_MAX_STAGE = 63


class Route(enum.StrEnum):
    """How a file was read."""

    STRICT = "strict"
    REPAIRED = "repaired"
    LIBMELEE = "libmelee"


@dataclass(frozen=True)
class Replay:
    """A parsed file.

    Attributes:
      game: the game.
      route: which reader succeeded.
      note: what was repaired; empty on the strict route.
      absent: fields that the file does not hold (see `exphil_tf.replays.absent`).
    """

    game: Game
    route: Route
    note: str = ""
    absent: tuple[str, ...] = ()


def parse(source: bytes | Path | str, *, version: Version = "last") -> Game:
    """The game of a replay; see `read_replay`."""
    return read_replay(source, version=version).game


def read_replay(source: bytes | Path | str, *, version: Version = "last") -> Replay:
    """Reads a replay by the first route that works.

    Args:
      source: the file's bytes, or its path.
      version: which version of rolled-back frames to keep.

    Raises:
      ReplayError: with the reason for which the file cannot become records.
    """
    data = source if isinstance(source, bytes) else slp.read_bytes(source)
    container = slp.scan(data)
    info = slp.read_header(data, container)
    _require_readable(info, container)
    lacking = absent.fields(info.absent)
    failure = ReplayError(Reason.PARSER_ERROR, "the recording is unfinished")
    if container.complete and info.version >= _REPAIRED_BELOW and info.end_method is not None:
        try:
            frames = peppi.read_frames(
                source if isinstance(source, bytes) else str(source), info, version=version
            )
            return Replay(Game(info, frames), Route.STRICT, absent=lacking)
        except ReplayError as error:
            if error.reason is Reason.OUT_OF_RANGE:
                raise
            failure = error
    frames, route, note = _salvage(data, info, version=version, failure=failure)
    return Replay(Game(info, frames), route, note, lacking)


def _require_readable(info: GameInfo, container: slp.Container) -> None:
    if info.version < MIN_VERSION or container.sizes[events.POST] < events.STATE_AGE_SIZE:
        raise ReplayError(
            Reason.OLD_VERSION, f"version {'.'.join(map(str, info.version))}, want 0.2.0 or later"
        )
    if len(info.players) != _NUM_PLAYERS:
        raise ReplayError(
            Reason.PLAYERS, f"{len(info.players)} occupied ports, want {_NUM_PLAYERS}"
        )
    if info.stage > _MAX_STAGE:
        raise ReplayError(Reason.OUT_OF_RANGE, f"stage {info.stage} is none for two players")


def _salvage(
    data: bytes, info: GameInfo, *, version: Version, failure: ReplayError
) -> tuple[Frames, Route, str]:
    repaired = repair(data)
    try:
        return (
            peppi.read_frames(repaired.data, info, version=version),
            Route.REPAIRED,
            repaired.note,
        )
    except ReplayError as error:
        if error.reason not in (Reason.PARSER_ERROR, Reason.PARSER_PANIC):
            raise
        note = f"{failure}; repaired: {error}"
    from exphil_tf.replays import libmelee_reader  # slow import for a rare route

    frames = libmelee_reader.read_frames(repaired.data, info, version=version)
    return frames, Route.LIBMELEE, f"{repaired.note}; {note}"
