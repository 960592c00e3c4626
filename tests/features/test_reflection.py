"""A mirrored row is the row of the mirrored game, as parsing a mirrored file shows."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fixture_replays import NAMES
from replay_games import make_game

from exphil_tf.features import packing
from exphil_tf.features.schema import SCHEMA
from exphil_tf.melee.enums import ACTION_COUNT, Character, Stage, mirrored_actions
from exphil_tf.melee.types import Frames
from exphil_tf.replays.parse import parse
from exphil_tf.replays.writer import write_slp
from tests.raw_mirror import mirror_slp, other_side

CLIMBERS = (Character.POPO, Character.POPO)


def mirrored_row(frames: Frames) -> Frames:
    planes = packing.mirror_planes(packing.pack_planes(frames))
    return packing.unpack(np.ascontiguousarray(planes.T))


def assert_mirrors(data: bytes) -> None:
    """Both ways round: parse, then mirror; and mirror the file, then parse."""
    frames = parse(data).frames
    got, raw = mirrored_row(frames), parse(mirror_slp(data)).frames
    want = packing.unpack(packing.pack(raw))
    told = _platforms_told(frames)
    for name in SCHEMA.names:
        wanted = want[name]
        if name.startswith("s.randall_x"):
            wanted = -wanted  # follows from the frame's number, not from the file
        rows = told if name.startswith("s.fod") else slice(None)
        np.testing.assert_array_equal(got[name][rows], wanted[rows], err_msg=name)


def _platforms_told(frames: Frames) -> np.ndarray:
    """Frames since both platforms moved: before, the file does not say that they are mirrored."""
    moved = [(frames[name] != frames[name][0]) for name in ("s.fod_left", "s.fod_right")]
    return np.logical_and.reduce([np.logical_or.accumulate(column) for column in moved])


@pytest.mark.parametrize("stage", Stage)
@pytest.mark.parametrize("seed", range(3))
def test_made_games(stage: Stage, seed: int) -> None:
    moving = stage in (Stage.FOUNTAIN_OF_DREAMS, Stage.DREAMLAND)
    game = make_game(seed, length=400, stage=stage, picked=CLIMBERS, moving_stage=moving)
    assert 0 < game.frames["n.exists"].mean() < 1
    assert_mirrors(write_slp(game))


OTHERS = [f"peppi/{name}.slp" for name in ("ics2", "v3.12", "v3.13", "v3.16", "v3.18")]


@pytest.mark.parametrize("name", [*NAMES, *OTHERS])
def test_real_games(real_replay: Callable[[str], Path], name: str) -> None:
    assert_mirrors(real_replay(name).read_bytes())


@pytest.mark.parametrize(
    "name", ["mirrored_absent_nana/fox_ditto", "kirby_copy_ability/kirby_roy_hat_action_530"]
)
def test_cases(cases_dir: Path, name: str) -> None:
    assert_mirrors((cases_dir / f"{name}.slp").read_bytes())


@pytest.mark.slow
def test_games_of_the_corpus(corpus_dir: Path) -> None:
    with zipfile.ZipFile(corpus_dir / "games.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".slp"))
        for name in names[::60]:
            assert_mirrors(archive.read(name))


def test_a_ditto_without_nana_shows_none_in_a_mirror(cases_dir: Path) -> None:
    frames = parse(cases_dir / "mirrored_absent_nana/fox_ditto.slp").frames
    mirrored = mirrored_row(frames)
    for field in SCHEMA.fields:
        if field.present == "n.exists":
            assert not mirrored[field.name].any(), field.name
    assert (mirrored["p.facing"] != frames["p.facing"]).all()


def test_sides_are_exchanged_and_nothing_else() -> None:
    character, action = np.meshgrid(np.arange(256), np.arange(ACTION_COUNT), indexing="ij")
    table = mirrored_actions()
    np.testing.assert_array_equal(table, other_side(action, character))
    np.testing.assert_array_equal(table[character, table], action)
    assert (table[Character.FOX, [1, 2]] == [2, 1]).all()


def test_actions_beyond_the_known_stay() -> None:
    columns = SCHEMA.empty(2)
    columns["p.action"][:] = 0x0401, 65535  # low bytes of sided actions
    once = mirrored_row(Frames(columns))
    assert packing.mirror_planes(packing.mirror_planes(packing.pack_planes(once))).any()
    twice = mirrored_row(once)
    np.testing.assert_array_equal(twice["p.action"], columns["p.action"])
