"""The simulator's benchmark runs and writes what it shows."""

import json

import pytest

from exphil_tf import benchmark
from exphil_tf.foundation.errors import UserError


def test_it_measures_and_writes(tmp_path, capsys):
    path = tmp_path / "simulator.json"
    words = ["simulator", "--matches", "6", "--frames", "3", "--output", str(path)]
    assert benchmark.main(words) == 0
    facts = json.loads(path.read_text())
    assert set(facts["per_s"]) == {"1", "2"} and min(facts["per_cpu_s"].values()) > 0
    assert facts["matches"] == 6 and facts["match_bytes"] <= 2048
    assert "match-frames per second, 2 threads" in capsys.readouterr().out


def test_no_matches_are_refused():
    with pytest.raises(UserError, match="want matches, frames, threads"):
        benchmark.main(["simulator", "--matches", "0"])
