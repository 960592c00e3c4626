"""Where a run's time went, over processes that come and go; on a clock that is set."""

import json

import pytest

from exphil_tf.training import goodput
from exphil_tf.training.goodput import CAUSES, Account


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def spend(account, clock, part, seconds):
    clock.now += seconds
    account.spent.seconds[part] += seconds


def test_a_run_in_two_processes_by_hand():
    clock = Clock()
    first = Account(started_s=990.0, clock=clock)  # 10 s of startup
    spend(first, clock, "first update", 8)
    spend(first, clock, "updates", 100)
    spend(first, clock, "input", 5)
    spend(first, clock, "validation", 20)
    saved = json.loads(json.dumps(first.to_dict()))
    spend(first, clock, "checkpoints", 2)
    spend(first, clock, "updates", 28)  # lost: killed here
    alive_s = clock.now
    clock.now += 600  # no machine
    started_s = clock.now
    clock.now += 12
    second = Account(saved, alive_s=alive_s, started_s=started_s, clock=clock)
    spend(second, clock, "updates", 60)
    spend(second, clock, "export", 1)
    clock.now += 4  # whatever it was
    found = second.by_cause()
    assert found == pytest.approx(
        {"training": 180, "compile": 8, "input": 5, "checkpoint": 1, "sync": 0, "lost work": 30,
         "startup": 22, "other": 4, "idle": 600}
    )  # fmt: skip
    assert second.billed_s() == pytest.approx(250)
    assert goodput.share(found) == pytest.approx(180 / 250)
    assert goodput.sentence(found, price=3.6) == (
        "goodput 72.0% of 0.07 h; lost work 12.0%, startup 8.8%, compile 3.2%, input 2.0%, "
        "other 1.6%, checkpoint 0.4%; 0.17 h without a machine; cost 0.25"
    )


@pytest.mark.parametrize("before", [None, {}, {"seconds": 3}, {"seconds": {"idle": "x"}}, "x"])
def test_checkpoints_of_other_releases_tell_nothing(before):
    clock = Clock()
    found = Account(before, started_s=1000.0, clock=clock).by_cause()
    assert found == dict.fromkeys(CAUSES, 0.0)


def test_a_kill_every_five_minutes_leaves_nine_tenths():
    """A production run as measured on a GPU's scale: 4 s to import, 3 s to compile from the cache,
    a checkpoint of 0.4 s each 18 s, which is on the store 2 s later; the machine is gone 60 s."""
    clock, saved, alive_s, trained_s = Clock(), None, None, 0.0
    while trained_s < 4 * 3600:
        started_s = clock.now
        clock.now += 4
        account = Account(saved, alive_s=alive_s, started_s=started_s, clock=clock)
        kept_s = trained_s
        spend(account, clock, "first update", 3)
        while clock.now < started_s + 300:
            spend(account, clock, "updates", 18)
            kept_s += 18
            copy, copied_s = account.to_dict(), clock.now + 2.4
            spend(account, clock, "checkpoints", 0.4)
            if copied_s <= started_s + 300:
                saved, trained_s = copy, kept_s
        alive_s = started_s + 300
        clock.now = alive_s + 60
    seconds = saved["seconds"]
    assert goodput.share(seconds) >= 0.9
    assert seconds["training"] == pytest.approx(trained_s)
    assert sum(seconds.values()) == pytest.approx(saved["saved_s"] - 1000)
    assert 0.02 < seconds["lost work"] / goodput.billed(seconds) < 0.08


def test_the_last_sign_of_life_is_in_the_log(tmp_path):
    assert goodput.last_sign_of_life(tmp_path) is None
    lines = ['{"event": "start", "time": "2026-01-01T00:00:10+0000"}', '{"event": "tr']
    (tmp_path / "log.jsonl").write_text("\n".join(lines))
    assert goodput.last_sign_of_life(tmp_path) == 1767225610.0


def test_a_process_knows_when_it_began():
    import time

    assert 0 <= time.time() - goodput.process_start_s() < 3600
