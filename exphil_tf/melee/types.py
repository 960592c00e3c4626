"""The one type for game state, whoever made it: a replay, a live game, UMI or the simulator.

`Frames` holds columns, not objects: numpy arrays whose first axis is the frame. Which columns
exist, their dtypes, units and meaning is decided in one place, `exphil_tf.features.schema`; this
module only knows that columns share their first axis. A class per field (as libmelee has) was
dropped: it forces Python work per frame.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

FIRST_FRAME = -123
"""Id of the first frame of every game."""
GO_FRAME = -39
"""Id of the first frame on which players may act ("GO!")."""
TIME_LIMIT_FRAMES = 8 * 60 * 60
"""Of the game's own clock, from then on: eight minutes."""


@dataclass(frozen=True)
class Frames:
    """Columns of consecutive frames of one game.

    Args:
      columns: name → array; axis 0 is time. Per-player columns are `[time, players]` with players
        in port order (index 0 is the lower port), or `[own, opponent]` once a perspective was
        taken.

    Raises:
      ValueError: if two columns differ in length.
    """

    columns: Mapping[str, np.ndarray]

    def __post_init__(self) -> None:
        """Refuses columns of different lengths."""
        lengths = {name: len(column) for name, column in self.columns.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"frames: want columns of one length. Received: {lengths}")

    def __len__(self) -> int:
        """Number of frames."""
        return len(next(iter(self.columns.values()))) if self.columns else 0

    def __getitem__(self, name: str) -> np.ndarray:
        """The column `name`."""
        return self.columns[name]

    def __iter__(self) -> Iterator[str]:
        """Column names."""
        return iter(self.columns)

    def slice(self, start: int, stop: int) -> "Frames":
        """Rows `start:stop` of every column (views, not copies)."""
        return Frames({name: column[start:stop] for name, column in self.columns.items()})


@dataclass(frozen=True)
class PlayerInfo:
    """One occupied port, as the game's start block tells it."""

    port: int
    """Controller port, 1 to 4."""
    character: int
    """Internal character id at the start (`exphil_tf.melee.enums.Character`); Zelda/Sheik change it
    per frame."""
    is_cpu: bool = False
    cpu_level: int = 0
    """1 to 9 for a CPU, 0 for a human."""
    name: str = ""
    """Netplay display name, NFKC-normalised; empty offline."""
    code: str = ""
    """Netplay connect code such as `ABCD#123`, NFKC-normalised; empty offline."""
    tag: str = ""
    """In-game name tag."""
    team: int = 0
    costume: int = 0
    stocks: int = 4
    """Stocks at the start."""


@dataclass(frozen=True)
class GameInfo:
    """What is known of a game apart from its frames."""

    stage: int
    """Stage id in the replay ("external") space: `exphil_tf.melee.enums.Stage`."""
    players: tuple[PlayerInfo, ...]
    """Every occupied port, ascending."""
    version: tuple[int, int, int] = (3, 16, 0)
    """Slippi format version of the file."""
    match_id: str = ""
    """Netplay match id, the same in both clients' files; empty offline or before 3.14."""
    game_index: int = 0
    """Game number inside the match, from 1; 0 when unknown."""
    tiebreak: int = 0
    seed: int = 0
    """The game's random seed."""
    start_at: str = ""
    """ISO-8601 start time of the file's metadata; empty when unknown."""
    absent: int = 0
    """What the replay did not record: bits of the schema's `absent`, the same in every row."""
    is_teams: bool = False
    is_pal: bool = False
    is_frozen_ps: bool = False
    timer_s: int = 480
    end_method: int | None = None
    """Game End method (2 GAME!, 1 TIME!, 7 no contest…); None when the file holds no Game End
    event."""
    lras: int | None = None
    """Port (1–4) that quit with L+R+A+Start; None if nobody did."""


@dataclass(frozen=True)
class Game:
    """One game: its description and, if they were read, the frames of its first two players."""

    info: GameInfo
    frames: Frames
