"""Who plays: identities of players across games, and the small numbers the network knows them by.

A player's identity is the connect code, which stays when names change; without one the netplay
name, else the in-game tag, all NFKC-normalised (the game writes `ＡＢＣＤ＃１２３` in full width)
and without regard to case. Offline players without a tag have none and are *unknown*, id 0; so is
everybody who has no place in the registry. A hash of the name modulo the table, as the original
had it, was dropped: it gives strangers the style of others.

Identities are personal, so records, registries and reports carry a *pseudonym*: a keyed hash. With
the same key a player keeps it across datasets; without the key nobody can test whether a given
code is in one. The default key is public and only keeps names from being read by accident.

A key is made of a secret, which is read from the environment alone: a command line is seen by every
process of the machine, and a file gets copied. It is made by a slow function (scrypt, 16 MB and
50 ms a try), because connect codes are public: whoever finds a known player's pseudonym could
otherwise try secrets at a billion a second. The secret itself goes no further than that function.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import cast

from exphil_tf.foundation.errors import UserError
from exphil_tf.melee.types import PlayerInfo

UNKNOWN = 0
"""Id of everybody who is not in the registry."""
SECRET_VARIABLE = "EXPHIL_PSEUDONYM_SECRET"
PUBLIC_KEY = hashlib.sha256(b"exphil-tf").hexdigest()
"""Of everybody who has set no secret."""
PUBLIC_KEY_NOTE = (
    "players are recorded under the public default key, by which connect codes can be guessed: set "
    f"{SECRET_VARIABLE} before you share the dataset"
)
_PSEUDONYM = re.compile("[0-9a-f]{16}")
MIN_SECRET = 16
_MIN_DIFFERENT = 8
"""Characters of a secret, and different ones among them."""
_SALT = b"exphil-tf pseudonyms 1"
"""Fixed and public: the same secret gives the same pseudonyms on every machine."""


def identity(player: PlayerInfo) -> str:
    """`code:ABCD#123`, `name:…` or `tag:…`; empty for a player who left nothing of these."""
    for kind, text in (("code", player.code), ("name", player.name), ("tag", player.tag)):
        normal = " ".join(unicodedata.normalize("NFKC", text).upper().split())
        if normal:
            return f"{kind}:{normal}"
    return ""


def key_of(environment: Mapping[str, str]) -> str:
    """The key of pseudonyms, 64 hex digits: of the secret in the environment, or the public one.

    Raises: UserError: if the secret is empty or weak; its characters are not repeated.
    """
    secret = environment.get(SECRET_VARIABLE)
    if secret is None:
        return PUBLIC_KEY
    if len(secret) < MIN_SECRET or len(set(secret)) < _MIN_DIFFERENT:
        raise UserError(
            f"{SECRET_VARIABLE}: want at least {MIN_SECRET} characters, {_MIN_DIFFERENT} different "
            f"ones. Received: {len(secret)}, {len(set(secret))} different",
            "Make one and keep it: "
            "python -c 'import secrets; print(secrets.token_hex(16))'. Or unset the variable.",
        )
    return _derived(os.fsencode(secret))


@functools.lru_cache(4)
def _derived(secret: bytes) -> str:
    return hashlib.scrypt(secret, salt=_SALT, n=1 << 14, r=8, p=1, dklen=32).hex()


def key_fingerprint(key: str) -> str:
    """Tells whether two keys are the same, and nothing else about them."""
    if key == PUBLIC_KEY:
        return "public"
    return hashlib.blake2b(b"fingerprint", key=bytes.fromhex(key), digest_size=8).hexdigest()


def pseudonym(player_identity: str, key: str = PUBLIC_KEY) -> str:
    """16 hex digits instead of an identity; empty for an empty one."""
    if not player_identity:
        return ""
    text = player_identity.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, key=bytes.fromhex(key), digest_size=8).hexdigest()


@dataclass(frozen=True)
class Registry:
    """Players with ids from 1, by number of games.

    Args:
      players: pseudonym → games, in the order of the ids: the first has id 1.
      max_players: size of the network's table, id 0 included.

    Raises:
      ValueError: if there are more players than places.
    """

    players: Mapping[str, int] = field(default_factory=dict[str, int])
    max_players: int = 112

    def __post_init__(self) -> None:
        """Refuses more players than places."""
        if self.max_players < 1 or len(self.players) >= self.max_players:
            raise ValueError(
                f"registry: want fewer players than max_players={self.max_players}. "
                f"Received: {len(self.players)} players"
            )

    def id_of(self, player_pseudonym: str) -> int:
        """The player's id, or 0."""
        return self._ids.get(player_pseudonym, UNKNOWN)

    @functools.cached_property
    def _ids(self) -> dict[str, int]:
        return {name: index + 1 for index, name in enumerate(self.players)}


