"""The loop runs what is no imitation: learnt, told of, killed, resumed to the very same weights."""

import io
import json
import re

import numpy as np
import pytest
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from exphil_tf.training.horizon import Horizon
from exphil_tf.training.metric import Metric
from exphil_tf.training.run_config import RunConfig
from exphil_tf.training.run_folder import RunLocation
from tests.tiny_learner import TRUE, LineLearner, run_in, setup_of


@pytest.fixture(scope="module")
def undisturbed(trainer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("line")
    ended = trainer.command(folder, "run", "0", module="tests.tiny_learner")
    assert ended.status == 0, ended.output
    return folder / "run", ended


def events(run_dir, kind):
    lines = [json.loads(line) for line in (run_dir / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if line["event"] == kind]


def test_it_learns(undisturbed):
    run_dir, _ = undisturbed
    first, *_, last = events(run_dir, "validation")
    assert last["error"] < first["error"] / 2
    np.testing.assert_allclose(json.loads((run_dir / "policy/line.json").read_text()), TRUE, 0.3)
    results = json.loads((run_dir / "config.json").read_text())["results"]
    assert results["steps"] == 40
    assert results["best_squared_error"] == min(e["error"] for e in events(run_dir, "validation"))


def test_the_terminal_shows_its_metrics_by_their_labels(undisturbed):
    lines = undisturbed[1].output.splitlines()
    assert all(re.match(r"\[\d\d:\d\d:\d\d\] ", line) for line in lines)
    lines = [line[11:] for line in lines]
    assert lines[0] == "compiling the first update …"
    assert re.fullmatch(r"compiled in \d+ s", lines[1])
    assert any(re.match(r"memory: \d\.\d GiB", line) for line in lines)
    (train, *_), (validation, *_) = (
        [line for line in lines if line.startswith(begin)]
        for begin in ("step 4/40", "step 10 validation")
    )
    assert "epoch 0.40 squared error " in train
    assert "line" not in train  # what is measured by component is shown after validation
    measured = events(undisturbed[0], "validation")[0]
    assert f"squared error {measured['error']:.3f} (best): slope " in validation
    assert f"offset {measured['coefficients']['offset']:.1f}" in validation
    assert "momentum" not in "".join(lines)
    assert "finished at step 40: best squared error " in lines[-1]


def test_tensorboard_has_its_metrics(undisturbed):
    found = EventAccumulator(str(undisturbed[0] / "tb"), size_guidance={"tensors": 0})
    found.Reload()
    steps = {name: [e.step for e in found.Tensors(name)] for name in found.Tags()["tensors"]}
    assert steps["validation/error"] == [10, 20, 30, 40]
    assert steps["validation/coefficients/slope"] == [10, 20, 30, 40]
    assert steps["train/momentum"][:3] == [4, 8, 10]
    assert "_hparams_/session_start_info" in found.summary_metadata


@pytest.mark.parametrize("killed_at", [6, 13, 33], ids=["at once", "in an epoch", "late"])
def test_kill_9_and_resume_gives_the_same_weights(trainer, tmp_path, undisturbed, killed_at):
    assert trainer.command(tmp_path, "run", killed_at, module="tests.tiny_learner").status == -9
    saved = sorted(path.name for path in (tmp_path / "run/checkpoints").glob("step-*"))
    assert saved == {6: [], 13: ["step-00000007", "step-00000010"]}.get(killed_at, saved)
    ended = trainer.command(tmp_path, "run", "0", module="tests.tiny_learner")
    assert ended.status == 0, ended.output
    assert ended.sha256 == undisturbed[1].sha256
    for name in ("line.json", "provenance.json"):
        one, other = (d / "policy" / name for d in (tmp_path / "run", undisturbed[0]))
        assert json.loads(one.read_text()) == json.loads(other.read_text())


def trained(run_dir, learner, *, run=RunConfig(seed=0, log_interval=4), **setup):  # noqa: B008
    """What a run in this process prints, and its folder."""
    printed = io.StringIO()
    training_run = run_in(run_dir, run=run, resume=False)
    training_run.train(lambda: setup_of(learner, **setup), Console(file=printed, width=200))
    return printed.getvalue(), json.loads((run_dir / "config.json").read_text())["results"]


def test_without_validation_the_best_is_that_of_training(tmp_path):
    printed, results = trained(tmp_path / "run", LineLearner(), validation=False)
    assert "not validated, lowest training squared error " in printed
    assert not events(tmp_path / "run", "validation")
    lowest = results["lowest_training_squared_error"]
    assert results["best_squared_error"] is None
    seen = [event["error"] for event in events(tmp_path / "run", "train")]
    assert min(seen) <= lowest <= max(seen)


class Climber(LineLearner):
    """The same learner, with a metric of which more is better: the squared error's negative."""

    metrics = (Metric("score", lower_is_better=False, is_selecting=True),)

    def take_report(self):
        report = super().take_report()
        return report._replace(values={"score": -report.values["error"]})


def test_where_more_is_better_the_highest_is_the_best(tmp_path):
    horizon = Horizon.of_frames(320, per_update=8, per_epoch=40)
    printed, results = trained(tmp_path / "run", Climber(), validation=False, horizon=horizon)
    assert results["steps"] == 40
    assert "not validated, highest training score -" in printed
    scores = [event["score"] for event in events(tmp_path / "run", "train")]
    assert scores[0] < results["highest_training_score"] <= max(scores)
    best = max((tmp_path / "run/checkpoints").glob("step-*/meta.json"), key=lambda p: p.parent)
    assert json.loads(best.read_text())["metric"] > 0  # checkpoints are ranked by cost


class Stumbler(LineLearner):
    """Once reports a streak of NaN, its weights being spoilt."""

    def update(self, batches, *, step):
        super().update(batches, step=step)
        self.is_stumbling = step == 15
        if self.is_stumbling:
            self.line.assign([1e9, 1e9])

    def take_report(self):
        report = super().take_report()
        return report._replace(worst_streak=5) if self.is_stumbling else report


def test_a_streak_of_nan_takes_weights_back_to_a_checkpoint(tmp_path):
    run = RunConfig(seed=0, log_interval=4, save_every_steps=7)
    printed, results = trained(tmp_path / "run", Stumbler(), run=run)
    assert "5 updates in a row were NaN or infinite: back to the weights of step 14" in printed
    assert results["best_squared_error"] < 1


def test_a_finished_run_goes_on_for_longer(tmp_path):
    """As if it had been that long from the start, with the time of both parts."""
    _, whole = trained(tmp_path / "whole", LineLearner())
    _, first = trained(tmp_path / "run", LineLearner(), horizon=Horizon(10.0, 20))
    location = RunLocation(tmp_path / "run", is_resuming=True)
    assert "had finished at step 20; it goes on from there if --epochs" in location.notes()[0]
    longer = run_in(tmp_path / "run", run=RunConfig(seed=0, log_interval=4))
    longer.train(lambda: setup_of(LineLearner()))
    results = json.loads((tmp_path / "run/config.json").read_text())["results"]
    assert first["steps"] == 20 and results["steps"] == 40
    assert results["weights_sha256"] == whole["weights_sha256"] != first["weights_sha256"]
    assert results["total_time_seconds"] > first["total_time_seconds"]
    last = [event["error"] for event in events(tmp_path / "whole", "train") if event["step"] > 30]
    assert min(last) <= whole["final_training_loss"] <= max(last)
    assert results["final_training_loss"] == whole["final_training_loss"]
    again = run_in(tmp_path / "run", run=RunConfig(seed=0, log_interval=4))
    again.train(lambda: setup_of(LineLearner()))
    now = json.loads((tmp_path / "run/config.json").read_text())["results"]
    assert now["final_training_loss"] == whole["final_training_loss"]
