"""What a job decides, on files that lie about themselves, against reading each of them alone."""

import dataclasses
import hashlib
import json
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from replay_collection import folder_bytes, human_game, small_config

from beam_pipelines.build_dataset import build_dataset
from beam_pipelines.scan import inspect_collection, report
from exphil_tf.data.sampling import character_weights, describe
from exphil_tf.melee.enums import Character
from exphil_tf.preprocessing.dataset_config import DatasetConfig
from exphil_tf.preprocessing.inspection import inspect_game
from exphil_tf.records.example import decode_header
from exphil_tf.records.shards import read_records
from exphil_tf.records.verify import verify
from exphil_tf.replays import events, slp
from exphil_tf.replays.duplicates import identity
from exphil_tf.replays.filters import FilterConfig, select
from exphil_tf.replays.parse import read_replay
from exphil_tf.replays.refusals import ReplayError
from exphil_tf.replays.splits import assign
from exphil_tf.replays.writer import write_slp

PROCESSES = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")
ROUTES = ("strict", "repaired", "libmelee")


def lines(folder: Path, name: str) -> list[dict]:
    return [json.loads(line) for line in (folder / name).read_bytes().split(b"\n") if line]


def ends(folder: Path) -> dict[str, str]:
    """File name → key or reason."""
    found = {Path(one["file"]).name: one["key"] for one in lines(folder, "games.jsonl")}
    rejects = {Path(one["file"]).name: one["reason"] for one in lines(folder, "rejected.jsonl")}
    assert not found.keys() & rejects.keys()
    return found | rejects


def without_an_event(data: bytes, at: float) -> bytes:
    """Length and everything else intact, but one Post event is another, unknown command."""
    container = slp.scan(data)
    places, position = [], container.start
    while position < container.stop:
        if data[position] == events.POST:
            places.append(position)
        position += container.sizes[data[position]]
    hit = places[int(at * len(places))]
    size = container.sizes[events.POST]
    return data[:hit] + data[hit - size : hit] + data[hit + size :]


def claiming(data: bytes, last_frame: int) -> bytes:
    """The same frames, with metadata that says something else of them."""
    key = b"U\x09lastFramel"
    at = data.index(key) + len(key)
    return data[:at] + last_frame.to_bytes(4, "big", signed=True) + data[at + 4 :]


def random_collection(folder: Path, draw: random.Random) -> None:
    """Games in one to three files each: sound, cut, damaged, with false claims, too short."""
    folder.mkdir()
    for number in range(9):
        game = human_game(draw.randrange(10**6), length=draw.choice([90, 300, 400]))
        info = dataclasses.replace(game.info, match_id=f"m{number}", game_index=1, seed=number)
        for copy in range(draw.randint(1, 3)):
            info = dataclasses.replace(info, start_at=f"2026-01-01T00:00:0{copy}Z")
            data = write_slp(dataclasses.replace(game, info=info))
            kind = draw.choice(["sound", "sound", "cut", "hole", "lie", "magic", "start"])
            data = {
                "sound": lambda data=data: data,
                "cut": lambda data=data: data[: int(len(data) * draw.uniform(0.2, 0.95))],
                "hole": lambda data=data: without_an_event(data, draw.random()),
                "lie": lambda data=data: claiming(data, draw.choice([-123, -124, 0, 10**6])),
                "magic": lambda data=data: b"X" + data[1:],
                "start": lambda data=data: data[:700],
            }[kind]()
            (folder / f"{number}_{copy}_{kind}.slp").write_bytes(data)


