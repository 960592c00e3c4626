"""The play command: options, missing things, the doctor, games from start to end."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from fake_dolphin import make_executable

from exphil_tf import play
from exphil_tf.agents import play_session
from exphil_tf.agents.agent import AgentOptions
from exphil_tf.agents.game_record import GameTally, totals, wilson
from exphil_tf.agents.named_agents import NamedAgents
from exphil_tf.agents.play_config import PlayConfig
from exphil_tf.features.schema import SCHEMA
from exphil_tf.foundation import atomic
from exphil_tf.foundation.config import load
from exphil_tf.foundation.errors import UserError
from exphil_tf.inference.latency_histogram import LatencyHistogram


def parsed(*flags: str) -> PlayConfig:
    return load(PlayConfig, list(flags), env={}, prog=play.PROG)


def changed(exported: Path, folder: Path, **values: object) -> Path:
    """A copy of a bundle whose configuration has other values."""
    shutil.copytree(exported, folder)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    sums = json.loads((folder / "checksums.json").read_text())
    sums["files"]["config.json"] |= {"sha256": atomic.sha256(path), "bytes": path.stat().st_size}
    (folder / "checksums.json").write_text(json.dumps(sums))
    return folder


# -- Options ---------------------------------------------------------------------------------------


def test_documented_defaults():
    config = parsed()
    assert (config.port, config.opponent_port, config.action_repeat) == (1, 2, 1)
    assert (config.character, config.stage) == ("mewtwo", "final_destination")
    assert (config.on_game_end, config.opponent, config.asynchronous) == ("restart", "human", False)
    assert config.agent_options(0) == AgentOptions(queued_frames=0)


@pytest.mark.parametrize(
    ("flags", "options"),
    [
        (["--frame-delay", "3"], AgentOptions(delay=3, queued_frames=3)),
        (["--action-repeat", "2"], AgentOptions(action_repeat=2, queued_frames=0)),
        (["--temperature", "0.5"], AgentOptions(temperature=0.5, queued_frames=0)),
        (["--deterministic"], AgentOptions(decode="deterministic", queued_frames=0)),
        (["--decode", "mixed"], AgentOptions(decode="mixed", queued_frames=0)),
        (["--mirrored"], AgentOptions(is_mirrored=True, queued_frames=0)),
        (
            ["--connect-code", "A#1", "--online-delay", "2", "--frame-delay", "18"],
            AgentOptions(delay=18, queued_frames=16),
        ),
    ],
)
def test_options_reach_the_agent(flags, options):
    config = parsed(*flags)
    assert config.agent_options(config.frame_delay or 0) == options


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--port", "2"], r"want two of \[1, 2, 3, 4\]. Received: \[2, 2\]"),
        (["--character", "bob"], "character: want one of"),
        (["--deterministic", "--decode", "mixed"], "deterministic, decode: want one of them"),
        (["--mirror-ports"], "mirror_ports: want a second policy"),
        (["--connect-code", "A#1", "--opponent", "cpu3"], "want --opponent human"),
        (["--temperature", "-1"], "temperature: want at least 0"),
        (["--policy", "x", "--dolphin", "y"], "--policy: x: want something that is there"),
        (
            [*(word for name in ("--policy", "--dolphin", "--iso") for word in (name, os.devnull))]
            + ["--opponent", "cpu0"],
            "--opponent: want human, cpu1 to cpu9, .*Received: cpu0",
        ),
        ([], "--policy: want a path"),
    ],
)
def test_what_makes_no_sense_is_refused(flags, message):
    with pytest.raises(UserError, match=message):
        play.main(flags)


def test_opponents_are_told_apart(tmp_path):
    assert parsed("--opponent", "cpu9").cpu_level == 9
    assert parsed("--opponent", "CPU1").cpu_level == 1
    assert not parsed().has_second_policy and not parsed("--opponent", "cpu4").has_second_policy
    assert parsed("--opponent", "bundles/other", "--mirror-ports").has_second_policy


# -- Figures ---------------------------------------------------------------------------------------


def test_wilson_intervals():
    """Against scipy.stats.binomtest(…).proportion_ci(method="wilson")."""
    np.testing.assert_allclose(wilson(8, 10), (0.4901624715, 0.9433178485), rtol=1e-8)
    np.testing.assert_allclose(wilson(0, 3), (0.0, 0.5614970317), atol=1e-9)
    assert wilson(0, 0) == (0.0, 1.0)


def test_a_tally_counts_damage_and_who_won():
    tally = GameTally(own=1)
    columns = {"p.character": np.array([1, 16])}
    frames = [((0, 0), (4, 4)), ((12.5, 0), (4, 4)), ((0, 3), (3, 4)), ((2, 3), (3, 4))]
    for percents, stocks in frames:
        tally.see(columns | {"p.percent": np.array(percents), "p.stock": np.array(stocks)})
    facts = tally.facts(32)
    assert (facts["damage_dealt"], facts["damage_taken"]) == (14.5, 3.0)
    assert (facts["stocks"], facts["opponent_stocks"], facts["won"]) == (4, 3, True)
    assert totals([]) == totals([]) and totals([])["win_rate"] is None


def test_a_histogram_knows_its_quantiles():
    histogram = LatencyHistogram()
    for ms in np.linspace(0.1, 10, 1000):
        histogram.record(ms / 1000)
    assert histogram.count == 1000
    np.testing.assert_allclose(histogram.quantile_ms(0.5), 5.05, rtol=0.13)
    np.testing.assert_allclose(histogram.quantile_ms(0.99), 9.9, rtol=0.13)
    assert sum(count for _, count in histogram.to_dict()["bins"]) == 1000


# -- Named agents ----------------------------------------------------------------------------------


def test_agents_by_name(exported):
    agents = NamedAgents()
    agents.start("one", exported, batch_size=2, action_repeat=2)
    columns = SCHEMA.zeros(2)
    decisions = [agents.decide("one", columns) for _ in range(2)]
    first, second = (agents.confidence("one", decision) for decision in decisions)
    assert (first > 0).all() and (first < 1).all() and not second.any()
    assert agents.action("one", columns).buttons.shape == (2, 8)
    config = agents.config("one")
    assert config["kind"] == "onnx" and config["trained_delays"]["frames"] == 0
    assert config["options"]["action_repeat"] == 2 and config["latency"]["calls"] == 3
    agents.reset("one")
    assert agents.names() == ["one"]
    agents.stop("one")
    with pytest.raises(ValueError, match=r"want one of \[\]. Received: 'one'"):
        agents.decide("one", columns)
    with pytest.raises(UserError, match="trained for 0 frames. Received: 3"):
        agents.start("two", exported, delay=3)


def test_a_character_that_the_policy_never_saw_is_noted(exported, tmp_path):
    told = {"data": {"manifest_sha256": "sum", "character_distribution": {"marth": 5, "fox": 9}}}
    bundle = changed(exported, tmp_path / "bundle", provenance={"training": told})
    said: list[str] = []
    for character in ("mewtwo", "marth"):
        play_session._agent(PlayConfig(character=character), bundle, said.append)
    assert len(said) == 1
    assert "mewtwo in 0.0% of the frames" in said[0] and "fox (64%), marth (36%)" in said[0]


# -- The doctor ------------------------------------------------------------------------------------


def test_the_doctor_says_what_is_wrong(tmp_path, iso, real_replay, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    program = make_executable(tmp_path / "fake", replay=real_replay("items"))
    flags = ["--doctor", "--dolphin", str(program), "--iso", str(iso)]
    assert play.main(flags) == 0
    told = capsys.readouterr().out
    assert "ok    executable" in told and "mainline" in told
    assert "note  disc image" in told and "not the plain image" in told
    assert not (tmp_path / "played").exists(), "it only looks"
    iso.write_bytes(b"CISO" + bytes(1 << 10))
    assert play.main(flags) == 0
    assert "note  disc image" in capsys.readouterr().out
    iso.write_bytes(b"GALE01\x00\x01")
    monkeypatch.delenv("DISPLAY")
    assert play.main(flags) == 65
    told = capsys.readouterr().out
    assert "revision 1, want b'GALE01' revision 2" in told and "no DISPLAY" in told
    assert play.main(["--doctor", "--headless", "--dolphin", "nowhere"]) == 65
    assert "nowhere: no Dolphin there" in capsys.readouterr().out


# -- Games -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("flags", [[], pytest.param(["--async"], marks=pytest.mark.slow)])
def test_games_are_played_without_tensorflow(tmp_path, iso, exported, real_replay, flags):
    """The command in a process of its own: menus, two games, records, totals."""
    program = make_executable(
        tmp_path / "fake", replay=real_replay("items"), frames=40, human_ports=[2]
    )
    code = (
        "import sys\nfrom exphil_tf import play\n"
        "if __name__ == '__main__':\n"
        "    code = play.main(sys.argv[1:])\n"
        "    sys.exit(code or int('tensorflow' in sys.modules or 'keras' in sys.modules))\n"
    )
    arguments = {
        "--policy": exported,
        "--dolphin": program,
        "--iso": iso,
        "--games": 2,
        "--report": tmp_path / "report",
        "--replay-dir": tmp_path / "replays",
        "--speed": 1 if flags else 0,
    }
    words = [str(word) for pair in arguments.items() for word in pair]
    done = subprocess.run(
        [sys.executable, "-c", code, *words, *flags],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = (tmp_path / "report/games.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert [record["frames"] for record in records] == [40, 40]
    assert {record["character"] for record in records} == {"mewtwo"}
    assert all(len(record["replay_sha256"]) == 64 for record in records)
    summary = json.loads((tmp_path / "report/summary.json").read_text())
    assert summary["games"] == 2 and "2 games" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 75)])
def test_dolphin_ends_with_whoever_started_it(tmp_path, iso, exported, real_replay, number, code):
    program = make_executable(
        tmp_path / "fake", replay=real_replay("items"), frames=40, human_ports=[2]
    )
    words = ["--policy", exported, "--dolphin", program, "--iso", iso, "--speed", "0"]
    words += ["--report", tmp_path / "report", "--replay-dir", tmp_path / "replays"]
    process = subprocess.Popen([sys.executable, "-m", "exphil_tf.play", *map(str, words)])
    deadline = time.monotonic() + 100
    while not (tmp_path / "report/summary.json").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert fakes(tmp_path)
    process.send_signal(number)
    assert process.wait(60) == code
    while fakes(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not fakes(tmp_path)


def fakes(folder: Path) -> list[str]:
    """Processes of a fake Dolphin in a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if "fake_dolphin" in (line := path.read_text()) and str(folder) in line:
                found.append(line)
    return found


