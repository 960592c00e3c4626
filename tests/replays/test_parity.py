"""Our columns equal what libmelee's file reader shows, on every shared field of every real version
3 replay.

The witness is libmelee's GameState itself, read here field by field: none of our conversion code is
on its side. libmelee gives the first version of a rolled-back frame, so that is what is compared;
that training takes the last version is tested against the repeats in the file.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import melee
import numpy as np
import peppi_py
import pytest
from fixture_replays import NAMES

from exphil_tf.melee.enums import BUTTONS, STAGE_FROM_LIBMELEE
from exphil_tf.melee.types import Game
from exphil_tf.replays import absent, libmelee_reader
from exphil_tf.replays.parse import Route, parse, read_replay
from exphil_tf.replays.refusals import Reason, ReplayError
from exphil_tf.replays.repair import repair

FindReplay = Callable[[str], Path]

SHORT = [
    "libmelee/test_game_1.slp", "peppi/v3.12.slp", "peppi/v3.13.slp", "peppi/v3.16.slp",
    "peppi/v3.18.slp",
    "peppi/netplay.slp", "exphil/fox_multishine.slp", "peppi/ics2.slp",
]  # fmt: skip
"""3.6.1 (repaired, rollbacks), Nana, Fountain of Dreams' platforms, P1 against P3, CPU sticks,
netplay."""
LONG = [
    "peppi/duplicate_game_end.slp", "peppi/items.slp", "exphil/fox_multishine_closed_d1.slp",
    "exphil/gnw_movement_ledge.slp", "exphil/gnw_neutral_dense.slp",
    "exphil/mewtwo_approach_fair.slp",
    "exphil/mewtwo_dtilt_uptilt_dense.slp", "exphil/mewtwo_ground_neutral_v2.slp",
]  # fmt: skip
OLD = [
    "libmelee/test_game_2.slp", "peppi/ics.slp", "peppi/transform.slp", "peppi/nintendont.slp",
    "peppi/console_name.slp", "peppi/v2.0.slp", "peppi/game.slp",
    *(f"peppi/{name}.slp" for name in (
        "buttons_abxy", "buttons_lrzs", "cstick_udlr", "dash_back", "dpad_udlr", "joystick_udlr",
        "shield_drop",
    )),
]  # fmt: skip
"""1.0 to 2.0: Nana, Zelda and Sheik, consoles."""
UNWITNESSED = "peppi/unknown_event.slp"
"""Version 1.0 with an event of code 255, on which libmelee gives up."""
REJECTED = {
    "libmelee/corrupt_game_1.slp": Reason.TOO_SMALL,
    "libmelee/corrupt_game_2.slp": Reason.BAD_MAGIC,
    "libmelee/corrupt_game_3.slp": Reason.BAD_HEADER,
    "peppi/corrupt.slp": Reason.NO_FRAMES,
    "peppi/crazy_name_tags.slp": Reason.PLAYERS,
    "peppi/v0.1.slp": Reason.OLD_VERSION,
}

SAME = (
    "percent", "speed_air_x_self", "speed_ground_x_self", "speed_y_self", "speed_x_attack",
    "speed_y_attack",
    "action_frame", "jumps_left", "stock", "facing", "on_ground", "invulnerable",
)  # fmt: skip


def _witness(path: Path, game: Game) -> dict[str, np.ndarray]:
    """Columns straight from libmelee."""
    console = melee.Console(path=str(path), is_dolphin=False, allow_old_version=True)
    console.connect()
    ports = [player.port for player in game.info.players]
    rows: list[dict[str, Any]] = []
    while (state := console.step()) is not None:
        row: dict[str, Any] = {
            "frame": state.frame,
            "stage": STAGE_FROM_LIBMELEE[state.stage.value],
        }
        row["fod"] = (
            (state.fod_platforms.left, state.fod_platforms.right) if state.fod_platforms else None
        )
        row["stadium"] = (
            state.stadium_transformation.type.value if state.stadium_transformation else None
        )
        row["items"] = sorted(
            (item.type.value if hasattr(item.type, "value") else int(item.type), int(item.subtype),
             float(item.position.x), float(item.position.y), float(item.speed.x),
             float(item.speed.y),
             int(item.expiration_frames), int(item.owner))
            for item in state.projectiles
        )  # fmt: skip
        row["p"] = [_player(state.players[port]) for port in ports]
        row["n"] = [
            state.players[port].nana and _player(state.players[port].nana) for port in ports
        ]
        row["c"] = [_pad(state.players[port].controller_state) for port in ports]
        rows.append(row)
    return {key: [row[key] for row in rows] for key in rows[0]}


def _player(player: Any) -> dict[str, float]:
    values = {name: getattr(player, name) for name in SAME}
    damage = 75 <= player.action.value <= 91
    return values | {
        "x": player.position.x, "y": player.position.y, "shield": player.shield_strength,
        "action": player.action.value, "character": player.character.value,
        "hitlag": player.hitlag_left,
        "hitstun": player.hitstun_frames_left if damage else 0,
    }  # fmt: skip


def _pad(pad: Any) -> dict[str, float]:
    return {
        "main_x": pad.main_stick[0], "main_y": pad.main_stick[1], "c_x": pad.c_stick[0],
        "c_y": pad.c_stick[1],
        "shoulder": pad.l_shoulder, "r_shoulder": pad.r_shoulder,
        **{name: pad.button[melee.Button[f"BUTTON_{name}"]] for name in BUTTONS},
    }  # fmt: skip


def _assert_parity(game: Game, seen: dict[str, Any]) -> None:
    frames, derived = game.frames, absent.fields(game.info.absent)
    assert len(frames) > 100
    np.testing.assert_array_equal(frames["frame"], seen["frame"])
    np.testing.assert_array_equal(frames["s.stage"], seen["stage"])
    if seen["fod"][0] is not None:
        np.testing.assert_array_equal(
            np.stack([frames["s.fod_left"], frames["s.fod_right"]], 1), seen["fod"]
        )
    if seen["stadium"][0] is not None:
        np.testing.assert_array_equal(frames["s.stadium"], seen["stadium"])
    for player in range(2):
        leaders, pads = ([row[player] for row in seen[group]] for group in "pc")
        for name in set(leaders[0]) - {name[2:] for name in derived}:
            np.testing.assert_array_equal(
                frames[f"p.{name}"][:, player], [row[name] for row in leaders], err_msg=name
            )
        for name in ("main_x", "main_y", "c_x", "c_y"):
            ours = frames[f"c.{name}"][:, player] / np.float32(2) + np.float32(0.5)
            np.testing.assert_array_equal(ours, [row[name] for row in pads], err_msg=name)
        np.testing.assert_array_equal(
            frames["c.shoulder"][:, player], [row["shoulder"] for row in pads]
        )
        for bit, name in enumerate(BUTTONS):
            ours = frames["c.buttons"][:, player] >> bit & 1
            np.testing.assert_array_equal(ours, [row[name] for row in pads], err_msg=name)
        nanas = [row[player] for row in seen["n"]]
        exists = np.array([nana is not None for nana in nanas])
        np.testing.assert_array_equal(frames["n.exists"][:, player], exists)
        for name in set(leaders[0]) - {name[2:] for name in derived}:
            want = [0 if nana is None else nana[name] for nana in nanas]
            np.testing.assert_array_equal(
                frames[f"n.{name}"][:, player], want, err_msg=f"nana {name}"
            )
    _assert_items(game, seen["items"])


def _assert_items(game: Game, items: list[list[tuple]]) -> None:
    """Frames of at most five items show exactly those; crowded ones show five of them."""
    frames, ports = game.frames, [player.port for player in game.info.players]
    fields = ("type", "state", "x", "y", "speed_x", "speed_y", "timer")
    for row in np.flatnonzero([bool(listed) for listed in items]):
        slots = np.flatnonzero(frames["i.exists"][row])
        ours = []
        for slot in slots:
            values = tuple(frames[f"i.{name}"][row, slot].item() for name in fields)
            owner = [
                port
                for player, port in enumerate(ports)
                if frames["p.items_owned"][row, player] >> slot & 1
            ]
            ours.append((*values, owner[0] if owner else 0))
        want = [(*item[:-1], item[-1] if item[-1] in ports else 0) for item in items[row]]
        if len(want) <= 5:
            assert sorted(ours) == sorted(want)
        else:
            assert len(ours) == 5 and set(ours) <= set(want)
    assert not frames["i.exists"][[not listed for listed in items]].any()


@pytest.mark.parametrize("name", ["items", "nana", *SHORT])
def test_equal_on_every_shared_field(real_replay: FindReplay, name: str) -> None:
    game = parse(real_replay(name), version="first")
    _assert_parity(game, _witness(real_replay(name), game))


@pytest.mark.parametrize("name", ["old", *OLD])
def test_equal_on_what_an_old_version_records(real_replay: FindReplay, name: str) -> None:
    game = parse(real_replay(name), version="first")
    assert game.info.version < (3, 0, 0)
    _assert_parity(game, _witness(real_replay(name), game))


@pytest.mark.slow
@pytest.mark.parametrize("name", LONG)
def test_equal_on_every_shared_field_of_long_games(replays_dir: Path, name: str) -> None:
    game = parse(replays_dir / name, version="first")
    _assert_parity(game, _witness(replays_dir / name, game))


@pytest.mark.parametrize(
    "name",
    [
        *NAMES,
        "peppi/v3.18.slp",
        "peppi/v3.16.slp",
        "libmelee/test_game_1.slp",
        "peppi/v2.0.slp",
        "peppi/ics.slp",
    ],
)
def test_slow_path_gives_the_same_frames(real_replay: FindReplay, name: str) -> None:
    """The libmelee route, last versions included, on repaired bytes."""
    data = real_replay(name).read_bytes()
    game = parse(data)
    slow = libmelee_reader.read_frames(repair(data).data, game.info)
    for column in game.frames:
        np.testing.assert_array_equal(slow[column], game.frames[column], err_msg=column)


def test_the_last_version_of_a_rolled_back_frame_counts(replays_dir: Path) -> None:
    name = "peppi/ics2.slp"
    raw = peppi_py.read_slippi(str(replays_dir / name)).frames
    ids = raw.id.to_numpy()
    assert len(np.unique(ids)) < len(ids), "this file is here because it rolls back"
    last = {int(frame): row for row, frame in enumerate(ids)}
    frames = parse(replays_dir / name).frames
    want = raw.ports[0].leader.post.position.x.to_numpy()[
        [last[int(frame)] for frame in frames["frame"]]
    ]
    np.testing.assert_array_equal(frames["p.x"][:, 0], want)
    first = parse(replays_dir / name, version="first").frames
    assert (first["p.x"] != frames["p.x"]).any()


def test_every_file_is_parsed_or_rejected_with_its_reason(replays_dir: Path) -> None:
    outcomes = {}
    for path in sorted(replays_dir.rglob("*.slp")):
        name = str(path.relative_to(replays_dir))
        try:
            outcomes[name] = read_replay(path).route
        except ReplayError as error:
            outcomes[name] = error.reason
    parsed = {name for name in outcomes if outcomes[name] in set(Route)}
    assert parsed == {*SHORT, *LONG, *OLD, UNWITNESSED}
    repaired = {
        "libmelee/test_game_1.slp",
        "peppi/items.slp",
        "peppi/netplay.slp",
        UNWITNESSED,
        *OLD,
    }
    assert {name for name in parsed if outcomes[name] is not Route.STRICT} == repaired
    rejected = {name: reason for name, reason in outcomes.items() if name not in parsed}
    assert rejected == REJECTED
