"""The job from end to end: what it stores, and that nothing else about a run shows in it."""

import contextlib
import dataclasses
import json
import os
import shutil
import socket
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from replay_collection import (
    build_small,
    folder_bytes,
    human_game,
    small_config,
    write_collection,
)
from replay_games import as_old, rebuild

from beam_pipelines.build_dataset import build_dataset, find_replays, finished
from exphil_tf.features import packing
from exphil_tf.foundation.errors import UserError
from exphil_tf.melee.types import Game
from exphil_tf.preprocessing.dataset_config import RecordConfig
from exphil_tf.process.exit_codes import EXIT_CANNOT_CREATE, EXIT_DATA, EXIT_NO_INPUT
from exphil_tf.records.example import Chunk, decode_chunk, join_rows
from exphil_tf.records.manifest import MANIFEST, load_manifest
from exphil_tf.records.shards import read_records
from exphil_tf.records.verify import verify
from exphil_tf.replays.writer import write_slp

Collection = tuple[Path, dict[str, Game]]


def read_games(folder: Path, variant: str) -> dict[str, list[Chunk]]:
    """Key → chunks of one variant, all splits."""
    chunks: dict[str, list[Chunk]] = {}
    for path in sorted(folder.glob(f"*-{variant}-*.tfrecord")):
        for record in read_records(path):
            chunk = decode_chunk(record)
            chunks.setdefault(chunk.meta.key.decode(), []).append(chunk)
    return chunks


def games_list(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "games.jsonl").read_text().splitlines()]


def rejects_list(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "rejected.jsonl").read_text().splitlines()]


def test_rows_are_those_of_the_games(collection: Collection, dataset: Path) -> None:
    original, mirrored = (read_games(dataset, name) for name in ("original", "mirrored"))
    lines = games_list(dataset)
    assert len(lines) == len(collection[1]) == len(original)
    for line in lines:
        planes = packing.pack_planes(collection[1][Path(line["file"]).name].frames)
        np.testing.assert_array_equal(join_rows(original[line["key"]]), planes.T)
        rows = join_rows(mirrored[line["key"]])
        np.testing.assert_array_equal(rows, packing.mirror_planes(planes).T)
        meta = original[line["key"]][0].meta
        assert meta.perspectives == line["perspectives"] == 3
        assert list(meta.player_ids) == line["player_ids"]


def test_manifest_counts(collection: Collection, dataset: Path) -> None:
    manifest = load_manifest(dataset)
    games = collection[1]
    assert manifest.totals.files == manifest.totals.games == len(games)
    assert manifest.totals.frames == sum(len(game.frames) for game in games.values())
    assert manifest.totals.perspective_frames == 4 * manifest.totals.frames
    assert set(manifest.splits) == {"train", "validation", "test"}
    by_split = Counter(line["split"] for line in games_list(dataset))
    assert {split: stats.games for split, stats in manifest.stats.items()} == by_split
    held = sum(int((game.frames["c.buttons"] & 1).sum()) for game in games.values())
    assert sum(stats.buttons_down["A"] for stats in manifest.stats.values()) == held
    assert all(0 < rate < 1 for rate in manifest.stats["train"].press_rates().values())
    assert manifest.players
    assert {player.id for player in manifest.players} == set(range(1, len(manifest.players) + 1))


