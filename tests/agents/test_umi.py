"""The championship's bot: frames, memory, determinism, the zip."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from exported_policies import export as export_policy
from exported_policies import make_policy

from exphil_tf import export
from exphil_tf.agents.umi_bot import BundleBot, arena_controller, uniforms
from exphil_tf.agents.umi_frames import UmiFrames
from exphil_tf.checkpoints.policy_bundle import PolicyInfo
from exphil_tf.exporting import publishing
from exphil_tf.features.delay import Delay
from exphil_tf.features.schema import SCHEMA
from exphil_tf.foundation.errors import UserError
from exphil_tf.inference.bundle import open_bundle
from exphil_tf.inference.stepper import Stepper
from exphil_tf.melee.enums import Stage, zero_index_table
from exphil_tf.melee.types import Frames
from exphil_tf.rewards.win_score import NAMES
from tests.agents.fresh_environment import make_environment

umi = pytest.importorskip("umi")


WIN_WEIGHTS = dict(zip(NAMES, (-9.0, 1.0, 2.0, 3.0, -0.9, -0.1, -0.3), strict=True))


@pytest.fixture(scope="module")
def robust(tmp_path_factory) -> Path:
    """An exported LSTM that is told the delay, plays 0 to 30, and knows how probable a win is."""
    policy = make_policy("lstm", seed=5, with_delay=True)
    for variable in policy.trainable_variables:
        if "delay" in variable.path:
            variable.assign(variable * 20)  # so that answers show it
    info = PolicyInfo(policy.config, Delay(18, 0, 30), win_probability=WIN_WEIGHTS)
    folder = tmp_path_factory.mktemp("robust") / "bundle"
    publishing.publish(export_policy(policy, folder=folder, info=info), {"forms": {}})
    return folder


@pytest.fixture(scope="module")
def streams() -> np.ndarray:
    """UMI's own fixture: frames `[6 games, 720, 2 seats]`."""
    with resources.files("umi.conform").joinpath("fixtures.npz").open("rb") as file:
        return np.load(file)["frames"]


def bot_of(folder: Path, *, games: int, delay: int = 0) -> BundleBot:
    class Bot(BundleBot):
        name, bundle, reports_win_prob = "test", folder, True

    bot = Bot()
    session = umi.Session(
        delay=delay, max_games=games, num_slots=games + 1, lanes=1, num_lane_slots=games + 1,
        buckets=(1, 8), info_every=6, rng_seed=3,
    )  # fmt: skip
    bot._begin(session)
    return bot


def played(bot: BundleBot, streams: np.ndarray, games: list[int], steps: int) -> np.ndarray:
    """Rows `[steps, games, 13]` of fixture games that start together."""
    slots, found = np.arange(len(games)), []
    for step in range(steps):
        batch = umi.Batch(
            games=slots.astype(np.uint32), slots=slots, lane_slots=slots,
            first=np.full(len(games), step == 0), frames=streams[games, step, 0], lane=0,
        )  # fmt: skip
        found.append(bot._play(batch).ctrl)
    return np.array(found)


# -- Frames ----------------------------------------------------------------------------------------


def test_columns_are_the_schemas_and_mean_what_the_arena_says(streams):
    reader, rows = UmiFrames(7, zero_index_table()), np.arange(6)
    shown = []
    for step in range(300):
        shown.append(reader.read(streams[:, step, 0], rows, begins=np.full(6, step == 0)))
    for game in range(6):
        columns = {name: np.stack([one[name][game] for one in shown]) for name in SCHEMA.names}
        assert SCHEMA.check(Frames(columns)) == []
        want = streams[game, :300, 0]
        np.testing.assert_array_equal(columns["p.x"], want["players"]["x"])
        np.testing.assert_array_equal(columns["n.exists"], want["nana"]["exists"])
        seen = np.minimum(columns["i.exists"].sum(1), 5)
        np.testing.assert_array_equal(seen, np.minimum(want["items"]["exists"].sum(1), 5))
        stages = {int(stage) for stage in np.unique(columns["s.stage"])}
        assert len(stages) == 1 and stages <= {int(stage) for stage in Stage}
    # libmelee counts actions from 1: on the frame after a change of action, 1 and not 0.
    action = np.stack([one["p.action"] for one in shown])
    count = np.stack([one["p.action_frame"] for one in shown])
    begins = (action[1:] != action[:-1]) & (action[1:] == 14)
    assert begins.any() and set(count[1:][begins].tolist()) == {1}


