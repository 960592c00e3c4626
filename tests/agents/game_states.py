"""libmelee's game states of a replay, through the live path."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from exphil_tf.agents.libmelee_io import FrameReader
from exphil_tf.replays.libmelee_state import SlippiConsole


def live_columns(path: Path) -> Iterator[dict[str, np.ndarray]]:
    """Columns of one frame after another, players in port order."""
    console = SlippiConsole(path=str(path), is_dolphin=False, allow_old_version=False)
    console.connect()
    reader = None
    while (state := console.step()) is not None:
        reader = reader or FrameReader.of(console, state)
        yield reader.read(state)
