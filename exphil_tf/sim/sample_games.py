"""Whole games of scripted players in the toy world, as if they had been recorded."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np

from exphil_tf.features.character_state import character_columns
from exphil_tf.features.frame_builder import FrameBuilder
from exphil_tf.features.schema import Group
from exphil_tf.features.stage_columns import stage_columns
from exphil_tf.foundation.atomic import write_file
from exphil_tf.foundation.kinds import Kind
from exphil_tf.melee.enums import Stage
from exphil_tf.melee.types import FIRST_FRAME, Frames, Game, GameInfo, PlayerInfo
from exphil_tf.replays.writer import write_slp
from exphil_tf.sim import toy
from exphil_tf.sim.moves import AIR_FREE, GROUND_FREE, STATS
from exphil_tf.sim.scripted import STYLES, ScriptedPlayers
from exphil_tf.sim.toy import Inputs, ToyWorld

FPS = 60
_LOOPED_FRAMES = 60
"""Animations of idle actions start over after so many frames."""
_NAMES = ("Ash", "Birch", "Cedar", "Dogwood", "Elm", "Fir", "Ginkgo", "Hazel")
_START = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
_WON, _NO_CONTEST = 2, 7


@dataclass(frozen=True)
class SampleConfig:
    """Which sample games are made."""

    KIND: ClassVar = Kind.RESULT

    games: int = 12
    """Number of games."""
    seed: int = field(default=0)
    """The same seed gives the same files, byte for byte."""
    min_seconds: int = 20
    """Shortest game, unless somebody runs out of stocks before."""
    max_seconds: int = 60
    """Longest game."""

    def __post_init__(self) -> None:
        """Refuses counts and lengths that make no game."""
        if self.games < 1 or not 1 <= self.min_seconds <= self.max_seconds <= 480:
            raise ValueError(
                "want games ≥ 1 and 1 ≤ min_seconds ≤ max_seconds ≤ 480. Received: "
                f"games={self.games}, {self.min_seconds}, {self.max_seconds}"
            )


def write_games(folder: Path, config: SampleConfig) -> int:
    """Writes the games as `.slp` files, in a folder that is made if missing; returns the frames."""
    folder.mkdir(parents=True, exist_ok=True)
    total = 0
    for index, game in enumerate(make_games(config)):
        write_file(folder / f"sample-{config.seed}-{index:04d}.slp", [write_slp(game)])
        total += len(game.frames)
    return total


def make_games(config: SampleConfig) -> list[Game]:
    """The games, played all at once; deterministic for a seed."""
    rng = np.random.Generator(np.random.PCG64(config.seed))
    shape = (config.games, 2)
    characters = rng.choice([int(character) for character in STATS], shape)
    people = np.stack([rng.permutation(len(_NAMES))[:2] for _ in range(config.games)])
    # Stages in turn, so that a few games already differ in them.
    first = int(rng.integers(len(Stage)))
    stages = [list(Stage)[(first + game) % len(Stage)] for game in range(config.games)]
    seconds = rng.integers(config.min_seconds, config.max_seconds + 1, config.games)
    world = ToyWorld(characters, stages)
    players = ScriptedPlayers(people % len(STYLES), rng)
    num_frames = int(seconds.max()) * FPS - FIRST_FRAME
    frames = _play(world, players, num_frames, stages=np.array(stages))
    games = []
    for index, stage in enumerate(stages):
        columns = {name: column[:, index] for name, column in frames.items()}
        length = _length(columns["p.stock"], int(seconds[index]) * FPS - FIRST_FRAME)
        info = _describe(
            config, index, stage=stage, people=people[index], characters=characters[index]
        )
        games.append(_finish(info, {name: column[:length] for name, column in columns.items()}))
    return games


def _play(
    world: ToyWorld, players: ScriptedPlayers, num_frames: int, *, stages: np.ndarray
) -> dict[str, np.ndarray]:
    """Columns `[time, games, …]` of every game, in schema order."""
    inputs = Inputs(
        *(np.zeros(world.x.shape, np.float32) for _ in range(5)), buttons=_no_buttons(world)
    )
    seen, held = [observe_players(world)], [vars(inputs)]
    for _ in range(num_frames - 1):
        inputs = players.act(world)
        world.step(inputs)
        seen.append(observe_players(world))
        held.append(vars(inputs))
    frame = np.arange(num_frames)[:, None] + np.full(len(stages), FIRST_FRAME)
    builder = FrameBuilder(frame.shape)
    builder.put(Group.FRAME, {"frame": frame})
    builder.put(Group.PLAYER, _stack(seen))
    builder.put(Group.CONTROLLER, _stack(held))
    builder.put_columns(stage_columns(np.broadcast_to(stages, frame.shape), frame))
    builder.put_columns(character_columns(builder.peek()))
    return builder.columns()


def _no_buttons(world: ToyWorld) -> np.ndarray:
    return np.zeros(world.x.shape, np.uint8)


def _stack(rows: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def observe_players(world: ToyWorld) -> dict[str, np.ndarray]:
    """One frame of players' columns by short name, `[games, 2]` each."""
    is_idle = GROUND_FREE[world.action] | AIR_FREE[world.action]
    loops = np.where(is_idle, (world.timer - 1) % _LOOPED_FRAMES + 1, world.timer)
    values = {
        "percent": world.percent,
        "x": world.x,
        "y": world.y,
        "speed_air_x_self": world.vx * ~world.on_ground,
        "speed_ground_x_self": world.vx * world.on_ground,
        "speed_y_self": world.vy,
        "speed_x_attack": world.kx,
        "speed_y_attack": world.ky,
        "shield": world.shield,
        "action": world.action,
        "action_frame": np.maximum(loops, 1),
        "hitstun": world.hitstun,
        "hitlag": world.hitlag,
        "character": world.characters,
        "facing": world.facing > 0,
        "jumps_left": world.jumps,
        "on_ground": world.on_ground,
        "invulnerable": world.safe > 0,
        "stock": world.stock,
    }
    # The world changes its arrays in place.
    return {name: value.copy() for name, value in values.items()}


def _length(stock: np.ndarray, limit: int) -> int:
    """Frames of a game: up to the last stock, else the limit."""
    over = np.flatnonzero((stock == 0).any(1))
    return min(limit, int(over[0]) + 1) if len(over) else limit


def _describe(
    config: SampleConfig, index: int, *, stage: Stage, people: np.ndarray, characters: np.ndarray
) -> GameInfo:
    start = _START + datetime.timedelta(minutes=2 * index)
    players = tuple(
        PlayerInfo(
            port=port + 1,
            character=int(characters[port]),
            name=_NAMES[person],
            code=f"{_NAMES[person][:4].upper()}#{100 + int(person)}",
            stocks=toy.STOCKS,
        )
        for port, person in enumerate(people)
    )
    return GameInfo(
        stage=int(stage),
        players=players,
        match_id=f"mode.unranked-sample-{config.seed}-{index:06d}",
        game_index=1,
        seed=(config.seed * 1_000_003 + index) % 2**32,
        start_at=start.strftime("%Y-%m-%dT%H:%M:%SZ"),
    )


def _finish(info: GameInfo, columns: dict[str, np.ndarray]) -> Game:
    """The game of some columns `[time, …]`, and how it ended."""
    stocks = columns["p.stock"][-1]
    is_won = not stocks.all()
    quitter = None if is_won else info.players[int(stocks[0] > stocks[1])].port
    ending = {"end_method": _WON if is_won else _NO_CONTEST, "lras": quitter}
    return Game(GameInfo(**(vars(info) | ending)), Frames(columns))
