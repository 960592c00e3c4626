"""Who plays whom, against hand-computed shares and the paper's rules."""

from collections import Counter

import numpy as np
import pytest

from exphil_tf.rl.league.matchmaking import (
    Rival,
    draw_opponents,
    f_capped,
    f_hard,
    f_var,
    probabilities,
)

SCRIPT = Rival("script:camper", "script:camper", "script")
FIRST = Rival("main1-001", "main1", "main")
NEWEST = Rival("main1-002", "main1", "main", is_newest=True)
OTHER = Rival("main2-002", "main2", "main", is_newest=True)
EXPLOITER = Rival("main-exploiter1-001", "main-exploiter1", "main_exploiter", is_newest=True)
START = Rival("start", "start", "start")


def draws(player, role, rivals, rates, count=4000):
    found = draw_opponents(
        player,
        role,
        rivals=rivals,
        win_rate=lambda name: rates.get(name, 0.5),
        count=count,
        rng=np.random.default_rng(0),
    )
    counted = Counter(found)
    return {name: counted[name] / count for name in counted}


def test_weightings_are_the_papers():
    rates = [0.0, 0.5, 0.9, 1.0]
    assert probabilities(rates, f_hard).tolist() == pytest.approx(
        [1 / 1.26, 0.25 / 1.26, 0.01 / 1.26, 0]
    )
    assert probabilities(rates, f_var).tolist() == pytest.approx([0, 0.25 / 0.34, 0.09 / 0.34, 0])
    assert probabilities(rates, f_capped).tolist() == pytest.approx(
        [0.5 / 1.1, 0.5 / 1.1, 0.1 / 1.1, 0]
    )
    assert probabilities([1.0, 1.0], f_hard).tolist() == [0.5, 0.5]


def test_a_main_agent_plays_itself_its_past_and_what_it_forgot():
    rates = {SCRIPT.name: 0.9, FIRST.name: 0.9, NEWEST.name: 0.8, EXPLOITER.name: 0.0}
    found = draws("main1", "main", [SCRIPT, FIRST, NEWEST, EXPLOITER], rates)
    assert found["self"] == pytest.approx(0.35, abs=0.001)
    # Of the past by f_hard (1 + 0.04 + 0.01 + 0.01), and all of the 15 % as it is exploited.
    assert found[EXPLOITER.name] == pytest.approx(0.5 / 1.06 + 0.15, abs=0.02)
    assert found[NEWEST.name] == pytest.approx(0.5 * 0.04 / 1.06, abs=0.01)


def test_what_is_not_forgotten_is_left_to_self_play():
    rates = {FIRST.name: 0.8, NEWEST.name: 0.75, EXPLOITER.name: 0.9}
    found = draws("main1", "main", [FIRST, NEWEST, EXPLOITER], rates)
    assert found["self"] == pytest.approx(0.5, abs=0.001)
    forgot = draws("main1", "main", [FIRST, NEWEST, EXPLOITER], rates | {FIRST.name: 0.2})
    assert forgot["self"] == pytest.approx(0.35, abs=0.001)


def test_of_several_main_agents_one_out_of_reach_is_met_in_its_past():
    past = Rival("main2-001", "main2", "main")
    rates = {OTHER.name: 0.2, past.name: 0.5, NEWEST.name: 1.0}
    found = draws("main1", "main", [NEWEST, OTHER, past], rates)
    assert found["self"] == pytest.approx(0.25, abs=0.02)
    met = (0.5 + 0.075) * 0.64 / 0.89 + 0.175 * 0.16 / 0.41
    assert found[OTHER.name] == pytest.approx(met, abs=0.03)
    near = draws("main1", "main", [NEWEST, OTHER, past], rates | {OTHER.name: 0.9, past.name: 1.0})
    assert near[OTHER.name] == pytest.approx(0.75, abs=0.02) and past.name not in near


def test_a_main_exploiter_plays_the_main_agent_or_climbs_up_to_it():
    rivals = [SCRIPT, START, FIRST, NEWEST, EXPLOITER]
    assert draws("x", "main_exploiter", rivals, {}) == {NEWEST.name: 1.0}
    found = draws("x", "main_exploiter", rivals, {NEWEST.name: 0.05, FIRST.name: 0.5})
    assert set(found) == {NEWEST.name, FIRST.name}
    assert found[FIRST.name] == pytest.approx(0.25 / (0.25 + 0.0475), abs=0.02)


def test_a_league_exploiter_plays_everybody_whom_it_does_not_beat():
    rates = {SCRIPT.name: 1.0, FIRST.name: 0.1, NEWEST.name: 0.75}
    found = draws("x", "league_exploiter", [SCRIPT, FIRST, NEWEST], rates)
    assert SCRIPT.name not in found
    assert found[FIRST.name] == pytest.approx(2 / 3, abs=0.03)


def test_without_a_past_a_main_agent_plays_itself():
    assert draws("main1", "main", [], {}, count=8) == {"self": 1.0}
