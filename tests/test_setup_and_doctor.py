"""The wizard ends in a command that `train` reads; the doctor says what is missing."""

import os
import pty
import select
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from exphil_tf import doctor, samples, setup
from exphil_tf.foundation.errors import UserError
from exphil_tf.training.run_options import read_run
from exphil_tf.training.train_config import TrainConfig, resolve

GIB = 1 << 30


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "replays").mkdir()


def printed(capsys, text):
    """The options in the command that the wizard prints for a file of answers."""
    Path("answers.yaml").write_text(text)
    assert setup.main(["--answers", "answers.yaml"]) == 0
    line = capsys.readouterr().out.strip()
    assert line.startswith("python -m exphil_tf.train ")
    return line.removeprefix("python -m exphil_tf.train ")


def test_every_combination_is_a_command_that_train_reads():
    for goal in setup.GOALS:
        for hardware in setup.HARDWARE:
            for character in ("general", "mewtwo", "ice climbers"):
                answers = dict(
                    goal=goal, character=character, hardware=hardware, data="replays", options=""
                )
                loaded, _ = read_run(TrainConfig, setup.words_of(answers), prog="train")
                config, _ = resolve(loaded.config)
                assert config.input.online_robust == (goal == "online")
                assert config.filters.train_character in (None, character)
                if hardware == "4gb":
                    assert config.run.batch_size == 32


def test_a_file_of_answers(capsys):
    line = printed(capsys, "goal: ONLINE\ncharacter: ice climbers\nhardware: 12gb\n")
    assert line == (
        "--preset production --train-character 'ice climbers' --batch-size 128 --online-robust "
        "--replays replays"
    )
    Path("data").mkdir()
    Path("data/manifest.json").write_text("{}")
    line = printed(capsys, "hardware: cpu\ndata: data\noptions: --seed 3\n")
    assert line == "--preset standard --data data --seed 3"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("goal: fast", "goal: want one of quick, standard, best, online. Received: 'fast'"),
        ("colour: red", "colour: not asked"),
        ("data: nowhere", "nowhere: no such file or folder"),
        ("options: --batch-sice 3", "Did you mean --batch-size"),
    ],
)
def test_wrong_answers_are_named(text, words):
    Path("answers.yaml").write_text(text)
    with pytest.raises(UserError, match=words.replace("(", r"\(")):
        setup.main(["--answers", "answers.yaml"])


def test_the_tier_is_that_of_the_gpu():
    sizes = {0: "4gb", 4: "4gb", 6: "4gb", 8: "8gb", 11: "12gb", 16: "12gb", 24: "24gb", 80: "24gb"}
    assert {size: setup.tier([(0, size * GIB)]) for size in sizes} == sizes
    assert setup.tier([]) == "cpu"


def on_a_terminal(folder, typed):
    """What a wizard on a pseudo-terminal says to what is typed; it must end well."""
    own, terminal = pty.openpty()
    environ = {**os.environ, "PYTHONPATH": str(Path(setup.__file__).parents[1]), "TERM": "dumb"}
    child = subprocess.Popen(
        [sys.executable, "-m", "exphil_tf.setup"],
        stdin=terminal, stdout=terminal, stderr=terminal, env=environ, cwd=folder,
    )  # fmt: skip
    os.close(terminal)
    os.write(own, typed.encode())
    said = read_until_closed(own)
    assert child.wait(timeout=60) == 0, said
    return said


def test_the_wizard_on_a_terminal(tmp_path):
    """A wrong answer is asked for again; the last one starts the run, here a dry one."""
    (tmp_path / "replays/a.slp").write_bytes(bytes(5000))
    said = on_a_terminal(tmp_path, "nonsense\nquick\n\ncpu\n\n--dry-run --seed 4\ny\n")
    assert "want one of quick, standard, best, online. Received: 'nonsense'" in said
    assert "python -m exphil_tf.train --preset quick --replays replays --dry-run --seed 4" in said
    assert "would first be preprocessed" in said


TINY = "--max-steps 2 --hidden 8 --num-layers 1 --batch-size 2 --window-size 20 --no-jit"


@pytest.mark.slow
def test_what_the_wizard_prints_trains(tmp_path, capsys):
    """By a terminal and by a file, from replays in a folder with spaces and letters."""
    place = tmp_path / "meine Spiele – neu"
    samples.main(["--output", str(place), "--games", "2", "--max-seconds", "20", "--seed", "5"])
    said = on_a_terminal(tmp_path, f"quick\n\ncpu\n{place}\n{TINY} --name typed\ny\n")
    assert "finished at step 2" in said
    assert (tmp_path / "runs/typed/policy/config.json").is_file()
    capsys.readouterr()
    line = printed(
        capsys, f"goal: quick\nhardware: cpu\ndata: {place}\noptions: {TINY} --name by-file\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(Path(setup.__file__).parents[1])}
    command = [sys.executable, "-m", "exphil_tf.train", *shlex.split(line)]
    subprocess.run(command, check=True, env=environ)
    assert (tmp_path / "runs/by-file/policy/config.json").is_file()


def read_until_closed(descriptor: int) -> str:
    found, limit = b"", time.monotonic() + 600
    while time.monotonic() < limit:
        if select.select([descriptor], [], [], 1)[0]:
            try:
                found += os.read(descriptor, 1 << 16)
            except OSError:
                break
    os.close(descriptor)
    return " ".join(found.decode().split())


def test_nobody_to_answer(monkeypatch):
    monkeypatch.setattr(sys, "stdin", open(os.devnull))  # noqa: PTH123, SIM115
    with pytest.raises(UserError, match="no terminal to answer at") as caught:
        setup.main([])
    assert caught.value.exit_code == 66
    sys.stdin.close()


def test_the_doctor_says_what_is_there(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    (tmp_path / "replays/a.slp").write_bytes(b"x")
    assert doctor.main(["--no-tensorflow"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("ok    Python: 3.") for line in lines)
    assert "ok    replays: 1 files in replays" in lines
    assert "note  rclone: not there" in lines
    (tmp_path / "replays/a.slp").unlink()
    assert doctor.main(["--no-tensorflow"]) == 65
    assert "fail  replays: none in replays" in capsys.readouterr().out
    assert doctor.main(["--no-tensorflow", "--replays", "none"]) == 0


def test_the_doctor_weighs_the_disk():
    full = doctor.disk(Path(), lambda folder: (0, 0, 19 * GIB))
    assert (full.status, full.fix) == ("note", "A large collection wants 20 GiB: free some.")
    assert doctor.disk(Path(), lambda folder: (0, 0, 21 * GIB)).status == "ok"


@pytest.mark.slow
def test_the_doctor_compiles_something(capsys):
    doctor.main([])
    assert "ok    XLA: compiles and computes" in capsys.readouterr().out
