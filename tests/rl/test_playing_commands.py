"""`exphil_tf.ppo`, `self_play` and `league`: from a policy to a run, a bundle and counted games."""

import dataclasses
import json
import shutil

import pytest

from exphil_tf import league, ppo, self_play
from exphil_tf.checkpoints.policy_bundle import PolicyInfo, save_policy
from exphil_tf.foundation.config import LEAGUE_PRESETS, PLAYING_PRESETS, load, preset_names
from exphil_tf.foundation.errors import UserError
from exphil_tf.rl import contest
from exphil_tf.rl.league.league import Turn
from exphil_tf.rl.league.league_run import LeagueWork, anchors, turn_config
from exphil_tf.rl.league.state import load as load_league
from exphil_tf.rl.seats import Seats
from exphil_tf.rl.snapshots import steps_in
from exphil_tf.sim.opponents import SCRIPTS
from exphil_tf.training.league_config import LeagueConfig
from exphil_tf.training.ppo_config import GameConfig, PpoConfig
from exphil_tf.training.registry import Registry
from tests.rl.small_games import Bandit, make, options, tiny_policy, weights

QUICK = ["--mock", "--no-jit", "--character", "fox", "--seed", "1", "--rollout", "8"]
QUICK += ["--ppo-epochs", "1", "--minibatches", "1", "--save-every-minutes", "1000"]


def test_ppo_makes_a_run_whose_policy_has_learnt_and_counts_games(pretrained, tmp_path):
    words = ["--pretrained", str(pretrained), "--runs-dir", str(tmp_path), "--name", "one"]
    words += ["--num-games", "2", "--timesteps", "64", "--opponent", "script:aggressor"]
    words += ["--value-burn-in", "1", "--contest-games", "2", "--max-episode-frames", "40"]
    words += ["--contest-frames", "50", "--late-reward-weights", "distance=-0.01"]
    run = tmp_path / "one"
    assert ppo.main([*QUICK, *words, "--dry-run"]) == 0
    assert not run.exists()
    assert ppo.main([*QUICK, *words]) == 0
    before, after = weights(pretrained), weights(run / "policy")
    assert any((after[name] != before[name]).any() for name in before)
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["event"] == "train"]
    assert [line["step"] for line in steps] == [1, 2, 3, 4]
    distance = [line["reward_terms"]["distance"] for line in steps]
    assert distance[-1] < 0 and distance[:3] == [0, 0, 0], "the last third of four is one"
    assert set(steps[-1]["reward_terms"]) == {"stocks", "damage", "win", "distance"}
    assert steps[-1]["kl_teacher"] > 0
    against = json.loads((run / "contest.json").read_text())["against"]
    assert set(against) == {str(pretrained), "script:aggressor"}
    assert all(told["games"] == 2 and told["timeouts"] == 2 for told in against.values())
    assert all(told["frames_per_game"] == 50 for told in against.values())
    entry = Registry(tmp_path).find("one")
    assert len(entry.parents) == 1


@pytest.mark.parametrize(("command", "players"), [(ppo, 4), (self_play, 3)])
def test_a_run_that_is_copied_goes_on_where_nothing_of_it_is(
    command, players, pretrained, tmp_path, capsys
):
    words = ["--pretrained", str(pretrained), "--name", "one", "--num-games", "2"]
    words += ["--value-burn-in", "0", "--sync", str(tmp_path / "store"), "--resume", "auto"]
    here, there = tmp_path / "here", tmp_path / "there"
    once, twice = (["--timesteps", str(8 * players * updates)] for updates in (1, 2))
    assert command.main([*QUICK, *words, "--runs-dir", str(here), *once]) == 0
    shutil.rmtree(here)
    assert command.main([*QUICK, *words, "--runs-dir", str(there), *twice]) == 0
    lines = [json.loads(x) for x in (there / "one" / "log.jsonl").read_text().splitlines()]
    assert [x["step"] for x in lines if x["event"] == "train"] == [1, 2]
    assert "fetched" in capsys.readouterr().err