def reference(folder: Path, config: DatasetConfig) -> tuple[dict[str, str], dict[str, str]]:
    """File name → key or reason, and file name → split; one file after the other."""
    found: dict[str, str] = {}
    groups: dict[str, list] = {}
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        sha256 = hashlib.sha256(data).hexdigest()
        try:
            replay = read_replay(data)
        except ReplayError as error:
            found[path.name] = error.reason
            continue
        exclusion = select(replay.game, config.filters).exclusion
        if exclusion is not None:
            found[path.name] = exclusion
            continue
        info = replay.game.info
        rank = (ROUTES.index(replay.route), info.end_method is None, -len(replay.game.frames))
        groups.setdefault(identity(info, sha256), []).append((rank, sha256, path.name))
    for key, files in groups.items():
        (_, _, best), *others = sorted(files)
        found |= {best: key} | {name: "duplicate" for _, _, name in others}
    kept = sorted(groups)[: config.max_files]
    found |= {name: "max_files" for name, key in found.items() if key in groups.keys() - set(kept)}
    splits = assign(kept, config.splits)
    return found, {name: str(splits[key]) for name, key in found.items() if key in splits}


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_job_decides_as_reading_file_after_file_does(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    random_collection(tmp_path / "replays", draw)
    config = small_config(tmp_path / "replays", tmp_path / "data")
    want, splits = reference(tmp_path / "replays", config)
    build_dataset(config)
    assert ends(tmp_path / "data") == want
    assert len(set(want.values()) - set(splits)) > 3
    got = {Path(one["file"]).name: one["split"] for one in lines(tmp_path / "data", "games.jsonl")}
    assert got == splits
    assert not verify(tmp_path / "data", deep=True).problems
    other = dataclasses.replace(config, output=str(tmp_path / "other"))
    build_dataset(other, beam_flags=PROCESSES)
    assert folder_bytes(tmp_path / "other") == folder_bytes(tmp_path / "data")


@pytest.mark.parametrize("flags", [[], pytest.param(PROCESSES, marks=pytest.mark.slow)])
def test_a_limit_is_reached_if_enough_games_are_left(tmp_path: Path, flags: list[str]) -> None:
    """Also where most files turn out to be unwanted; what lies behind is not parsed."""
    (tmp_path / "replays").mkdir()
    for number in range(12):
        game = human_game(number, length=90 if number % 3 else 300)
        write_slp(game, tmp_path / "replays" / f"{number}.slp")
    config = dataclasses.replace(small_config(tmp_path / "replays", tmp_path / "data"), max_files=3)
    manifest = build_dataset(config)
    assert manifest.totals.games == 3
    assert manifest.totals.files == 12
    assert set(manifest.rejects) <= {"too_short", "max_files"}
    if flags:
        other = dataclasses.replace(config, output=str(tmp_path / "other"))
        build_dataset(other, beam_flags=flags)
        assert folder_bytes(tmp_path / "other") == folder_bytes(tmp_path / "data")


def test_kept_copies_have_keys_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "replays").mkdir()
    game = human_game(1)
    for second in range(3):
        info = dataclasses.replace(
            game.info, start_at=f"2026-01-01T00:00:0{second}Z", match_id="m", game_index=1
        )
        path = tmp_path / "replays" / f"{second}.slp"
        write_slp(dataclasses.replace(game, info=info), path)
    config = small_config(tmp_path / "replays", tmp_path / "data", skip_duplicates=False)
    build_dataset(config)
    keys = {one["key"] for one in lines(tmp_path / "data", "games.jsonl")}
    (first,) = {key.partition("-")[0] for key in keys}
    assert keys == {first, f"{first}-1", f"{first}-2"}
    stored = {
        decode_header(record).meta.key.decode()
        for path in (tmp_path / "data").glob("*-original-*")
        for record in read_records(path)
    }
    assert stored == keys


# -- Cases ----------------------------------------------------------------------------------------


def plain(replays: Path, output: Path) -> DatasetConfig:
    return DatasetConfig(replays=(str(replays),), output=str(output))


def test_a_damaged_twin_does_not_take_the_sound_file_along(cases_dir: Path, tmp_path: Path) -> None:
    manifest = build_dataset(plain(cases_dir / "damaged_twin", tmp_path))
    assert (manifest.totals.games, manifest.totals.frames) == (1, 684)
    assert Path(lines(tmp_path, "games.jsonl")[0]["file"]).name == "client_a_sound.slp"


def test_the_last_frame_of_metadata_is_a_claim(cases_dir: Path, tmp_path: Path) -> None:
    manifest = build_dataset(plain(cases_dir / "metadata_lastframe_wrong", tmp_path))
    assert (manifest.totals.games, manifest.totals.frames) == (1, 684)


def test_a_rejected_game_leaves_no_split_empty(cases_dir: Path, tmp_path: Path) -> None:
    manifest = build_dataset(plain(cases_dir / "validation_left_empty", tmp_path))
    assert manifest.stats["validation"].games >= 1
    assert manifest.stats["train"].games >= 3


def test_three_frames_as_zelda_make_no_zelda(cases_dir: Path, tmp_path: Path) -> None:
    manifest = build_dataset(plain(cases_dir / "zelda_for_three_frames", tmp_path / "data"))
    assert all(
        set(one["characters"]) == {int(Character.SHEIK), int(Character.FOX)}
        for one in lines(tmp_path / "data", "games.jsonl")
    )
    weights = character_weights(describe(tmp_path / "data", "train").characters)
    assert weights[Character.SHEIK] == pytest.approx(0.97, abs=0.01)
    assert weights[Character.FOX] == pytest.approx(0.97, abs=0.01)
    counts = manifest.stats["train"].characters
    total = sum(weights[Character[name.upper()]] * count for name, count in counts.items())
    assert total / sum(counts.values()) == pytest.approx(1)
    config = plain(cases_dir / "zelda_for_three_frames", tmp_path / "zelda")
    config = dataclasses.replace(config, filters=FilterConfig(train_character="zelda"))
    assert build_dataset(config).rejects == {"train_character": 6}
    facts = report(inspect_collection(inspect_game, dataclasses.replace(config, filters=EVERY)))
    assert facts["characters"] == {"fox": 6, "sheik": 6}
    assert facts["character_frames"] == {"fox": 6 * 684, "sheik": 6 * 681, "zelda": 6 * 3}


EVERY = FilterConfig(include_cpus=True, min_frames=1)


