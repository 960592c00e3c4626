"""Whose styles a run learns, and under which ids: registry, earlier run and dataset joined.

Ids that a network may know already are kept, in this order: those of the run that goes on, of the
registry's file, of the run whose weights are the first ones. Players who are new follow behind. A
dataset stores ids of its own, which the input graph translates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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

    registry: PlayerRegistry
    ids: tuple[int, ...]
    """The policy's id for each of the dataset's, from 0."""
    file: Path | None = None
    """Where the registry is to be kept."""

    def save(self) -> None:
        """Writes the registry's file, if there is to be one and it says something else.

        Raises: OSError: if it cannot be written.
        """
        text = self.registry.to_json()
        if self.file is not None and not (
            self.file.is_file() and self.file.read_text(encoding="utf-8") == text
        ):
            self.registry.save(self.file)

    def facts(self) -> dict[str, Any]:
        """What the run's `config.json` says, so that a run that goes on has the same ids."""
        return {PLAYERS: self.registry.known.to_dict()}


def make_player_table(
    config: TrainConfig, manifest: Manifest, location: RunLocation
) -> PlayerTable | None:
    """The players of a run; None if it learns no styles.

    Raises: UserError: if the registry is no such file, or other people bear its pseudonyms or ids.
    """
    if not config.embedding.learn_player_styles:
        return None
    key, places = str(manifest.config.get("pseudonyms", "")), config.embedding.num_player_names
    games = {entry.player: entry.games for entry in manifest.players}
    least = config.conditions.min_player_games
    file, registry = _beginning(config, location)
    if registry is None:
        registry = PlayerRegistry(KnownPlayers({}, key))
    _check_fits(registry.known, key=key, places=places)
    registry = registry.extended(games, min_games=least, places=places)
    known = {name: registry.known.ids.get(name, UNKNOWN) for name, n in games.items() if n >= least}
    return PlayerTable(registry, translation(manifest, known), file)


def imitation_of(
    config: TrainConfig, manifest: Manifest, players: PlayerTable | None
) -> ImitationConfig:
    """What the learner of a run is built from, with its players."""
    unrecorded = manifest.unrecorded()
    if players is None:
        return config.imitation(unrecorded)
    return config.imitation(unrecorded, players=players.registry.known, player_ids=players.ids)


def translation(manifest: Manifest, ids: Mapping[str, int]) -> tuple[int, ...]:
    """An id for each of a dataset's, from 0: that of the player's pseudonym, or 0."""
    own = {entry.id: ids.get(entry.player, UNKNOWN) for entry in manifest.players}
    return tuple(own.get(number, UNKNOWN) for number in range(max(own, default=0) + 1))


def _beginning(
    config: TrainConfig, location: RunLocation
) -> tuple[Path | None, PlayerRegistry | None]:
    """The registry's file, if it is to be written, and what is known before the dataset is seen."""
    path = config.conditions.player_registry
    if location.is_resuming:
        saved = run_folder.saved_facts(location.run_dir).get(PLAYERS)
        if saved is not None:
            return None, PlayerRegistry(KnownPlayers.from_dict(saved))
    file = None if path is None else Path(path)
    earlier = _of_earlier_run(config.fine_tune.init_from)
    if file is None or not file.exists():
        return file, earlier
    registry = player_registry.load(file)
    if earlier is not None:
        _check_agreement(registry.known, earlier.known, file=file)
    return file, registry


def _of_earlier_run(init_from: str | None) -> PlayerRegistry | None:
    """Players of the run whose weights are the first ones, if it learnt styles."""
    if init_from is None:
        return None
    saved = read_json(run_folder.find_bundle(Path(init_from)) / CONFIG_JSON).get(PLAYERS)
    return None if saved is None else PlayerRegistry(KnownPlayers.from_dict(saved))


def _check_agreement(registry: KnownPlayers, earlier: KnownPlayers, *, file: Path) -> None:
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
