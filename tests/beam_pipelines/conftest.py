"""A collection of replays and its dataset, built once for all tests here."""

from pathlib import Path

import pytest
from replay_collection import build_small, write_collection

from exphil_tf.melee.types import Game


@pytest.fixture(scope="session")
def collection(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Game]]:
    """A folder of seven replays, and the games in it."""
    folder = tmp_path_factory.mktemp("collection") / "replays"
    return folder, write_collection(folder, 7)


@pytest.fixture(scope="session")
def dataset(
    collection: tuple[Path, dict[str, Game]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Its finished dataset; not to be changed, copy it first."""
    output = tmp_path_factory.mktemp("dataset") / "data"
    build_small(collection[0], output)
    return output
