"""Player identities: stable, pseudonymous, ranked by games."""

import hashlib
import itertools
import json

import pytest

from exphil_tf.foundation.errors import UserError
from exphil_tf.melee.types import PlayerInfo
from exphil_tf.replays import players


def player(**facts) -> PlayerInfo:
    return PlayerInfo(1, 1, **facts)


@pytest.mark.parametrize(
    ("facts", "identity"),
    [
        ({"code": "ABCD#123", "name": "Ann", "tag": "AAA"}, "code:ABCD#123"),
        ({"code": "ＡＢＣＤ＃１２３"}, "code:ABCD#123"),
        ({"code": "abcd#123"}, "code:ABCD#123"),
        ({"name": "  Ann   of  Green "}, "name:ANN OF GREEN"),
        ({"tag": "ＡＡＡ"}, "tag:AAA"),
        ({"code": "  ", "name": "", "tag": "T"}, "tag:T"),
        ({}, ""),
    ],
)
def test_identity_prefers_the_connect_code(facts, identity):
    assert players.identity(player(**facts)) == identity


def test_a_tag_is_not_mistaken_for_a_code():
    assert players.identity(player(code="A#1")) != players.identity(player(tag="A#1"))


def test_pseudonyms_depend_on_the_key_and_hide_the_code():
    name = players.pseudonym("code:ABCD#123")
    assert name == players.pseudonym("code:ABCD#123") and len(name) == 16
    assert name != players.pseudonym("code:ABCD#123", key="ab" * 32)
    assert name != players.pseudonym("code:ABCD#124")
    assert "ABCD" not in name and players.pseudonym("") == ""


def test_most_games_first_then_by_name():
    counts = {"c": 5, "a": 5, "d": 9, "b": 1, "": 99}
    registry = players.build(counts)
    assert list(registry.players.items()) == [("d", 9), ("a", 5), ("c", 5), ("b", 1)]
    assert [registry.id_of(name) for name in ("d", "a", "c", "b")] == [1, 2, 3, 4]
    assert registry.id_of("nobody") == registry.id_of("") == players.UNKNOWN == 0
    for order in itertools.permutations(counts.items()):
        assert players.build(dict(order)) == registry


def test_places_and_least_games():
    counts = {f"{i:03d}": 1000 - i for i in range(200)}
    registry = players.build(counts)
    assert len(registry.players) == 111 and registry.id_of("110") == 111
    assert registry.id_of("111") == players.UNKNOWN
    assert players.build({"a": 3, "b": 2}, min_games=3).players == {"a": 3}
    assert players.build({"a": 3}, max_players=1).players == {}
    with pytest.raises(ValueError, match="fewer players than max_players=2"):
        players.Registry({"a": 1, "b": 1}, 2)


def test_games_are_counted_once_per_player():
    assert players.count([["a", "b"], ["a", ""], ["a", "a"]]) == {"a": 3, "b": 1}


SECRET = "correct horse battery staple"


def test_key_comes_from_the_environment_by_a_slow_function():
    key = players.key_of({players.SECRET_VARIABLE: SECRET})
    assert players.key_of({}) == players.PUBLIC_KEY != key
    assert key == players.key_of({players.SECRET_VARIABLE: SECRET})
    assert key != players.key_of({players.SECRET_VARIABLE: SECRET + "."})
    assert len(key) == 64
    for fast in (hashlib.sha256, hashlib.md5, hashlib.blake2b, hashlib.sha1, hashlib.sha512):
        digest = fast(SECRET.encode()).hexdigest()
        assert players.key_fingerprint(key) not in digest
        assert key[:8] not in digest
    assert players.key_fingerprint(key) not in key
    assert players.key_fingerprint(players.PUBLIC_KEY) == "public"


@pytest.mark.parametrize(
    "secret", ["", " ", "hush!?", "z" * 99, "zw" * 8, "0123456789abcde", " " * 40]
)
def test_weak_secrets_are_refused_without_being_repeated(secret):
    with pytest.raises(UserError, match="EXPHIL_PSEUDONYM_SECRET: want at least 16") as caught:
        players.key_of({players.SECRET_VARIABLE: secret})
    assert caught.value.exit_code == 2
    assert not secret.strip() or secret not in str(caught.value).replace("at least", "")


def test_a_secret_of_bytes_that_are_no_text():
    assert len(players.key_of({players.SECRET_VARIABLE: "\udcff\udcfe0123456789abcdef"})) == 64


KNOWN = players.KnownPlayers(
    {
        players.pseudonym(players.identity(one)): number
        for number, one in enumerate(
            (player(code="ABCD#123"), player(name="Ann"), player(tag="T")), 1
        )
    },
    key="public",
)


@pytest.mark.parametrize(
    ("text", "number"), [("abcd#123", 1), ("ＡＢＣＤ＃１２３", 1), ("ann", 2), ("T", 3)]
)
def test_a_known_player_is_found_by_any_name(text: str, number: int) -> None:
    assert KNOWN.id_of(text) == number
    assert players.KnownPlayers.from_dict(json.loads(json.dumps(KNOWN.to_dict()))) == KNOWN


def test_a_pseudonym_finds_without_the_key_and_a_name_does_not() -> None:
    key = players.key_of({players.SECRET_VARIABLE: "correct horse battery staple"})
    name = players.pseudonym(players.identity(player(code="ABCD#123")), key)
    known = players.KnownPlayers({name: 7}, players.key_fingerprint(key))
    assert known.id_of(name) == known.id_of("ABCD#123", key) == 7
    with pytest.raises(ValueError, match=f"set {players.SECRET_VARIABLE}"):
        known.id_of("ABCD#123")
    with pytest.raises(ValueError, match="want one of the 1"):
        known.id_of("WXYZ#1", key)


@pytest.mark.parametrize(
    "values",
    [
        {"ids": {}}, {"ids": [], "key": "public"}, {"ids": {"Ann": 1}, "key": "public"},
        {"ids": {"0" * 16: 0}, "key": "public"}, {"ids": {"0" * 16: True}, "key": "public"},
        {"ids": {"0" * 16: 1, "1" * 16: 1}, "key": "public"}, {"ids": {}, "key": "", "more": 1},
    ],
)  # fmt: skip
def test_what_is_no_table_of_players_is_refused(values: dict) -> None:
    with pytest.raises(ValueError, match=r"players: want .* Received"):
        players.KnownPlayers.from_dict(values)
