"""The export command: every option has an effect, mistakes end in a sentence, info tells how."""

import dataclasses
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import traced_policies as policies
from replay_collection import build_small, write_collection

from exphil_tf import export
from exphil_tf.checkpoints.policy_bundle import Delay, PolicyInfo, save_policy
from exphil_tf.checkpoints.provenance import describe_played
from exphil_tf.evaluation import parity
from exphil_tf.exporting import convert, describe
from exphil_tf.exporting import games as export_games
from exphil_tf.exporting import tf_to_onnx as tracing
from exphil_tf.exporting.convert import convert_policy
from exphil_tf.exporting.publishing import publish
from exphil_tf.foundation.errors import UserError
from exphil_tf.foundation.options import options
from exphil_tf.inference.bundle import open_bundle
from exphil_tf.inference.stepper import Stepper
from exphil_tf.melee.types import PlayerInfo
from exphil_tf.replays.players import KnownPlayers, identity, pseudonym

FAST = ("--parity-frames", "0")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("games")
    write_collection(folder / "replays", 5, length=150)
    build_small(folder / "replays", folder / "dataset")
    return folder / "dataset"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Equal networks are traced once, and the long stream is short."""
    monkeypatch.setattr(export_games, "DRIFT_FRAMES", 2 * parity.STEPS)

    def trace(policy, **shape):
        weights = b"".join(np.asarray(w.value).tobytes() for w in policy.weights)
        digest = hashlib.sha256(weights).hexdigest()
        key = policy.config.to_json(), digest, str(sorted(shape.items()))
        if key not in TRACES:
            TRACES[key] = tracing.trace(policy, **shape)
        return TRACES[key]

    monkeypatch.setattr(convert, "trace", trace)


TRACES = {}


def save_run(folder, *, rounding=None, data=None, told=None):
    policy = policies.policy("mlp", rounding)
    provenance = told or {"seed": 3} | ({"data": {"folder": str(data)}} if data else {})
    info = PolicyInfo(policy.config, Delay(2, 1, 3), "ema", policies.WINDOW, provenance)
    save_policy(folder / "policy", policy, info)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return save_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def qat_run(tmp_path_factory):
    return save_run(tmp_path_factory.mktemp("qat"), rounding="dynamic")


def exported(run, output, *flags):
    assert export.main([str(run), "--output", str(output), *flags]) == 0
    return open_bundle(output)


def test_parity_is_measured_stored_and_printed(run, dataset, tmp_path, capsys):
    flags = ("--data", str(dataset), "--parity-frames", "100", "--split", "train")
    bundle = exported(run, tmp_path / "b", *flags)
    parity = json.loads((bundle.folder / "parity.json").read_bytes())
    assert set(parity["forms"]) == {"keras float", "onnx float32"}
    assert parity["frames"] >= 100
    assert all(check["is_met"] for check in parity["checks"])
    shown = capsys.readouterr().out
    assert "onnx float32" in shown
    assert f"wrote {bundle.folder}" in shown
    # More frames, and other games.
    more = exported(run, tmp_path / "c", *flags[:2], "--parity-frames", "500", *flags[4:])
    other = exported(run, tmp_path / "d", *flags[:4], "--split", "validation")
    found = [json.loads((b.folder / "parity.json").read_bytes()) for b in (bundle, more, other)]
    assert found[1]["frames"] > found[0]["frames"]
    assert found[2]["forms"]["keras float"]["nll"] != found[0]["forms"]["keras float"]["nll"]


def test_the_dataset_of_the_training_is_found(tmp_path, dataset, run, capsys):
    own = save_run(tmp_path / "own", data=dataset)
    bundle = exported(own, tmp_path / "b", "--parity-frames", "50")
    assert json.loads((bundle.folder / "parity.json").read_bytes())["forms"]
    capsys.readouterr()
    bundle = exported(run, tmp_path / "c")
    assert json.loads((bundle.folder / "parity.json").read_bytes()) == {"forms": {}}
    assert "parity not measured (no dataset; give --data)" in capsys.readouterr().out


def test_precisions(run, qat_run, dataset, tmp_path):
    """Each gives another graph; the configuration says which."""
    found = {
        "float32": exported(run, tmp_path / "a", *FAST),
        "int8-dynamic": exported(run, tmp_path / "b", "--precision", "int8-dynamic", *FAST),
        "int8-static": exported(
            run, tmp_path / "c", "--precision", "int8-static", "--data", str(dataset), *FAST
        ),
        "int8-qat": exported(qat_run, tmp_path / "d", "--precision", "int8-qat", *FAST),
    }
    assert {name: b.config.precision for name, b in found.items()} == {n: n for n in found}
    activations = {name: b.config.activations for name, b in found.items()}
    assert activations == {
        "float32": "float",
        "int8-dynamic": "dynamic",
        "int8-static": "static",
        "int8-qat": "dynamic",
    }
    operators = {name: set(describe.contents(bundle).operators) for name, bundle in found.items()}
    assert "MatMulInteger" in operators["int8-dynamic"]
    assert "MatMulIntegerToFloat" in operators["int8-static"]
    assert "MatMulNBits" in operators["int8-qat"]
    sizes = {name: len(bundle.model) for name, bundle in found.items()}
    assert max(sizes["int8-qat"], sizes["int8-static"]) < sizes["float32"]


def test_activations_are_rounded_as_in_training(tmp_path):
    run = save_run(tmp_path / "run", rounding="moving_average")
    static = exported(run, tmp_path / "s", "--precision", "int8-qat", *FAST)
    assert static.config.activations == "static"
    assert "QuantizeLinear" in describe.contents(static).operators


def test_float_of_a_quantized_run_has_no_rounding(qat_run, tmp_path):
    bundle = exported(qat_run, tmp_path / "f", *FAST)
    assert "QuantizeLinear" not in describe.contents(bundle).operators
    assert bundle.config.policy["quantization"]["qat"] is False


def test_calibration_frames(run, dataset, tmp_path):
    flags = ("--precision", "int8-static", "--data", str(dataset), *FAST)
    few = exported(run, tmp_path / "a", *flags, "--calibration-frames", "1")
    many = exported(run, tmp_path / "b", *flags, "--calibration-frames", "5000")
    assert few.model != many.model


def test_batch_size(run, tmp_path):
    bundle = exported(run, tmp_path / "b", "--batch-size", "3", *FAST)
    assert bundle.config.batch_size == 3
    assert {port.shape[0] for port in bundle.config.inputs} == {3}


def test_window(run, tmp_path):
    """The answer to the last frame of a window is that of an unroll from an empty memory."""
    bundle = exported(run, tmp_path / "w", "--form", "window", *FAST)
    assert bundle.config.form == "window"
    ports = {port.name: port for port in bundle.config.inputs}
    assert ports["numbers"].shape[:2] == ("batch", policies.WINDOW)
    assert "is_resetting" not in ports
    frames = [policies.frame(seed) for seed in range(policies.WINDOW)]
    feeds = {n: np.stack([f[n] for f in frames], axis=1) for n in ("numbers", "ids", "prev_action")}
    feeds |= {n: frames[-1][n] for n in ("uniforms", "temperature")}
    policy = policies.policy("mlp")
    step = policies.keras_step(policy, frames[-1], state=policy.initial_state(policies.ROWS))
    logits = bundle.session().run(["logits"], feeds)[0]
    np.testing.assert_allclose(logits, np.asarray(step.logits), rtol=1e-5, atol=1e-5)


def test_what_a_policy_is_told_by_default_is_the_exports(tmp_path, capsys, monkeypatch):
    from models.policy import Policy

    config = policies.config("mlp", rounding=None)
    told = {"with_delay": True, "condition_on_return": True, "learn_player_styles": True}
    embedding = dataclasses.replace(config.embedding, **told)
    policy = Policy(dataclasses.replace(config, embedding=embedding), seed=1, name="policy")
    code = PlayerInfo(port=1, character=0, code="ABCD#123")
    known = KnownPlayers({pseudonym(identity(code)): 3}, "public")
    info = PolicyInfo(policy.config, Delay(2, 1, 9), "ema", policies.WINDOW, players=known)
    save_policy(tmp_path / "run/policy", policy, info)
    asked = ("--frame-delay", "7", "--player-style", "abcd#123", "--desired-return", "5")
    bundle = exported(tmp_path / "run", tmp_path / "b", *asked, *FAST)
    assert bundle.config.told().defaults() == {"name": 3, "delay": 7, "return": 3}
    assert bundle.config.delay == {"frames": 7, "trained_min": 1, "trained_max": 9}
    plain = exported(tmp_path / "run", tmp_path / "p", *FAST)
    assert plain.config.told().defaults() == {"name": 0, "delay": 2, "return": 0}
    assert plain.model != bundle.model  # its metadata names the delay
    frame = policies.policy_inputs.columns(1)
    frame = {n: v for n, v in frame.items() if n not in bundle.config.told().spans}
    one, other = Stepper(bundle), Stepper(plain, told=bundle.config.told().defaults())
    answers = [s.step(frame, temperature=0.0).logits.copy() for s in (one, other, Stepper(plain))]
    np.testing.assert_array_equal(answers[0], answers[1])
    assert np.abs(answers[0] - answers[2]).max() > 1e-4
    monkeypatch.setenv("COLUMNS", "200")
    export.main(["info", str(tmp_path / "b")])
    shown = capsys.readouterr().out
    for text in ("ids 1 to 9, 7 by default", "3: at least 4 %", "3 by default (1 known)"):
        assert text in shown, text
    late = ("--frame-delay", "10", *FAST)
    assert "1 to 9 frames. Received: 10" in str(refused(tmp_path / "run", "--output", "x", *late))


def test_every_option_has_a_test():
    """By name, in this file."""
    source = Path(__file__).read_text()
    for name, option in options(export.ExportConfig).items():
        assert option.is_positional or f'"{option.flag}"' in source, name


def test_an_older_export_is_replaced_whole(run, tmp_path):
    exported(run, tmp_path / "b", "--batch-size", "2", *FAST)
    assert exported(run, tmp_path / "b", *FAST).config.batch_size is None
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b"]


def test_what_is_no_export_is_not_replaced(run, tmp_path):
    mixed = exported(run, tmp_path / "b", *FAST).folder
    (mixed / "mine").write_text("x")
    for taken in (mixed, run, run / "policy"):
        assert refused(run, "--output", taken).exit_code == 73
    assert (mixed / "mine").is_file() and (run / "policy/config.json").is_file()


def test_provenance(run, tmp_path):
    from exphil_tf.foundation import atomic

    provenance = exported(run, tmp_path / "b", *FAST).config.provenance
    assert provenance["weights_sha256"] == atomic.sha256(run / "policy" / "weights.safetensors")
    assert {"onnx", "onnxruntime", "tf2onnx", "tensorflow"} <= set(provenance["packages"])
    assert provenance["training"] == {"seed": 3}


# -- Mistakes --------------------------------------------------------------------------------------


def refused(*argv):
    with pytest.raises(UserError) as caught:
        export.main([str(word) for word in argv])
    return caught.value


def test_int8_qat_of_a_float_run_says_how_to_fine_tune_it(run, tmp_path):
    error = refused(run, "--output", tmp_path / "b", "--precision", "int8-qat")
    assert "int8-qat needs a run trained with --qat" in str(error)
    assert f"python -m exphil_tf.train --qat --init-from {run}" in str(error)
    assert not list(tmp_path.iterdir())


def test_int8_static_needs_games(run, tmp_path):
    error = refused(run, "--output", tmp_path / "b", "--precision", "int8-static")
    assert "--data DATASET" in str(error)


def test_a_policy_that_learnt_by_playing_is_calibrated_on_what_it_imitated(dataset, tmp_path):
    start = {"data": {"folder": str(dataset), "manifest_sha256": "of the start"}}
    told = {"config": {}, "seed": 3, "prog": "ppo", "sources": {}, "argv": []}
    for turn in range(2):  # of two runs, the second from what the first became
        start = describe_played(**told, start=start)
        run = save_run(tmp_path / f"run{turn}", told=start)
    bundle = exported(run, tmp_path / "b", "--precision", "int8-static", *FAST)
    assert bundle.config.activations == "static"


def test_missing_run_dataset_and_bundle(run, tmp_path):
    assert refused(tmp_path / "no", "--output", tmp_path / "b").exit_code == 66
    missing = refused(run, "--output", tmp_path / "b", "--data", tmp_path / "no")
    assert missing.exit_code == 66
    assert refused("info", tmp_path / "no").exit_code == 66
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("flag", ["--batch-size", "--parity-frames", "--calibration-frames"])
def test_numbers_out_of_range(run, tmp_path, flag):
    assert "at least" in str(refused(run, "--output", tmp_path / "b", flag, "-1"))


def test_a_float_product_fails_the_export(qat_run, tmp_path, monkeypatch):
    """If the conversion forgot a product, nothing would be written."""
    monkeypatch.setattr(convert, "quantize_products", lambda graph, activations, blocks: 0)
    error = refused(qat_run, "--output", tmp_path / "b", "--precision", "int8-qat", *FAST)
    assert error.exit_code == 70
    assert "with a float weight" in str(error)
    assert not list(tmp_path.iterdir())


# -- Info ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """With memory, and without."""
    folder = tmp_path_factory.mktemp("bundles")
    for backbone, precision in (("mamba", "float32"), ("mlp", "int8-qat")):
        publish(policies.bundle(folder / backbone, backbone, precision), {"forms": {}})
    return folder


def test_info_tells_everything(bundles, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert export.main(["info", str(bundles / "mlp")]) == 0
    shown = capsys.readouterr().out
    bundle = open_bundle(bundles / "mlp")
    found = describe.contents(bundle)
    assert found.file_bytes == len(bundle.model)
    assert sum(found.bytes_by_type.values()) <= found.file_bytes
    for text in (
        "int8-qat, activations dynamic",
        "step, batch any",
        f"{found.file_bytes:,} bytes",
        f"{found.bytes_by_type['uint8']:,} uint8",
        f"{found.operators['MatMulNBits']} MatMulNBits",
        bundle.config.schema["fingerprint"],
        "2 frames (trained for 1 to 3)",
        "sha256 " + "ab" * 32,
        "not measured",
        "prev_action",
        "p.percent",
        "before temperature and noise",
    ):
        assert text in shown, text


@pytest.mark.parametrize("backbone", ["mamba", "mlp"])
def test_the_lines_that_info_prints_run_without_us(bundles, backbone, capsys, tmp_path):
    """In a process that can import numpy, onnxruntime and the standard library alone."""
    export.main(["info", str(bundles / backbone)])
    shown = capsys.readouterr().out
    lines = shown[shown.index("import json, numpy") :].rstrip()
    assert len(lines.splitlines()) <= 12
    guard = (
        "import sys\n"
        "class Only:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        root = name.split('.')[0]\n"
        "        if root not in sys.stdlib_module_names and root not in"
        " ('numpy', 'onnxruntime'):\n"
        "            raise ImportError('blocked: ' + name)\n"
        "sys.meta_path.insert(0, Only())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", guard + lines], capture_output=True, text=True, check=False,
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    numbers = done.stdout.replace("[", " ").replace("]", " ").split()
    assert len(numbers) == 13
    assert all(np.isfinite(float(number)) for number in numbers)


def test_info_of_a_spoilt_bundle_is_a_sentence(bundles, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(bundles / "mlp", copy)
    (copy / "policy.onnx").write_bytes(b"x")
    assert refused("info", copy).exit_code == 65


def test_policies_without_previous_action_lack_the_input(tmp_path):
    from models.policy import Policy

    config = policies.config("mlp", rounding=None)
    embedding = dataclasses.replace(config.embedding, with_prev_action=False)
    policy = Policy(dataclasses.replace(config, embedding=embedding))
    converted = convert_policy(policy, "float32")
    assert "prev_action" not in [port.name for port in converted.signature.inputs]
    assert "prev_action" not in [value.name for value in converted.model.graph.input]
