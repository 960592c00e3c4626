import json
import random
import shutil
from pathlib import Path

import pytest
import zstandard

from exphil_tf.features.packing import LAYOUT
from exphil_tf.features.schema import SCHEMA
from exphil_tf.records import manifest as manifests
from exphil_tf.records.example import decode_planes, read_example, write_example
from exphil_tf.records.game_lengths import game_lengths
from exphil_tf.records.manifest import (
    MANIFEST,
    IncompatibleDataset,
    ManifestError,
    NoDataset,
    load_manifest,
    seal,
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


def change_lengths(folder: Path, change) -> None:
    """Edits the histogram of the training split's lengths, and seals the manifest again."""
    path = folder / MANIFEST
    values = json.loads(path.read_bytes())
    change(values["stats"]["train"]["lengths"]["3"])
    path.write_bytes(seal(values))


def test_lengths_that_do_not_add_up(copy: Path) -> None:
    change_lengths(copy, lambda by_frames: by_frames.update({"999": 1}))
    problems = verify(copy).problems
    assert sum("stats.train.lengths" in line for line in problems) == 3
    assert any("want 1 games of 999 frames, perspectives 3. Received: 0" in p for p in problems)


def test_lengths_that_add_up_but_are_others(copy: Path) -> None:
    def shift(by_frames: dict) -> None:
        first, second, *_ = sorted(map(int, by_frames))
        for length, other in ((first, first - 1), (second, second + 1)):
            by_frames[str(length)] -= 1
            by_frames[str(other)] = by_frames.get(str(other), 0) + 1

    change_lengths(copy, shift)
    problems = verify(copy).problems
    assert len(problems) == 2 and all("Received: 0" in line for line in problems)


def test_lengths_that_are_missing_are_told(copy: Path) -> None:
    path = copy / MANIFEST
    values = json.loads(path.read_bytes())
    for stats in values["stats"].values():
        del stats["lengths"]
    path.write_bytes(seal(values))
    with pytest.raises(ManifestError, match=r"want lengths of \d+ games of train. Received: 0"):
        game_lengths(load_manifest(copy), "train", folder=copy)


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
    (copy / MANIFEST).write_bytes(seal(values))
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
    (tmp_path / "Game.slp").touch()  # a folder that something else lies in is not proposed
    with pytest.raises(ManifestError, match="--output datasets/NAME"):
        load_manifest(tmp_path)
    with pytest.raises(NoDataset, match="no such folder") as caught:
        load_manifest(tmp_path / "nowhere")
    assert caught.value.exit_code == 66


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[: len(text) // 2], "its checksum differs"),
        (lambda text: text[1:], "damaged, not JSON"),
        (lambda text: "[]", "want format version 3"),
        (lambda text: text.replace('"row_bytes"', '"row_bites"'), "its checksum differs"),
        (lambda text: text.replace("\n", "\r\n"), "its first line is no checksum"),
        (lambda text: text.replace("checksum", "checksun", 1), "its first line is no checksum"),
        (lambda text: text + "\n", "its checksum differs"),
    ],
)
def test_damaged_manifest(copy: Path, damage, message: str) -> None:
    path = copy / MANIFEST
    path.write_bytes(damage(path.read_bytes().decode()).encode())
    with pytest.raises(ManifestError, match=message):
        load_manifest(copy)


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"format_version": 9}, 78, "want format version 3. Received: 9"),
        ({"format_version": 1}, 78, "Preprocess again"),
        ({"row_bites": 3}, 65, "row_bites"),
        ({"totals": None}, 65, "totals"),
    ],
)
def test_manifest_of_another_kind(copy: Path, change, code: int, message: str) -> None:
    values = json.loads((copy / MANIFEST).read_bytes())
    (copy / MANIFEST).write_bytes(seal(values | change))
    with pytest.raises(ManifestError, match=message) as caught:
        load_manifest(copy)
    assert caught.value.exit_code == code


def test_manifest_of_the_first_format(copy: Path) -> None:
    values = json.loads((copy / MANIFEST).read_bytes()) | {"format_version": 1}
    del values["checksum"]
    (copy / MANIFEST).write_text(json.dumps(values))
    with pytest.raises(IncompatibleDataset, match="Preprocess again"):
        load_manifest(copy)


def test_every_flipped_bit_is_found(copy: Path) -> None:
    """1,500 flips over all files, those of the manifest by loading it alone."""
    draw = random.Random(0)
    names = sorted(path.name for path in copy.iterdir() if path.stat().st_size)
    small = min(names, key=lambda name: (copy / name).stat().st_size)
    for flip in range(1500):
        is_manifest = flip % 6 > 0
        name = MANIFEST if is_manifest else draw.choice([small, *names])
        path = copy / name
        sound = path.read_bytes()
        damaged = bytearray(sound)
        damaged[draw.randrange(len(sound))] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        if name == MANIFEST:
            with pytest.raises(ManifestError):
                load_manifest(copy)
        else:
            assert any(name in line for line in verify(copy).problems), (name, flip)
        path.write_bytes(sound)


def test_every_bit_of_a_manifests_ends_counts(copy: Path) -> None:
    path = copy / MANIFEST
    sound = path.read_bytes()
    for at in (*range(96), *range(len(sound) - 8, len(sound))):
        for bit in range(8):
            damaged = bytearray(sound)
            damaged[at] ^= 1 << bit
            path.write_bytes(damaged)
            with pytest.raises(ManifestError):
                load_manifest(copy)


def test_a_record_out_of_bounds_is_named(copy: Path) -> None:
    path = largest(copy)
    records = list(read_records(path))
    features = read_example(records[1])
    for name, value in (("perspectives", (4,)), ("player_ids", (1, 999)), ("start", (5,))):
        changed = write_example({**features, name: value})
        path.write_bytes(b"".join(map(frame, [records[0], changed, *records[2:]])))
        wanted = f"{path.name}: record 1: {name}: want"
        assert any(line.startswith(wanted) for line in verify(copy).problems)


def test_deep_check_holds_columns_against_the_schema(copy: Path) -> None:
    path = largest(copy)
    first, *rest = read_records(path)
    features = read_example(first)
    assert isinstance(features["x"], bytes)
    planes = decode_planes(features["x"]).copy()
    planes[LAYOUT.slots["p.character"].offset] = 250
    changed = write_example({**features, "x": zstandard.compress(planes.tobytes())})
    path.write_bytes(b"".join(map(frame, [changed, *rest])))
    assert not any("p.character" in line for line in verify(copy).problems)
    assert any("record 0: p.character" in line for line in verify(copy, deep=True).problems)


def test_other_schema_lists_the_fields(copy: Path) -> None:
    values = json.loads((copy / MANIFEST).read_bytes())
    values["fingerprint"] = "0" * 16
    values["digests"]["p.percent"] = "other"
    del values["digests"]["p.x"]
    (copy / MANIFEST).write_bytes(seal(values))
    with pytest.raises(IncompatibleDataset) as caught:
        load_manifest(copy)
    assert SCHEMA.fingerprint() in str(caught.value)
    assert "p.percent: defined differently" in str(caught.value)
    assert "p.x: missing there" in str(caught.value)
    assert load_manifest(copy, check_schema=False).fingerprint == "0" * 16
