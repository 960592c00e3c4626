"""What becomes of a file once all are known, against a reference that looks at everything."""

import hashlib
import random
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from replay_collection import human_game

from exphil_tf.foundation.config import to_dict
from exphil_tf.foundation.options import options
from exphil_tf.preprocessing.dataset_config import (
    DatasetConfig,
    RecordConfig,
    content_config,
    keyed,
)
from exphil_tf.preprocessing.game_records import ParsedGame, Scanned, scan_source
from exphil_tf.preprocessing.placement import MAX_FILES, Enough, Plan, input_hash, place, schedule
from exphil_tf.replays.duplicates import Copy
from exphil_tf.replays.filters import FilterConfig
from exphil_tf.replays.players import PUBLIC_KEY, SECRET_VARIABLE, pseudonym
from exphil_tf.replays.refusals import Reason
from exphil_tf.replays.sources import Refused, Source
from exphil_tf.replays.splits import SplitConfig, assign
from exphil_tf.replays.writer import write_slp


class File(NamedTuple):
    """A made-up file: what its header says, and what parsing it will show."""

    name: str
    identity: str
    route: int = 0
    is_cut: bool = False
    frames: int = 5000
    spoiled: int = 0
    reason: str = ""
    """Why it gives no game, as parsing will tell."""
    header: str = ""
    """The same, as the header tells."""

    @property
    def sha256(self) -> str:
        return input_hash([self.name])

    def scanned(self) -> Scanned:
        identity = "" if self.header else self.identity
        return Scanned(Source(self.name, size=1), self.sha256, identity, self.header)

    def parsed(self) -> ParsedGame:
        copy = Copy(self.route, self.is_cut, -self.frames, self.spoiled, self.sha256)
        who = int(self.identity, 16)
        return ParsedGame(
            file=self.name,
            sha256=self.sha256,
            identity=self.identity,
            copy=copy,
            frames=self.frames,
            num_records=1,
            perspectives=3,
            players=(pseudonym(f"code:{who % 5}"), pseudonym(f"code:{who % 7}x")),
            characters=(1, 2),
            stage=31,
        )


def identity_of(number: int) -> str:
    return input_hash([str(number)])[:32]


def config_of(**values) -> DatasetConfig:
    return DatasetConfig(
        replays=("r",), output="o", splits=SplitConfig(val_split=0.2, test_split=0.2), **values
    )


def run(files: Sequence[File], config: DatasetConfig) -> tuple[Plan, dict[str, str]]:
    """The plan and file → reason, going through both functions as the job does."""
    work = schedule([one.scanned() for one in files], [], config)
    reasons = {line["file"]: line["reason"] for line in work.rejects}
    by_name = {one.name: one for one in files}
    games = []
    for lot in work.lots:
        enough = Enough(lot.limit, skip_duplicates=config.filters.skip_duplicates)
        for number, task in enumerate(lot.tasks):
            if enough.before(task):
                reasons |= {left.source.path: MAX_FILES for left in lot.tasks[number:]}
                break
            one = by_name[task.source.path]
            if one.reason:
                reasons[one.name] = one.reason
            else:
                enough.add(task.identity)
                games.append(one.parsed())
    plan = place(games, config)
    reasons |= {line["file"]: line["reason"] for line in plan.rejects}
    return plan, reasons


def reference(files: Sequence[File], config: DatasetConfig) -> dict[str, str]:
    """File → its key, or its reason; parses everything and only then decides."""
    ends = {one.name: one.header or one.reason for one in files}
    skip, limit = config.filters.skip_duplicates, config.max_files or len(files)
    good: dict[str, list[File]] = {}
    for one in files:
        if not ends[one.name]:
            good.setdefault(one.identity, []).append(one)
    kept = 0
    for identity in sorted({one.identity for one in files if not one.header}):
        copies = good.pop(identity, [])
        copies.sort(key=lambda c: (c.route, c.is_cut, -c.frames, c.spoiled, c.sha256))
        if kept >= limit:  # none of them was looked at
            same = [one for one in files if one.identity == identity and not one.header]
            ends |= {one.name: MAX_FILES for one in same}
            continue
        for number, one in enumerate(copies):
            if skip and number:
                ends[one.name] = "duplicate"
            elif kept >= limit:
                ends[one.name] = MAX_FILES
            else:
                ends[one.name] = f"{identity}-{number}" if number else identity
                kept += 1
    return ends