def test_old_games_and_spoiled_frames_reach_the_records(tmp_path: Path) -> None:
    """Read by default, left out by `min_version`; marked in the rows and counted."""
    (tmp_path / "in").mkdir()
    for index, version in enumerate([(1, 7, 1), (2, 2, 0), (3, 5, 0), (3, 9, 0)]):
        data = as_old(write_slp(human_game(200 + index)), version)
        (tmp_path / "in" / f"{index}.slp").write_bytes(data)
    holey = rebuild(write_slp(human_game(7)), lambda _, frame: frame not in (-20, 5))
    (tmp_path / "in" / "holey.slp").write_bytes(holey)
    manifest = build_small(tmp_path / "in", tmp_path / "all")
    assert manifest.totals.games == 5
    assert sum(stats.spoiled_frames for stats in manifest.stats.values()) == 2
    absent = Counter()
    for stats in manifest.stats.values():
        absent.update(stats.absent)
    assert absent == {"2.0": 1, "2.1": 1, "3.0": 2, "3.5": 2, "3.6": 3, "3.8": 3}
    marks = [
        packing.unpack(join_rows(chunks))["absent"]
        for chunks in read_games(tmp_path / "all", "original").values()
    ]
    assert sorted(int(mark[0]) for mark in marks) == [0, 0, 48, 60, 63]
    assert sum((mark & 0x80 > 0).sum() for mark in marks) == 2
    assert not verify(tmp_path / "all", deep=True).problems
    newer = build_small(tmp_path / "in", tmp_path / "new", min_version="3.5")
    assert newer.totals.games == 3 and newer.rejects == {"old_version": 2}


def test_games_of_a_shard_lie_whole_and_in_order(dataset: Path) -> None:
    for path in dataset.glob("*.tfrecord"):
        places = [(chunk.meta.key, chunk.start) for chunk in map(decode_chunk, read_records(path))]
        assert places == sorted(places)


def test_two_runs_give_the_same_bytes(
    collection: Collection, dataset: Path, tmp_path: Path
) -> None:
    build_small(collection[0], tmp_path / "again")
    assert folder_bytes(tmp_path / "again") == folder_bytes(dataset)


def test_place_and_names_of_files_do_not_reach_the_records(
    collection: Collection, dataset: Path, tmp_path: Path
) -> None:
    for index, path in enumerate(sorted(collection[0].iterdir(), reverse=True)):
        (tmp_path / "moved" / str(index % 2)).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / "moved" / str(index % 2) / f"{index}.slp")
    build_small(tmp_path / "moved", tmp_path / "data")
    got, want = folder_bytes(tmp_path / "data"), folder_bytes(dataset)
    shards = [name for name in want if name.endswith(".tfrecord")]
    assert len(shards) >= 6
    assert {name: got[name] for name in shards} == {name: want[name] for name in shards}
    assert load_manifest(tmp_path / "data").input_hash == load_manifest(dataset).input_hash


PROCESSES = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")


def test_two_beam_processes_give_the_same_bytes(
    collection: Collection, dataset: Path, tmp_path: Path
) -> None:
    build_dataset(small_config(collection[0], tmp_path / "data"), beam_flags=PROCESSES)
    assert folder_bytes(tmp_path / "data") == folder_bytes(dataset)


