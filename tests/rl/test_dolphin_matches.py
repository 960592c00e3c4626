"""Learning by playing in the fake Dolphin: what is seen and sent, what ends, what is lost."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from fake_dolphin import make_executable

from exphil_tf import league, ppo, self_play
from exphil_tf.agents.dolphin import DolphinGone, DolphinOptions
from exphil_tf.checkpoints.policy_bundle import PolicyInfo
from exphil_tf.features.controller import to_bytes
from exphil_tf.features.delay import Delay
from exphil_tf.features.packing import action_order, pack, unpack
from exphil_tf.foundation.errors import UserError
from exphil_tf.melee.controls import AXES
from exphil_tf.melee.enums import Character, Stage
from exphil_tf.melee.types import Frames
from exphil_tf.replays.parse import parse
from exphil_tf.replays.writer import write_slp
from exphil_tf.rewards.playing import COLUMNS
from exphil_tf.rl import contest
from exphil_tf.rl.actor import Actor
from exphil_tf.rl.dolphin_matches import MOST_IN_A_ROW, DolphinMatches
from exphil_tf.rl.rollout import RolloutOptions, Rollouts
from exphil_tf.rl.seats import BothSides, Seats
from tests.agents.played import CODEC, SHOULDER
from tests.rl.small_games import tiny_policy, weights

FRAMES = 24
QUICK = ["--no-jit", "--character", "fox", "--seed", "1", "--rollout", "8", "--num-games", "2"]
QUICK += ["--ppo-epochs", "1", "--minibatches", "1", "--save-every-minutes", "1000"]


def children() -> set[int]:
    """Processes that this one has started and that live, and theirs."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                parents.setdefault(int(parent), set()).add(int(path.parent.name))
    found, new = set(), {os.getpid()}
    while new:
        new = set().union(*(parents.get(one, set()) for one in new))
        found |= new
    return found


@pytest.fixture(autouse=True)
def _leaves_nothing_behind():
    before = children()
    yield
    assert children() <= before
    assert not [one.name for one in threading.enumerate() if one.name.startswith("dolphin")]


@pytest.fixture
def fake(tmp_path, real_replay):
    """Options that start a fake Dolphin of a plan, in which a short replay goes by."""
    iso = tmp_path / "melee.iso"
    iso.write_bytes(b"GALE01\x00\x02")

    def options(name="dolphin", **plan) -> DolphinOptions:
        plan = {"replay": real_replay("items"), "frames": FRAMES, "lifetime_s": 900, **plan}
        plan = {name: value for name, value in plan.items() if value is not None}
        program = make_executable(tmp_path / name, **plan)
        return DolphinOptions(program, iso, tmp_path / "replays", speed=0)

    return options


@pytest.fixture
def play():
    """Matches of Mewtwo and Fox that are closed."""
    with contextlib.ExitStack() as stack:

        def make(options, count=1, stages=(Stage.BATTLEFIELD, Stage.FINAL_DESTINATION)):
            pairs = [(Character.MEWTWO, Character.FOX)] * count
            matches = DolphinMatches(pairs, stages[:count], options=options)
            return stack.enter_context(contextlib.closing(matches))

        yield make


def controllers(rng, count):
    """What two policies might answer, and its stored bytes."""
    axes = {name: rng.integers(0, 17, (count, 2)) for name in AXES}
    buckets = {"buttons": rng.integers(0, 2, (count, 2, 8)), **axes}
    values = CODEC.decode({**buckets, "shoulder": np.zeros((count, 2), int)})
    parts = [values["buttons"], *(values[name][..., None] for name in (*AXES, "shoulder"))]
    return np.concatenate(parts, -1).astype(np.float32), to_bytes(values)


def empty(count):
    return np.zeros((count, 2, 13), np.float32)


# -- What is seen and sent -------------------------------------------------------------------------


