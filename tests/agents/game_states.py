"""libmelee's game states of a replay, through the live path."""

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from exphil_tf.agents.libmelee_io import FrameReader
from exphil_tf.features.packing import pack, unpack
from exphil_tf.melee.types import Game
from exphil_tf.replays import absent
from exphil_tf.replays.libmelee_state import SlippiConsole


def live_columns(path: Path) -> Iterator[dict[str, np.ndarray]]:
    """Columns of one frame after another, players in port order."""
    console = SlippiConsole(path=str(path), is_dolphin=False, allow_old_version=False)
    console.connect()
    reader = None
    while (state := console.step()) is not None:
        reader = reader or FrameReader.of(console, state)
        yield reader.read(state)


def live_game(path: Path, frames: int | None = None) -> dict[str, np.ndarray]:
    """Columns `[frames, …]` of a replay's first frames, or of all."""
    found = list(itertools.islice(live_columns(path), frames))
    return {name: np.stack([columns[name] for columns in found]) for name in found[0]}


def assert_same_columns(live: Mapping[str, np.ndarray], game: Game) -> None:
    """The live path's columns are those that records hold of the first versions of frames."""
    want = unpack(pack(game.frames.slice(0, len(live["frame"]))))
    skipped = set(absent.fields(game.info.absent))
    for name in want:
        if name in skipped:
            continue  # derived of frames to come, which only replays have
        assert live[name].dtype == want[name].dtype
        np.testing.assert_array_equal(live[name], want[name], err_msg=name)
