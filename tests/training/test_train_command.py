"""The command itself: from replays to a run's folder, its plan, its mistakes."""

import json
import re
import shutil
import subprocess
import sys

import pytest
import yaml

from exphil_tf import samples, train
from exphil_tf.checkpoints.policy_bundle import read_info
from exphil_tf.foundation import atomic
from exphil_tf.foundation.config import dump_yaml, load
from exphil_tf.records.manifest import load_manifest, seal
from exphil_tf.records.shards import frame, read_records
from exphil_tf.replays import player_registry
from exphil_tf.replays.players import pseudonym
from exphil_tf.training import run_folder
from exphil_tf.training.dataset_split import DatasetSplit
from exphil_tf.training.train_config import TrainConfig
from models.policy import Policy

FLAGS = (
    "--backbone", "mlp", "--hidden", "8", "--head-hidden", "4", "--batch-size", "4",
    "--window-size", "30", "--max-steps", "6", "--log-interval", "3", "--no-jit", "--name", "tiny",
    "--frame-delay", "2", "--min-frames", "100", "--val-split", "0.3", "--verbosity", "2",
)  # fmt: skip


@pytest.mark.slow
def test_a_policy_that_learns_styles_knows_whose(tmp_path, trainer):
    """And one that learns none says nothing of players."""
    flags = ("--max-steps", "2", "--learn-player-styles")
    assert trainer(tmp_path, *flags).status == 0
    assert trainer(tmp_path, "--max-steps", "2", "--name", "plain").status == 0
    known = read_info(tmp_path / "runs/run/policy").players
    entries = load_manifest(trainer.dataset).players
    assert len(entries) > 1
    assert known.ids == {entry.player: entry.id for entry in entries}
    # The sample games' codes; who played them depends on the seed.
    people = ("ASH#100", "BIRC#101", "CEDA#102", "DOGW#103", "ELM#104", "FIR#105", "GINK#106")
    found = [known.ids.get(pseudonym(f"code:{code}")) for code in people]
    assert any(found)
    for code, number in zip(people, found, strict=True):
        if number:
            assert known.id_of(code) == number
    assert read_info(tmp_path / "runs/plain/policy").players is None


@pytest.mark.slow
def test_a_policy_that_is_told_things_and_one_that_starts_from_it(tmp_path, trainer):
    told = ("--learn-player-styles", "--condition-on-return", "--online-robust")
    registry = ("--player-registry", "players.json", "--min-player-games", "1")
    ended = trainer(tmp_path, "--max-steps", "2", *told, *registry)
    assert ended.status == 0, ended.output
    info = read_info(tmp_path / "runs/run/policy")
    assert info.config.embedding.conditions == ("name", "delay", "return")
    assert (info.delay.trained_min, info.delay.trained_max) == (0, 18)
    assert player_registry.load(tmp_path / "players.json").known == info.players
    # It has the same network at one delay, and the same players without the file.
    flags = ("--init-from", "runs/run", "--name", "next", "--max-steps", "1", "--no-online-robust")
    more = ("--frame-delay", "3", "--player-registry", "none", "--min-player-games", "99")
    ended = trainer.command(tmp_path, *flags, *more)
    assert ended.status == 0, ended.output
    tuned = read_info(tmp_path / "runs/next/policy")
    assert tuned.config.embedding == info.config.embedding
    assert tuned.delay.frames == 3 and tuned.players == info.players


