"""Shards that read well but are not those that the manifest names."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from exphil_tf.records import integrity
from exphil_tf.records.integrity import MEMORY, check, entries
from exphil_tf.records.manifest import MANIFEST, ManifestError, load_manifest, seal
from exphil_tf.records.shards import frame, read_records


@pytest.fixture
def copy(dataset: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(dataset, tmp_path / "copy"))


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files whose contents are read, as they are read."""
    names: list[str] = []
    real = integrity._hash

    def spy(path: Path) -> integrity._Hashed:
        names.append(path.name)
        return real(path)

    monkeypatch.setattr(integrity, "_hash", spy)
    return names


def largest(folder: Path, pattern: str = "train-original-*") -> Path:
    return max(folder.glob(pattern), key=lambda path: path.stat().st_size)


def cut_at_a_record_border(folder: Path) -> str:
    path = largest(folder)
    path.write_bytes(b"".join(map(frame, list(read_records(path))[:-1])))
    return path.name


def emptied(folder: Path) -> str:
    path = largest(folder)
    path.write_bytes(b"")
    return path.name


def doubled(folder: Path) -> str:
    path = largest(folder)
    path.write_bytes(2 * path.read_bytes())
    return path.name


def swapped(folder: Path) -> str:
    one, two = sorted(folder.glob("train-original-*"))[:2]
    aside = folder / "aside"
    one.rename(aside)
    two.rename(one)
    aside.rename(two)
    return one.name


def validation_from_training(folder: Path) -> str:
    path = largest(folder, "validation-original-*")
    shutil.copy(largest(folder), path)
    return path.name


def deleted(folder: Path) -> str:
    path = largest(folder)
    path.unlink()
    return path.name


def records_in_another_order(folder: Path) -> str:
    """The same size to the byte."""
    path = largest(folder)
    path.write_bytes(b"".join(map(frame, reversed(list(read_records(path))))))
    return path.name


def one_bit(folder: Path) -> str:
    path = largest(folder)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    return path.name


DAMAGES = (
    cut_at_a_record_border, emptied, doubled, swapped, validation_from_training, deleted,
    records_in_another_order, one_bit,
)  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("is_known", [False, True])
def test_damage_is_named(copy: Path, damage: Callable[[Path], str], is_known: bool) -> None:
    manifest = load_manifest(copy)
    if is_known:
        check(copy, manifest)
    name = damage(copy)
    with pytest.raises(ManifestError, match=name) as caught:
        check(copy, manifest)
    assert caught.value.exit_code == (66 if damage is deleted else 65)
    assert "exphil_tf.verify" in caught.value.next_step


def test_equal_sizes_are_told_apart_unless_sizes_alone_are_asked_for(copy: Path) -> None:
    manifest = load_manifest(copy)
    name = records_in_another_order(copy)
    check(copy, manifest, mode="sizes")
    with pytest.raises(ManifestError, match=name):
        check(copy, manifest)


@pytest.mark.parametrize(
    "edit",
    [
        lambda values: values["totals"].update(records=values["totals"]["records"] + 1),
        lambda values: values["stats"]["train"].update(frames=7),
        lambda values: values["splits"]["train"]["original"].reverse(),
        lambda values: values["splits"]["train"]["original"][0].update(path="../x.tfrecord"),
        lambda values: values["splits"].update(validation=values["splits"]["train"]),
    ],
)
def test_edited_counts_and_names(copy: Path, edit: Callable[[dict], None]) -> None:
    values = json.loads((copy / MANIFEST).read_bytes())
    edit(values)
    (copy / MANIFEST).write_text(json.dumps(values, sort_keys=True, indent=2) + "\n")
    with pytest.raises(ManifestError, match="checksum differs"):
        load_manifest(copy)
    (copy / MANIFEST).write_bytes(seal(values))  # even with a checksum of its own
    with pytest.raises(ManifestError, match=r"manifest\.json: "):
        check(copy, load_manifest(copy))


def test_contents_are_read_once(copy: Path, hashed: list[str]) -> None:
    manifest = load_manifest(copy)
    train = entries(manifest, splits={"train"}, variants={"original"})
    told: list[int] = []
    check(copy, manifest, shards=train, on_bytes=told.append)
    assert sorted(hashed) == sorted(entry.path for entry in train)
    assert told[-1] == sum(entry.bytes for entry in train)
    hashed.clear()
    check(copy, manifest, shards=train)
    assert hashed == []
    check(copy, manifest, shards=train, mode="always")
    assert len(hashed) == len(train)
    # A file that was touched is read again, it alone.
    hashed.clear()
    os.utime(copy / train[0].path, ns=(1, 1))
    check(copy, manifest, shards=train)
    assert hashed == [train[0].path]


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"version": 1, "files": 3}', b"\xff" * 9])
def test_a_damaged_memory_is_none(copy: Path, hashed: list[str], damage: bytes) -> None:
    manifest = load_manifest(copy)
    check(copy, manifest)
    (copy / MEMORY / "shards.json").write_bytes(damage)
    hashed.clear()
    check(copy, manifest)
    assert len(hashed) == len(manifest.shards())


def test_a_wrong_memory_accuses_nobody(copy: Path) -> None:
    manifest = load_manifest(copy)
    check(copy, manifest)
    path = copy / MEMORY / "shards.json"
    values = json.loads(path.read_bytes())
    for note in values["files"].values():
        note[-1] = "0" * 64
    path.write_text(json.dumps(values))
    check(copy, manifest)


def test_a_dataset_that_cannot_be_written(
    copy: Path, tmp_path: Path, hashed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (copy / MEMORY).write_bytes(b"")  # a file stands where the folder would be: also for root
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    manifest = load_manifest(copy)
    check(copy, manifest)
    hashed.clear()
    check(copy, manifest)
    assert hashed == []
    assert len(list((tmp_path / "cache/exphil-tf").iterdir())) == 1
    monkeypatch.setenv("XDG_CACHE_HOME", str(copy / MEMORY))  # nowhere at all
    check(copy, manifest)
    assert len(hashed) == len(manifest.shards())


def test_the_memory_is_no_part_of_the_dataset(copy: Path) -> None:
    from exphil_tf.records.verify import verify

    check(copy, load_manifest(copy))
    assert (copy / MEMORY).is_dir()
    assert verify(copy).problems == []