def test_a_game_does_not_notice_others_beside_it(streams):
    """Items and character state are kept by row: in any order, with games coming and going."""
    alone, among = UmiFrames(1, zero_index_table()), UmiFrames(6, zero_index_table())
    for step in range(200):
        one = alone.read(streams[4:5, step, 0], np.array([0]), begins=np.array([step == 0]))
        order = np.random.default_rng(step).permutation(6)
        begins = np.array([(step - 7 * game) % 40 == 0 or step == 0 for game in order])
        begins[order == 4] = step == 0
        many = among.read(streams[order, step, 0], order, begins=begins)
        place = int(np.flatnonzero(order == 4)[0])
        for name in SCHEMA.names:
            np.testing.assert_array_equal(one[name][0], many[name][place], err_msg=name)


# -- The bot ---------------------------------------------------------------------------------------


def test_a_game_alone_and_among_256_gets_the_same_answers(exported, streams):
    """Bit for bit; and again, and as whichever game of the batch it is."""
    alone = played(bot_of(exported, games=1), streams, [2], 40)
    games = [game % 6 for game in range(256)]
    among = played(bot_of(exported, games=256), streams, games, 40)
    for place in range(2, 256, 6):
        np.testing.assert_array_equal(alone[:, 0], among[:, place])
    assert len(np.unique(alone[:, 0], axis=0)) > 10, "it does something"
    again = played(bot_of(exported, games=1), streams, [2], 40)
    np.testing.assert_array_equal(alone, again)


@pytest.mark.parametrize("delay", [0, 18, 21, 30])
def test_a_policy_that_is_told_the_delay_serves_each(robust, streams, delay):
    """The arena delays: what is answered is what is sent, from the first frame on."""
    bot = bot_of(robust, games=1, delay=delay)
    rows = played(bot, streams, [1], 30)
    reader, told = UmiFrames(1, zero_index_table()), {"delay": delay}
    stepper, others = (Stepper(open_bundle(robust), told=t) for t in (told, {"delay": 30 - delay}))
    differs = False
    for step in range(30):
        frames = streams[1:2, step, 0]
        columns = reader.read(frames, np.array([0]), begins=np.array([step == 0]))
        noise = uniforms(frames, stepper.num_uniforms, np.uint64(3))
        answer = stepper.step(columns, uniforms=noise)
        np.testing.assert_array_equal(rows[step], arena_controller(answer.controller))
        differs |= not np.allclose(answer.logits, others.step(columns, uniforms=noise).logits)
    assert differs


def test_a_win_is_as_probable_as_the_score_says(robust, exported, streams):
    bot = bot_of(robust, games=2, delay=18)
    frames = streams[[0, 1], 700, 0].copy()
    frames["players"]["stocks"], frames["players"]["percent"] = [[2, 1], [3, 3]], 0
    batch = umi.Batch(
        games=np.arange(2, dtype=np.uint32), slots=np.arange(2), lane_slots=np.arange(2),
        first=np.ones(2, bool), frames=frames, lane=0,
    )  # fmt: skip
    # Two stocks to one: a weight of 1. Even at three.
    np.testing.assert_allclose(bot._play(batch).win_prob, [1 / (1 + np.exp(-1.0)), 0.5], rtol=1e-6)
    assert bot_of(exported, games=2)._play(batch).win_prob is None, "it knows none"


def test_answers_are_those_of_the_stepper(exported, streams):
    """The same frames, memory and random numbers through the agent's way of playing."""
    rows = played(bot_of(exported, games=1), streams, [1], 40)
    reader, stepper = UmiFrames(1, zero_index_table()), Stepper(open_bundle(exported))
    for step in range(40):
        frames = streams[1:2, step, 0]
        columns = reader.read(frames, np.array([0]), begins=np.array([step == 0]))
        noise = uniforms(frames, stepper.num_uniforms, np.uint64(3))
        answer = stepper.step(columns, uniforms=noise)
        np.testing.assert_allclose(rows[step], arena_controller(answer.controller), atol=1e-6)


def test_random_numbers_are_uniform_and_differ_between_frames(streams):
    frames = streams[:, :200, 0].reshape(-1)
    found = uniforms(frames, 50, np.uint64(0))
    assert found.dtype == np.float32 and found.min() >= 0 and found.max() < 1
    counts, _ = np.histogram(found, bins=20, range=(0, 1))
    expected = found.size / 20
    assert ((counts - expected) ** 2 / expected).sum() < 60  # χ² of 19 degrees: p = 4e-6
    assert abs(np.corrcoef(found[:-1, 0], found[1:, 0])[0, 1]) < 0.15
    assert (uniforms(frames[:1], 50, np.uint64(1)) != found[:1]).all()


def test_a_delay_that_it_was_not_trained_for_is_refused(exported, robust):
    with pytest.raises(UserError, match="trained for 0 frames. Received: 18"):
        bot_of(exported, games=1, delay=18)
    with pytest.raises(UserError, match="trained for 0 to 30 frames. Received: 31"):
        bot_of(robust, games=1, delay=31)


# -- The zip ---------------------------------------------------------------------------------------


