"""Replays in every kind of container become the very dataset that the unpacked ones become."""

import bz2
import dataclasses
import gzip
import io
import json
import lzma
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from apache_beam.io.filesystem import BeamIOError
from replay_collection import build_small, folder_bytes, small_config, write_collection

from beam_pipelines import storage
from beam_pipelines.build_dataset import build_dataset, find_replays
from exphil_tf.preprocessing.dataset_config import DatasetConfig
from exphil_tf.records.manifest import MANIFEST
from exphil_tf.replays.refusals import Reason, ReplayError

PROCESSES = ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]


def pack_collection(folder: Path, files: dict[str, bytes]) -> None:
    """Each replay into another container, some names odd."""
    folder.mkdir()
    parts = [dict(list(files.items())[i::6]) for i in range(6)]
    packers = ((gzip.compress, "gz"), (bz2.compress, "bz2"), (lzma.compress, "xz"))
    for index, (name, data) in enumerate(parts[0].items()):
        pack, suffix = packers[index % 3]
        (folder / f"{name}.{suffix}").write_bytes(pack(data))
    for index, method in ((1, zipfile.ZIP_LZMA), (2, zipfile.ZIP_BZIP2)):
        with zipfile.ZipFile(folder / f"{index}.zip", "w", method) as archive:
            for name, data in parts[index].items():
                archive.writestr(f"Winners\u3000Round: {index}/../{name}", data)
    for index, mode in ((3, "w:"), (4, "w:gz"), (5, "w:xz")):
        suffix = mode.replace("w:", "tar.").rstrip(".")
        with tarfile.open(folder / f"{index}.{suffix}", mode) as archive:
            for name, data in parts[index].items():
                info = tarfile.TarInfo(f"\udcff/{name}")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))


def patient(config: DatasetConfig) -> DatasetConfig:
    """No game is given up because the machine is slow."""
    return dataclasses.replace(
        config, worker=dataclasses.replace(config.worker, parse_timeout_s=200)
    )


def shards(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in folder_bytes(folder).items() if name.endswith("tfrecord")}


@pytest.mark.parametrize("flags", [[], pytest.param(PROCESSES, marks=pytest.mark.slow)])
def test_containers_give_equal_shards(tmp_path: Path, flags: list[str]) -> None:
    write_collection(tmp_path / "plain", 9)
    files = {path.name: path.read_bytes() for path in sorted((tmp_path / "plain").iterdir())}
    pack_collection(tmp_path / "packed", files)
    plain = build_dataset(patient(small_config(tmp_path / "plain", tmp_path / "a")))
    config = patient(small_config(tmp_path / "packed", tmp_path / "b"))
    packed = build_dataset(config, beam_flags=flags)
    assert (packed.rejects, plain.rejects) == ({}, {})
    assert packed.input_hash == plain.input_hash
    assert shards(tmp_path / "a") and shards(tmp_path / "b") == shards(tmp_path / "a")
    lines = (tmp_path / "b" / "games.jsonl").read_bytes().split(b"\n")
    assert len({json.loads(line)["file"] for line in lines if line}) == 9
    before = (tmp_path / "b" / MANIFEST).stat().st_mtime_ns
    build_dataset(config)  # the same files: nothing to do
    assert (tmp_path / "b" / MANIFEST).stat().st_mtime_ns == before


def test_a_game_in_two_containers_is_a_duplicate(tmp_path: Path) -> None:
    write_collection(tmp_path / "replays", 3)
    path = tmp_path / "replays" / "game_0.slp"
    (tmp_path / "replays" / "again.slp.gz").write_bytes(gzip.compress(path.read_bytes()))
    manifest = build_small(tmp_path / "replays", tmp_path / "data")
    assert manifest.totals.games == 3 and manifest.rejects == {"duplicate": 1}


# -- Object stores ---------------------------------------------------------------------------------


class Store:
    """Stands in for Beam's file systems."""

    def __init__(self, files: dict[str, bytes]):
        self.files = files
        self.patterns: list[str] = []

    def match(self, patterns: list[str]) -> list[SimpleNamespace]:
        (pattern,) = patterns
        self.patterns.append(pattern)
        if "locked" in pattern:
            raise BeamIOError("403 forbidden\nno such permission")
        prefix = pattern.removesuffix("**")
        found = [
            SimpleNamespace(path=path, size_in_bytes=len(data))
            for path, data in self.files.items()
            if path.startswith(prefix)
        ]
        return [SimpleNamespace(metadata_list=found)]

    def open(self, path: str, **_: object) -> io.BytesIO:
        return io.BytesIO(self.files[path])


def test_a_store_is_accounted_for_like_a_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    replay = b"{U\x03raw" + bytes(2000)
    files = {
        "gs://b/r/1.slp": replay,
        "gs://b/r/deep/2.slp.gz": gzip.compress(replay),
        "gs://b/r/bad.slp.gz": b"no gzip",
        "gs://b/r/3.zip": b"x",
        "gs://b/r/4.tar.gz": b"x",
        "gs://b/r/5.7z": b"x",
        "gs://b/r/notes.txt": b"x",
    }
    store = Store(files)
    monkeypatch.setattr(storage, "FileSystems", store)
    found = storage.find(["gs://b/r/", "gs://b/r/1.slp", "gs://b/r/3.zip", "gs://b/locked"])
    assert store.patterns == ["gs://b/r/**", "gs://b/r/1.slp", "gs://b/r/3.zip", "gs://b/locked/**"]
    refused = {one.label: one.reason for one in found.refused}
    archives = dict.fromkeys(["gs://b/r/3.zip", "gs://b/r/4.tar.gz", "gs://b/r/5.7z"])
    assert refused == {"gs://b/locked": Reason.UNREADABLE} | dict.fromkeys(
        archives, Reason.BAD_ARCHIVE
    )
    assert len(found.refused) == 4
    good = [storage.read(one) for one in found.sources if "bad" not in one.path]
    assert good == [replay, replay]
    with pytest.raises(ReplayError, match="bad_archive"):
        storage.read(next(one for one in found.sources if "bad" in one.path))


def test_a_folder_of_refused_things_only_is_no_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "games.7z").write_bytes(b"x")
    assert len(find_replays([str(tmp_path)]).refused) == 1