@pytest.mark.slow
def test_dask_gives_the_same_bytes(collection: Collection, dataset: Path, tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    build_dataset(
        small_config(collection[0], tmp_path / "data"), beam_flags=["--runner=DaskRunner"]
    )
    assert folder_bytes(tmp_path / "data") == folder_bytes(dataset)


def test_noisy_variants_are_seeded_by_game(collection: Collection, tmp_path: Path) -> None:
    config = dataclasses.replace(
        small_config(collection[0], tmp_path / "a"),
        max_files=2,
        records=RecordConfig(num_noisy_variants=2, noise_scale=0.5, num_shards=1),
    )
    build_dataset(config)
    build_dataset(dataclasses.replace(config, output=str(tmp_path / "b")))
    assert folder_bytes(tmp_path / "a") == folder_bytes(tmp_path / "b")
    one, two, plain = (
        read_games(tmp_path / "a", name) for name in ("noisy_1", "noisy_2", "original")
    )
    for key in plain:
        rows = [join_rows(games[key]) for games in (one, two, plain)]
        assert not np.array_equal(rows[0], rows[1])
        quiet = slice(packing.NOISE_BYTES, None)
        np.testing.assert_array_equal(rows[0][:, quiet], rows[2][:, quiet])


# -- Every file ends somewhere --------------------------------------------------------------------


def damaged_collection(folder: Path) -> int:
    """Seven good games among everything that goes wrong; returns the number of files."""
    games = write_collection(folder, 7)
    whole = write_slp(next(iter(games.values())))
    os.mkfifo(folder / "pipe.slp")
    (folder / "empty.slp").write_bytes(b"")
    (folder / "garbage.slp").write_bytes(bytes(range(256)) * 40)
    (folder / "folder.slp").mkdir()
    (folder / "loop.slp").symlink_to(folder / "loop.slp")
    (folder / "cut.slp").write_bytes(write_slp(human_game(900, length=400))[:-30_000])
    (folder / "copy.slp").write_bytes(whole)
    (folder / "short.slp").write_bytes(write_slp(human_game(901, length=20)))
    nest = whole.rindex(b"U\x08metadata") + 10
    (folder / "nest.slp").write_bytes(whole[:nest] + b"{U\x01a" * 50_000)
    rng = np.random.default_rng(0)
    for index in range(20):
        data = bytearray(write_slp(human_game(910 + index)))
        for position in rng.integers(900, len(data), 5):
            data[position] ^= 1 << int(rng.integers(8))
        (folder / f"flipped_{index}.slp").write_bytes(data)
    with zipfile.ZipFile(folder / "good.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inside.slp", write_slp(human_game(950)))
        archive.writestr("../outside.slp", whole)
        archive.writestr("nested.zip", b"PK")
    with zipfile.ZipFile(folder / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.slp", bytes(60 << 20))
    (folder / "broken.zip").write_bytes(b"PK\x03\x04 and nothing else")
    # folder.slp is a folder, so nothing is listed for it.
    return 7 + 8 + 20 + 3 + 1 + 1


def test_every_damaged_file_ends_in_one_place(tmp_path: Path) -> None:
    num_files = damaged_collection(tmp_path / "replays")
    manifest = build_small(tmp_path / "replays", tmp_path / "data")
    games, rejects = games_list(tmp_path / "data"), rejects_list(tmp_path / "data")
    assert manifest.totals.files == num_files == len(games) + len(rejects)
    assert manifest.totals.games == len(games)
    assert Counter(line["reason"] for line in rejects) == manifest.rejects
    names = [line["file"] for line in games] + [line["file"] for line in rejects]
    assert len(set(names)) == num_files
    reason_of = {Path(line["file"]).name: line["reason"] for line in rejects}
    assert reason_of["pipe.slp"] == reason_of["loop.slp"] == "not_a_file"
    assert reason_of["empty.slp"] == "too_small"
    assert reason_of["garbage.slp"] == "bad_magic"
    assert reason_of["nest.slp"] == "nesting"
    assert reason_of["short.slp"] == "too_short"
    assert reason_of["bomb.zip!bomb.slp"] == "zip_bomb"
    assert "duplicate" in {reason_of.get("copy.slp"), reason_of.get("game_0.slp")}
    kept = {Path(line["file"]).name for line in games}
    assert {"cut.slp", "good.zip!inside.slp"} <= kept
    assert {f"game_{i}.slp" for i in range(1, 7)} <= kept
    assert all(len(line["sha256"]) == 64 for line in games)
    assert not verify(tmp_path / "data", deep=True).problems


def test_nothing_usable_is_still_a_finished_dataset(tmp_path: Path) -> None:
    (tmp_path / "replays").mkdir()
    (tmp_path / "replays" / "a.slp").write_bytes(bytes(5000))
    manifest = build_small(tmp_path / "replays", tmp_path / "data")
    assert (manifest.totals.games, manifest.rejects) == (0, {"bad_magic": 1})
    assert not verify(tmp_path / "data").problems


# -- Again ----------------------------------------------------------------------------------------


def test_finished_datasets_are_left_alone(
    collection: Collection, dataset: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(dataset, tmp_path / "copy"))
    (copy / ".tmp-spill-dead").mkdir()
    before = {path.name: path.stat().st_mtime_ns for path in copy.glob("*.*[a-z]")}
    build_small(collection[0], copy)
    after = {path.name: path.stat().st_mtime_ns for path in copy.glob("*.*[a-z]")}
    assert after == {name: at for name, at in before.items() if not name.startswith(".tmp")}


def test_other_inputs_or_options_are_refused_unless_told(
    collection: Collection, dataset: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(dataset, tmp_path / "copy"))
    before = folder_bytes(copy)
    with pytest.raises(UserError, match=r"another configuration \(min_frames\)") as caught:
        build_small(collection[0], copy, min_frames=200)
    assert caught.value.exit_code == EXIT_CANNOT_CREATE
    write_collection(tmp_path / "fewer", 3)
    with pytest.raises(UserError, match="other replays"):
        build_small(tmp_path / "fewer", copy)
    assert folder_bytes(copy) == before
    config = dataclasses.replace(small_config(tmp_path / "fewer", copy), overwrite=True)
    manifest = build_dataset(config)
    assert manifest.totals.games == 3
    assert not verify(copy).problems, "no shard of the old dataset is left"


def test_damaged_manifest_is_not_overwritten_silently(
    collection: Collection, dataset: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(dataset, tmp_path / "copy"))
    (copy / MANIFEST).write_bytes(b"{")
    with pytest.raises(UserError, match="--overwrite") as caught:
        build_small(collection[0], copy)
    assert caught.value.exit_code == EXIT_DATA
    build_dataset(dataclasses.replace(small_config(collection[0], copy), overwrite=True))
    assert folder_bytes(copy) == folder_bytes(dataset)


def test_a_finished_dataset_that_lost_something_is_not_taken_for_finished(
    collection: Collection, dataset: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(dataset, tmp_path / "copy"))
    shard = next(copy.glob("train-original-*"))
    shard.write_bytes(b"")
    with pytest.raises(UserError, match=shard.name) as caught:
        build_small(collection[0], copy)
    assert caught.value.exit_code == EXIT_DATA
    build_dataset(dataclasses.replace(small_config(collection[0], copy), overwrite=True))
    assert folder_bytes(copy) == folder_bytes(dataset)


def test_one_writer_at_a_time(collection: Collection, tmp_path: Path) -> None:
    import fcntl

    (tmp_path / "data").mkdir()
    descriptor = os.open(tmp_path / "data", os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another process") as caught:
            build_small(collection[0], tmp_path / "data")
        assert caught.value.exit_code == EXIT_CANNOT_CREATE
    finally:
        os.close(descriptor)
    assert not list((tmp_path / "data").iterdir())


def test_missing_and_empty_inputs(tmp_path: Path) -> None:
    for path, message in ((tmp_path / "none", "no such file"), (tmp_path, "no .slp file")):
        with pytest.raises(UserError, match=message) as caught:
            find_replays([str(path)])
        assert caught.value.exit_code == EXIT_NO_INPUT


def test_finished_looks_at_contents(collection: Collection, dataset: Path) -> None:
    config = small_config(collection[0], dataset)
    assert finished(config, find_replays(config.replays)) == load_manifest(dataset)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


@contextlib.contextmanager
def service(module: str, *flags: str) -> Iterator[None]:
    """A Beam service in a process of its own, which finds our modules."""
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-m", f"apache_beam.runners.{module}", *flags],
        env=os.environ | {"PYTHONPATH": str(root), "PATH": f"{Path(sys.executable).parent}:/bin"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_portable_worker_pool_gives_the_same_bytes(
    collection: Collection, dataset: Path, tmp_path: Path
) -> None:
    jobs, workers = free_port(), free_port()
    flags = [
        "--runner=PortableRunner",
        f"--job_endpoint=localhost:{jobs}",
        "--environment_type=EXTERNAL",
        f"--environment_config=localhost:{workers}",
    ]
    with (
        service("worker.worker_pool_main", f"--service_port={workers}"),
        service("portability.local_job_service_main", f"--port={jobs}"),
    ):
        build_dataset(small_config(collection[0], tmp_path / "data"), beam_flags=flags)
    assert folder_bytes(tmp_path / "data") == folder_bytes(dataset)
