"""How long a run takes, from numbers worked out by hand."""

import pytest

from exphil_tf.training.horizon import Horizon
from exphil_tf.training.pace import RECENT, Pace
from exphil_tf.training.run_summary import duration


def test_updates_and_validations_that_are_left_are_counted():
    pace = Pace(Horizon(100.0, 300))
    assert pace.seconds_after(0) == 0
    pace.saw_updates(20, seconds=10)
    assert pace.seconds_after(20) == pytest.approx(280 * 0.5)
    pace.saw_validation(seconds=7)
    # Two epochs end after update 100.
    assert pace.seconds_after(100) == pytest.approx(200 * 0.5 + 2 * 7)
    assert pace.seconds_after(300) == 0


def test_what_was_seen_last_weighs_most():
    pace = Pace(Horizon(100.0, 100))
    pace.saw_updates(10, seconds=10)
    pace.saw_updates(0, seconds=5)
    pace.saw_updates(10, seconds=20)
    assert pace.seconds_after(90) == pytest.approx(10 * ((1 - RECENT) * 1 + RECENT * 2))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (89.4, "89 s"), (91, "2 min"), (5399, "90 min"), (9000, "2.5 h")],
)
def test_durations_in_words(seconds, words):
    assert duration(seconds) == words