def test_what_is_seen_is_what_the_game_says_and_what_is_sent_is_held_a_frame_later(fake, play):
    """Two Dolphins at once, two games each, both players ours."""
    options, rng = fake(), np.random.default_rng(0)
    matches, layout = play(options, 2), tiny_policy().embedding.inputs
    for game in range(2):
        seen, said = [], []
        while True:
            seen.append((matches.columns(), matches.inputs(layout)))
            if matches.is_over.any():
                break
            values, stored = controllers(rng, 2)
            said.append(stored)
            matches.step(values)
        assert matches.is_over.all() and not matches.is_broken_off.any()
        assert len(seen) == FRAMES + 1, "its last frame is seen twice, as the clock ended it"
        matches.reset(np.arange(2))
        written = [parse(path, version="first") for path in options.replay_dir.glob("*.slp")]
        for match, stage in enumerate((Stage.BATTLEFIELD, Stage.FINAL_DESTINATION)):
            found = [one for one in written if one.info.stage == stage]
            assert len(found) == game + 1
            assert any(_is_told(one, seen, said, match, layout) for one in found)


def _is_told(game, seen, said, match, layout):
    """Whether a replay is a match's game; then it holds what was seen and said."""
    rows = pack(game.frames)
    for player in range(2):
        held = np.delete(rows[1:, action_order(player)], SHOULDER, 1)
        want = np.delete(np.stack(said)[:-1, match, player], SHOULDER, 1)
        if not np.array_equal(held, want):
            return False
    columns = unpack(rows)
    numbers, ids = BothSides(layout).of(columns.columns)
    for name in COLUMNS:
        live = np.stack([told[name][match] for told, _ in seen[:-1]])
        np.testing.assert_array_equal(live, columns[name].astype(np.float32), err_msg=name)
        np.testing.assert_array_equal(seen[-1][0][name][match], live[-1])
    np.testing.assert_array_equal(np.stack([one[0][match] for _, one in seen[:-1]]), numbers)
    np.testing.assert_array_equal(np.stack([one[1][match] for _, one in seen[:-1]]), ids)
    return True


def test_a_decided_game_is_over_with_the_last_stock_and_the_next_one_is_gone_to(
    fake, play, real_replay, tmp_path
):
    """What Dolphin still shows of the old game is waited for."""
    game = parse(real_replay("items"))
    stock = game.frames["p.stock"].copy()
    stock[10:, 1] = 0
    path = tmp_path / "decided.slp"
    write_slp(
        dataclasses.replace(game, frames=Frames({**game.frames.columns, "p.stock": stock})), path
    )
    matches = play(fake(replay=path))
    for _ in range(2):
        seen = [matches.columns()["p.stock"][0].tolist()]
        while not matches.is_over[0]:
            matches.step(empty(1))
            seen.append(matches.columns()["p.stock"][0].tolist())
        assert seen == [[4, 4]] * 10 + [[4, 0]]
        matches.step(empty(1))
        assert matches.columns()["p.stock"][0].tolist() == [4, 0], "it stays as it is"
        matches.reset(np.array([0]))
    assert matches.columns()["p.stock"][0].tolist() == [4, 4] and not matches.is_over[0]


def test_a_computer_sits_where_it_is_seated(fake, play):
    options = fake()
    matches = play(options, 2)
    matches.seat_script("cpu7", Seats.of([(0, 1), (1, 0)]))
    while not matches.is_over.all():
        matches.step(empty(2))
    told = {
        one.info.stage: [(p.is_cpu, p.cpu_level) for p in one.info.players]
        for one in map(parse, options.replay_dir.glob("*.slp"))
    }
    ours, theirs = (False, 0), (True, 7)
    assert told == {Stage.BATTLEFIELD: [ours, theirs], Stage.FINAL_DESTINATION: [theirs, ours]}
    with pytest.raises(ValueError, match="want cpu1 to cpu9 in Dolphin. Received: walker"):
        matches.seat_script("walker", Seats.of([(0, 1)]))


# -- What is lost ----------------------------------------------------------------------------------


def rollouts_of(matches, policy):
    info = PolicyInfo(policy.config, Delay(0, 0, 18))
    seats = Seats.of([(match, player) for match in range(matches.count) for player in range(2)])
    actor = Actor(policy, info, seats, delay=0, jit=False)
    weights = {"damage": 0.01, "stocks": 1.0}
    return Rollouts(matches, actor, options=RolloutOptions(8, 0.99, weights, 1))