# -- Names ----------------------------------------------------------------------------------------

LETTERS = "\u2028\u2029\x85\x0b\x0c\x1c\x1e\r\n\t\"'\\ \u00e9\u3000\U0001f600"


def hostile_names(draw: random.Random, count: int) -> list[bytes]:
    """File names with separators of lines, quotes, and bytes that are no text."""
    names = [
        "".join(draw.choice(LETTERS) for _ in range(draw.randint(1, 6))).encode()
        for _ in range(count)
    ]
    spoiled = [name + bytes([draw.randrange(128, 256)]) for name in names[: count // 2]]
    unhidden = (b"x" + name for name in [*names, *spoiled])
    return [b"%d" % number + name + b".slp" for number, name in enumerate(unhidden)]


def test_any_file_name_goes_through(tmp_path: Path) -> None:
    folder = bytes(tmp_path / "replays")
    (tmp_path / "replays").mkdir()
    names = hostile_names(random.Random(0), 12)
    for number, name in enumerate(names):
        path = Path((folder + b"/" + name).decode("utf-8", "surrogateescape"))
        path.write_bytes(bytes(3000) if number % 2 else write_slp(human_game(number)))
    wanted = {name.decode("utf-8", "surrogateescape") for name in names}
    manifest = build_dataset(small_config(tmp_path / "replays", tmp_path / "data"))
    assert (manifest.totals.files, manifest.totals.games) == (18, 9)
    assert set(ends(tmp_path / "data")) == wanted
    assert not verify(tmp_path / "data", deep=True).problems
    config = small_config(tmp_path / "replays", tmp_path / "none", **dataclasses.asdict(EVERY))
    found = inspect_collection(inspect_game, config)
    files = {Path(one["file"]).name for one in (*found.games, *found.rejects)}
    assert files == wanted
    assert report(found)["games"] == 9


def test_a_name_with_a_line_separator(cases_dir: Path, tmp_path: Path) -> None:
    found = inspect_collection(
        inspect_game,
        dataclasses.replace(plain(cases_dir / "name-u2028", tmp_path), filters=EVERY),
    )
    assert found.num_files == len(found.games) + len(found.rejects) == 1
    build_dataset(plain(cases_dir / "name-u2028", tmp_path))
    assert not verify(tmp_path).problems


# -- Where games wait ------------------------------------------------------------------------------


def test_games_wait_on_a_store_as_on_a_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The spill through Beam's file systems, on a local folder that counts as remote."""
    from beam_pipelines import spill, storage

    monkeypatch.setattr(storage, "is_remote", lambda path: "store" in path)
    folder = str(tmp_path / "store" / "spill")
    rng = np.random.default_rng(0)
    games = [[rng.bytes(100), rng.bytes(5), b""] for _ in range(4)]
    written = spill.Spill(folder)
    places = [written.append(parts) for parts in games[:2]]
    written.close()
    places += [written.append(parts) for parts in games[2:]]
    written.close()
    assert len({place.path for place in places}) == 2
    assert [[spill.read(place, part) for part in range(3)] for place in places] == games
    with pytest.raises(OSError, match="cut off"):
        spill.read(places[0]._replace(offset=10**6), 0)
    storage.remove_folder(folder)
    assert not list(Path(folder).glob("*"))
    storage.remove_folder(folder)


def test_exclusions_have_one_precedence(tmp_path: Path) -> None:
    """A short game of the wrong character is that, whatever its metadata says of its length."""
    (tmp_path / "replays").mkdir()
    data = write_slp(human_game(3, length=90))
    for claim in (-123, 10, 10**6):
        (tmp_path / "replays" / f"{claim}.slp").write_bytes(claiming(data, claim))
    (tmp_path / "replays" / "cut.slp").write_bytes(data[:-200])
    config = small_config(tmp_path / "replays", tmp_path / "data", train_character="peach")
    assert build_dataset(config).rejects == {"train_character": 4}
    config = small_config(tmp_path / "replays", tmp_path / "other")
    assert Counter(build_dataset(config).rejects) == {"too_short": 4}


def test_other_games_that_claim_to_be_one_are_all_kept(tmp_path: Path) -> None:
    """Seeds of old netplay games are short, and a claim in a header is not proof."""
    replays = tmp_path / "replays"
    replays.mkdir()
    claim = human_game(3, length=300).info
    for number in (3, 4, 5):
        game = dataclasses.replace(human_game(number, length=300), info=claim)
        write_slp(game, replays / f"{number}.slp")
        write_slp(game, replays / f"{number}_again.slp")
    manifest = build_dataset(small_config(replays, tmp_path / "data"))
    assert manifest.totals.games == 3
    assert manifest.rejects == {"duplicate": 3}
    assert not verify(tmp_path / "data", deep=True).problems
    keys = [one["key"] for one in lines(tmp_path / "data", "games.jsonl")]
    assert len(set(keys)) == 3 and len({one["split"] for one in
                                        lines(tmp_path / "data", "games.jsonl")}) == 1  # fmt: skip
