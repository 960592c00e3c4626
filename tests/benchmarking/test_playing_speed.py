"""The benchmark of learning by playing runs and writes what it shows."""

import json

import pytest

from exphil_tf import benchmark
from exphil_tf.foundation.errors import UserError


def test_it_measures_and_writes(tmp_path, capsys):
    path = tmp_path / "playing.json"
    words = ["playing", "--networks", "lstm 128", "--num-games", "4", "--rollout", "4"]
    words += ["--updates", "1", "--ppo-options", " --no-jit --teacher-kl 0", "--output", str(path)]
    assert benchmark.main(words) == 0
    figures = {name: row["lstm 128"] for name, row in json.loads(path.read_text())["rows"].items()}
    parts = [figures[name] for name in ("answers, %", "learner, %", "game, %")]
    assert min(parts) > 0 and sum(parts) < 101
    assert figures["of it simulator, %"] <= figures["game, %"]
    assert figures["floor, CPU ms"] > 0 and figures["frames/CPU-s"] > 0
    assert "share of floor" in capsys.readouterr().out


def test_no_games_are_refused():
    with pytest.raises(UserError, match="num_games: want at least 1"):
        benchmark.main(["playing", "--num-games", "0"])