@pytest.mark.parametrize("name", preset_names(PLAYING_PRESETS))
def test_a_preset_plays_the_start_and_every_script(name, pretrained, tmp_path, monkeypatch):
    monkeypatch.setenv("EXPHIL_DEFAULT_PRESET", "quick")  # of training, not of this
    words = ["--preset", name, "--pretrained", f"{pretrained}_policy.bin", "--num-games", "9"]
    words += ["--runs-dir", str(tmp_path), "--name", "one", "--timesteps", "72"]
    assert ppo.main([*QUICK, *words]) == 0
    run = tmp_path / "one"
    config = load(PpoConfig, words, env={}, presets=PLAYING_PRESETS)
    assert config.opponents == (str(pretrained), *(f"script:{script}" for script in SCRIPTS))
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    told = next(line for line in lines if line["event"] == "train")
    assert set(told["won_against"]) == set(SCRIPTS)
    saved = json.loads((run / "config.json").read_text())["config"]
    assert saved["opponent"] == ["start", "scripts"] and saved["gamma"] == config.reward.gamma


def test_a_character_that_the_start_never_saw_is_noted(tmp_path, capsys):
    policy = tiny_policy()
    told = {"data": {"manifest_sha256": "sum", "character_distribution": {"marth": 5, "fox": 9}}}
    save_policy(tmp_path / "policy", policy, PolicyInfo(policy.config, provenance=told))
    words = ["--pretrained", str(tmp_path), "--runs-dir", str(tmp_path), "--name", "x", "--dry-run"]
    for command, form in ((ppo, []), (self_play, []), (league, ["run"])):
        given = ["--anchors", "stander"] if form else []
        assert command.main([*form, *words, *given]) == 0
        said = " ".join(capsys.readouterr().out.split())
        assert "mewtwo in 0.0% of the frames" in said and "fox (64%), marth (36%)" in said
        assert command.main([*form, *words, *given, "--character", "marth"]) == 0
        assert "of the frames" not in capsys.readouterr().out


def test_self_play_meets_its_past(pretrained, tmp_path):
    words = ["--pretrained", str(pretrained), "--runs-dir", str(tmp_path), "--name", "two"]
    words += ["--timesteps", "144", "--snapshot-interval", "2", "--value-burn-in", "0"]
    assert self_play.main([*QUICK, *words]) == 0
    folder = tmp_path / "two" / "snapshots"
    assert steps_in(folder) == [0, 2]
    first, second = (weights(folder / f"step-{step:08d}") for step in (0, 2))
    start = weights(pretrained)
    assert all((first[name] == start[name]).all() for name in start)
    assert any((second[name] != start[name]).any() for name in start)


