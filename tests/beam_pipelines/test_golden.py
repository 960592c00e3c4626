"""The job's output for the replays in the repository is, byte for byte, the one in the repository.

Renewed by `pytest --update-golden tests/beam_pipelines/test_golden.py`: do that only where columns,
packing or record format were meant to change, and say why in the commit.
"""

import hashlib
import json
from pathlib import Path

import fixture_replays
import numpy as np
import pytest

from beam_pipelines.build_dataset import build_dataset
from exphil_tf.features.schema import SCHEMA
from exphil_tf.preprocessing.dataset_config import DatasetConfig, RecordConfig, WorkerConfig
from exphil_tf.records.example import decode_chunk
from exphil_tf.records.manifest import MANIFEST
from exphil_tf.records.shards import read_records
from exphil_tf.replays.filters import FilterConfig
from exphil_tf.replays.parse import read_replay
from exphil_tf.replays.splits import SplitConfig

GOLDEN = fixture_replays.FIXTURES / "golden"
COLUMNS = GOLDEN / "columns.json"
VARIES = ("checksum", "libraries")
"""Keys of the manifest that differ with installed libraries."""


def golden_config(output: Path) -> DatasetConfig:
    """All three games, every kind of variant, several chunks a game."""
    return DatasetConfig(
        replays=(".",),
        output=str(output),
        filters=FilterConfig(min_frames=60),
        splits=SplitConfig(val_split=0.0, test_split=0.0),
        records=RecordConfig(
            chunk_frames=96,
            overlap_frames=24,
            num_shards=1,
            variants=("original", "mirrored"),
            num_noisy_variants=1,
        ),
        worker=WorkerConfig(workers=1),
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("golden") / "dataset"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(fixture_replays.REPLAYS)  # the list of games says where each lay
        build_dataset(golden_config(output))
    return output


def plain_manifest(path: Path) -> dict:
    """A manifest without what differs with installed libraries."""
    values = json.loads(path.read_bytes())
    return {name: value for name, value in values.items() if name not in VARIES}


def test_dataset_is_the_golden_one(built: Path, update_golden: bool) -> None:
    if update_golden:
        for old in GOLDEN.glob("*.tfrecord"):
            old.unlink()
        for path in built.glob("*.tfrecord"):
            (GOLDEN / path.name).write_bytes(path.read_bytes())
        text = json.dumps(plain_manifest(built / MANIFEST), indent=1, sort_keys=True) + "\n"
        (GOLDEN / MANIFEST).write_text(text)
    assert plain_manifest(built / MANIFEST) == json.loads((GOLDEN / MANIFEST).read_bytes())
    shards = sorted(path.name for path in GOLDEN.glob("*.tfrecord"))
    assert shards == sorted(path.name for path in built.glob("*.tfrecord")) and len(shards) == 3
    for name in shards:
        assert (built / name).read_bytes() == (GOLDEN / name).read_bytes(), name


def test_golden_records_are_whole() -> None:
    for path in GOLDEN.glob("*.tfrecord"):
        chunks = [decode_chunk(record) for record in read_records(path)]
        assert len({chunk.meta.key for chunk in chunks}) == 3
        assert sum(min(len(chunk.rows), 96) for chunk in chunks) == sum(
            cut.frames for cut in fixture_replays.CUTS.values()
        )


def digests() -> dict[str, dict[str, str]]:
    """Fixture → column → hash of its values; a column of zeros is `0`."""
    found = {}
    for name in fixture_replays.NAMES:
        frames = read_replay(fixture_replays.fixture(name)).game.frames
        found[name] = {
            column: hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()[:16]
            if values.any()
            else "0"
            for column, values in frames.columns.items()
        }
    return found


def test_columns_are_the_golden_ones(update_golden: bool) -> None:
    found = digests()
    if update_golden:
        COLUMNS.write_text(json.dumps(found, indent=1) + "\n")
    want = json.loads(COLUMNS.read_text())
    assert list(found["items"]) == list(SCHEMA.names)
    for name in fixture_replays.NAMES:
        differing = [column for column in found[name] if found[name][column] != want[name][column]]
        assert not differing, f"{name}: {differing}"
