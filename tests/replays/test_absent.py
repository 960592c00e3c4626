"""What old versions lack: marked, and derived as well as the module says or left zero."""

import zipfile
from pathlib import Path

import fixture_replays
import numpy as np
import pytest
from replay_games import OLD_LAYOUTS, as_old, make_game

from exphil_tf.features import packing
from exphil_tf.features.schema import SCHEMA, SPOILED, Group
from exphil_tf.melee.enums import Character, Stage
from exphil_tf.melee.types import Frames
from exphil_tf.replays import absent, events, libmelee_reader
from exphil_tf.replays.filters import Exclusion, FilterConfig, select
from exphil_tf.replays.parse import Replay, read_replay
from exphil_tf.replays.repair import repair
from exphil_tf.replays.writer import write_slp

CLIMBERS = (Character.POPO, Character.FOX)
STAGES = (Stage.BATTLEFIELD, Stage.FOUNTAIN_OF_DREAMS, Stage.DREAMLAND, Stage.POKEMON_STADIUM)


def members(path: Path, count: int | None = None) -> list[bytes]:
    with zipfile.ZipFile(path) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".slp"))
        return [archive.read(name) for name in names[:count]]


def test_schema_and_payload_tables_name_the_same_versions() -> None:
    assert set(events.RECORDED) == set(SCHEMA.absent_bits)
    assert max(SCHEMA.absent_bits.values()) < SPOILED
    current = {code: size + 1 for code, size in events.SIZES_3_18.items()}
    for stage in STAGES:
        assert absent.bits(make_game(1, length=2, stage=stage).info, current) == 0


@pytest.mark.parametrize("version", OLD_LAYOUTS)
@pytest.mark.parametrize("stage", STAGES)
def test_what_a_version_lacks_is_marked_and_the_rest_is_untouched(version, stage) -> None:
    """Marks follow `since` alone; what is marked and not derived is zero; both readers agree."""
    game = make_game(4, length=80, stage=stage, picked=CLIMBERS, moving_stage=True)
    data = as_old(write_slp(game), version)
    replay = read_replay(data)
    frames, moves = replay.game.frames, stage != Stage.BATTLEFIELD
    want = {
        field.name
        for field in SCHEMA.fields
        if version[:2] < field.since and (field.group is not Group.STAGE or moves)
    }
    assert set(replay.absent) == want
    bits = {SCHEMA.absent_bit(SCHEMA.field(name)) for name in want}
    assert (frames["absent"] == sum(bits)).all()
    assert SCHEMA.check(frames) == []
    derived = ("speed", "hitlag", "on_ground", "jumps_left")
    for name in set(frames) - {"absent"}:
        if name not in want:
            np.testing.assert_array_equal(frames[name], game.frames[name], err_msg=name)
        elif name[0] == "i" or not name[2:].startswith(derived):
            assert not frames[name].any(), name
        if name[:2] == "n.":
            assert not frames[name][frames["n.exists"] == 0].any(), name
    slow = libmelee_reader.read_frames(repair(data).data, replay.game.info)
    for name in frames:
        np.testing.assert_array_equal(slow[name], frames[name], err_msg=name)


def test_frozen_stadium_lacks_nothing_that_moves() -> None:
    game = make_game(1, length=40, stage=Stage.POKEMON_STADIUM, is_frozen_ps=True)
    frames = read_replay(as_old(write_slp(game), (3, 9, 0))).game.frames
    assert not frames["absent"].any()
    assert (frames["s.stadium"] == 5).all()


def test_mirror_and_noise_leave_what_is_absent() -> None:
    """Absent values stay as they are under noise, and zero ones stay zero mirrored."""
    rng = np.random.default_rng(0)
    for version in OLD_LAYOUTS:
        for stage in STAGES:
            game = make_game(4, length=60, stage=stage, picked=CLIMBERS, moving_stage=True)
            replay = read_replay(as_old(write_slp(game), version))
            planes = packing.pack_planes(replay.game.frames)
            noised = packing.unpack(packing.noisy_planes(planes, 0.5, rng).T.copy())
            mirrored = packing.unpack(packing.mirror_planes(planes).T.copy())
            for name in replay.absent:
                was = replay.game.frames[name]
                np.testing.assert_array_equal(noised[name], was, err_msg=name)
                np.testing.assert_array_equal(np.abs(mirrored[name]), np.abs(was), err_msg=name)
            assert (noised["p.x"] != replay.game.frames["p.x"]).any()


def test_hitlag_counts_down_to_the_flags_end_through_rollbacks() -> None:
    frame = np.array([0, 1, 2, 3, 2, 3, 4, 5, 6])
    flag = np.array([0, 1, 1, 0, 1, 1, 1, 0, 1], bool)
    left = absent.hitlag_left(frame, flag)
    assert left.tolist() == [0, 4, 3, 0, 3, 2, 1, 0, 1]


def test_jumps_are_used_up_in_the_air_and_restored_by_ground_and_ledge() -> None:
    action = np.array([14, 24, 25, 25, 27, 27, 29, 27, 252, 29, 43])
    ground = np.isin(action, (14, 24, 43))
    fox = absent.jumps_left(action, np.full(len(action), Character.FOX), ground)
    assert fox.tolist() == [2, 2, 1, 1, 0, 0, 0, 0, 1, 1, 2]
    puff = absent.jumps_left(action, np.full(len(action), Character.JIGGLYPUFF), ground)
    assert puff.tolist() == [6, 6, 5, 5, 4, 4, 4, 3, 5, 5, 6]


