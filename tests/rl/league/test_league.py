"""A league's course with work that takes no time: turns, resets, standings, and being killed."""

import contextlib
import dataclasses

import numpy as np
import pytest

from exphil_tf.foundation.errors import UserError
from exphil_tf.rl.league import state as states
from exphil_tf.rl.league.league import FRESH, League, Learnt, exploitability, first_state, players
from exphil_tf.rl.league.state import START
from exphil_tf.rl.tally import Tally
from exphil_tf.training.league_config import LeagueOptions
from exphil_tf.training.run_files import LEAGUE as FILE

ANCHORS = ("script:stander", "script:camper")
OPTIONS = LeagueOptions(generations=3, rated_pairs=1, matchups=4, exploit_timesteps=10)


class Killed(Exception):
    pass


class FakeWork:
    """Strength grows with what was learnt; a process may be killed at its n-th piece of work."""

    def __init__(self, folder, dies_at=None, exploiters_win=False):
        self.folder, self.left, self.turns = folder, dies_at, []
        self.exploiters_win = exploiters_win

    def tell(self, text):
        assert ": from " in text

    def _work(self):
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise Killed

    def learn(self, turn) -> Learnt | None:
        self._work()
        self.turns.append(turn)
        return Learnt(turn.timesteps or 100, turn.name)

    def strength(self, name):
        if name in ANCHORS:
            return float(ANCHORS.index(name))
        if name == START:
            return 0.5
        is_fresh = name.startswith(FRESH)
        player, generation = (FRESH, "2") if is_fresh else name.rsplit("-", 1)
        bonus = 5.0 if self.exploiters_win and "exploiter" in player else 0.0
        return 0.5 * int(generation) * (2.0 if player == "main1" else 1.0) + bonus

    def count(self, one, other, *, seed):
        self._work()
        share = 1 / (1 + np.exp(self.strength(other) - self.strength(one)))
        wins = float(np.random.default_rng(seed).binomial(20, share))
        return Tally(games=20, wins=wins, frames=100, on_ledge=7)


def begin(folder):
    state = first_state(seed=3, anchors=ANCHORS, weights_sha256="start")
    states.save(state, folder)


def go_on(folder, work, options=OPTIONS):
    league = League(
        states.load(folder), options, slots=4, save=lambda state: states.save(state, folder)
    )
    return league, league.run(work)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    begin(folder)
    work = FakeWork(folder)
    league, is_done = go_on(folder, work)
    assert is_done
    return folder, league, work


def test_players_take_turns_and_a_fresh_exploiter_comes_last(whole):
    _, league, work = whole
    assert [turn.name for turn in work.turns] == [
        f"{player}-{generation:03d}"
        for generation in (1, 2, 3)
        for player in ("main1", "main-exploiter1", "league-exploiter1")
    ] + ["fresh-exploiter-003-10"]
    mains = [turn for turn in work.turns if turn.role == "main"]
    assert [turn.parent for turn in mains] == ["start", "main1-001", "main1-002"]
    assert all(len(turn.opponents) == 4 for turn in work.turns[:-1])
    assert work.turns[1].opponents == ("main1-001",) * 4
    assert league.next_turn() is None and not list(league.pending())
    assert len({turn.seed for turn in work.turns}) == 10


def test_everybody_is_rated_and_the_anchors_hold_the_scale(whole):
    _, league, _ = whole
    rated = league.state.ratings()
    assert set(rated) == set(league.state.names)
    assert np.mean([rated[name].points for name in ANCHORS]) == pytest.approx(1000)
    assert rated["start"].points < rated["main1-003"].points
    assert rated["script:stander"].points < rated["script:camper"].points
    (found,) = exploitability(league.state)
    assert (found.by, found.target) == ("fresh-exploiter-003-10", "main1-003")
    assert (found.games, found.frames) == (20, 10)


def test_exploiters_that_win_join_at_once_and_are_reset(tmp_path):
    begin(tmp_path)
    work = FakeWork(tmp_path, exploiters_win=True)
    league, _ = go_on(tmp_path, work)
    own = [turn for turn in work.turns if turn.role == "main_exploiter"]
    assert [turn.parent for turn in own] == ["start"] * 3
    assert all(league.state.snapshot(turn.name).joins for turn in own)
    met = {name for turn in work.turns if turn.role == "main" for name in turn.opponents}
    assert met & {turn.name for turn in own}


def test_exploiters_that_do_not_win_go_on_until_their_turns_are_over(whole):
    _, league, work = whole
    own = [turn for turn in work.turns if turn.role == "main_exploiter"]
    assert [turn.parent for turn in own] == ["start", "main-exploiter1-001", "start"]
    assert [league.state.snapshot(turn.name).joins for turn in own] == [False, True, False]
    never = {"main-exploiter1-001", "main-exploiter1-003"}
    assert not never & {name for turn in work.turns for name in turn.opponents}


def test_killed_at_any_piece_of_work_it_goes_on_to_identical_standings(whole, tmp_path):
    folder, _, work = whole
    text = (folder / FILE).read_bytes()
    rng = np.random.default_rng(0)
    for place in range(2):
        other = tmp_path / str(place)
        other.mkdir()
        begin(other)
        turns, is_done = [], False
        while not is_done:
            part = FakeWork(other, dies_at=int(rng.integers(1, 25)))
            with contextlib.suppress(Killed):
                _, is_done = go_on(other, part)
            turns += part.turns
        assert (other / FILE).read_bytes() == text
        assert turns == work.turns


def test_an_interrupted_turn_is_begun_again(tmp_path):
    class Stops(FakeWork):
        def learn(self, turn):
            return None

    begin(tmp_path)
    league, is_done = go_on(tmp_path, Stops(tmp_path))
    assert not is_done and league.next_turn().name == "main1-001"


def test_a_league_that_was_done_goes_on_with_more_generations(whole, tmp_path):
    folder, _, _ = whole
    (tmp_path / FILE).write_bytes((folder / FILE).read_bytes())
    work = FakeWork(tmp_path)
    _, is_done = go_on(tmp_path, work, dataclasses.replace(OPTIONS, generations=4))
    assert is_done and [turn.generation for turn in work.turns] == [4, 4, 4, 4]


def test_several_main_agents_and_no_exploiters():
    found = players(LeagueOptions(main_agents=2, main_exploiters=0, league_exploiters=0))
    assert [player.name for player in found] == ["main1", "main2"]
    with pytest.raises(ValueError, match="main_agents: want at least 1"):
        LeagueOptions(main_agents=0)


@pytest.mark.parametrize(
    ("text", "code"), [("{", 65), ("[]", 65), ('{"format": 9}', 78), ('{"format": 1}', 65)]
)
def test_a_file_that_is_no_league_is_refused(tmp_path, text, code):
    (tmp_path / FILE).write_text(text)
    with pytest.raises(UserError) as error:
        states.load(tmp_path)
    assert error.value.exit_code == code


def test_no_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        states.load(tmp_path)


def test_a_fresh_exploiter_learns_as_long_as_a_turn_or_not_at_all(whole, tmp_path):
    folder, _, _ = whole
    for timesteps, names in ((None, ["fresh-exploiter-003"]), (0, []), (10, [])):
        (tmp_path / FILE).write_bytes((folder / FILE).read_bytes())
        work = FakeWork(tmp_path)
        go_on(tmp_path, work, dataclasses.replace(OPTIONS, exploit_timesteps=timesteps))
        assert [turn.name for turn in work.turns] == names
        assert all(turn.timesteps is None for turn in work.turns)
