"""The command from end to end: sample replays, a dataset of them, a small policy, bad input."""

import json
import re
import shutil
from types import MappingProxyType

import pytest
from any_backbone import any_backbone

from exphil_tf import evaluate
from exphil_tf.checkpoints import provenance
from exphil_tf.checkpoints.policy_bundle import Delay, PolicyInfo, load_policy, save_policy
from exphil_tf.data.epoch_size import epoch_size
from exphil_tf.data.input_config import InputConfig
from exphil_tf.evaluation.baselines import NAMES
from exphil_tf.evaluation.evaluation_config import EvaluationConfig
from exphil_tf.evaluation.policy_evaluation import input_config, measured_on
from exphil_tf.features.controller import COMPONENTS
from exphil_tf.foundation import atomic
from exphil_tf.foundation.errors import UserError
from exphil_tf.records.manifest import MANIFEST, load_manifest, seal
from exphil_tf.replays.players import KnownPlayers
from models.policy import Policy
from models.policy_config import EmbeddingConfig, HeadConfig, PolicyConfig


@pytest.fixture(scope="module", autouse=True)
def _one_commit():
    """The same commit all along, even if somebody commits while the tests run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(provenance, "git_commit", lambda: "0" * 40)
        yield


def make_run(folder, backbone="mlp", *, embedding=MappingProxyType({}), **info):
    config = PolicyConfig(
        embedding=EmbeddingConfig(action_dim=4, character_dim=2, **embedding),
        backbone=any_backbone(backbone, hidden=(8,), num_layers=1),
        head=HeadConfig(head_hidden=4),
    )
    save_policy(folder / "policy", Policy(config, seed=1), PolicyInfo(config=config, **info))
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "tiny")


def measured(run, dataset, output, *options):
    arguments = [str(run), "--data", str(dataset), "--output", str(output), "--no-jit", *options]
    assert evaluate.main(arguments) == 0
    return json.loads((output / "evaluation.json").read_text())


@pytest.fixture(scope="module")
def report_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("report")


@pytest.fixture(scope="module")
def values(run, dataset, report_dir):
    return measured(run, dataset, report_dir)


def refused(exit_code, *arguments):
    with pytest.raises(UserError) as error:
        evaluate.main([str(argument) for argument in arguments])
    assert error.value.exit_code == exit_code, str(error.value)
    text = str(error.value)
    assert "\n" not in text
    return text


def test_each_frame_of_the_split_counts_once(values, dataset):
    size = epoch_size(
        dataset, InputConfig(), split="validation", batch_size=1, seed=0, training=False
    )
    assert values["policy"]["frames"] == size.labelled_frames > 500
    for name in NAMES:
        assert values["baselines"][name]["frames"] == size.labelled_frames


def test_figures_do_not_depend_on_how_frames_are_read(values, run, dataset, tmp_path):
    """The MLP has no memory, so neither unroll length nor batch size may change a figure."""
    options = ["--no-carry-state", "--unroll-frames", "100", "--burn-in", "7", "--batch-size", "3"]
    options += ["--own-action-frames", "0"]
    again = measured(run, dataset, tmp_path, *options)
    assert again["provenance"]["unroll_frames"] == 100
    assert again["policy"]["frames"] == values["policy"]["frames"]
    for head in COMPONENTS:
        for who in ("nll", "accuracy", "entropy"):
            want = values["policy"]["components"][head][who]
            assert again["policy"]["components"][head][who] == pytest.approx(want, rel=1e-5)
        for name in NAMES:
            want = values["baselines"][name]["components"][head]["nll"]
            assert again["baselines"][name]["components"][head]["nll"] == pytest.approx(
                want, rel=1e-9
            )


def test_a_repeated_evaluation_writes_the_same_bytes(values, run, dataset, report_dir, tmp_path):
    # Of the bundle, this time, instead of the run that holds it.
    assert measured(run / "policy", dataset, tmp_path) == values
    for file in ("evaluation.json", "evaluation.html"):
        assert (tmp_path / file).read_bytes() == (report_dir / file).read_bytes()


def test_provenance_names_weights_and_data_by_content(values, run, dataset):
    provenance = values["provenance"]
    assert provenance["run"] == "tiny"
    assert provenance["weights_sha256"] == atomic.sha256(run / "policy" / "weights.safetensors")
    assert provenance["manifest_sha256"] == atomic.sha256(dataset / MANIFEST)
    assert provenance["trained_on_manifest_sha256"] == "unknown"
    assert "another dataset than it was trained on" in provenance["measured_on"]
    # Chunks of 256 frames are shorter than the default of 512.
    assert provenance["unroll_frames"] == 256
    train = epoch_size(dataset, InputConfig(), split="train", batch_size=1, seed=0, training=False)
    assert provenance["baseline_frames"] == train.labelled_frames


def test_its_own_dataset_and_delay_are_recognised(dataset, tmp_path):
    digest = atomic.sha256(dataset / MANIFEST)
    delay = Delay(frames=5, trained_min=5, trained_max=5)
    run = make_run(tmp_path / "late", delay=delay, provenance={"data": {"manifest_sha256": digest}})
    limits = ("--limit-frames", "1", "--baseline-frames", "200", "--own-action-frames", "0")
    found = measured(run, dataset, tmp_path / "out", *limits)["provenance"]
    assert found["frame_delay"] == 5
    assert found["measured_on"].endswith("games that it was not trained on")


@pytest.mark.parametrize(
    ("split", "is_its_own", "said"),
    [
        ("train", True, "which it was trained on"),
        ("test", True, "games that it was not trained on"),
        ("train", False, "another dataset than it was trained on"),
    ],
)
def test_what_was_measured_is_said(split, is_its_own, said):
    assert measured_on(split, "mine", is_its_own=is_its_own) == f"the {split} split of mine, {said}"


def test_unrolls_are_as_long_as_the_dataset_allows(dataset):
    manifest = load_manifest(dataset)
    info = PolicyInfo(config=PolicyConfig(), delay=Delay(frames=60))
    config = input_config(EvaluationConfig(carry_state=False, burn_in=100), info, manifest)
    # Chunks of 256 frames, an overlap of 128: 67 are left for the burn-in.
    assert (config.window_size, config.burn_in, config.frame_delay) == (256, 67, 60)
    asked = EvaluationConfig(carry_state=False, burn_in=100, unroll_frames=20)
    config = input_config(asked, info, manifest, delay=3)
    assert (config.window_size, config.burn_in, config.frame_delay) == (20, 19, 3)
    # Memory that is carried needs no burn-in, but unrolls that end within the overlap.
    config = input_config(EvaluationConfig(), info, manifest, delay=3)
    assert (config.carry_state, config.window_size, config.burn_in) == (True, 125, 0)
    bare = manifest.model_copy(update={"overlap_frames": 3})
    assert not input_config(EvaluationConfig(), info, bare, delay=3).carry_state


@pytest.mark.parametrize("backbone", ["lstm", "sliding_window"])
@pytest.mark.slow
def test_memory_goes_on_through_whole_games(backbone, dataset, tmp_path):
    """However a game is cut: a frame is answered as if the policy had read the game in one go."""
    trained = {"window_size": 30, "provenance": {"config": {"burn_in": 5}}}
    run = make_run(tmp_path / "run", backbone=backbone, **trained)
    one, other = (
        measured(run, dataset, tmp_path / frames, "--unroll-frames", frames, "--batch-size", size)
        for frames, size in (("100", "3"), ("17", "2"))
    )
    emptied = measured(
        run, dataset, tmp_path / "emptied", "--no-carry-state", "--unroll-frames", "30",
        "--burn-in", "5",
    )  # fmt: skip
    assert one["policy"]["frames"] == other["policy"]["frames"] == emptied["policy"]["frames"]
    assert one["policy"]["nll"] == pytest.approx(other["policy"]["nll"], rel=1e-6)
    assert one["policy"]["nll"] != pytest.approx(emptied["policy"]["nll"], rel=1e-6)
    assert one["resets"]["nll"] == pytest.approx(other["resets"]["nll"], rel=1e-6)
    assert one["resets"]["nll"] == pytest.approx(emptied["policy"]["nll"], rel=1e-6)
    assert (one["resets"]["unroll_frames"], one["resets"]["burn_in"]) == (30, 5)
    assert emptied["resets"] is None
    assert any("Memory emptied every 30 frames" in text for text in one["findings"])
    assert one["provenance"]["memory"] == "carried over whole games"


def test_a_run_with_memory_and_a_log(dataset, tmp_path, capsys):
    run = make_run(tmp_path / "lstm", backbone="lstm")
    events = [
        {"event": "start", "step": 0},
        {"event": "train", "step": 10, "nll_total": 9.5},
        {"event": "train", "step": 10, "nll_total": 9.0},
        {"event": "train", "step": 20, "nll_total": None},
        {"event": "validation", "step": 10, "nll_total": 9.2},
    ]
    lines = "".join(json.dumps(event) + "\n" for event in events)
    (run / "log.jsonl").write_text(lines + '{"event": "train", "st')
    options = ["--data", str(dataset), "--limit-frames", "300", "--no-jit"]
    assert evaluate.main([str(run), *options]) == 0
    output = run / "evaluation" / "validation"
    values = json.loads((output / "evaluation.json").read_text())
    assert values["curves"]["train"] == {"steps": [10], "values": [9.0]}
    assert values["curves"]["validation"] == {"steps": [10], "values": [9.2]}
    assert "Training</h2>" in (output / "evaluation.html").read_text()
    printed = capsys.readouterr().out
    for head in ("Buttons", "Main stick x", "Shoulder", "Whole action"):
        assert head in printed
    assert f"{values['policy']['nll']:.4f}" in printed
    assert f"{values['baselines']['repeat']['components']['c_y']['nll']:.4f}" in printed
    assert str(output / "evaluation.html") in printed
    # The bundle is as it was, its checksums included.
    load_policy(run / "policy")


TOLD = {"with_delay": True, "condition_on_return": True, "learn_player_styles": True}


@pytest.mark.slow
def test_what_a_policy_is_told_changes_what_it_predicts(dataset, tmp_path, capsys):
    entries = load_manifest(dataset).players
    players = KnownPlayers({entry.player: 1 + entry.id for entry in entries}, "public")
    delay = Delay(frames=2, trained_min=0, trained_max=9)
    run = make_run(tmp_path / "told", embedding=TOLD, delay=delay, players=players)

    def found(*flags):
        limits = ("--limit-frames", "500", "--baseline-frames", "500", "--batch-size", "2")
        return measured(run, dataset, tmp_path / "out", *limits, *flags)

    one = found("--frame-delay", "2", "9", "--by-return")
    assert [row["delay"] for row in one["by_delay"]] == [2, 9]
    assert one["by_delay"][0]["nll"] == one["policy"]["nll"] != one["by_delay"][1]["nll"]
    levels = one["by_return"]
    assert [row["level"] for row in levels] == [0, 1, 2, 3, 4, 5]
    assert levels[0]["effective_share"] == 1.0 > levels[1]["effective_share"] > 0
    assert -1 <= one["return_correlation"] <= 1
    assert "By desired return" in (tmp_path / "out" / "evaluation.html").read_text()
    assert "rank correlation with the desired return" in capsys.readouterr().out
    asked = found("--player-style", entries[0].player, "--desired-return", "-5")
    assert asked["provenance"]["told name"] == 1 + entries[0].id
    assert asked["provenance"]["told return"] == 2
    assert asked["policy"]["nll"] != one["policy"]["nll"]
    assert asked["by_delay"] == asked["by_return"] == []


def test_players_of_another_dataset_or_secret_are_told_apart(dataset):
    manifest = load_manifest(dataset)
    first = manifest.players[0]
    config = PolicyConfig(EmbeddingConfig(learn_player_styles=True))
    for key, want in (("public", 7), ("0" * 16, 0)):
        info = PolicyInfo(config, players=KnownPlayers({first.player: 7}, key))
        ids = input_config(EvaluationConfig(), info, manifest).conditions.players
        assert ids[first.id] == want and sum(ids) == want
    assert input_config(EvaluationConfig(), PolicyInfo(config), manifest).conditions.players is None


# -- Bad input -------------------------------------------------------------------------------------


def test_missing_folders(run, dataset, tmp_path):
    assert "no such folder" in refused(66, tmp_path / "none", "--data", dataset)
    (tmp_path / "empty").mkdir()
    assert "holds no policy yet" in refused(66, tmp_path / "empty", "--data", dataset)
    (tmp_path / "step-00000010").mkdir()
    assert "run's folder" in refused(2, tmp_path / "step-00000010", "--data", dataset)
    assert "exphil_tf.preprocess" in refused(66, run, "--data", tmp_path / "none")
    assert "not a finished dataset" in refused(66, run, "--data", tmp_path / "empty")


def test_a_report_damages_nothing_that_is_finished(run, dataset):
    for folder in (run / "policy", dataset):
        with pytest.raises(PermissionError, match="another file would damage it"):
            evaluate.main([str(run), "--data", str(dataset), "--output", str(folder)])


def test_flags(run, dataset):
    assert "batch_size" in refused(2, run, "--data", dataset, "--batch-size", "0")
    assert "--split" in refused(2, run, "--data", dataset, "--split", "valid")
    assert "--batch-size" in refused(2, run, "--data", dataset, "--batchsize", "3")
    assert "--data" in refused(66, run)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--frame-delay", "200"), "--frame-delay: this policy was trained for 0 frames"),
        (("--frame-delay", "0", "3"), "--frame-delay: this policy was trained for 0 frames"),
        (("--player-style", "ASH#100"), "learnt no player styles"),
        (("--desired-return", "-5"), "cannot be asked for one"),
        (("--by-return",), "cannot be asked for a return"),
    ],
)
def test_what_a_policy_cannot_be_told_is_refused(run, dataset, flags, said):
    assert said in refused(2, run, "--data", dataset, *flags)


@pytest.fixture
def copy(dataset, tmp_path):
    return shutil.copytree(dataset, tmp_path / "copy")


def test_a_dataset_of_another_schema(run, copy):
    path = copy / MANIFEST
    values = json.loads(path.read_text())
    values["fingerprint"] = "0" * 16
    values["digests"]["p.percent"] = "0" * 8
    path.write_bytes(seal(values))
    text = refused(78, run, "--data", copy)
    assert "p.percent" in text


def test_a_damaged_shard(run, copy):
    manifest = load_manifest(copy)
    path = copy / manifest.splits["validation"]["original"][0].path
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    text = refused(65, run, "--data", copy, "--no-jit")
    assert path.name in text
    assert "exphil_tf.verify" in text


def test_a_split_without_games(run, copy):
    path = copy / MANIFEST
    values = json.loads(path.read_text())
    lost = [entry for entries in values["splits"].pop("test").values() for entry in entries]
    totals = values["totals"]
    totals["games"] -= values["stats"].pop("test")["games"]
    totals["files"] = totals["games"] + totals["rejected"]
    totals["shards"] -= len(lost)
    for name in ("records", "bytes"):
        totals[name] -= sum(entry[name] for entry in lost)
    path.write_bytes(seal(values))
    assert "no games in split 'test'" in refused(66, run, "--data", copy, "--split", "test")


def test_damaged_bundles(run, dataset, tmp_path):
    broken = shutil.copytree(run, tmp_path / "broken")
    weights = broken / "policy" / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-3] ^= 0x10
    weights.write_bytes(content)
    assert "sha256 differs" in refused(65, broken, "--data", dataset)
    weights.unlink()
    assert "missing" in refused(65, broken, "--data", dataset)


def test_a_bundle_of_another_schema(run, dataset, tmp_path):
    values = json.loads((run / "policy" / "config.json").read_text())
    values["schema"]["fingerprint"] = "0" * 16
    values["schema"]["digests"].pop("p.shield")
    with atomic.publish(tmp_path / "old" / "policy") as folder:
        atomic.write_json(folder / "config.json", values)
        weights = (run / "policy" / "weights.safetensors").read_bytes()
        atomic.write_bytes(folder / "weights.safetensors", weights)
    assert "p.shield" in refused(78, tmp_path / "old", "--data", dataset)


def test_mistakes_are_answered_before_tensorflow_is_imported(tmp_path, dataset):
    """A mistyped path must not cost ten seconds."""
    import subprocess
    import sys

    code = (
        "import sys; from exphil_tf import evaluate\n"
        "from exphil_tf.foundation.config import UserError\n"
        "try: evaluate.main(sys.argv[1:])\n"
        "except UserError as e: print(e, 'tensorflow' in sys.modules)"
    )
    arguments = [sys.executable, "-c", code, str(tmp_path / "none"), "--data", str(dataset)]
    out = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout
    assert re.search(r"no such folder\. .* False$", out.strip())
