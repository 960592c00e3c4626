"""Thousands of hostile policies and exports: each plays or is refused with a sentence.

They are opened in a process of their own with a gigabyte to spare: none may end it, hang, take
more, or be answered by anything but the documented error. `HOSTILE=3000 pytest -m slow` tries more.
"""

import functools
import os
import queue
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import hostile_folders as hostile
import numpy as np
import pytest
import traced_policies as policies
from hostile_opener import answer_to, load

from exphil_tf.checkpoints.file_names import CONFIG, WEIGHTS
from exphil_tf.checkpoints.policy_bundle import PolicyInfo, save_policy
from exphil_tf.exporting.publishing import publish
from exphil_tf.inference.session import MODEL

ROOT = Path(__file__).resolve().parents[1]
HANGS_S = 300
"""Nothing takes so long on any machine."""
FEW = 24
MANY = int(os.environ.get("HOSTILE", "1000"))


class Opener:
    """The process that opens folders."""

    def __init__(self, kind: str):
        command = [sys.executable, str(ROOT / "tests" / "hostile_opener.py"), kind]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        self._answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self._answers.put(line.rstrip("\n"))
        self._answers.put("the process ended")

    def ask(self, folder: Path) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{folder}\n")
        self.process.stdin.flush()
        try:
            return self._answers.get(timeout=HANGS_S)
        except queue.Empty:
            return "no answer"

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def opener(request):
    made = Opener(request.param)
    yield made
    made.close()


def attack(ask, folder, spoil, count):
    """Answers to `count` spoilt copies; the first is of the sound folder."""
    sound = hostile.read_folder(folder)
    assert ask(folder) == "played"
    answers = Counter()
    for seed in range(count):
        rng = np.random.default_rng(seed)
        copied = hostile.write_folder(folder.with_name("copy"), spoil(rng, dict(sound)))
        answer = ask(copied)
        assert answer == "played" or answer.split(" ")[0] == "refused", f"{seed}: {answer}"
        assert "False" not in answer, f"{seed}: a message that spoils a terminal"
        answers[answer] += 1
    return answers


def spoil_bundle(rng, files):
    kind = rng.choice(["bytes", "graph", "json"], p=[0.3, 0.45, 0.25])
    change = {
        "bytes": hostile.spoil_bytes,
        "graph": hostile.spoil_graph,
        "json": hostile.spoil_json,
    }
    name = CONFIG if kind == "json" else MODEL
    return files | {name: change[kind](rng, files[name])}


def spoil_policy(rng, files):
    if rng.random() < 0.5:
        return files | {CONFIG: hostile.spoil_json(rng, files[CONFIG])}
    return files | {WEIGHTS: hostile.spoil_weights(rng, files[WEIGHTS])}


@pytest.mark.parametrize("count", [FEW, pytest.param(MANY, marks=pytest.mark.slow)])
@pytest.mark.parametrize("opener", ["bundle"], indirect=True)
def test_hostile_exports(opener, tmp_path, count):
    publish(policies.bundle(tmp_path / "sound", "mlp"), {"forms": {}})
    answers = attack(opener.ask, tmp_path / "sound", spoil_bundle, count)
    assert answers["refused 65 True"] > count / 2


@pytest.fixture
def sound_policy(tmp_path):
    policy = policies.policy("mlp")
    save_policy(tmp_path / "sound", policy, PolicyInfo(policy.config))
    return tmp_path / "sound"


@pytest.mark.slow
@pytest.mark.parametrize("opener", ["policy"], indirect=True)
def test_hostile_policies(opener, sound_policy):
    answers = attack(opener.ask, sound_policy, spoil_policy, MANY)
    assert answers["refused 65 True"] > MANY / 2


def test_a_few_hostile_policies(sound_policy):
    """In this process, which has imported TensorFlow."""
    ask = functools.partial(answer_to, load)
    answers = attack(ask, sound_policy, spoil_policy, FEW)
    assert answers["refused 65 True"] > FEW / 2
