"""Ids of players: the dataset's own, a registry's, an earlier run's; they stay."""

import dataclasses
import json

import pytest

from exphil_tf.foundation.errors import UserError
from exphil_tf.records.manifest import load_manifest
from exphil_tf.replays import player_registry
from exphil_tf.replays.player_registry import PlayerRegistry
from exphil_tf.replays.players import KnownPlayers
from exphil_tf.training.condition_config import ConditionConfig
from exphil_tf.training.player_table import make_player_table
from exphil_tf.training.run_config import FineTuneConfig
from exphil_tf.training.run_folder import RunLocation
from exphil_tf.training.train_config import TrainConfig
from models.policy_config import EmbeddingConfig

STRANGER = "0" * 16


@pytest.fixture(scope="module")
def manifest(dataset):
    found = load_manifest(dataset)
    assert len(found.players) > 2
    return found


def table(manifest, tmp_path, *, resuming=False, places=112, init_from=None, **conditions):
    config = TrainConfig(
        embedding=EmbeddingConfig(learn_player_styles=True, num_player_names=places),
        conditions=ConditionConfig(**conditions),
        fine_tune=FineTuneConfig(init_from=init_from),
    )
    location = RunLocation(tmp_path / "run", is_resuming=resuming)
    found = make_player_table(config, manifest, location)
    assert found is not None
    return found


def own_ids(manifest):
    return {entry.player: entry.id for entry in manifest.players}


def saved(folder, players, *, name="config.json"):
    """What a run or its bundle says of its players."""
    folder.mkdir(parents=True, exist_ok=True)
    facts = {"players": players.to_dict(), "config": {}, "data": {"manifest_sha256": ""}}
    (folder / name).write_text(json.dumps(facts))
    return folder


def test_no_styles_no_table(manifest, tmp_path):
    location = RunLocation(tmp_path, is_resuming=False)
    assert make_player_table(TrainConfig(), manifest, location) is None


def test_without_a_registry_ids_are_the_datasets(manifest, tmp_path):
    found = table(manifest, tmp_path)
    assert found.known.ids == own_ids(manifest)
    assert found.ids == tuple(range(len(manifest.players) + 1))
    found.save()
    assert not list(tmp_path.iterdir())


def test_a_registry_is_made_and_its_ids_stay(manifest, tmp_path):
    path = tmp_path / "players.json"
    first = table(manifest, tmp_path, player_registry=str(path))
    first.save()
    assert player_registry.load(path).known.ids == own_ids(manifest)
    # Another dataset's players came first; those of this one follow behind, but for one of them.
    one = manifest.players[-1].player
    PlayerRegistry(KnownPlayers({STRANGER: 1, one: 2}, "public"), {}).save(path)
    later = table(manifest, tmp_path, player_registry=str(path))
    assert later.ids[manifest.players[-1].id] == 2
    others = [later.ids[entry.id] for entry in manifest.players[:-1]]
    assert others == list(range(3, 2 + len(manifest.players)))
    assert STRANGER not in later.known.ids  # whose style this run does not learn
    later.save()
    assert player_registry.load(path).known.ids == {STRANGER: 1, **later.known.ids}
    before = path.stat().st_mtime_ns
    table(manifest, tmp_path, player_registry=str(path)).save()
    assert path.stat().st_mtime_ns == before


def test_players_of_few_games_and_without_a_place_are_nobody(manifest, tmp_path):
    most = max(entry.games for entry in manifest.players)
    few = table(manifest, tmp_path, min_player_games=most + 1)
    assert few.known.ids == {} and set(few.ids) == {0}
    assert [*table(manifest, tmp_path, places=1).known.ids.values()] == [1]


def test_ids_of_the_run_that_it_starts_from_stay(manifest, tmp_path):
    one = manifest.players[1].player
    bundle = saved(tmp_path / "before" / "policy", KnownPlayers({STRANGER: 4, one: 6}, "public"))
    found = table(manifest, tmp_path, init_from=str(bundle.parent))
    assert found.known.ids[STRANGER] == 4 and found.ids[manifest.players[1].id] == 6
    assert sorted(found.ids)[2] == 7  # the next one
    path = tmp_path / "players.json"
    PlayerRegistry(KnownPlayers({one: 1}, "public")).save(path)
    with pytest.raises(UserError, match="not those of --init-from"):
        table(manifest, tmp_path, init_from=str(bundle.parent), player_registry=str(path))


def test_a_run_that_goes_on_keeps_its_ids(manifest, tmp_path):
    first = manifest.players[0]
    saved(tmp_path / "run", KnownPlayers({first.player: 9}, "public"))
    found = table(manifest, tmp_path, resuming=True, player_registry=str(tmp_path / "gone.json"))
    assert found.ids[first.id] == 9 and sum(found.ids) == 9  # nobody is new
    found.save()
    assert not (tmp_path / "gone.json").exists()


def test_what_does_not_fit_is_refused(manifest, tmp_path):
    path = tmp_path / "players.json"
    PlayerRegistry(KnownPlayers({STRANGER: 5}, "f" * 16)).save(path)
    with pytest.raises(UserError, match="keyed by another secret"):
        table(manifest, tmp_path, player_registry=str(path))
    PlayerRegistry(KnownPlayers({STRANGER: 5}, "public")).save(path)
    with pytest.raises(UserError, match="want at least the 5 ids"):
        table(manifest, tmp_path, player_registry=str(path), places=4)


def test_options_out_of_range():
    for wrong in ({"condition_dropout": 1.0}, {"min_player_games": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            dataclasses.replace(ConditionConfig(), **wrong)
