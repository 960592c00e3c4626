import json
import math

import pytest

from exphil_tf.training.early_stopping import Progress
from exphil_tf.training.metric import Metric
from exphil_tf.training.run_config import StoppingConfig

CONFIG = StoppingConfig(early_stopping=True, patience=2, min_delta=0.1)


NLL = Metric("nll")
RETURN = Metric("return", lower_is_better=False)


def run(losses, config=CONFIG, metric=NLL):
    progress, states = Progress(), []
    for step, loss in enumerate(losses, start=1):
        progress = progress.after(loss, step=step, metric=metric, config=config)
        states.append(progress)
        if progress.is_over(config):
            break
    return states


def test_stops_after_patience_without_enough_improvement():
    states = run([5.0, 4.0, 3.95, 3.92, 1.0])
    assert len(states) == 4
    assert [s.waited for s in states] == [0, 0, 1, 2]


def test_where_more_is_better_it_is_the_mirror_image():
    values = [5.0, 4.0, 3.95, 3.92, 1.0]
    mirrored = run([-value for value in values], metric=RETURN)
    assert [s.waited for s in mirrored] == [s.waited for s in run(values)]
    assert (mirrored[-1].best, mirrored[-1].best_step) == (-3.92, 4)


def test_small_gains_are_still_the_best_policy():
    last = run([5.0, 4.0, 3.95, 3.97])[-1]
    assert (last.best, last.best_step) == (3.95, 3)


def test_slow_gains_that_add_up_count():
    # Measured against the last real improvement, not against the last value.
    assert len(run([5.0, 4.94, 4.88, 4.82, 4.76])) == 5


def test_nan_is_never_the_best():
    states = run([math.nan, 3.0, math.nan])
    assert [s.best for s in states] == [None, 3.0, 3.0]
    assert states[-1].waited == 1


def test_off_never_stops():
    assert len(run([1.0] * 20, StoppingConfig(patience=1))) == 20


def test_progress_survives_json():
    progress = run([0.1 + 0.2, 1 / 3])[-1]
    assert Progress(**json.loads(json.dumps(progress.to_dict()))) == progress


@pytest.mark.parametrize("options", [{"patience": 0}, {"min_delta": -1.0}, {"min_delta": math.nan}])
def test_wrong_values_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        StoppingConfig(**options)
