"""Which files hold the same game."""

import dataclasses
import hashlib
import itertools
import json

import pytest
from replay_games import make_game

from exphil_tf.melee.types import Frames, GameInfo, PlayerInfo
from exphil_tf.replays.duplicates import Copy, by_game, identity, is_copy, sketch
from exphil_tf.replays.players import SECRET_VARIABLE, key_of

ONE = PlayerInfo(1, 1, code="ABCD#123", name="Ann")
TWO = PlayerInfo(2, 22, code="EFGH#456", name="Bob")
MATCH = GameInfo(
    31, (ONE, TWO), match_id="mode.ranked-2024-01-01T00:00:00.00-0", game_index=2, seed=7
)
NO_MATCH = dataclasses.replace(MATCH, match_id="", game_index=0)


def test_both_clients_files_of_a_match_are_one_game():
    other_client = dataclasses.replace(MATCH, start_at="2024-01-01T00:00:03Z", end_method=2, lras=1)
    assert identity(MATCH, "a" * 64) == identity(other_client, "b" * 64)


@pytest.mark.parametrize(
    "change", [{"game_index": 3}, {"tiebreak": 1}, {"match_id": "mode.ranked-x"}]
)
def test_other_games_of_a_match_are_others(change):
    assert identity(MATCH, "a" * 64) != identity(dataclasses.replace(MATCH, **change), "a" * 64)


def test_older_netplay_files_are_matched_by_seed_stage_and_players_in_any_order():
    swapped = dataclasses.replace(NO_MATCH, players=(TWO, ONE))
    assert identity(NO_MATCH, "a" * 64) == identity(swapped, "b" * 64)
    changes = (
        {"seed": 8},
        {"stage": 32},
        {"players": (ONE, dataclasses.replace(TWO, code="X#1"))},
        {"players": (ONE, dataclasses.replace(TWO, character=0))},
    )
    for change in changes:
        other = dataclasses.replace(NO_MATCH, **change)
        assert identity(NO_MATCH, "a" * 64) != identity(other, "a" * 64)


def test_offline_games_are_matched_by_content_only():
    offline = dataclasses.replace(NO_MATCH, players=(dataclasses.replace(ONE, code=""), TWO))
    assert identity(offline, "a" * 64) != identity(offline, "b" * 64)
    renamed = dataclasses.replace(offline, start_at="2024-05-05T00:00:00Z")
    assert identity(offline, "a" * 64) == identity(renamed, "a" * 64)


def test_identities_hold_no_names():
    text = identity(NO_MATCH, "a" * 64)
    assert len(text) == 32 and set(text) <= set("0123456789abcdef")


def test_codes_enter_an_identity_under_the_key_only():
    """Else all codes could be tried: seed, stage and characters stand in the lists beside it."""
    mine = key_of({SECRET_VARIABLE: "0123456789abcdef"})
    assert identity(NO_MATCH, "", key=mine) != identity(NO_MATCH, "")
    assert identity(NO_MATCH, "", key=mine) == identity(NO_MATCH, "other", key=mine)
    bare = ["seed", 7, 31, sorted([p.code, p.character] for p in (ONE, TWO))]
    assert identity(NO_MATCH, "") != hashlib.sha256(json.dumps(bare).encode()).hexdigest()[:32]
    assert identity(MATCH, "", key=mine) == identity(MATCH, "")


def test_the_kept_file_does_not_depend_on_order():
    files = [
        Copy(0, False, -5001, 0, "8"),
        Copy(0, False, -5001, 0, "9"),
        Copy(0, False, -5001, 1, "1"),
        Copy(0, False, -5000, 0, "2"),
        Copy(0, True, -9000, 0, "1"),
        Copy(1, False, -9000, 0, "0"),
    ]
    assert {min(order) for order in itertools.permutations(files)} == {files[0]}
    assert sorted(reversed(files)) == files


def test_copies_look_alike_and_other_games_do_not():
    frames = make_game(1, length=700).frames
    seen = sketch(frames)
    assert len(seen) == 10  # frames 0, 60 … 540
    swapped = Frames({name: column[:, ::-1] if name[:2] == "p." else column
                      for name, column in frames.columns.items()})  # fmt: skip
    assert sketch(swapped) == seen
    whole = Copy(0, False, -700, 0, "a", seen)
    cut = Copy(1, True, -300, 0, "b", sketch(frames.slice(0, 300)))
    damaged = Copy(0, False, -700, 3, "c", (*seen[:3], 1, *seen[4:]))
    other = Copy(0, False, -700, 0, "d", sketch(make_game(2, length=700).frames))
    files = [whole, other, damaged, cut]
    assert by_game(files, lambda copy: copy) == [[whole, damaged, cut], [other]]
    short = Copy(0, True, -50, 0, "e", sketch(frames.slice(0, 50)))
    assert is_copy(whole, short), "nothing to compare"


def test_real_replays_are_all_different(real_replays):
    from exphil_tf.replays import slp, sources
    from exphil_tf.replays.refusals import ReplayError

    identities, contents = [], []
    for source in sources.find(real_replays).sources:
        data = sources.read_bytes(source) if source.size >= slp.MIN_BYTES else b""
        try:
            info = slp.read_header(data)
        except ReplayError:
            continue
        contents.append(hashlib.sha256(data).hexdigest())
        identities.append(identity(info, contents[-1]))
    assert len(set(identities)) == len(set(contents)) > len(real_replays) / 2