def test_replays_to_a_policy(tmp_path, trainer):
    lengths = ["--min-seconds", "9", "--max-seconds", "10"]
    samples.main(["--output", str(tmp_path / "replays"), "--games", "3", "--seed", "5", *lengths])
    ended = trainer.command(tmp_path, "--replays", "replays", *FLAGS)
    assert ended.status == 0, ended.output
    run = tmp_path / "runs/tiny"
    names = {"checkpoints", "config.json", "config.yaml", "lock", "log.jsonl", "policy", "tb"}
    assert {p.name for p in run.iterdir()} == names
    facts = json.loads((run / "config.json").read_text())
    (dataset,) = (tmp_path / "datasets").iterdir()
    manifest = load_manifest(dataset)
    assert list(manifest.splits["train"]) == ["original"]
    assert facts["data"]["training_frames"] == manifest.frames("train") > 1000
    assert facts["results"]["steps"] == 6
    assert facts["results"]["weights_sha256"] == ended.sha256
    games = (dataset / "games.jsonl").read_text().splitlines()
    files = {line["file"] for line in map(json.loads, games)}
    assert set(facts["replay_files"]) == files
    assert facts["replay_count"] == len(files) == 3
    assert facts["command"][:3] == ["python", "-m", "exphil_tf.train"]
    assert facts["command"][3:5] == ["--replays", "replays"]
    assert facts["results"]["final_training_loss"] > 0
    assert f"seed: {facts['seed']}" in ended.output
    assert yaml.safe_load((run / "config.yaml").read_text())["seed"] == facts["seed"]
    info = read_info(run / "policy")
    assert info.delay.frames == 2
    assert info.provenance["data"] == facts["data"]
    assert "replay_files" not in info.provenance  # names of files may name people
    assert atomic.problems(run / "policy") == []
    events = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    notes = [event["text"] for event in events if event["event"] == "note"]
    assert notes[0].startswith("plan: 6 updates of ")
    assert any("too few to learn much" in note for note in notes)
    events = [event for event in events if event["event"] != "note"]
    kinds = [event["event"] for event in events]
    assert kinds == ["start", "compiled", "train", "train", "validation", "checkpoint", "end"]
    assert set(events[2]["nll"]) == set(events[4]["nll"])
    assert events[2]["input_wait"] >= 0
    assert events[3]["resident_bytes"] > 1 << 20
    assert {"first update", "updates", "input", "validation"} <= set(events[-1]["spent"])

    # The same replays and options: the dataset is there already. The plan trains nothing.
    shutil.rmtree(run)
    ended = trainer.command(tmp_path, "--replays", "replays", *FLAGS, "--dry-run")
    assert ended.status == 0, ended.output
    assert "made of these replays and options before" in ended.output
    assert "updates per epoch" in ended.output
    assert re.search(r"as ExPhil counts\)\W+287\b", ended.output)
    assert not run.exists()
    # Other options need another dataset, which a dry run does not make.
    flags = ["--replays", "replays", *FLAGS, "--val-split", "0.5", "--dry-run"]
    ended = trainer.command(tmp_path, *flags)
    assert ended.status == 0
    assert "would first be preprocessed" in ended.output
    assert "updates per epoch" in ended.output
    assert "parameters" in ended.output
    assert len(list((tmp_path / "datasets").iterdir())) == 1


