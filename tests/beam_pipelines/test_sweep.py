"""A thousand damaged files a seed through the whole job: nothing dies, hangs or slips through."""

import gzip
import json
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from fixture_replays import NAMES
from mutators import mutants
from replay_collection import small_config
from replay_games import make_game

from beam_pipelines.build_dataset import build_dataset
from exphil_tf.features import packing
from exphil_tf.features.schema import SCHEMA
from exphil_tf.melee.enums import Character, Stage
from exphil_tf.records.example import Chunk, decode_chunk, join_rows
from exphil_tf.records.shards import read_records
from exphil_tf.records.verify import verify
from exphil_tf.replays.writer import write_slp

FILES = 1000


def _originals(real_replays: list[Path]) -> list[bytes]:
    games = [
        make_game(1, length=150),
        make_game(2, length=150, picked=(Character.POPO, Character.POPO)),
        make_game(3, length=130, stage=Stage.FOUNTAIN_OF_DREAMS, moving_stage=True),
        make_game(4, length=140, stage=Stage.POKEMON_STADIUM, moving_stage=True),
    ]
    others = ("v2.0.slp", "v3.12.slp", "v3.18.slp", "ics2.slp", "test_game_1.slp")
    names = (*(f"{name}.slp" for name in NAMES), *others)
    real = [path.read_bytes() for path in real_replays if path.name in names]
    return [*map(write_slp, games), *real]


def _write(folder: Path, files: list[bytes], rng: np.random.Generator) -> None:
    """Most as files, some packed, some of the packed damaged once more."""
    folder.mkdir()
    with zipfile.ZipFile(folder / "pack.zip", "w", zipfile.ZIP_LZMA) as archive:
        for index, data in enumerate(files):
            name = f"{index:04}.slp"
            if index % 10 == 0:
                archive.writestr(name, data)
            elif index % 10 == 1:
                packed = bytearray(gzip.compress(data, 1))
                if rng.random() < 0.5:
                    packed[int(rng.integers(0, len(packed)))] ^= 1 << int(rng.integers(0, 8))
                (folder / f"{name}.gz").write_bytes(packed)
            else:
                (folder / name).write_bytes(data)


def _check_rows(folder: Path) -> int:
    """Every stored value is one that the schema allows; returns the number of frames."""
    games: dict[tuple[str, bytes], list[Chunk]] = {}
    for path in folder.glob("*.tfrecord"):
        for chunk in map(decode_chunk, read_records(path)):
            games.setdefault((path.name, chunk.meta.key), []).append(chunk)
    frames = 0
    for chunks in games.values():
        rows = join_rows(chunks)
        assert SCHEMA.check(packing.unpack(rows)) == []
        frames += len(rows)
    return frames


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("seed", range(20))
def test_a_thousand_damaged_files(seed: int, real_replays: list[Path], tmp_path: Path) -> None:
    files = list(mutants(_originals(real_replays), FILES, seed))
    _write(tmp_path / "replays", files, np.random.default_rng(seed))
    config = small_config(
        tmp_path / "replays", tmp_path / "data", include_cpus=True, skip_duplicates=False
    )
    manifest = build_dataset(config)
    assert manifest.totals.files == FILES
    lines = (tmp_path / "data/rejected.jsonl").read_text(encoding="utf-8").rstrip("\n").split("\n")
    reasons = Counter(json.loads(line)["reason"] for line in lines)
    assert not {"internal", "crashed", "timeout", "memory"} & set(reasons), reasons
    assert manifest.totals.games > FILES // 20, reasons
    assert verify(tmp_path / "data", deep=True).problems == []
    assert _check_rows(tmp_path / "data")