@st.composite
def collections(draw) -> list[File]:
    count = draw(st.integers(1, 14))
    return [
        File(
            f"{i}.slp",
            identity_of(draw(st.integers(0, 6))),
            route=draw(st.integers(0, 2)),
            is_cut=draw(st.booleans()),
            frames=draw(st.sampled_from([700, 5000, 5001])),
            spoiled=draw(st.integers(0, 2)),
            reason=draw(st.sampled_from(["", "", "", "quality", "internal", "crashed"])),
            header=draw(st.sampled_from(["", "", "", "", "bad_magic"])),
        )
        for i in range(count)
    ]


@given(
    files=collections(),
    max_files=st.none() | st.integers(1, 8),
    skip=st.booleans(),
    order=st.randoms(use_true_random=False),
)
def test_every_file_ends_as_in_the_reference_whatever_the_order(
    files: list[File], max_files: int | None, skip: bool, order: random.Random
) -> None:
    config = config_of(max_files=max_files, filters=FilterConfig(skip_duplicates=skip))
    plan, reasons = run(files, config)
    got = reasons | {one.game.file: one.key for one in plan.games}
    assert len(reasons) + len(plan.games) == len(files), "each in one place"
    assert got == reference(files, config)
    splits = assign({one.game.identity for one in plan.games}, config.splits)
    assert {one.game.identity: one.split for one in plan.games} == splits
    shuffled = list(files)
    order.shuffle(shuffled)
    again, other_reasons = run(shuffled, config)
    assert (again.games, other_reasons) == (plan.games, reasons)


GAMES = [File(f"{i}.slp", identity_of(i)) for i in range(40)]


def test_every_file_is_in_one_place_whatever_the_order() -> None:
    bad = [File("bad.slp", "", header="bad_magic"), File("cpu.slp", "", header="bad_magic")]
    refused = [Refused("bomb.zip", Reason.ZIP_BOMB, "x")]
    scans = [one.scanned() for one in [*GAMES, *bad]]
    wanted = schedule(scans, refused, config_of())
    assert wanted.num_files == 43
    assert sum(len(lot.tasks) for lot in wanted.lots) + len(wanted.rejects) == 43
    assert Counter(line["reason"] for line in wanted.rejects) == {"bad_magic": 2, "zip_bomb": 1}
    random.Random(1).shuffle(scans)
    assert schedule(scans, refused, config_of()) == wanted


def test_duplicates_keep_the_best_file() -> None:
    """How it was read, its end, its length, then how much of it was made up; never its name."""
    key = identity_of(1)
    best = File("e.slp", key, frames=5000)
    files = [
        File("a_repaired.slp", key, route=1, frames=9000),
        File("b_cut.slp", key, is_cut=True, frames=9000),
        File("c_short.slp", key, frames=4000),
        File("d_spoiled.slp", key, spoiled=1),
        best,
    ]
    decided, reasons = run(files, config_of())
    assert [one.game.file for one in decided.games] == ["e.slp"]
    assert set(reasons.values()) == {"duplicate"}
    assert all("e.slp" in line["detail"] for line in decided.rejects)
    kept, _ = run(files, config_of(filters=FilterConfig(skip_duplicates=False)))
    assert len({one.key for one in kept.games}) == 5
    assert len({one.split for one in kept.games}) == 1, "copies of a game share its split"
    broken, reasons = run([*files[:4], best._replace(reason="crashed")], config_of())
    assert [one.game.file for one in broken.games] == ["d_spoiled.slp"], "the next best"
    assert reasons["e.slp"] == "crashed", "not duplicate of what replaced it"