def test_the_zip_holds_what_a_bot_loads_and_no_more(exported, tmp_path, capsys):
    output = tmp_path / "bot.zip"
    flags = ["umi", str(exported), "--output", str(output), "--name", "tiny"]
    assert export.main([*flags, "--characters", "fox", "falco", "--frame-delay", "0"]) == 0
    first = output.read_bytes()
    export.main([*flags, "--characters", "fox", "falco", "--frame-delay", "0"])
    assert output.read_bytes() == first, "the same bytes again"
    with zipfile.ZipFile(output) as file:
        names = set(file.namelist())
        entry = file.read("run.py").decode()
        requirements = file.read("requirements.txt").decode().splitlines()
    assert {"run.py", "requirements.txt", "bundle/policy.onnx", "bundle/config.json"} <= names
    assert not {n for n in names if n.startswith(("models/", "exphil_tf/training", "tests"))}
    assert [line.split("==")[0] for line in requirements] == ["numpy", "onnxruntime", "umi-melee"]
    assert "name = 'tiny'" in entry and "characters = ('FOX', 'FALCO')" in entry
    assert "    delay = 0\n    reports_win_prob = False\n" in entry


_DETERMINISTIC = "class Bot(BundleBot):\n    deterministic = True"


@pytest.fixture(scope="module")
def fresh(tmp_path_factory) -> Callable[[Path], Path]:
    """Makes an environment of what a file of requirements names; Python in it."""
    folder = tmp_path_factory.mktemp("fresh")
    return lambda requirements: make_environment(folder / "venv", requirements)


@pytest.mark.slow
@pytest.mark.parametrize("delay", [18, 21])
def test_the_unpacked_zip_conforms(robust, tmp_path, fresh, delay):
    """umi-conform with every check, in an environment of its requirements and nothing else."""
    folder = unpacked(robust, tmp_path)
    python = fresh(folder / "requirements.txt")
    for name in ("tensorflow", "keras", "melee", "tyro", "pytest"):
        tried = subprocess.run([python, "-c", f"import {name}"], capture_output=True, check=False)
        assert tried.returncode, name
    # Its check of determinism plays a game again under another handle, by which it chooses the
    # frames too: another game. Here both runs show the same one, and the bot says what it is.
    entry = folder / "run.py"
    entry.write_text(entry.read_text().replace("class Bot(BundleBot):", _DETERMINISTIC))
    code = (
        "from umi.conform.arena import DummyArena as A\nfrom umi.conform.cli import main\n"
        "frames, check = A._frames, A._determinism\n"
        "def again(self, roster):\n"
        "    self._frames = lambda games, t, *rest: frames(self, 0 * games, t, *rest)\n"
        "    check(self, roster)\n"
        "A._determinism = again\nraise SystemExit(main())"
    )
    command = [sys.executable, "-c", code, "--cmd", f"{python} {entry}", "--steps", "30"]
    done = subprocess.run(
        [*command, "--characters", "ALL", "--delay", str(delay)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 failed, 0 warnings" in done.stdout and "PASS  determinism" in done.stdout
    assert "PASS  no internal delay" in done.stdout


@pytest.mark.slow
def test_a_policy_trained_for_all_delays_enters_every_board(tmp_path, fresh):
    """From samples to training to one zip, asked at each board's delay by the commands as typed."""
    folder, bundle, output = tmp_path / "bot", tmp_path / "bundle", tmp_path / "bot.zip"
    commands = (
        f"samples --output {tmp_path}/replays --games 4 --seed 5 --min-seconds 9 --max-seconds 10",
        f"train --replays {tmp_path}/replays --run-dir {tmp_path}/run --backbone lstm --hidden 8 "
        "--head-hidden 4 --batch-size 4 --window-size 40 --max-steps 2 --no-jit --min-frames 100 "
        "--val-split 0.3 --frame-delay-augment --frame-delay-max 30",
        f"export {tmp_path}/run --output {bundle} --parity-frames 0",
        f"export umi {bundle} --output {output}",
    )
    for line in commands:
        _run([sys.executable, "-m", "exphil_tf", *line.split()], tmp_path)
    with zipfile.ZipFile(output) as file:
        file.extractall(folder)
    bot = f"{fresh(folder / 'requirements.txt')} {folder / 'run.py'}"
    conform = [str(Path(sys.executable).with_name("umi-conform")), "--cmd", bot]
    for delay in ("0", "30"):
        _run([*conform, "--steps", "5", "--characters", "FOX", "--delay", delay], tmp_path)


def _run(command: list[str], folder: Path) -> str:
    paths = os.pathsep.join(map(str, (Path(__file__).resolve().parents[2], folder)))
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def unpacked(bundle: Path, folder: Path) -> Path:
    """Folder of the bot that the export command packs of a bundle."""
    output = folder / "bot.zip"
    export.main(["umi", str(bundle), "--output", str(output)])
    with zipfile.ZipFile(output) as file:
        file.extractall(folder / "bot")
    return folder / "bot"