def test_a_dolphin_that_is_killed_is_started_again_and_its_game_counts_as_none(fake, play, caplog):
    """Each Dolphin dies in its second game."""
    options = fake(fault={"kind": "kill", "game": 1, "frame": 10})
    matches = play(options)
    rollouts = rollouts_of(matches, tiny_policy())
    played = [next(rollouts) for _ in range(8)]
    is_cut = np.concatenate([one.transitions.is_cut[0] for one in played])
    discount = np.concatenate([one.transitions.discount[0] for one in played])
    starts = np.concatenate([one.is_resetting[0, :-1] for one in played])
    # A game's last frame is seen twice; the second one of a Dolphin ends before its tenth.
    assert np.flatnonzero(is_cut).tolist() == [FRAMES, FRAMES + 11, 2 * FRAMES + 12]
    assert np.flatnonzero(starts).tolist() == [0, FRAMES + 1, FRAMES + 12, 2 * FRAMES + 13]
    assert (discount > 0).all(), "nothing was decided: what follows is still worth something"
    assert sum(len(one.ended["won"]) for one in played) == 2 * 2, "two games of two players"
    assert matches.restarts == 1
    said = [one for one in caplog.records if one.levelno == logging.WARNING]
    assert ["Dolphin ended by itself" in one.getMessage() for one in said] == [True]


def test_a_dolphin_that_always_dies_ends_the_run(fake, play):
    matches = play(fake(fault={"kind": "exit", "frame": 3}))
    with pytest.raises(DolphinGone, match=f"so it was {MOST_IN_A_ROW + 1} times in a row") as error:
        while True:
            matches.reset(np.flatnonzero(matches.is_over))
            matches.step(empty(1))
    assert error.value.exit_code == 74 and matches.restarts == MOST_IN_A_ROW


def test_a_dolphin_that_hangs_is_lost_but_one_that_nobody_waits_for_is_not(fake, play):
    options = dataclasses.replace(fake(fault={"kind": "freeze", "frame": 3}), hang_timeout_s=1.0)
    matches = play(options)
    assert not matches.is_over[0]
    threading.Event().wait(2.0)  # as an update takes
    for _ in range(2):
        matches.step(empty(1))
    assert not matches.is_over[0]
    matches.step(empty(1))
    assert matches.is_over[0] and matches.is_broken_off[0]


def test_games_that_cannot_be_kept_begin_anew_behind_the_frame_that_was_seen(fake, play):
    options, policy = fake(), tiny_policy()
    matches = play(options)
    rollouts = rollouts_of(matches, policy)
    before = next(rollouts)
    stored = rollouts.serialize()
    matches.close()
    again = rollouts_of(play(options), policy)
    again.deserialize(stored)
    after = next(again)
    np.testing.assert_array_equal(after.numbers[:, 0], before.numbers[:, -1])
    assert after.transitions.is_cut[:, 0].all() and not after.transitions.is_cut[:, 1:].any()
    assert after.is_resetting[:, 1].all() and not len(after.ended["won"])
    np.testing.assert_array_equal(after.numbers[:, 1], before.numbers[:, 0])


def test_a_counted_game_that_is_broken_off_is_played_anew(fake, play):
    policy, own = tiny_policy(), Seats.of([(0, 0)])
    matches = play(fake(fault={"kind": "kill", "game": 1, "frame": 5}))
    matches.seat_script("cpu1", Seats.of([(0, 1)]))
    actor = Actor(policy, PolicyInfo(policy.config, Delay(0, 0, 18)), own, delay=0, jit=False)
    tally = contest.play(matches, own, [actor], games=2, seed=1)
    assert (tally.games, tally.timeouts, matches.restarts) == (2, 2, 1)


# -- Commands --------------------------------------------------------------------------------------


def in_dolphin(options, pretrained, tmp_path, name):
    words = ["--dolphin", options.path, "--iso", options.iso, "--pretrained", pretrained]
    return [*QUICK, *map(str, [*words, "--runs-dir", tmp_path, "--name", name])]


def trained(run):
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if line["event"] == "train"]


