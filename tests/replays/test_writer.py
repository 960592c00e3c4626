"""Written replays read back exactly: through our parser, peppi-py's public classes and libmelee
itself."""

import dataclasses
import time
import unicodedata

import melee
import numpy as np
import peppi_py
import pytest
from replay_games import make_game

from exphil_tf.features.schema import SCHEMA
from exphil_tf.melee.enums import BUTTON_MASKS, BUTTONS, INTERNAL_TO_EXTERNAL, Character, Stage
from exphil_tf.melee.types import Frames, Game
from exphil_tf.replays import libmelee_reader, slp
from exphil_tf.replays.parse import Route, read_replay
from exphil_tf.replays.writer import write_slp

CLIMBERS = (Character.POPO, Character.MARTH)
GAMES = {
    "battlefield": {},
    "ports_2_and_4": {"ports": (2, 4)},
    "climbers": {"picked": CLIMBERS},
    "climbers_mirror": {"picked": (Character.POPO, Character.POPO), "ports": (1, 3)},
    "fountain_moving": {"stage": Stage.FOUNTAIN_OF_DREAMS, "moving_stage": True},
    "fountain_at_rest": {"stage": Stage.FOUNTAIN_OF_DREAMS},
    "dreamland_wind": {"stage": Stage.DREAMLAND, "moving_stage": True},
    "stadium": {"stage": Stage.POKEMON_STADIUM, "moving_stage": True},
    "yoshis": {"stage": Stage.YOSHIS_STORY},
    "one_frame": {"length": 1},
    "unfinished": {"end_method": None},
    "netplay": {"match_id": "mode.unranked-2026-01-01T00:00:00.00-0", "game_index": 2,
    "tiebreak": 1, "lras": 1,
                "end_method": 7, "is_pal": True, "is_frozen_ps": True},
}  # fmt: skip


def assert_same_frames(got: Frames, want: Frames) -> None:
    assert len(want), "comparing nothing proves nothing"
    for name in SCHEMA.names:
        np.testing.assert_array_equal(got[name], want[name], err_msg=name)


@pytest.mark.parametrize("name", GAMES)
def test_reads_back_exactly(name: str) -> None:
    game = make_game(7, **GAMES[name])
    data = write_slp(game)
    replay = read_replay(data)
    assert replay.route is (Route.REPAIRED if name == "unfinished" else Route.STRICT)
    assert_same_frames(replay.game.frames, game.frames)
    got, want = dataclasses.asdict(replay.game.info), dataclasses.asdict(game.info)
    moves = game.info.stage in (2, 3, 28)
    assert got.pop("version") == ((3, 18, 0) if moves else (3, 16, 0))
    del want["version"]
    for player in want["players"]:
        player["name"] = player["name"].replace("ä", "?")  # Shift-JIS has no umlaut
    assert got == want
    assert slp.scan(data).metadata["lastFrame"] == int(game.frames["frame"][-1])


@pytest.mark.parametrize(
    "name", ["battlefield", "climbers", "fountain_moving", "dreamland_wind", "stadium", "yoshis"]
)
def test_libmelee_reads_every_column(name: str) -> None:
    game = make_game(11, **GAMES[name])
    assert_same_frames(libmelee_reader.read_frames(write_slp(game), game.info), game.frames)


@pytest.mark.parametrize("seed", range(4))
def test_many_seeds_round_trip(seed: int) -> None:
    game = make_game(seed, length=1000, picked=CLIMBERS)
    assert game.frames["n.exists"].any() and game.frames["i.exists"].all(axis=1).any()
    assert_same_frames(read_replay(write_slp(game)).game.frames, game.frames)


def test_peppi_public_classes_agree(tmp_path) -> None:
    """Independent of our own reader: peppi-py's dataclasses, field by field."""
    game = make_game(3, ports=(1, 3))
    path = tmp_path / "game.slp"
    assert write_slp(game, path) == path.read_bytes()
    read = peppi_py.read_slippi(str(path))
    frames = game.frames
    assert read.start.stage == game.info.stage
    assert [player.character for player in read.start.players] == [
        INTERNAL_TO_EXTERNAL[Character(player.character)] for player in game.info.players
    ]
    assert read.metadata["lastFrame"] == frames["frame"][-1]
    np.testing.assert_array_equal(read.frames.id.to_numpy(), frames["frame"])
    for player in range(2):
        leader = read.frames.ports[player].leader
        for column, want in [
            (leader.post.position.x, "p.x"),
            (leader.post.percent, "p.percent"),
            (leader.post.shield, "p.shield"),
            (leader.post.state, "p.action"),
            (leader.post.stocks, "p.stock"),
            (leader.post.velocities.knockback_y, "p.speed_y_attack"),
            (leader.post.hitlag, "p.hitlag"),
            (leader.pre.joystick.x, "c.main_x"),
            (leader.pre.cstick.y, "c.c_y"),
            (leader.pre.triggers, "c.shoulder"),
        ]:
            np.testing.assert_array_equal(column.to_numpy(), frames[want][:, player], err_msg=want)
        np.testing.assert_array_equal(
            leader.pre.raw_analog_x.to_numpy(), np.rint(frames["c.main_x"][:, player] * 80)
        )


