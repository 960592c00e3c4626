"""Whose styles a run learns, and under which ids: registry, earlier run and dataset joined.

Ids that a network may know already are kept, in this order: those of the run that goes on, of the
registry's file, of the run whose weights are the first ones. Players who are new follow behind. A
dataset stores ids of its own, which the input graph translates.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from exphil_tf.foundation.errors import UserError
from exphil_tf.process.exit_codes import EXIT_INCOMPATIBLE
from exphil_tf.records.manifest import Manifest
from exphil_tf.replays import player_registry
from exphil_tf.replays.player_registry import PlayerRegistry
from exphil_tf.replays.players import SECRET_VARIABLE, UNKNOWN, KnownPlayers
from exphil_tf.training import run_folder
from exphil_tf.training.imitation_config import ImitationConfig
from exphil_tf.training.run_folder import CONFIG_JSON, RunLocation, read_json
from exphil_tf.training.train_config import TrainConfig

PLAYERS = "players"
"""Key of a run's `config.json` and of a bundle's."""


@dataclass(frozen=True)
class PlayerTable:
    """Players of a run."""

    known: KnownPlayers
    """Whose styles the policy learns, or learnt in the run that it starts from."""
    ids: tuple[int, ...]
    """The policy's id for each of the dataset's, from 0."""
    registry: PlayerRegistry | None = None
    """All players with an id, where they are to be kept in a file."""
    file: Path | None = None

    def save(self) -> None:
        """Writes the registry's file, if there is to be one and it says something else.

        Raises: OSError: if it cannot be written.
        """
        if self.file is None or self.registry is None:
            return
        text = self.registry.to_json()
        if not self.file.is_file() or self.file.read_text(encoding="utf-8") != text:
            self.registry.save(self.file)

    def facts(self) -> dict[str, Any]:
        """What the run's `config.json` says, so that a run that goes on has the same ids."""
        return {PLAYERS: self.known.to_dict()}


def make_player_table(
    config: TrainConfig, manifest: Manifest, location: RunLocation
) -> PlayerTable | None:
    """The players of a run; None if it learns no styles.

    Raises: UserError: if the registry is no such file, or other people bear its pseudonyms or ids.
    """
    if not config.embedding.learn_player_styles:
        return None
    games = {entry.player: entry.games for entry in manifest.players}
    least = config.conditions.min_player_games
    shown = [name for name, count in games.items() if count >= least]
    if (begun := _of_run_that_goes_on(location, manifest)) is not None:
        return _table(manifest, begun, shown, learnt=begun)
    key, places = str(manifest.config.get("pseudonyms", "")), config.embedding.num_player_names
    file, earlier = config.conditions.player_registry, _of_earlier_run(config.fine_tune.init_from)
    registry = _beginning(file, earlier) or PlayerRegistry(KnownPlayers({}, key))
    _check_fits(registry.known, key=key, places=places)
    registry = registry.extended(games, min_games=least, places=places)
    table = _table(manifest, registry.known, shown, learnt=earlier)
    return table if file is None else replace(table, registry=registry, file=Path(file))


def _table(
    manifest: Manifest,
    known: KnownPlayers,
    shown: Collection[str],
    *,
    learnt: KnownPlayers | None,
) -> PlayerTable:
    """The table of a run that is shown these players, of whose ids some were learnt before."""
    own = {name: known.ids[name] for name in shown if name in known.ids}
    ids = {**(learnt.ids if learnt is not None else {}), **own}
    return PlayerTable(KnownPlayers(ids, known.key), translation(manifest, own))


def imitation_of(
    config: TrainConfig, manifest: Manifest, players: PlayerTable | None
) -> ImitationConfig:
    """What the learner of a run is built from, with its players."""
    unrecorded = manifest.unrecorded()
    if players is None:
        return config.imitation(unrecorded)
    return config.imitation(unrecorded, players=players.known, player_ids=players.ids)


def translation(manifest: Manifest, ids: Mapping[str, int]) -> tuple[int, ...]:
    """An id for each of a dataset's, from 0: that of the player's pseudonym, or 0."""
    own = {entry.id: ids.get(entry.player, UNKNOWN) for entry in manifest.players}
    return tuple(own.get(number, UNKNOWN) for number in range(max(own, default=0) + 1))


def _beginning(file: str | None, earlier: KnownPlayers | None) -> PlayerRegistry | None:
    """Who has an id before the dataset is seen."""
    if file is None or not Path(file).exists():
        return None if earlier is None else PlayerRegistry(earlier)
    registry = player_registry.load(Path(file))
    if earlier is not None:
        _check_agreement(registry.known, earlier, file=file)
    return registry


def _of_run_that_goes_on(location: RunLocation, manifest: Manifest) -> KnownPlayers | None:
    """Players of the run itself, if it began before; of an older release, the dataset's."""
    facts = run_folder.saved_facts(location.run_dir) if location.is_resuming else {}
    if not facts:
        return None
    if PLAYERS in facts:
        return KnownPlayers.from_dict(facts[PLAYERS])
    ids = {entry.player: entry.id for entry in manifest.players}
    return KnownPlayers(ids, str(manifest.config.get("pseudonyms", "")))


def _of_earlier_run(init_from: str | None) -> KnownPlayers | None:
    """Players of the run whose weights are the first ones, if it learnt styles."""
    if init_from is None:
        return None
    saved = read_json(run_folder.find_bundle(Path(init_from)) / CONFIG_JSON).get(PLAYERS)
    return None if saved is None else KnownPlayers.from_dict(saved)


def _check_agreement(registry: KnownPlayers, earlier: KnownPlayers, *, file: str) -> None:
    others = [name for name, number in earlier.ids.items() if registry.ids.get(name) != number]
    if others:
        raise UserError(
            f"{file}: its ids are not those of --init-from ({others[0]} is "
            f"{registry.ids.get(others[0])}, was {earlier.ids[others[0]]})",
            "Give the registry that the run was trained with, or leave --player-registry out.",
            exit_code=EXIT_INCOMPATIBLE,
        )


def _check_fits(known: KnownPlayers, *, key: str, places: int) -> None:
    if known.ids and known.key != key:
        raise UserError(
            f"--learn-player-styles: the dataset's players are keyed by another secret than those "
            f"that are known (want {known.key}. Received: {key})",
            f"Preprocess with {SECRET_VARIABLE} as it was, or start another registry.",
            exit_code=EXIT_INCOMPATIBLE,
        )
    greatest = max(known.ids.values(), default=0)
    if greatest > places:
        raise UserError(
            f"--num-player-names: want at least the {greatest} ids of the registry. "
            f"Received: {places}",
            f"Give --num-player-names {greatest} or more.",
        )