def test_missing_things_have_their_exit_codes(tmp_path, iso, exported):
    missing = tmp_path / "nothing"
    for name in ("--policy", "--dolphin", "--iso"):
        given = {"--policy": exported, "--dolphin": iso, "--iso": iso, name: missing}
        with pytest.raises(UserError, match=f"{name}: .*nothing") as error:
            play.main([str(word) for pair in given.items() for word in pair])
        assert error.value.exit_code == 66


def test_slippi_direct_wants_an_account(tmp_path, iso, exported):
    account = tmp_path / "user.json"
    words = ["--policy", str(exported), "--dolphin", str(iso), "--iso", str(iso)]
    words += ["--connect-code", "THEM#1"]
    assert not parsed(*words).waits, "the other side would not"
    for text, code in ((None, 66), ("{}", 65), ("no JSON", 65)):
        if text is not None:
            account.write_text(text)
        with pytest.raises(UserError, match="--user-json") as error:
            play.main([*words, "--user-json", str(account)])
        assert error.value.exit_code == code
    account.write_text('{"connectCode": "OURS#7"}')
    with pytest.raises(UserError, match="online_delay: want at most the policy's delay, 0 frames"):
        play.main([*words, "--user-json", str(account)])


def test_a_policy_of_another_schema_is_refused(tmp_path, iso, exported):
    schema = json.loads((exported / "config.json").read_text())["schema"]
    folder = changed(exported, tmp_path / "other", schema=schema | {"fingerprint": "0" * 16})
    words = ["--policy", str(folder), "--dolphin", str(iso), "--iso", str(iso)]
    with pytest.raises(UserError, match="want schema") as error:
        play.main(words)
    assert error.value.exit_code == 78