def test_a_limit_counts_games_that_are_left() -> None:
    files = [
        *(one._replace(reason="quality") if i % 2 else one for i, one in enumerate(GAMES)),
        *(File(f"bad{i}.slp", "", header="bad_magic") for i in range(50)),
    ]
    decided, reasons = run(files, config_of(max_files=10))
    assert len(decided.games) == 10
    counts = Counter(reasons.values())
    assert counts["bad_magic"] == 50
    assert counts["quality"] + counts[MAX_FILES] == 30
    assert len(run(files, config_of(max_files=500))[0].games) == 20


def test_a_limit_is_worked_off_in_order_and_nothing_else_is() -> None:
    scans = [one.scanned() for one in GAMES]
    (lot,) = schedule(scans, [], config_of(max_files=3)).lots
    assert lot.limit == 3
    assert [task.identity for task in lot.tasks] == sorted(one.identity for one in GAMES)
    assert [lot.limit for lot in schedule(scans, [], config_of(max_files=40)).lots] == [None] * 2


def test_splits_and_shards() -> None:
    decided, _ = run(GAMES, config_of(records=RecordConfig(num_shards=3)))
    by_split = Counter(one.split for one in decided.games)
    assert set(by_split) == {"train", "validation", "test"}
    for split, count in by_split.items():
        placed = [one for one in decided.games if one.split == split]
        (num_shards,) = {one.num_shards for one in placed}
        used = Counter(one.shard for one in placed)
        assert set(used) == set(range(num_shards))
        assert max(used.values()) - min(used.values()) <= 1, (split, count)
    assert {one.num_shards for one in decided.games if one.split == "train"} == {3}


def test_no_promised_split_is_left_empty_by_what_was_rejected() -> None:
    for salt in map(str, range(20)):
        splits = SplitConfig(val_split=0.1, split_salt=salt)
        config = DatasetConfig(replays=("r",), output="o", splits=splits)
        files = [
            one._replace(reason="out_of_range" if i > 1 else "") for i, one in enumerate(GAMES)
        ]
        plan, _ = run(files, config)
        assert sorted(one.split for one in plan.games) == ["train", "validation"]


def test_large_splits_get_more_shards() -> None:
    many = [one._replace(frames=2_000_000) for one in GAMES]
    counts = {one.split: one.num_shards for one in run(many, config_of())[0].games}
    assert counts["train"] > counts["test"] >= 4


def test_players_have_ids_by_games() -> None:
    decided, _ = run(GAMES, config_of(records=RecordConfig(max_players=5)))
    assert len(decided.registry.players) == 4
    counts = list(decided.registry.players.values())
    assert counts == sorted(counts, reverse=True)
    ids = {player for one in decided.games for player in one.player_ids}
    assert ids == {0, 1, 2, 3, 4}


SECRET = "a long and winding road"


def test_secret_is_not_kept() -> None:
    config = keyed(config_of(), {SECRET_VARIABLE: SECRET})
    key = config.records.pseudonym_key
    for text in (repr(config), str(content_config(config)), str(to_dict(config))):
        assert SECRET not in text
        assert key not in text
        assert hashlib.sha256(SECRET.encode()).hexdigest()[:8] not in text
    assert content_config(config) != content_config(config_of())
    assert content_config(config_of())["pseudonyms"] == "public"
    assert "pseudonym_key" not in options(DatasetConfig)


def test_older_netplay_games_are_keyed_by_the_secret_alike_everywhere(tmp_path) -> None:
    """Nobody without it can tell which codes a record's key was made of."""
    path = tmp_path / "old.slp"
    write_slp(human_game(3, length=40, match_id="", game_index=0), path)
    keys = [
        keyed(config_of(), env).records.pseudonym_key
        for env in ({}, {SECRET_VARIABLE: SECRET}, {SECRET_VARIABLE: SECRET})
    ]
    assert keys[0] == PUBLIC_KEY
    public, one, two = (scan_source(Source(str(path)), key=key).identity for key in keys)
    assert one == two != public


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
