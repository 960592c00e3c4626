"""Runs that are copied while they train, and go on from the copy on an empty machine."""

import io
import json
import logging
import os
import random
import re
import shlex
import shutil
import sys
import threading
from pathlib import Path

import pytest
from rich.console import Console

from exphil_tf.cloud.address import open_store, parse
from exphil_tf.cloud.store import FolderStore
from exphil_tf.foundation import atomic
from exphil_tf.foundation.errors import UserError
from exphil_tf.training import run_sync
from exphil_tf.training.cloud_config import CloudConfig
from exphil_tf.training.run_config import RunConfig
from exphil_tf.training.run_folder import RunLocation
from exphil_tf.training.run_sync import RunSync, StoredRun, fetch_run, snapshot
from tests.faulty_stores import FaultyStore, make_run, tree
from tests.moto_s3 import moto_s3
from tests.small_s3 import new_bucket
from tests.tiny_learner import LineLearner, run_in, setup_of


@pytest.fixture(autouse=True)
def _hasty(monkeypatch):
    monkeypatch.setattr("exphil_tf.cloud.sums._sleep", lambda seconds: None)


def a_run(folder, *steps, created="monday", **options):
    run = make_run(folder, *steps, **options)
    (run / "config.json").write_text(json.dumps({"created": created, "data": {}, "config": {}}))
    return run


def copied(run, store, name="mine"):
    sync = RunSync(run, store, name)
    sync.start()
    assert sync.finish(20), sync.error
    return sync


def test_an_empty_machine_goes_on_where_the_other_stopped(tmp_path):
    run = a_run(tmp_path / "a/mine", 5, 10)
    copied(run, FolderStore(tmp_path / "store"))
    location = fetch_run(
        str(tmp_path / "store"), RunLocation(tmp_path / "b/mine", is_resuming=True), True,
        environ={},
    )  # fmt: skip
    assert location.saved_yaml is not None
    fetched = tree(location.run_dir)
    assert {name for name in fetched if "step-" in name} == {
        f"checkpoints/step-00000010/{file}"
        for file in ("state.data", "state.index", "meta.json", atomic.CHECKSUMS)
    }
    assert fetched["log.jsonl"] == tree(run)["log.jsonl"]
    # Once more: nothing newer is there, and what is here stays.
    (location.run_dir / "log.jsonl").write_text("longer")
    fetch_run(str(tmp_path / "store"), location, True, environ={})
    assert (location.run_dir / "log.jsonl").read_text() == "longer"


def test_without_a_name_it_is_the_newest_unfinished(tmp_path):
    store = FolderStore(tmp_path / "store")
    for name, created, results in (("a", "1", None), ("b", "3", {"steps": 1}), ("c", "2", None)):
        run = a_run(tmp_path / name, 5)
        facts = {"created": created, "results": results}
        (run / "config.json").write_text(json.dumps(facts))
        copied(run, store, name)
    made_up = RunLocation(tmp_path / "runs/made_up", is_resuming=True)
    assert fetch_run(str(store.root), made_up, False, environ={}).run_dir == tmp_path / "runs/c"
    (tmp_path / "empty").mkdir()
    assert fetch_run(str(tmp_path / "empty"), made_up, False, environ={}) == made_up


def test_a_damaged_checkpoint_there_is_passed_over_and_the_best_comes_too(tmp_path, capsys):
    run = a_run(tmp_path / "mine", 5, 10)
    store = FolderStore(tmp_path / "store")
    from exphil_tf.checkpoints.store import CheckpointStore

    meta = {"position": {"progress": {"best_step": 5}}}
    for step in (15, 20):
        CheckpointStore(run / "checkpoints", keep_last=9).save(
            step, lambda place: (place / "state.data").write_bytes(os.urandom(50)), meta
        )
    copied(run, store)
    with (tmp_path / "store/mine/checkpoints/step-00000020/state.data").open("r+b") as file:
        file.write(b"????")
    assert StoredRun(store, "mine").fetch(tmp_path / "new/mine") == 15
    assert "step-00000020 is not whole there" in capsys.readouterr().err
    steps = sorted(path.name for path in (tmp_path / "new/mine/checkpoints").iterdir())
    assert steps == ["step-00000005", "step-00000015"]


def test_two_runs_of_one_name_are_not_mixed(tmp_path):
    copied(a_run(tmp_path / "a/mine", 5), FolderStore(tmp_path / "store"))
    other = a_run(tmp_path / "b/mine", 5, created="tuesday")
    there = StoredRun(FolderStore(tmp_path / "store"), "mine")
    for refuse in (lambda: there.fetch(other), lambda: there.check_same(other, {"created": "x"})):
        with pytest.raises(UserError, match="another run called mine is there") as caught:
            refuse()
        assert caught.value.exit_code == 73