def test_min_version_chooses() -> None:
    game = make_game(1, length=700, end_method=2)
    for version in OLD_LAYOUTS:
        old = read_replay(as_old(write_slp(game), version)).game
        for text in ("1.7", "2.0.1", "3", "3.7.0", "3.9"):
            wanted = FilterConfig(min_version=text, include_cpus=True)
            is_old = version < tuple(int(part) for part in text.split("."))
            chosen = select(old, wanted)
            assert (chosen.exclusion is Exclusion.OLD_VERSION) == is_old
    for text in ("", "three", "3.x", "3.0.0.0", "-1", "3.", "²"):
        with pytest.raises(ValueError, match="min_version"):
            FilterConfig(min_version=text)


def test_seconds_of_an_old_game_are_read_whole() -> None:
    replay = read_replay(fixture_replays.fixture("old"))
    frames = replay.game.frames
    assert replay.game.info.version == (2, 0, 1)
    assert SCHEMA.check(frames) == []
    assert not (frames["absent"] & SPOILED).any()
    assert 0.01 < (frames["p.hitlag"] > 0).mean() < 0.2
    assert 0.3 < frames["p.on_ground"].mean() < 0.8
    assert (np.abs(frames["p.speed_air_x_self"]) > 0).mean() > 0.3


def test_nineteen_old_games_are_read_whole(corpus_dir: Path) -> None:
    versions: list[tuple[int, ...]] = []
    for data in members(corpus_dir / "old-versions.zip"):
        replay = read_replay(data)
        game = replay.game
        versions.append(game.info.version[:2])
        assert select(game, FilterConfig()).perspectives == 3
        assert SCHEMA.check(game.frames) == []
        assert not (game.frames["absent"] & SPOILED).any()
        assert game.frames["frame"][0] == -123
        live = game.frames.slice(123, len(game.frames))
        assert 0.01 < (live["p.hitlag"] > 0).mean() < 0.2 or game.info.version < (2, 0, 0)
        assert 0.3 < live["p.on_ground"].mean() < 0.8
        assert (np.abs(live["p.speed_air_x_self"]) > 0).mean() > 0.3
    assert len(versions) == 19
    assert {(1, 2), (1, 7), (2, 0), (2, 2)} == set(versions)


@pytest.fixture(scope="module", params=["fixture", "corpus"])
def recent(request: pytest.FixtureRequest) -> list[tuple[bytes, Replay]]:
    """Games with every column but moving stage parts, read as they are: a piece of one, or five."""
    if request.param == "fixture":
        data = fixture_replays.with_hitlag_flags(fixture_replays.fixture("items").read_bytes())
        return [(data, read_replay(data))]
    found, corpus_dir = [], request.getfixturevalue("corpus_dir")
    for data in members(corpus_dir / "games.zip", 24):
        replay = read_replay(data)
        if not replay.game.info.absent & ~SCHEMA.absent_bits[3, 18]:
            found.append((data, replay))
    return found[:5]


def shares(games: list[tuple[bytes, Replay]], version: tuple[int, int, int]):
    """(truth, as derived from what `version` has) per game, from "GO!" on.

    The piece of a game plays from its first frame on.
    """
    for data, replay in games:
        derived = read_replay(as_old(data, version)).game.frames
        truth = replay.game.frames
        assert len(derived) == len(truth)
        first = 84 if len(truth) > 1000 else 1
        yield truth.slice(first, len(truth)), derived.slice(first, len(truth))


def test_hitlag_from_flags_is_that_of_newer_games(recent) -> None:
    for truth, derived in shares(recent, (2, 2, 0)):
        inside = truth["p.hitlag"] > 0
        np.testing.assert_array_equal(derived["p.hitlag"] > 0, inside)
        assert (derived["p.hitlag"] == truth["p.hitlag"])[inside].mean() > 0.98


def step_matches(truth: Frames, derived: Frames, axis: str) -> np.ndarray:
    """Whether own speed and knockback together are right, on airborne frames out of hitlag."""
    own = "speed_air_x_self" if axis == "x" else "speed_y_self"
    wanted, found = (f[f"p.{own}"] + f[f"p.speed_{axis}_attack"] for f in (truth, derived))
    airborne = (truth["p.on_ground"] == 0) & (truth["p.hitlag"] == 0)
    return (np.abs(wanted - found) < 1e-3)[airborne]


def test_speeds_from_steps_are_those_of_newer_games(recent) -> None:
    for truth, derived in shares(recent, (2, 2, 0)):
        assert step_matches(truth, derived, "x").mean() > 0.9
        assert step_matches(truth, derived, "y").mean() > 0.9
        grounded = truth["p.on_ground"] == 1
        assert not derived["p.speed_y_self"][grounded].any()
        hit = (truth["p.action"] >= 75) & (truth["p.action"] <= 91) & ~grounded
        for name in ("p.speed_y_self", "p.speed_y_attack"):
            right = np.abs(truth[name] - derived[name]) < 1e-3
            assert right[hit & (truth["p.hitlag"] == 0)].mean() > 0.95


def test_ground_and_jumps_from_actions_are_those_of_newer_games(recent) -> None:
    for truth, derived in shares(recent, (1, 7, 1)):
        assert (truth["p.on_ground"] == derived["p.on_ground"]).mean() > 0.95
        assert (truth["p.jumps_left"] == derived["p.jumps_left"]).mean() > 0.85
