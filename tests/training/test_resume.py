"""A run that is killed, interrupted, starved of disk or fed NaN, against one that is left alone."""

import json
import random
import shutil

import pytest

from exphil_tf.foundation import atomic


@pytest.fixture(scope="module")
def undisturbed(trainer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    ended = trainer(folder)
    assert ended.status == 0, ended.output
    return folder / "runs/run", ended.sha256


def same(run_dir, undisturbed):
    """Whether policy and results are those of the undisturbed run, byte for byte."""
    reference, _ = undisturbed
    for name in ("weights.safetensors", "config.json"):
        ours, theirs = (json_or_bytes(d / "policy" / name) for d in (run_dir, reference))
        assert ours == theirs, name
    return True


def json_or_bytes(path):
    if path.suffix != ".json":
        return path.read_bytes()
    values = json.loads(path.read_text())
    return {**values, "provenance": values["provenance"]["results"]}


@pytest.mark.slow
def test_a_run_repeats(trainer, tmp_path, undisturbed):
    ended = trainer(tmp_path)
    assert ended.sha256 == undisturbed[1]
    assert same(tmp_path / "runs/run", undisturbed)


def test_kill_9_twice_then_resume_gives_the_same_weights(trainer, tmp_path, undisturbed):
    assert trainer(tmp_path, kill_at_update=8).status == -9
    checkpoints = tmp_path / "runs/run/checkpoints"
    assert sorted(p.name for p in checkpoints.iterdir()) == ["step-00000005"]
    # The second time inside a save: fsyncs before it are of the run folder's files.
    assert trainer(tmp_path, "--resume", "auto", kill_at_fsync=14).status == -9
    assert list(checkpoints.glob(f"{atomic.TEMPORARY}*"))
    ended = trainer(tmp_path, "--resume", "auto")
    assert ended.status == 0, ended.output
    assert ended.sha256 == undisturbed[1]
    assert same(tmp_path / "runs/run", undisturbed)
    assert not list(checkpoints.glob(f"{atomic.TEMPORARY}*"))


def test_sigterm_saves_and_exits_75(trainer, tmp_path, undisturbed):
    ended = trainer(tmp_path, signal_at_update=13)
    assert ended.status == 75, ended.output
    assert "checkpoint saved" in ended.output
    assert (tmp_path / "runs/run/checkpoints/step-00000013").is_dir()
    ended = trainer(tmp_path, "--resume", "runs/run")
    assert ended.sha256 == undisturbed[1]
    assert same(tmp_path / "runs/run", undisturbed)


def test_second_signal_stops_at_once(trainer, tmp_path):
    ended = trainer(tmp_path, signal_at_update=13, signals=2)
    assert ended.status == 75
    assert "stopped at once" in ended.output
    assert not (tmp_path / "runs/run/checkpoints/step-00000013").exists()


def test_damaged_checkpoint_falls_back_to_the_one_before(trainer, tmp_path, undisturbed):
    shutil.copytree(undisturbed[0], tmp_path / "runs/run")
    checkpoints = sorted((tmp_path / "runs/run/checkpoints").glob("step-*"))
    assert len(checkpoints) >= 3
    for checkpoint in checkpoints[1:]:
        path = next(checkpoint.glob("state.data*"))
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    ended = trainer(tmp_path, "--resume", "auto")
    assert ended.status == 0, ended.output
    assert "is damaged, trying the one before" in ended.output
    assert ended.sha256 == undisturbed[1]


def test_full_disk_at_a_checkpoint_exits_74_and_keeps_the_last(trainer, tmp_path, undisturbed):
    ended = trainer(tmp_path, full_at_fsync=22)
    assert ended.status == 74, ended.output
    assert "No space left on device" in ended.output
    assert "internal" not in ended.output
    found = sorted((tmp_path / "runs/run/checkpoints").iterdir())
    assert found
    assert all(not atomic.problems(path) for path in found)


@pytest.mark.slow
def test_a_few_nan_updates_are_left_out(trainer, tmp_path):
    ended = trainer(tmp_path, nan_from=6, nan_to=9)
    assert ended.status == 0, ended.output
    events = log(tmp_path)
    assert [e["skipped"] for e in events if e["event"] == "train"][-1] == 3
    assert all(e["nll_total"] is not None for e in events if e["event"] == "validation")


def test_a_streak_of_nan_goes_back_to_a_checkpoint(trainer, tmp_path):
    ended = trainer(tmp_path, nan_from=7, nan_to=13)
    assert ended.status == 0, ended.output
    assert "6 updates in a row were NaN or infinite: back to the weights of step" in ended.output


def test_lasting_nan_ends_with_one_sentence(trainer, tmp_path):
    ended = trainer(tmp_path, "--max-steps", "40", nan_from=7, nan_to=99)
    assert ended.status == 65, ended.output
    assert "training diverged" in ended.output
    found = sorted((tmp_path / "runs/run/checkpoints").iterdir())
    assert found
    assert all(not atomic.problems(path) for path in found)


def test_a_run_is_not_overwritten_or_changed_by_mistake(trainer, undisturbed):
    cwd = undisturbed[0].parent.parent
    assert trainer(cwd).status == 73
    ended = trainer(cwd, "--resume", "auto", "--lr", "0.02")
    assert ended.status == 78
    assert "lr (was 0.01, is 0.02)" in ended.output
    ended = trainer(cwd, "--resume", "runs/none")
    assert ended.status == 66


def test_a_run_that_lost_its_record_is_not_gone_on_with(trainer, undisturbed, tmp_path):
    shutil.copytree(undisturbed[0].parent.parent / "runs", tmp_path / "runs")
    path = tmp_path / "runs/run/config.json"
    sound = path.read_bytes()
    for damage in (sound[:-9], b"", None):
        path.unlink() if damage is None else path.write_bytes(damage)
        for flags in (("--lr", "0.02"), ()):
            ended = trainer(tmp_path, "--resume", "auto", *flags)
            assert ended.status == 65, ended.output
            assert f"config.json: {'missing' if damage is None else 'damaged'}" in ended.output
            assert "/run.json runs/run/config.json" in ended.output


def test_a_run_whose_record_was_changed_is_compared_with_its_checkpoint(
    trainer, undisturbed, tmp_path
):
    shutil.copytree(undisturbed[0].parent.parent / "runs", tmp_path / "runs")
    path = tmp_path / "runs/run/config.json"
    facts = json.loads(path.read_bytes())
    facts["config"]["lr"] = 0.02
    path.write_text(json.dumps(facts))
    ended = trainer(tmp_path, "--resume", "auto", "--lr", "0.02")
    assert ended.status == 78, ended.output
    assert "lr (was 0.01, is 0.02)" in ended.output
    (tmp_path / "runs/run/config.yaml").write_bytes(b"lr: [[[[")
    ended = trainer(tmp_path, "--resume", "auto")
    assert ended.status == 65, ended.output
    assert "config.yaml:1: lr: want words or numbers in the list" in ended.output


def log(tmp_path):
    lines = (tmp_path / "runs/run/log.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("flags", [(), ("--backbone", "mamba", "--num-layers", "1", "--jit")])
def test_ten_kills_at_random_updates_and_saves(trainer, tmp_path, flags):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    reference = trainer(tmp_path / "a", *flags)
    draw = random.Random(1)
    kills = 0
    while kills < 10:
        kind = draw.choice(["kill_at_update", "kill_at_fsync"])
        ended = trainer(tmp_path / "b", *flags, "--resume", "auto", **{kind: draw.randint(1, 12)})
        if ended.status == 0:  # it came to its end first
            shutil.rmtree(tmp_path / "b/runs")
            continue
        assert ended.status == -9, ended.output
        kills += 1
    ended = trainer(tmp_path / "b", *flags, "--resume", "auto")
    assert ended.sha256 == reference.sha256
