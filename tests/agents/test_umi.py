"""The championship's bot: frames, memory, determinism, the zip."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from exphil_tf import export
from exphil_tf.agents.umi_bot import BundleBot, arena_controller, uniforms
from exphil_tf.agents.umi_frames import UmiFrames
from exphil_tf.features.schema import SCHEMA
from exphil_tf.foundation.errors import UserError
from exphil_tf.inference.bundle import open_bundle
from exphil_tf.inference.stepper import Stepper
from exphil_tf.melee.enums import Stage, zero_index_table
from exphil_tf.melee.types import Frames

umi = pytest.importorskip("umi")


@pytest.fixture(scope="module")
def streams() -> np.ndarray:
    """UMI's own fixture: frames `[6 games, 720, 2 seats]`."""
    with resources.files("umi.conform").joinpath("fixtures.npz").open("rb") as file:
        return np.load(file)["frames"]


def bot_of(folder: Path, *, games: int, delay: int = 0) -> BundleBot:
    class Bot(BundleBot):
        name, bundle = "test", folder

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


def test_a_game_alone_and_among_others_gets_the_same_answers(exported, streams):
    alone = played(bot_of(exported, games=1), streams, [2], 60)
    among = played(bot_of(exported, games=6), streams, [0, 5, 2, 3, 1, 4], 60)
    np.testing.assert_allclose(alone[:, 0], among[:, 2], atol=1e-6)
    assert len(np.unique(alone[:, 0], axis=0)) > 10, "it does something"
    again = played(bot_of(exported, games=1), streams, [2], 60)
    np.testing.assert_array_equal(alone, again)


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


def test_a_delay_that_it_was_not_trained_for_is_refused(exported):
    with pytest.raises(UserError, match="trained for 0 frames. Received: 18"):
        bot_of(exported, games=1, delay=18)


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
    assert "    delay = 0\n" in entry


_DETERMINISTIC = "class Bot(BundleBot):\n    deterministic = True"


@pytest.mark.slow
def test_the_unpacked_zip_conforms(exported, tmp_path):
    """umi-conform with every check, in a process that has no TensorFlow, Keras or libmelee."""
    output, folder = tmp_path / "bot.zip", tmp_path / "bot"
    export.main(["umi", str(exported), "--output", str(output)])
    with zipfile.ZipFile(output) as file:
        file.extractall(folder)
    guard = tmp_path / "guard"
    guard.mkdir()
    (guard / "sitecustomize.py").write_text(
        "import sys\nfor name in ('tensorflow', 'keras', 'melee', 'tyro', 'peppi_py'):\n"
        "    sys.modules[name] = None\n"
    )
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
    command = [sys.executable, "-c", code, "--cmd", f"{sys.executable} {folder / 'run.py'}"]
    done = subprocess.run(
        [*command, "--steps", "30", "--characters", "ALL", "--delay", "0"],
        env=os.environ | {"PYTHONPATH": str(guard)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 failed, 0 warnings" in done.stdout and "PASS  determinism" in done.stdout