def test_a_store_that_fails_costs_nothing_but_the_copy(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(run_sync, "_PAUSES_S", (0.01,))
    run = a_run(tmp_path / "mine", 5)
    sync = RunSync(run, FaultyStore(tmp_path / "store", refuse=range(9)), "mine")
    sync.start()
    sync.write({"event": "checkpoint"})
    assert sync.finish(20)
    assert caplog.text.count("HTTP 503") == 1
    assert "up to date again" in caplog.text
    assert StoredRun(FolderStore(tmp_path / "store"), "mine").fetch(tmp_path / "new/mine") == 5
    assert not list(run.glob(".tmp-*"))


def test_a_store_that_hangs_is_waited_for_no_longer_than_asked(tmp_path):
    gate = threading.Event()

    class Hanging(FolderStore):
        def list(self, prefix=""):
            gate.wait(20)
            return super().list(prefix)

    sync = RunSync(a_run(tmp_path / "mine", 5), Hanging(tmp_path / "store"), "mine")
    sync.start()
    assert not sync.finish(0.1)
    assert sync.error == "not done within 0 s"
    gate.set()


def test_a_snapshot_stays_as_it_was(tmp_path):
    run = a_run(tmp_path / "mine", 5)
    (run / "tb").mkdir()
    (run / "tb/events").write_bytes(b"12")
    (run / "notes.txt").write_text("the user's")
    place = tmp_path / "mine" / ".tmp-sync-x"
    place.mkdir()
    assert snapshot(run, place, without=set()) == {"step-00000005"}
    with (run / "tb/events").open("ab") as file:
        file.write(b"34")
    shutil.rmtree(run / "checkpoints")
    assert (place / "tb/events").read_bytes() == b"12"
    assert not atomic.problems(place / "checkpoints/step-00000005")
    assert not (place / "notes.txt").exists()


# -- Training ------------------------------------------------------------------------------------

TINY = "tests.tiny_learner"


@pytest.fixture(scope="module")
def straight(trainer, tmp_path_factory):
    ended = trainer.command(tmp_path_factory.mktemp("straight"), "run", "0", module=TINY)
    assert ended.status == 0, ended.output
    return ended.sha256


def wipe(folder: Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path)


def test_killed_and_wiped_it_ends_with_the_same_weights(trainer, tmp_path, straight):
    """The folder is another machine's each time: nothing of the last one is left."""
    machine, store = tmp_path / "machine", tmp_path / "store"
    machine.mkdir()
    for kill_at in (17, 30):
        ended = trainer.command(machine, "run", kill_at, store, "1.1", module=TINY)
        assert ended.status == -9, ended.output
        wipe(machine)
    ended = trainer.command(machine, "run", "0", store, module=TINY)
    assert ended.status == 0, ended.output
    assert "fetched run at step 28" in ended.output
    assert ended.sha256 == straight
    there, here = tree(store / "run"), tree(machine / "run")
    for name in ("policy/line.json", "config.json", "log.jsonl"):
        assert there[name] == here[name], name
    assert 0 < json.loads(there["config.json"])["results"]["goodput"] < 1
    events = [json.loads(line) for line in here["log.jsonl"].splitlines()]
    (end,) = [event for event in events if event["event"] == "end"]
    assert end["seconds_by_cause"]["startup"] > 0
    lost = end["seconds_by_cause"]["lost work"] + end["seconds_by_cause"]["idle"]
    assert lost >= 2  # it stood still for a second before each kill


def ended_in(folder, **cloud):
    """What a tiny run in this process prints."""
    printed = io.StringIO()
    training_run = run_in(folder, run=RunConfig(seed=0), cloud=CloudConfig(**cloud))
    outcome = training_run.train(lambda: setup_of(LineLearner()), Console(file=printed, width=200))
    return outcome, printed.getvalue()


def test_a_budget_ends_a_run_that_goes_on_with_more(tmp_path):
    script = tmp_path / "end.py"
    script.write_text("import os; open(__file__ + '.said', 'w').write(os.environ['RUN_REASON'])")
    saved = shlex.join([sys.executable, str(script)])
    outcome, printed = ended_in(tmp_path / "run", max_cost=1e-6, price=1.0, on_exit=saved)
    assert (outcome.reason, outcome.position.step) == ("out of budget", 0)
    assert re.search(r"; cost \d", printed)  # since this process began
    assert (tmp_path / "end.py.said").read_text() == "out of budget"
    location = RunLocation(tmp_path / "run", is_resuming=True)
    assert "--max-hours or --max-cost ask for more" in location.notes()[0]
    outcome, _ = ended_in(tmp_path / "run", max_hours=10.0)
    assert (outcome.reason, outcome.position.step) == ("finished", 40)


def test_a_store_that_is_down_does_not_stop_a_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("exphil_tf.training.run_end.FINISHED_S", 0.2)
    (tmp_path / "my file").write_text("no folder")
    outcome, _ = ended_in(tmp_path / "a run", sync=str(tmp_path / "my file"))
    assert outcome.reason == "finished"
    said = capsys.readouterr().err
    assert "the copy is not complete" in said
    words = shlex.split(said.partition("Later: ")[2])
    assert words[3:] == ["up", str(tmp_path / "a run"), str(tmp_path / "my file/a run")]


def test_a_run_is_not_copied_onto_itself(tmp_path):
    for place in (tmp_path, tmp_path / "run", tmp_path / "run/copies"):
        with pytest.raises(UserError, match="want a copy outside of what it is a copy of"):
            ended_in(tmp_path / "run", sync=str(place))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_hours": 0.0}, "max_hours: want a positive number"),
        ({"sync": "gs://x"}, "no address of a store"),
        ({"on_exit": "'"}, "on_exit: want a command"),
        ({"sync": "b2:bucket"}, "B2_KEY_ID and B2_APP_KEY not set"),
        ({"stop_pod": "runpod"}, "RUNPOD_API_KEY and RUNPOD_POD_ID not set"),
    ],
)
def test_wrong_options_are_named_before_anything_is_trained(tmp_path, options, words):
    with pytest.raises((ValueError, UserError), match=words):
        ended_in(tmp_path / "run", **options)