@dataclass(frozen=True)
class KnownPlayers:
    """The players whose styles a policy learnt, as its bundle names them.

    Pseudonyms only: whoever has the key of the dataset finds a player by connect code, everybody
    else by pseudonym or id.

    Args:
      ids: pseudonym → id, from 1; 0 is everybody else.
      key: fingerprint of the pseudonyms' key (`key_fingerprint`).

    Raises: ValueError: if a pseudonym or an id is none, or an id stands twice.
    """

    ids: Mapping[str, int]
    key: str

    def __post_init__(self) -> None:
        """Refuses what is no table of players."""
        names_fit = all(_PSEUDONYM.fullmatch(name) for name in self.ids)
        numbers = list(self.ids.values())
        numbers_fit = all(type(number) is int and number > UNKNOWN for number in numbers)
        if not names_fit or not numbers_fit or len(set(numbers)) != len(numbers):
            raise ValueError(
                f"players: want pseudonyms and an id of its own for each, from 1. "
                f"Received: {dict(self.ids)!r:.120}"
            )

    def id_of(self, text: str, key: str = PUBLIC_KEY) -> int:
        """The id of a player.

        Args:
          text: connect code, netplay name or tag, as `identity` reads them; or a pseudonym.
          key: of the pseudonyms (`key_of`).

        Raises: ValueError: if the policy learnt nobody of that name, or has other pseudonyms.
        """
        if text in self.ids:
            return self.ids[text]
        if key_fingerprint(key) != self.key:
            raise ValueError(
                f"player: want a pseudonym, as names are keyed by another secret (set "
                f"{SECRET_VARIABLE} as it was in preprocessing). Received: {text!r:.60}"
            )
        nobody = PlayerInfo(port=1, character=0)
        ways = replace(nobody, code=text), replace(nobody, name=text), replace(nobody, tag=text)
        for named in ways:
            found = self.ids.get(pseudonym(identity(named), key), UNKNOWN)
            if found != UNKNOWN:
                return found
        raise ValueError(
            f"player: want one of the {len(self.ids)} whose styles were learnt. "
            f"Received: {text!r:.60}"
        )

    def to_dict(self) -> dict[str, object]:
        """Plain values."""
        return {"key": self.key, "ids": dict(self.ids)}

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> KnownPlayers:
        """The inverse of `to_dict`; ValueError if the values are no such table."""
        ids, key = values.get("ids"), values.get("key")
        if not isinstance(ids, dict) or not isinstance(key, str) or len(values) != 2:
            raise ValueError(f"players: want key and ids. Received: {sorted(values)!r:.80}")
        return cls(cast(dict[str, int], ids), key)


def build(games: Mapping[str, int], *, max_players: int = 112, min_games: int = 1) -> Registry:
    """The registry of the players with most games.

    Args:
      games: pseudonym → number of games; the empty pseudonym is nobody.
      max_players: places in the network's table; one of them is "unknown".
      min_games: players with fewer games stay unknown.
    """
    known = [(name, count) for name, count in games.items() if name and count >= min_games]
    ranked = sorted(known, key=lambda one: (-one[1], one[0]))
    return Registry(dict(ranked[: max(0, max_players - 1)]), max_players)


def count(games: Iterable[Iterable[str]]) -> dict[str, int]:
    """Pseudonym → number of games; a player counts once in a game."""
    counts: dict[str, int] = {}
    for players in games:
        for name in set(players) - {""}:
            counts[name] = counts.get(name, 0) + 1
    return counts
