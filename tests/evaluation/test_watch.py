"""A watch beside a run that is not there yet, saves, averages, prunes, repeats steps and ends."""

import io
import json
import shutil

import pytest
from rich.console import Console
from tiny_imitation import eagerly, make, make_batch, train

from exphil_tf import evaluate
from exphil_tf.checkpoints.policy_bundle import PolicyInfo, save_policy
from exphil_tf.checkpoints.store import CheckpointStore
from exphil_tf.evaluation import watch as watching
from exphil_tf.evaluation.evaluation_config import EvaluationConfig
from exphil_tf.foundation.errors import UserError
from exphil_tf.training.state import TrainState
from tests.sample_dataset import make_dataset

CONFIG = EvaluationConfig(jit=False, limit_frames=200, baseline_frames=200)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    sample = ("--games", "3", "--min-seconds", "5", "--max-seconds", "6")
    return make_dataset(tmp_path_factory.mktemp("watch"), sample, "--min-frames", "100")


class Run:
    """A run that is written by hand, a checkpoint at a time."""

    def __init__(self, folder, **kept):
        self.folder = folder
        self.learner = make(backbone="mlp", ema=True, ema_decay=0.5)
        self._store = CheckpointStore(folder / "checkpoints", **kept)

    def save(self, step, seed):
        with eagerly():
            train(self.learner, make_batch(seed))
        state = TrainState(self.learner.variables())
        self._store.save(step, state.write, {})

    def export(self, folder="policy"):
        with self.learner.averaged():
            info = PolicyInfo(self.learner.policy.config, weights="ema")
            save_policy(self.folder / folder, self.learner.policy, info)

    def end(self):
        self.say({"reason": "finished"})

    def say(self, results):
        (self.folder / "config.json").write_text(json.dumps({"results": results}))


def watch(run, dataset, meanwhile, console=None):
    """Scores by (step, nll); each sleep does the next of `meanwhile`."""
    acts = iter(meanwhile)

    def sleep():
        next(acts)()

    found = watching.watch(
        run,
        dataset,
        CONFIG,
        output=None,
        console=console or Console(quiet=True),
        sleep=sleep,
    )
    return [(score.step, score.nll) for score in found]


def test_scores_are_those_of_evaluate_whatever_the_run_does(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(watching.os, "nice", lambda by: by)
    run = Run(tmp_path / "run", keep_last=2, keep_best=0)
    exported = []

    def appear():
        run.folder.mkdir()
        run.say(None)

    def first():
        run.save(5, 0)

    def export():  # only now is the network known
        run.export()
        exported.append(run.folder / "policy")

    def more_than_is_kept():
        for step in (10, 15, 20):
            run.save(step, step)

    def damage():
        run.save(25, 25)
        path = next((run.folder / "checkpoints/step-00000025").glob("state.data*"))
        path.write_bytes(path.read_bytes()[:-9])

    def resume():  # from before: the step comes again, with other weights
        run.save(20, 99)
        run.export("last")

    console = Console(record=True, file=io.StringIO())
    acts = (appear, first, export, more_than_is_kept, damage, resume, run.end)
    found = watch(run.folder, dataset, acts, console)
    assert [step for step, _ in found] == [5, 20, 15, 20]
    log = run.folder / "evaluation/validation/watch.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["step"], line["nll"]) for line in lines] == found
    for bundle, (_, nll) in (("policy", found[0]), ("last", found[-1])):
        options = ["--no-jit", "--limit-frames", "200", "--baseline-frames", "200"]
        output = tmp_path / bundle
        arguments = [run.folder / bundle, "--data", dataset, "--output", output, *options]
        assert evaluate.main([str(word) for word in arguments]) == 0
        measured = json.loads((output / "evaluation.json").read_text())
        assert nll == pytest.approx(measured["policy"]["nll"], rel=1e-6)
    # A second watch knows them all, but for what was never read.
    assert watch(run.folder, dataset, ()) == found
    assert len(log.read_text().splitlines()) == len(found)


def test_what_is_removed_while_it_is_read_is_left_out(dataset, tmp_path, monkeypatch):
    from exphil_tf.training import stored_policy

    monkeypatch.setattr(watching.os, "nice", lambda by: by)
    run = Run(tmp_path / "run")
    run.save(5, 0)
    run.export()
    run.end()
    plain = stored_policy.unpack

    def removed(checkpoint, into):
        shutil.rmtree(checkpoint)
        return plain(checkpoint, into)

    monkeypatch.setattr(stored_policy, "unpack", removed)
    assert watch(run.folder, dataset, ()) == []
    assert not (run.folder / "evaluation").exists()


@pytest.mark.slow
def test_ctrl_c_shows_the_table(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(watching.os, "nice", lambda by: by)
    run = Run(tmp_path / "run")
    run.save(5, 0)
    run.export()
    console = Console(record=True, file=io.StringIO())

    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        watch(run.folder, dataset, [interrupt], console)
    assert "whole action" in console.export_text()


def test_a_bundle_is_no_run(dataset, tmp_path):
    run = Run(tmp_path / "run")
    run.export()
    with pytest.raises(UserError, match="is a policy bundle"):
        watch(run.folder / "policy", dataset, ())
