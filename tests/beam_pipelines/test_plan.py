import dataclasses
import hashlib
import random
from collections import Counter

import pytest
from replay_collection import human_game

from beam_pipelines.game_records import Scanned
from beam_pipelines.plan import input_hash, plan
from beam_pipelines.settings import DatasetConfig, RecordConfig, content_config, keyed
from exphil_tf.config import to_dict
from exphil_tf.melee.types import GameInfo
from exphil_tf.options import options
from exphil_tf.replays.errors import Reason
from exphil_tf.replays.filters import FilterConfig
from exphil_tf.replays.players import SECRET_VARIABLE
from exphil_tf.replays.sources import Refused, Source
from exphil_tf.replays.splits import SplitConfig


def info_of(seed: int, **changes) -> GameInfo:
    return dataclasses.replace(human_game(seed, length=2).info, **changes)


def scanned(name: str, info: GameInfo | None, *, num_frames: int = 5000) -> Scanned:
    sha256 = input_hash([name])
    reason = "" if info else "bad_magic"
    return Scanned(Source(name, size=1), sha256, 1, info, num_frames, reason)


def config_of(**values) -> DatasetConfig:
    return DatasetConfig(
        replays=("r",), output="o", splits=SplitConfig(val_split=0.2, test_split=0.2), **values
    )


GAMES = [scanned(f"{i}.slp", info_of(i)) for i in range(40)]


def test_every_file_is_in_one_place_whatever_the_order() -> None:
    bad = [scanned("bad.slp", None), scanned("cpu.slp", None)]
    refused = [Refused("bomb.zip", Reason.ZIP_BOMB, "x")]
    wanted = plan([*GAMES, *bad], refused, config_of())
    assert wanted.num_files == 43
    assert len(wanted.tasks) + len(wanted.rejects) == 43
    assert Counter(line["reason"] for line in wanted.rejects) == {"bad_magic": 2, "zip_bomb": 1}
    shuffled = [*GAMES, *bad]
    random.Random(1).shuffle(shuffled)
    assert plan(shuffled, refused, config_of()) == wanted


def test_duplicates_keep_the_best_file() -> None:
    game = info_of(1, match_id="mode.ranked-2026", game_index=1)
    cut = dataclasses.replace(game, end_method=None)
    files = [
        scanned("a_cut.slp", cut, num_frames=9000),
        scanned("b_short.slp", game, num_frames=4000),
        scanned("c_whole.slp", game, num_frames=5000),
    ]
    decided = plan(files, [], config_of())
    assert [task.source.path for task in decided.tasks] == ["c_whole.slp"]
    assert {line["file"]: line["reason"] for line in decided.rejects} == {
        "a_cut.slp": "duplicate",
        "b_short.slp": "duplicate",
    }
    assert all("c_whole.slp" in line["detail"] for line in decided.rejects)
    kept = plan(files, [], config_of(filters=FilterConfig(skip_duplicates=False)))
    assert len({task.key for task in kept.tasks}) == 3
    assert len({task.split for task in kept.tasks}) == 1, "copies of a game share its split"


def test_max_files_counts_games_that_are_left() -> None:
    files = [*GAMES, *(scanned(f"bad{i}.slp", None) for i in range(50))]
    decided = plan(files, [], config_of(max_files=10))
    assert len(decided.tasks) == 10
    assert Counter(line["reason"] for line in decided.rejects) == {"bad_magic": 50, "max_files": 30}


def test_splits_and_shards() -> None:
    decided = plan(GAMES, [], config_of(records=RecordConfig(num_shards=3)))
    by_split = Counter(task.split for task in decided.tasks)
    assert set(by_split) == {"train", "validation", "test"}
    for split, count in by_split.items():
        tasks = [task for task in decided.tasks if task.split == split]
        (num_shards,) = {task.num_shards for task in tasks}
        used = Counter(task.shard for task in tasks)
        assert set(used) == set(range(num_shards))
        assert max(used.values()) - min(used.values()) <= 1, (split, count)
    assert {task.num_shards for task in decided.tasks if task.split == "train"} == {3}


def test_large_splits_get_more_shards() -> None:
    many = [scanned(f"{i}.slp", info_of(i), num_frames=2_000_000) for i in range(40)]
    counts = {task.split: task.num_shards for task in plan(many, [], config_of()).tasks}
    assert counts["train"] > counts["test"] >= 4


def test_players_have_ids_by_games() -> None:
    decided = plan(GAMES, [], config_of(records=RecordConfig(max_players=5)))
    assert len(decided.registry.players) == 4
    counts = list(decided.registry.players.values())
    assert counts == sorted(counts, reverse=True)
    ids = {player for task in decided.tasks for player in task.player_ids}
    assert ids == {0, 1, 2, 3, 4}
    assert not any("#" in name for name in decided.registry.players), "names stay out"


SECRET = "a long and winding road"


def test_secret_changes_pseudonyms_but_is_not_kept() -> None:
    config = keyed(config_of(), {SECRET_VARIABLE: SECRET})
    key = config.records.pseudonym_key
    for text in (repr(config), str(content_config(config)), str(to_dict(config))):
        assert SECRET not in text
        assert key not in text
        assert hashlib.sha256(SECRET.encode()).hexdigest()[:8] not in text
    assert content_config(config) != content_config(config_of())
    assert content_config(config_of())["pseudonyms"] == "public"
    names = set(plan(GAMES, [], config).registry.players)
    assert not names & set(plan(GAMES, [], config_of()).registry.players)
    assert "pseudonym_key" not in options(DatasetConfig)


def test_older_netplay_games_are_keyed_by_the_secret_alike_everywhere() -> None:
    """Nobody without it can tell which codes a record's key was made of."""
    old = [
        scanned(f"{i}.slp", dataclasses.replace(info_of(i), seed=9 + i, match_id="", game_index=0))
        for i in range(9)
    ]
    public, one, two = (
        plan(old, [], keyed(config_of(), env))
        for env in ({}, {SECRET_VARIABLE: SECRET}, {SECRET_VARIABLE: SECRET})
    )
    assert one == two
    assert not {task.key for task in public.tasks} & {task.key for task in one.tasks}


@pytest.mark.parametrize(
    "values",
    [
        {"variants": ("mirrored",)},
        {"variants": ("original", "original")},
        {"num_noisy_variants": -1},
        {"noise_scale": 0.0},
        {"num_shards": 0},
        {"chunk_frames": 8},
        {"chunk_frames": 64, "overlap_frames": 65},
        {"max_players": 0},
    ],
)
def test_record_config_refuses(values: dict) -> None:
    with pytest.raises(ValueError, match="want"):
        RecordConfig(**values)