def test_a_dry_run_waits_for_no_library(dataset):
    """And its plan is the one that a run would have."""
    code = (
        "import sys; from exphil_tf import train\n"
        f"train.main({['--data', str(dataset), *FLAGS, '--seed', '3', '--dry-run']})\n"
        "sys.exit(sorted({'tensorflow', 'keras', 'apache_beam'} & set(sys.modules)) or 0)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    loaded = load(TrainConfig, ["--data", str(dataset), *FLAGS, "--seed", "3"], prog="train")
    manifest = load_manifest(dataset)
    config = loaded.imitation(manifest.unrecorded())
    split = DatasetSplit(
        manifest, dataset, config.input, split="train", batch_size=config.run.batch_size,
        seed=3, is_training=True,
    )  # fmt: skip
    shown = dict(re.findall(r"│ (.+?) +│ +([\d,.]+)", ended.stdout))
    assert shown["unrolls per epoch"] == f"{split.epoch_size().unrolls:,}"
    assert shown["parameters"] == f"{Policy(config.policy).num_parameters:,}"


@pytest.fixture
def refused(tmp_path, trainer):
    def refused(*flags):
        ended = trainer.command(tmp_path, *flags)
        last = ended.output.splitlines()[-1]
        assert last.startswith("error: ")
        assert "internal" not in last
        return ended.status, last

    return refused


@pytest.mark.parametrize(
    ("flags", "code", "part"),
    [
        ((), 2, "Received: neither"),
        (("--data", "none"), 66, "none: no such folder"),
        (("--replays", "none"), 66, "--replays: none"),
        (("--data", "empty"), 66, "not a finished dataset"),
        (("--replays", "empty"), 66, "exphil_tf.samples"),
        (
            (
                "--data",
                "DATA",
                "--lr-schedule",
                "linear",
                "--warmup-steps",
                "4",
                "--decay-steps",
                "3",
            ),
            2,
            "want less than decay_steps",
        ),
        (("--data", "DATA", "--preset", "produktion"), 2, "Did you mean production?"),
        (("--data", "DATA", "--batch-sice", "4"), 2, "Did you mean --batch-size?"),
        (("--data", "DATA", "--player-port", "2"), 2, "this dataset was made with None"),
        (("--data", "DATA", "--min-frames", "600"), 2, "made with 100"),
        (("--data", "DATA", "--num-layers", "2"), 2, "no option of --backbone mlp"),
        (("--data", "DATA", "--window-size", "999"), 2, "window_size"),
        (
            ("--data", "DATA", "--augment", "--augment-from", "variants", "--stride", "0"),
            2,
            "stride",
        ),
    ],
)
def test_mistake_gets_a_sentence_and_a_code(tmp_path, dataset, refused, flags, code, part):
    (tmp_path / "empty").mkdir()
    words = [str(dataset) if word == "DATA" else word for word in flags]
    found, sentence = refused(*FLAGS, *words)
    assert found == code
    assert part in sentence


def test_dataset_of_another_schema(tmp_path, dataset, refused):
    shutil.copytree(dataset, tmp_path / "other")
    path = tmp_path / "other/manifest.json"
    values = json.loads(path.read_text())
    values["fingerprint"] = "0" * len(values["fingerprint"])
    values["digests"]["p.percent"] = "different"
    path.write_bytes(seal(values))
    code, text = refused("--data", "other", *FLAGS)
    assert (code, "p.percent" in text) == (78, True)


def cut(folder, shard):
    shard.write_bytes(b"".join(map(frame, list(read_records(shard))[:-1])))


def swap(folder, shard):
    other = min(folder.glob("train-original-*"), key=lambda p: p.stat().st_size)
    one, two = shard.read_bytes(), other.read_bytes()
    shard.write_bytes(two)
    other.write_bytes(one)


def edit_counts(folder, shard):
    path = folder / "manifest.json"
    values = json.loads(path.read_text())
    values["stats"]["train"]["frames"] += 1
    path.write_text(json.dumps(values, sort_keys=True, indent=2) + "\n")


def validate_on_training(folder, shard):
    shutil.copy(shard, next(folder.glob("validation-original-*")))


@pytest.mark.parametrize("damage", [cut, swap, edit_counts, validate_on_training])
def test_a_dataset_that_is_not_its_manifests(tmp_path, dataset, refused, damage):
    shutil.copytree(dataset, tmp_path / "other")
    folder = tmp_path / "other"
    damage(folder, max(folder.glob("train-original-*"), key=lambda p: p.stat().st_size))
    code, text = refused("--data", "other", *FLAGS)
    assert code == 65
    assert "again" in text
    assert not (tmp_path / "runs").exists()


def test_the_environment_names_replays_but_a_flag_a_dataset(tmp_path, dataset, monkeypatch):
    monkeypatch.setenv("EXPHIL_REPLAYS_DIR", "nowhere")
    monkeypatch.setenv("EXPHIL_LR", "0.5")
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs/tiny"
    loaded, _ = train.read_options(["--data", str(dataset), "--name", "tiny"])
    config = loaded.config
    assert (config.data.replays, config.schedule.lr) == ((), 0.5)
    run.mkdir(parents=True)
    started = load(TrainConfig, ["--data", "d", "--lr", "0.1"], env={})
    run_folder.save_options(run, dump_yaml(started))
    for argv in (["--resume", "runs/tiny"], ["--resume", "auto", "--name", "tiny"]):
        loaded, target = train.read_options(argv)
        config = loaded.config
        assert target.saved_yaml is not None
        assert (config.data.data, config.data.replays, config.schedule.lr) == ("d", (), 0.1)


def test_damaged_shard_is_named(tmp_path, dataset, refused):
    shutil.copytree(dataset, tmp_path / "other")
    shard = max((tmp_path / "other").glob("train-original-*"), key=lambda p: p.stat().st_size)
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    code, text = refused("--data", "other", *FLAGS)
    assert (code, shard.name in text) == (65, True)