@pytest.mark.parametrize(
    ("command", "words", "said"),
    [
        (ppo, [], "--pretrained: want the folder of a run"),
        (ppo, ["--pretrained", "x", "--opponent", "cpu3"], "computer plays in Dolphin alone"),
        (ppo, ["--pretrained", "x", "--opponent", "script:a"], "a: want one of stander, walker"),
        (ppo, ["--pretrained", "x", "--matchmaking", "hard"], "want two scripts to draw from"),
        (ppo, ["--pretrained", "x", "--contest-frames", "9"], "as no games are counted"),
        (ppo, ["--pretrained", "x", "--max-cost", "3"], "want the price of an hour too"),
        (
            ppo,
            ["--pretrained", "x", "--contest-games", "2", "--on-exit", "true"],
            "games follow the run",
        ),
        (
            ppo,
            ["--pretrained", "x", "--dolphin", "y"],
            "--dolphin: y: want something that is there",
        ),
        (self_play, ["--pretrained", "x", "--mode", "league", "--track-elo"], "has no effect with"),
        (
            self_play,
            ["--mode", "league", "--sync", "s3:bucket/runs"],
            "a league stays on its machine",
        ),
        (
            self_play,
            ["--pretrained", "x", "--track-elo", "--stop-pod", "vast"],
            "--track-elo: games follow the run",
        ),
        (ppo, ["--rewards", "fancy"], "want groups of"),
        (ppo, ["--reward-weights", "damage"], "want TERM=NUMBER"),
        (ppo, ["--late-reward-weights", "stock=3"], "want groups of"),
        (ppo, ["--gamma", "1.5"], "gamma: want 0 < x <= 1"),
        (ppo, ["--epochs", "3"], "not an option here"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(command, words, said, tmp_path):
    with pytest.raises(UserError, match=said):
        command.main([*words, "--runs-dir", str(tmp_path)])


def test_a_contest_counts_games_of_both_sides():
    """A policy that always presses A beats one that does nothing, from either port."""

    class TwoSided(Bandit):
        def play(self, goes_on, own):
            raise AssertionError("not reached")

        def step(self, controllers):
            goes_on = ~self.is_over
            self.age += goes_on
            percent = self.columns_["p.percent"]
            percent[:, ::-1] += 10 * controllers[:, :, 0] * goes_on[:, None]

    matches = TwoSided(4)
    config = options(jit=False, rollout=4, minibatches=1)
    own = Seats.of([(0, 0), (1, 1), (2, 0), (3, 1)])
    policy = tiny_policy()
    bias = policy.head.output_bias.numpy()
    bias[0] = 50
    policy.head.output_bias.assign(bias)
    rollouts, _ = make(matches, policy, config, seats=own)
    tally = contest.play(matches, own, [rollouts.learner], games=2, seed=0)
    assert (tally.games, tally.wins, tally.timeouts) == (8, 8.0, 8)
    assert tally.damage_taken == 0 and tally.damage_dealt == 8 * 16 * 10
    assert tally.to_dict()["win_rate_95"][0] == pytest.approx(0.6756, abs=1e-3)


LEAGUE = ["--num-games", "2", "--timesteps", "32", "--contest-games", "2", "--matchups", "1"]
LEAGUE += [
    "--max-episode-frames",
    "20",
    "--value-burn-in",
    "0",
    "--anchors",
    "stander",
    "--exploit-timesteps",
    "16",
]


def test_a_leagues_plan_and_its_turns_are_told_without_training(pretrained, tmp_path, capsys):
    words = ["--pretrained", str(pretrained), "--runs-dir", str(tmp_path), "--name", "plan"]
    assert league.main(["run", *QUICK, *LEAGUE, *words, "--dry-run"]) == 0
    assert "3 generations of main1, main-exploiter1, league-exploiter1" in capsys.readouterr().out
    assert not (tmp_path / "plan").exists()
    turn = Turn("x-002", "x", "main", 2, "x-001", ("self", "script:stander", "y-001"), seed=5)
    config = turn_config(LeagueConfig(), turn, tmp_path)
    snapshots = tmp_path / "snapshots"
    assert config.opponents == ("self", "script:stander", str(snapshots / "y-001"))
    assert (config.start.pretrained, config.start.kl_teacher) == (
        snapshots / "x-001",
        snapshots / "start",
    )
    assert config.run.seed == 5 and config.run.keep_value_head and not config.run.register
    with pytest.raises(UserError, match="--anchors: want some of stander, "):
        anchors(dataclasses.replace(LeagueConfig(), game=GameConfig("mock")), ["nobody"])


@pytest.mark.parametrize("name", preset_names(LEAGUE_PRESETS))
def test_a_leagues_preset_is_a_plan(name, pretrained, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("EXPHIL_DEFAULT_PRESET", "quick")  # of training, not of this
    words = ["--pretrained", str(pretrained), "--runs-dir", str(tmp_path), "--preset", name]
    assert league.main(["run", *words, "--generations", "2", "--dry-run"]) == 0
    assert "2 generations of main1, main-exploiter1, league-exploiter1" in capsys.readouterr().out
    config = load(LeagueConfig, words, env={}, presets=LEAGUE_PRESETS)
    assert config.league.anchors == ("stander", "walker", "punisher")
    assert config.reward.gamma == 0.997


@pytest.mark.slow
def test_a_league_trains_counts_and_ends_with_a_policy(pretrained, tmp_path, capsys):
    words = ["--pretrained", str(pretrained), "--runs-dir", str(tmp_path), "--name", "three"]
    words += ["--generations", "1", "--main-exploiters", "0", "--league-exploiters", "0"]
    words += ["--contest-frames", "30"]
    assert league.main(["run", *QUICK, *LEAGUE, *words, "--exploit-timesteps", "0"]) == 0
    folder = tmp_path / "three"
    state = load_league(folder)
    assert [one.name for one in state.snapshots] == ["start", "main1-001"]
    assert {(c.one, c.other, c.games) for c in state.counts} == {
        ("start", "script:stander", 2),
        ("main1-001", "script:stander", 2),
        ("main1-001", "start", 2),
    }
    first, last = weights(folder / "snapshots" / "start"), weights(folder / "policy")
    assert any((first[name] != last[name]).any() for name in first)
    assert (folder / "policy" / "value.safetensors").is_file()
    assert "main1-001" in capsys.readouterr().out


@pytest.mark.slow
def test_a_league_that_is_killed_ends_as_one_that_never_was(pretrained, tmp_path, monkeypatch):
    """Between turns and within one, whose run has no checkpoint yet; then by its other command."""
    words = [*QUICK, *LEAGUE, "--pretrained", str(pretrained), "--runs-dir", str(tmp_path)]
    words += ["--generations", "1"]
    assert league.main(["run", *words, "--name", "whole"]) == 0
    count, calls = LeagueWork.count, []

    def dies(self, one, other, *, seed):
        calls.append((one, other))
        if len(calls) in (3, 7):
            raise KeyboardInterrupt
        return count(self, one, other, seed=seed)

    monkeypatch.setattr(LeagueWork, "count", dies)
    with pytest.raises(KeyboardInterrupt):
        league.main(["run", *words, "--name", "parts"])
    again = ["run", "--resume", str(tmp_path / "parts")]
    with pytest.raises(KeyboardInterrupt):
        league.main(again)
    assert league.main(again) == 0
    texts = [(tmp_path / name / "league.json").read_bytes() for name in ("whole", "parts")]
    assert texts[0] == texts[1]
    with pytest.raises(UserError, match="other options: matchups"):
        league.main([*again, "--matchups", "2"])


@pytest.mark.slow
def test_self_play_rates_its_snapshots_or_becomes_a_league(pretrained, tmp_path):
    words = [*QUICK, "--pretrained", str(pretrained), "--runs-dir", str(tmp_path)]
    words += ["--max-episode-frames", "20", "--contest-games", "2"]
    elo = ["--name", "rated", "--timesteps", "144", "--snapshot-interval", "2", "--track-elo"]
    assert self_play.main([*words, *elo]) == 0
    told = json.loads((tmp_path / "rated" / "ratings.json").read_text())
    assert [one["name"] for one in told["snapshots"]] == ["step-00000000", "step-00000002"]
    scripts = len(told["anchors"])
    assert scripts > 1
    assert len(told["counts"]) == scripts * (scripts - 1) // 2 + 2 * scripts + 1
    assert self_play.main([*words, "--name", "led", "--mode", "league", "--timesteps", "32"]) == 0
    found = load_league(tmp_path / "led").snapshots
    assert len(found) == 11 and found[-1].name == "fresh-exploiter-003"


@pytest.mark.slow
def test_a_run_that_goes_on_ends_as_one_that_never_stopped(pretrained, tmp_path):
    """Of self-play, whose past lies beside the run and whose teacher has a memory."""
    words = [*QUICK, "--pretrained", str(pretrained), "--runs-dir", str(tmp_path)]
    words += ["--snapshot-interval", "1", "--frame-delay", "2"]
    words += ["--max-episode-frames", "20"]

    def sha256(name):
        return json.loads((tmp_path / name / "config.json").read_text())["results"][
            "weights_sha256"
        ]

    assert self_play.main([*words, "--name", "whole", "--timesteps", "288"]) == 0
    assert self_play.main([*words, "--name", "parts", "--timesteps", "144"]) == 0
    again = ["--name", "parts", "--runs-dir", str(tmp_path), "--resume", "auto"]
    assert self_play.main([*again, "--timesteps", "288"]) == 0
    assert sha256("parts") == sha256("whole")
    assert steps_in(tmp_path / "parts" / "snapshots") == [0, 1, 2, 3, 4, 5, 6]
