"""The fake is launched, connected to and played in by the unmodified libmelee."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import melee
import numpy as np
import pytest

from exphil_tf.features.controller import ControllerCodec, to_bytes
from exphil_tf.melee.enums import BUTTONS, EXTERNAL_TO_INTERNAL, STAGE_FROM_LIBMELEE, Character
from exphil_tf.replays.parse import parse
from fake_dolphin import make_executable

CODEC = ControllerCodec(within_reach=True)
PORTS = (1, 2)


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[..., tuple[melee.Console, list]]]:
    """Starts the fake by `melee.Console` with controllers on ports 1 and 2."""
    consoles = []

    def start(**plan):
        console = melee.Console(
            path=str(make_executable(tmp_path / "dolphin", **plan)),
            slippi_port=free_port(),
            blocking_input=True,
            emulation_speed=0,
            replay_dir=str(tmp_path / "replays"),
            fullscreen=False,
        )
        consoles.append(console)
        controllers = [melee.Controller(console, port) for port in PORTS]
        console.run()
        assert console.connect()
        for controller in controllers:
            assert controller.connect()
        return console, controllers

    yield start
    for console in consoles:
        for controller in console.controllers:
            controller.disconnect()
        console.stop()


def to_game(console, controllers, characters, stage, cpu_level=0):
    """Through the menus by the real helper; the first state of the match."""
    helpers = [melee.MenuHelper() for _ in controllers]
    for _ in range(3000):
        state = console.step()
        if state.menu_state is melee.Menu.IN_GAME:
            return state
        shown = [state.players[port].character for port in PORTS if port in state.players]
        at_stages = state.menu_state is melee.Menu.STAGE_SELECT
        for index, (helper, controller) in enumerate(zip(helpers, controllers, strict=True)):
            helper.menu_helper_simple(
                state,
                controller,
                characters[index],
                stage,
                cpu_level=cpu_level if index else 0,
                # The helper starts once it is ready itself; who starts waits for the other.
                autostart=index == (1 if cpu_level else 0) and (at_stages or shown == characters),
            )
    raise AssertionError("no match began")


def press(controller, stored):
    from exphil_tf.agents.libmelee_io import PipeController

    PipeController(controller).send(stored)


def random_pad(rng):
    axes = {name: rng.integers(0, 17) for name in ("main_x", "main_y", "c_x", "c_y")}
    buttons = rng.integers(0, 2, 8) * (rng.random() < 0.5)
    return CODEC.decode({"buttons": buttons, **axes, "shoulder": rng.integers(0, 5)})


def assert_held(pad, values):
    """What a state shows of a pad is what was sent: sticks and buttons, the shoulder as read."""
    for stick in ("main", "c"):
        want = [float(values[f"{stick}_{axis}"]) / 2 + 0.5 for axis in "xy"]
        np.testing.assert_allclose(getattr(pad, f"{stick}_stick"), want, atol=1e-6)
    down = {n for n, held in zip(BUTTONS, values["buttons"], strict=True) if held}
    assert {n for n in BUTTONS if pad.button[melee.Button[f"BUTTON_{n}"]]} == down
    read = 1.0 if down & {"L", "R"} else float(values["shoulder"])
    read = max(read, 0.35) if "Z" in down else read
    np.testing.assert_allclose(pad.l_shoulder, read, atol=1e-6)


def test_inputs_after_state_n_are_those_of_frame_n_plus_1_game_after_game(
    launch, tmp_path, real_replay
):
    frames = 60
    console, controllers = launch(replay=real_replay("items"), frames=frames)
    rng = np.random.default_rng(0)
    for game in range(2):
        characters = [melee.Character.MEWTWO, melee.Character.GANONDORF]
        state = to_game(console, controllers, characters, melee.Stage.BATTLEFIELD)
        sent, seen = [], 0
        while state.menu_state is melee.Menu.IN_GAME:
            assert [state.players[port].character for port in PORTS] == characters
            assert state.stage is melee.Stage.BATTLEFIELD and int(state.frame) == -123 + seen
            if sent:
                for port in PORTS:
                    assert_held(state.players[port].controller_state, sent[port - 1])
            sent = [random_pad(rng) for _ in PORTS]
            for controller, values in zip(controllers, sent, strict=True):
                press(controller, to_bytes(values))
            seen += 1
            state = console.step()
        assert seen == frames
        for controller in controllers:
            controller.release_all()
        files = list((tmp_path / "replays").glob("*.slp"))
        assert len(files) == game + 1
    played = parse(max(files)).info
    assert [player.character for player in played.players] == [c.value for c in characters]


def test_a_computer_opponent_is_chosen_by_the_menus(launch, real_replay):
    console, controllers = launch(replay=real_replay("items"), frames=5)
    characters = [melee.Character.FOX, melee.Character.MARTH]
    state = to_game(console, controllers, characters, melee.Stage.DREAMLAND, cpu_level=7)
    assert state.players[2].cpu_level == 7 and state.players[1].cpu_level == 0
    assert state.players[2].character is melee.Character.MARTH


@pytest.mark.slow
def test_characters_and_stages_are_those_that_were_picked(launch, real_replay):
    """25 characters, each on some stage; the external ids of the file too."""
    console, controllers = launch(replay=real_replay("items"), frames=2)
    stages = list(STAGE_FROM_LIBMELEE)
    names = [c for c in EXTERNAL_TO_INTERNAL.values() if c is not Character.SHEIK]
    assert len(names) == 25
    for index, character in enumerate(names):
        other = names[(index + 7) % len(names)]
        want = [melee.Character(int(character)), melee.Character(int(other))]
        stage = melee.Stage(stages[index % len(stages)])
        state = to_game(console, controllers, want, stage)
        assert state.stage is stage
        assert [state.players[port].character for port in PORTS] == want
        while state.menu_state is melee.Menu.IN_GAME:
            state = console.step()
        for controller in controllers:
            controller.release_all()