def test_libmelee_sees_consistent_pads_and_names(tmp_path) -> None:
    """Raw sticks, buttons, names and CPU level, straight from libmelee's own objects."""
    game = make_game(5, length=200)
    path = tmp_path / "game.slp"
    write_slp(game, path)
    console = melee.Console(path=str(path), is_dolphin=False)
    console.connect()
    for row in range(len(game.frames)):
        state = console.step()
        for player in range(2):
            pad = state.players[player + 1].controller_state
            want = [game.frames[f"c.main_{axis}"][row, player] for axis in "xy"]
            assert pad.main_stick == tuple(
                np.float32(value) / 2 + np.float32(0.5) for value in want
            )
            assert pad.raw_main_stick == tuple(round(float(value) * 80) for value in want)
            word = game.frames["c.buttons"][row, player]
            assert [pad.button[melee.Button[f"BUTTON_{name}"]] for name in BUTTONS] == [
                bool(word >> bit & 1) for bit in range(8)
            ]
    assert console.step() is None
    assert state.players[1].connectCode == "TEST#1"
    assert (state.players[1].cpu_level, state.players[2].cpu_level) == (0, 7)


# A vendor's sign each of rows 13 and 115, a wave dash, half-width kana, and plain kanji.
@pytest.mark.parametrize(
    ("name", "read"),
    [("①番", "1番"), ("㈱", "(株)"), ("～", "~"), ("ﾏﾙｽ", "マルス"), ("狐", "狐"), ("髙", "髙")],
)
def test_names_are_what_windows_calls_shift_jis(name: str, read: str) -> None:
    game = make_game(1, length=5)
    players = tuple(dataclasses.replace(p, name=name, tag=name[:3]) for p in game.info.players)
    data = write_slp(Game(dataclasses.replace(game.info, players=players), game.frames))
    for player in slp.read_header(data).players:
        assert (player.name, player.tag) == (read, read)


def test_every_sign_of_cp932_survives() -> None:
    """Bytes of every two-byte sign, in the name's place: decoded as Windows does, NFKC."""
    game = make_game(1, length=5)
    data = bytearray(write_slp(game))
    start = data.index("Näme 1".encode("cp932", "replace"))
    for lead in (0x81, 0x82, 0x87, 0x88, 0x9F, 0xE0, 0xED, 0xEE, 0xFA, 0xFC):
        pairs = [bytes([lead, trail]) for trail in (*range(0x40, 0x7F), *range(0x80, 0xFD))]
        for pair in pairs:
            data[start : start + 3] = pair + b"\0"
            want = unicodedata.normalize("NFKC", pair.decode("cp932", "ignore"))
            if want:  # not a sign
                assert slp.read_header(bytes(data)).players[0].name == want


def test_button_masks_are_distinct_bits() -> None:
    assert len({BUTTON_MASKS[name] for name in BUTTONS}) == len(BUTTONS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"p.x": np.nan}, "p.x: holds NaN"),
        ({"c.main_x": 1.5}, "c.main_x: want -1 to 1"),
        ({"n.exists": 1}, "only a player who picked Ice Climbers"),
        ({"s.stage": 3}, "want the game's stage 31"),
        ({"frame": 0}, "want ids ascending by 1"),
    ],
)
def test_refuses_what_no_game_holds(change: dict[str, float], message: str) -> None:
    game = make_game(1, length=10)
    columns = {name: column.copy() for name, column in game.frames.columns.items()}
    for name, value in change.items():
        columns[name][:] = value
    with pytest.raises(ValueError, match=message):
        write_slp(Game(game.info, Frames(columns)))


def test_same_game_same_bytes_and_fast() -> None:
    game = make_game(2, length=3000)
    first = write_slp(game)
    started = time.process_time()
    assert write_slp(game) == first
    assert time.process_time() - started < 0.5, "3,000 frames take about 15 ms"
