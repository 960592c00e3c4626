"""Registries of players: ids stay, new ones follow, other files are refused."""

import json

import pytest

from exphil_tf.foundation.errors import UserError
from exphil_tf.replays import player_registry
from exphil_tf.replays.player_registry import PlayerRegistry
from exphil_tf.replays.players import KnownPlayers

A, B, C, D = (letter * 16 for letter in "abcd")
FIRST = PlayerRegistry(KnownPlayers({}, "public")).extended({A: 3, B: 5}, min_games=1, places=9)


def test_most_games_first_and_ids_stay():
    assert FIRST.known.ids == {B: 1, A: 2}
    later = FIRST.extended({C: 90, A: 1, D: 7}, min_games=1, places=9)
    assert later.known.ids == {B: 1, A: 2, C: 3, D: 4}
    assert later.games == {B: 5, A: 3, C: 90, D: 7}
    assert FIRST.extended({A: 99, B: 1}, min_games=1, places=9) is FIRST


def test_least_games_and_places():
    assert FIRST.extended({C: 2, D: 3}, min_games=3, places=9).known.ids == {B: 1, A: 2, D: 3}
    assert FIRST.extended({C: 2, D: 3}, min_games=1, places=3).known.ids == {B: 1, A: 2, D: 3}
    assert FIRST.extended({C: 2, D: 3}, min_games=1, places=2) is FIRST


def test_a_file_keeps_them(tmp_path):
    path = tmp_path / "more" / "players.json"
    FIRST.save(path)
    assert player_registry.load(path) == FIRST
    assert player_registry.load(path).to_json() == FIRST.to_json()


GOOD = {"id": 1, "player": A, "games": 1}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", 65),
        ("[]", 65),
        ("{}", 65),
        (json.dumps({"version": 1, "players": []}), 78),
        (json.dumps({"version": 3, "key": "public", "players": [{"player": A}]}), 65),
        (json.dumps({"version": 3, "key": "public", "players": [GOOD, GOOD]}), 65),
        (json.dumps({"version": 3, "key": "public", "players": [GOOD | {"player": "Ann"}]}), 65),
        (json.dumps({"version": 3, "key": "public", "players": [GOOD, GOOD | {"player": B}]}), 65),
    ],
)
def test_other_files_are_refused_by_name(tmp_path, text, code):
    (tmp_path / "players.json").write_text(text)
    with pytest.raises(UserError, match="players.json: ") as caught:
        player_registry.load(tmp_path / "players.json")
    assert caught.value.exit_code == code