def test_no_key_is_in_what_a_run_says_or_writes(tmp_path, monkeypatch, capfd, caplog):
    """Files of the run and of its copy, the console, the log; the webhook does not answer."""
    secret = {
        name: f"canary-{name}"
        for name in ("B2_KEY_ID", "B2_APP_KEY", "R2_SECRET_KEY", "WANDB_API_KEY", "RUNPOD_API_KEY")
    } | {"EXPHIL_WEBHOOK_URL": "http://127.0.0.1:9/canary"}
    for name, value in secret.items():
        monkeypatch.setenv(name, value)
    cloud = CloudConfig(sync=str(tmp_path / "store"), on_exit=f"{sys.executable} -c pass")
    training_run = run_in(
        tmp_path / "run", run=RunConfig(seed=0, verbosity=2), cloud=cloud, environ=secret
    )
    with caplog.at_level(logging.DEBUG):
        training_run.train(lambda: setup_of(LineLearner()), Console(width=200))
    captured = capfd.readouterr()
    assert "canary" not in captured.out + captured.err + caplog.text + repr(training_run)
    found = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(found) > 20
    assert not [path for path in found if b"canary" in path.read_bytes()]


def test_a_key_in_a_command_is_refused(tmp_path):
    asked = {"on_exit": "curl -H canary-secret x"}
    training_run = run_in(
        tmp_path, cloud=CloudConfig(**asked), environ={"RUNPOD_API_KEY": "canary-secret"}
    )
    with pytest.raises(UserError, match="holds the value of RUNPOD_API_KEY"):
        training_run.train(lambda: setup_of(LineLearner()))


@pytest.mark.slow
def test_ten_kills_at_random_moments(trainer, tmp_path):
    """The real thing and moto's S3 server, killed in updates and in saves, its disk wiped."""
    with moto_s3() as server:
        keys = {
            "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_ENDPOINT_URL": server,
        }  # fmt: skip
        address = f"s3:{new_bucket(server)}/runs"
        stored = StoredRun(open_store(parse(address), keys), "run")
        _ten_kills(trainer, tmp_path, address, stored, keys=keys)


def _ten_kills(trainer, tmp_path, address, stored, *, keys):
    (reference := tmp_path / "reference").mkdir()
    undisturbed = trainer(reference)
    (machine := tmp_path / "machine").mkdir()
    draw, kills, newest, lost = random.Random(5), 0, None, 0
    for _ in range(60):
        at = draw.randint(3, 9) if kills < 10 else 0
        faults = {"kill_at_update": at} if draw.random() < 0.7 else {"kill_at_fsync": at + 8}
        if at and draw.random() < 0.5:
            faults["wait_at_update"] = max(1, at - 1)
        ended = trainer(
            machine, "--sync", address, "--resume", "auto", environ=keys, **(faults if at else {})
        )
        fetched = re.search(r"fetched runs/run at step (\d+) from", ended.output)
        if fetched:
            assert int(fetched[1]) == newest, "what was whole there"
        else:  # there was nothing, or it was killed while it fetched
            assert newest is None or "run: " not in ended.output, ended.output
        if ended.status == 0:
            break
        assert ended.status == -9, ended.output
        kills += 1
        newest, before = newest_whole(stored), newest or 0
        if "kill_at_update" in faults:
            lost += before + at - (newest or 0)
        wipe(machine)
    assert kills >= 10
    assert ended.sha256 == undisturbed.sha256
    (told,) = re.findall(r"goodput .*", ended.output)
    print(f"{kills} kills, {lost} updates made again; {told}")


def newest_whole(stored):
    """The newest checkpoint on a store whose list of sums is there; None for none."""
    keys = [one.key for one in stored.store.list("run")]
    steps = [int(m[1]) for key in keys if (m := re.search(r"step-(\d+)/checksums.json$", key))]
    return max(steps, default=None)
