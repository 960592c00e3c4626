import json
import shutil
from pathlib import Path

import pytest

from exphil_tf.features.schema import SCHEMA
from exphil_tf.records import manifest as manifests
from exphil_tf.records.manifest import (
    MANIFEST,
    IncompatibleDataset,
    ManifestError,
    load_manifest,
    to_json,
)
from exphil_tf.records.shards import frame, read_records
from exphil_tf.records.verify import verify


@pytest.fixture
def copy(dataset: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(dataset, tmp_path / "copy"))


def shards_of(folder: Path) -> list[Path]:
    found = sorted(folder.glob("*.tfrecord"))
    assert len(found) >= 6
    return found


def largest(folder: Path) -> Path:
    return max(shards_of(folder), key=lambda path: path.stat().st_size)


def test_sound_dataset(dataset: Path) -> None:
    manifest = load_manifest(dataset)
    report = verify(dataset, deep=True)
    assert not report.problems
    assert report.shards == len(shards_of(dataset)) == manifest.totals.shards
    assert report.bytes == sum(path.stat().st_size for path in shards_of(dataset))
    assert report.frames == 2 * manifest.totals.frames  # original and mirrored


def test_manifest_bytes_are_canonical(dataset: Path) -> None:
    data = (dataset / MANIFEST).read_bytes()
    assert to_json(load_manifest(dataset)) == data
    assert (
        json.dumps(json.loads(data), sort_keys=True, indent=2, ensure_ascii=False) + ("\n")
        == data.decode()
    )


@pytest.mark.parametrize("where", [0.0, 0.3, 0.99])
def test_flipped_byte(copy: Path, where: float) -> None:
    path = largest(copy)
    data = bytearray(path.read_bytes())
    data[int(where * len(data))] ^= 0x10
    path.write_bytes(data)
    problems = verify(copy).problems
    assert any("sha256 differs" in line for line in problems)
    assert all(path.name in line for line in problems)


def test_cut_at_a_record_border(copy: Path) -> None:
    path = largest(copy)
    records = list(read_records(path))
    path.write_bytes(b"".join(map(frame, records[:-1])))
    problems = verify(copy).problems
    assert any(f"want {path.stat().st_size + len(records[-1]) + 16} bytes" in p for p in problems)
    assert any(f"want {len(records)} records" in p for p in problems)


def test_record_twice_with_honest_checksums(copy: Path) -> None:
    """Even a manifest with right checksums can't hide a count that doesn't add up."""
    path = largest(copy)
    path.write_bytes(path.read_bytes() + frame(next(read_records(path))))
    import hashlib

    values = json.loads((copy / MANIFEST).read_bytes())
    for variants in values["splits"].values():
        for entries in variants.values():
            for entry in entries:
                if entry["path"] == path.name:
                    entry["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
                    entry["bytes"] = path.stat().st_size
    (copy / MANIFEST).write_text(json.dumps(values))
    assert any("records. Received" in line for line in verify(copy).problems)


def test_deleted_shard(copy: Path) -> None:
    path = shards_of(copy)[0]
    path.unlink()
    assert f"{path.name}: missing" in verify(copy).problems


def test_swapped_shards(copy: Path) -> None:
    one, *_, two = sorted(shards_of(copy), key=lambda path: path.stat().st_size)
    data = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(data)
    problems = verify(copy).problems
    assert any(line.startswith(one.name) for line in problems)
    assert any(line.startswith(two.name) for line in problems)


def test_extra_and_unfinished_files(copy: Path) -> None:
    name = "train-original-00007-of-00009.tfrecord"
    shutil.copy(shards_of(copy)[0], copy / name)
    (copy / ".tmp-x").write_bytes(b"")
    assert verify(copy).problems == [
        f"{name}: not in the manifest (left by another run?)",
        ".tmp-x: left by a killed run",
    ]


def test_changed_lists(copy: Path) -> None:
    (copy / manifests.REJECTED).write_bytes(b'{"reason": "quality"}\n')
    (copy / manifests.GAMES).unlink()
    problems = verify(copy).problems
    assert any("games.jsonl: missing" in line for line in problems)
    assert any("rejected.jsonl" in line for line in problems)


def test_no_manifest_is_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"not a finished dataset .*exphil_tf.preprocess"):
        load_manifest(tmp_path)
    with pytest.raises(FileNotFoundError):
        load_manifest(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[: len(text) // 2], "damaged, not JSON"),
        (lambda text: "[]", "want format version 1"),
        (lambda text: text.replace('"format_version": 1', '"format_version": 9'), "Received: 9"),
        (lambda text: text.replace('"row_bytes"', '"row_bites"'), "row_b"),
    ],
)
def test_damaged_manifest(copy: Path, damage, message: str) -> None:
    path = copy / MANIFEST
    path.write_text(damage(path.read_text()))
    with pytest.raises(ManifestError, match=message):
        load_manifest(copy)


def test_other_schema_lists_the_fields(copy: Path) -> None:
    values = json.loads((copy / MANIFEST).read_bytes())
    values["fingerprint"] = "0" * 16
    values["digests"]["p.percent"] = "other"
    del values["digests"]["p.x"]
    (copy / MANIFEST).write_text(json.dumps(values))
    with pytest.raises(IncompatibleDataset) as caught:
        load_manifest(copy)
    assert SCHEMA.fingerprint() in str(caught.value)
    assert "p.percent: defined differently" in str(caught.value)
    assert "p.x: missing there" in str(caught.value)
    assert load_manifest(copy, check_schema=False).fingerprint == "0" * 16
