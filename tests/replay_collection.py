"""Small folders of written replays, and datasets built from them."""

import dataclasses
from pathlib import Path

from replay_games import make_game

from beam_pipelines.build_dataset import build_dataset
from exphil_tf.features.character_state import character_columns
from exphil_tf.melee.types import Frames, Game
from exphil_tf.preprocessing.dataset_config import DatasetConfig, RecordConfig, WorkerConfig
from exphil_tf.records.manifest import Manifest
from exphil_tf.replays.filters import FilterConfig
from exphil_tf.replays.splits import SplitConfig
from exphil_tf.replays.writer import write_slp

CHUNK, OVERLAP = 128, 32


def human_game(seed: int, *, length: int = 300, **facts) -> Game:
    """A random game of two humans with codes of their own, each the character they picked."""
    game = make_game(seed, length=length, **facts)
    for index, player in enumerate(game.info.players):
        game.frames["p.character"][:, index] = player.character
    columns = game.frames.columns
    frames = Frames({**columns, **character_columns(columns)})
    players = tuple(
        dataclasses.replace(player, is_cpu=False, cpu_level=0, code=f"P{port}#{seed % 7}")
        for port, player in enumerate(game.info.players)
    )
    return dataclasses.replace(
        game, frames=frames, info=dataclasses.replace(game.info, players=players)
    )


def write_collection(folder: Path, num_games: int, *, length: int = 300) -> dict[str, Game]:
    """Replays `game_0.slp`…; returns file name → game."""
    folder.mkdir(parents=True, exist_ok=True)
    games = {f"game_{i}.slp": human_game(100 + i, length=length + 17 * i) for i in range(num_games)}
    for name, game in games.items():
        write_slp(game, folder / name)
    return games


def small_config(replays: Path, output: Path, **filters) -> DatasetConfig:
    """Short chunks, three splits, two processes."""
    return DatasetConfig(
        replays=(str(replays),),
        output=str(output),
        filters=FilterConfig(**{"min_frames": 100} | filters),
        splits=SplitConfig(val_split=0.3, test_split=0.2),
        records=RecordConfig(
            variants=("original", "mirrored"),
            chunk_frames=CHUNK,
            overlap_frames=OVERLAP,
            num_shards=2,
        ),
        worker=WorkerConfig(workers=2),
    )


def build_small(replays: Path, output: Path, **filters) -> Manifest:
    """A dataset of a folder of replays."""
    return build_dataset(small_config(replays, output, **filters))


def folder_bytes(folder: Path) -> dict[str, bytes]:
    """Name → bytes of everything in a folder, hidden files included."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
