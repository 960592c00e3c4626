"""Whole games, from the menus to the replay, and what is odd about some of them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from exphil_tf.agents.dolphin import Dolphin
from exphil_tf.agents.game_record import Report
from exphil_tf.agents.match_loop import MatchLoop
from exphil_tf.melee.enums import Character, Stage, character_name, stage_name
from tests.agents.played import Random, assert_replay_holds, play, rules, seat

pytestmark = pytest.mark.slow


def test_three_games_beside_a_dolphin_that_does_not_wait(fake):
    """At a quarter of the game's pace, so that a loaded machine is in time for every frame."""
    options, driver = fake(frames=60, is_blocking=False), Random()
    options = dataclasses.replace(options, speed=0.25)
    records, _ = play(options, [seat(driver)], rules(options, games=3))
    assert [record.frames for record in records] == [60, 60, 60]
    for record, game in zip(records, driver.games, strict=True):
        assert record.missed_frames == 0
        assert_replay_holds(options, record, game)


def test_every_character_on_every_stage_through_the_menus(fake):
    """26 characters against each other, six stages in turn; Sheik is Zelda with A held."""
    options, stages = fake(frames=4, human_ports=[]), list(Stage)
    characters = [character for character in Character if character is not Character.NANA]
    assert len(characters) == 26
    with Dolphin(options, [1, 2]) as dolphin:
        for index, character in enumerate(characters):
            other, stage = characters[(index + 7) % 26], stages[index % len(stages)]
            report, one, two = Report(None), Random(), Random()
            seats = [seat(one, 1, character), seat(two, 2, other)]
            MatchLoop(
                dolphin, seats, rules(options, stage, games=1), report=report, say=lambda _: None
            ).run()
            record = report.records[0]
            found = record.character, record.opponent_character, record.stage
            assert found == (character_name(character), character_name(other), stage_name(stage))
            assert_replay_holds(options, record, one.games[0])
            assert_replay_holds(options, record, two.games[0], player=1)


@pytest.mark.parametrize("name", ["peppi/ics2.slp", "peppi/items.slp"])
def test_nana_and_items(fake, real_replay, name):
    """`test_train_serve` has these whole, and a Sheik who becomes Zelda and Sheik again."""
    options, driver = fake(replay=real_replay(name), keeps=True, frames=1500), Random()
    record = play(options, [seat(driver)], rules(options, games=1))[0][0]
    assert_replay_holds(options, record, driver.games[0])
    seen = driver.games[0][0]
    facts = {
        "peppi/ics2.slp": np.any([columns["n.exists"] for columns in seen]),
        "peppi/items.slp": np.any([columns["i.exists"] for columns in seen]),
    }
    assert facts[name]
