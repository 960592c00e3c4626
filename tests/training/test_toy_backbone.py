"""A new backbone is one class and one entry of a table: nothing else knows them by name."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from any_backbone import having

from models.backbones import BACKBONES

TESTS = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_a_new_backbone_passes_every_command(dataset, tmp_path):
    """In a process of its own, whose table has the entry."""
    paths = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    ended = subprocess.run(
        [sys.executable, str(TESTS / "toy_backbone.py"), str(dataset)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "memory: one batch (estimate)" in ended.stdout  # the dry run's plan
    for run in ("toy", "qat"):
        facts = json.loads((tmp_path / "runs" / run / "policy/config.json").read_text())
        backbone = facts["policy"]["backbone"]
        assert backbone == {"backbone": "toy", "hidden": [8], "dropout": 0.1, "decay": 0.75}
    timed = (tmp_path / "latency/latency.json").read_text()
    assert "float" in timed
    assert "int8" in timed


def test_its_options_are_those_of_the_command_line():
    """Known, typed, refused beside other backbones, and in the help."""
    code = (
        "import toy_backbone, sys\n"
        "from exphil_tf.foundation.config import load\n"
        "from exphil_tf.foundation.errors import UserError\n"
        "from exphil_tf.training.train_config import TrainConfig\n"
        "for words in ('toy --decay 0.75', 'toy --decay x', 'lstm --decay 0.75',\n"
        "              'toy --num-layers 2'):\n"
        "    try:\n"
        "        print(load(TrainConfig, ['--data', 'd', '--backbone', *words.split()]).backbone)\n"
        "    except UserError as error:\n"
        "        print(error)\n"
        "print('keras' in sys.modules)\n"
        "load(TrainConfig, ['--help'])\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=TESTS,
        env={**os.environ, "PYTHONPATH": str(TESTS.parent), "COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=True,
    )
    accepted, mistyped, lstm, layers, is_loaded, *page = ended.stdout.splitlines()
    assert accepted.startswith("ToyConfig(backbone='toy', hidden=(128, 128), dropout=0.0, ")
    assert accepted.endswith(", decay=0.75)")
    assert mistyped == "--decay: want a number. Received: 'x'"
    assert lstm == "--decay: no option of --backbone lstm, but of toy. Leave it out."
    assert f"but of {having('num_layers')}" in layers
    assert is_loaded == "False"
    text = " ".join(" ".join(page).replace("│", " ").split())
    assert "{" + ",".join([*BACKBONES, "toy"]) + "}" in text.replace(", ", ",")
    assert "Share of the average that stays. Of toy." in text