def test_ppo_learns_in_dolphin_against_its_computer_and_counts_games(fake, pretrained, tmp_path):
    """And goes on where a Dolphin was lost."""
    options = fake(fault={"kind": "kill", "game": 1, "frame": 3})
    words = [*in_dolphin(options, pretrained, tmp_path, "one"), "--value-burn-in", "1"]
    words += ["--timesteps", "64", "--contest-games", "2"]
    assert ppo.main([*words, "--opponent", "cpu3"]) == 0
    steps = trained(tmp_path / "one")
    assert [line["step"] for line in steps] == [1, 2, 3, 4] and steps[-1]["restarts"] == 2
    before, after = weights(pretrained), weights(tmp_path / "one" / "policy")
    assert any((after[name] != before[name]).any() for name in before)
    against = json.loads((tmp_path / "one" / "contest.json").read_text())["against"]
    assert {name: told["games"] for name, told in against.items()} == {
        str(pretrained): 2,
        "cpu3": 2,
    }
    assert not list(tmp_path.rglob("replays/*.slp"))


@pytest.mark.slow
def test_self_play_in_dolphin_learns_from_both_sides_and_goes_on(fake, pretrained, tmp_path):
    words = in_dolphin(fake(), pretrained, tmp_path, "two")
    words += ["--value-burn-in", "0", "--snapshot-interval", "1"]
    assert self_play.main([*words, "--timesteps", "48"]) == 0
    first = weights(tmp_path / "two" / "policy")
    words = ["--runs-dir", str(tmp_path), "--name", "two", "--resume", "auto"]
    assert self_play.main([*words, "--timesteps", "72"]) == 0
    assert [line["step"] for line in trained(tmp_path / "two")] == [1, 2, 3]
    last = weights(tmp_path / "two" / "policy")
    assert any((first[name] != last[name]).any() for name in first)


@pytest.mark.parametrize(
    ("command", "words", "said"),
    [
        (ppo, ["--opponent", "script:walker"], "script:walker: scripts play in the simulator"),
        (ppo, ["--matchmaking", "hard"], "--matchmaking hard: scripts play in the simulator"),
        (self_play, ["--track-elo"], "--track-elo: scripts play in the simulator alone"),
        (ppo, ["--max-episode-frames", "3600"], "nobody can break off a game in Dolphin"),
        (
            ppo,
            ["--contest-games", "2", "--contest-frames", "60"],
            "--contest-frames: nobody can break off",
        ),
        (ppo, ["--opponent-character", "sheik"], "computer cannot be made to choose Sheik"),
        (self_play, ["--mode", "league"], "a league is played in the simulator"),
    ],
)
def test_what_dolphin_cannot_do_is_refused(fake, tmp_path, command, words, said):
    options = fake()
    words += ["--dolphin", str(options.path), "--iso", str(options.iso), "--pretrained", "x"]
    with pytest.raises(UserError, match=said):
        command.main([*words, "--runs-dir", str(tmp_path)])


@pytest.mark.parametrize(
    ("words", "said", "code"),
    [
        (["--game-type", "dolphin"], "--dolphin: want a path", 2),
        (["--dolphin", "FAKE"], "--iso: want a path", 2),
        (["--dolphin", "nothing", "--iso", "ISO"], "--dolphin: nothing: want something", 66),
        (["--dolphin", "FAKE", "--iso", "nothing"], "--iso: nothing: want something", 66),
        (["--dolphin", "FOLDER", "--iso", "ISO"], "want Slippi Dolphin's executable", 66),
        (["--no-headless"], "--no-headless: has no effect in the simulator", 2),
        (["--fast-forward"], "--fast-forward: has no effect in the simulator", 2),
    ],
)
def test_what_is_missing_has_its_exit_code(fake, tmp_path, words, said, code):
    options = fake()
    places = {"FAKE": options.path, "ISO": options.iso, "FOLDER": tmp_path}
    words = [str(places.get(word, word)) for word in words]
    with pytest.raises(UserError, match=said) as error:
        ppo.main([*words, "--pretrained", "x", "--runs-dir", str(tmp_path)])
    assert error.value.exit_code == code


def test_a_league_is_played_in_the_simulator(tmp_path):
    with pytest.raises(UserError, match="a league is played in the simulator"):
        league.main(["run", "--pretrained", "x", "--dolphin", "y", "--runs-dir", str(tmp_path)])
