"""The split: by identity alone, blind to order, with fair shares and no empty part."""

import hashlib
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exphil_tf.replays.splits import Split, SplitConfig, assign, position, split_of

GAMES = [hashlib.sha256(str(i).encode()).hexdigest()[:32] for i in range(4000)]
identities = st.lists(st.text("0123456789abcdef", min_size=4, max_size=8), max_size=30)
shares = st.sampled_from([(0.1, 0.0), (0.1, 0.1), (0.0, 0.0), (0.5, 0.4), (0.0, 0.2), (0.01, 0.01)])


@given(identities, shares, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_blind_to_order_and_repeats(games, fractions, random):
    config = SplitConfig(*fractions)
    shuffled = games + games[: len(games) // 2]
    random.shuffle(shuffled)
    assert assign(shuffled, config) == assign(games, config)


@given(identities, shares)
@settings(deadline=None)
def test_no_wanted_part_is_empty_while_there_are_games(games, fractions):
    config = SplitConfig(*fractions)
    splits = assign(games, config)
    distinct = len(set(games))
    assert set(splits) == set(games)
    parts = [Split.TRAIN]
    parts += [Split.VALIDATION] if config.val_split else []
    parts += [Split.TEST] if config.test_split else []
    assert set(splits.values()) <= set(parts)
    # The first `distinct` of train, validation, test have a game.
    for part in parts[:distinct]:
        assert part in splits.values()


@given(identities, shares)
@settings(deadline=None)
def test_mending_moves_no_more_games_than_there_were_empty_parts(games, fractions):
    config = SplitConfig(*fractions)
    plain = {game: split_of(game, config) for game in games}
    wanted = 1 + bool(config.val_split) + bool(config.test_split)
    moved = [game for game, split in assign(games, config).items() if split is not plain[game]]
    assert len(moved) <= wanted - len(set(plain.values()))


def test_shares_are_those_asked_for():
    splits = assign(GAMES, SplitConfig(val_split=0.2, test_split=0.1))
    counts = {split: sum(s is split for s in splits.values()) / len(GAMES) for split in Split}
    # Three standard deviations of 4,000 draws.
    assert abs(counts[Split.VALIDATION] - 0.2) < 0.019
    assert abs(counts[Split.TEST] - 0.1) < 0.0143


def test_in_a_large_collection_each_game_decides_for_itself():
    config = SplitConfig(val_split=0.1, test_split=0.1)
    assert assign(GAMES, config) == {game: split_of(game, config) for game in GAMES}


def test_games_keep_their_split_as_a_collection_grows():
    config = SplitConfig()
    before, after = assign(GAMES[:500], config), assign(GAMES, config)
    assert all(after[game] is split for game, split in before.items())


def test_a_larger_share_only_adds_games():
    small = {g for g in GAMES if split_of(g, SplitConfig(0.1)) is Split.VALIDATION}
    large = {g for g in GAMES if split_of(g, SplitConfig(0.3)) is Split.VALIDATION}
    assert small < large


def test_the_salt_draws_other_games():
    first = {g for g in GAMES if split_of(g, SplitConfig(split_salt="a")) is Split.VALIDATION}
    other = {g for g in GAMES if split_of(g, SplitConfig(split_salt="b")) is Split.VALIDATION}
    assert len(first & other) < 0.25 * len(first)


def test_the_position_is_md5s_and_the_same_in_every_process():
    digest = hashlib.md5(b"exphil" + GAMES[0].encode()).hexdigest()
    assert position(GAMES[0], "exphil") == int(digest[:12], 16) / 16**12
    code = f"from exphil_tf.replays.splits import position; print(position({GAMES[0]!r}, 'exphil'))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(out.stdout) == position(GAMES[0], "exphil")


def test_one_game_trains_two_validate_three_test():
    config = SplitConfig(val_split=0.1, test_split=0.1)
    assert set(assign(GAMES[:1], config).values()) == {Split.TRAIN}
    assert set(assign(GAMES[:2], config).values()) == {Split.TRAIN, Split.VALIDATION}
    assert set(assign(GAMES[:3], config).values()) == set(Split)
    assert assign([], config) == {}


@pytest.mark.parametrize(
    "fractions", [(-0.1, 0), (1.0, 0), (0.5, 0.5), (0, 1.5), (float("nan"), 0)]
)
def test_impossible_shares_are_refused(fractions):
    with pytest.raises(ValueError, match="val_split and test_split"):
        SplitConfig(*fractions)
