"""Bundles are loaded whole and as they were made, or refused with a sentence."""

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import onnx
import pytest
import traced_policies as policies
from onnx import helper, numpy_helper

from exphil_tf.exporting.publishing import publish
from exphil_tf.features.schema import SCHEMA
from exphil_tf.foundation import atomic
from exphil_tf.foundation.errors import UserError
from exphil_tf.inference.bundle import CONFIG, PARITY, open_bundle, require_room
from exphil_tf.inference.bundle_config import BundleConfig
from exphil_tf.inference.onnx_file import OnnxFileError, read_onnx
from exphil_tf.inference.session import MODEL
from exphil_tf.inference.stepper import Stepper
from exphil_tf.rewards.win_score import NAMES, as_vector, win_logits

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles") / "mlp"
    publish(policies.bundle(folder, "mlp"), {"forms": {}})
    return folder


@pytest.fixture
def copy(published, tmp_path):
    """A bundle that a test may spoil; `spoil` rewrites files with sound checksums."""

    def spoil(**files):
        folder = tmp_path / "copy"
        with atomic.publish(folder) as temporary:
            for path in published.iterdir():
                if path.name != atomic.CHECKSUMS:
                    atomic.write_bytes(temporary / path.name, path.read_bytes())
            for name, change in files.items():
                path = temporary / {"config": CONFIG, "model": MODEL}[name]
                atomic.write_bytes(path, change(path.read_bytes()))
        return folder

    return spoil


def refused(folder, code=65):
    with pytest.raises(UserError) as caught:
        open_bundle(folder)
    assert caught.value.exit_code == code
    assert str(folder) in str(caught.value)
    assert len(str(caught.value)) < 600
    return str(caught.value)


def edited(**changes):
    """Changes values of `config.json`."""

    def change(data):
        values = json.loads(data)
        values.update(changes)
        return json.dumps(values).encode()

    return change


def remodelled(edit):
    """Changes the graph in place."""

    def change(data):
        model = onnx.load_from_string(data)
        edit(model)
        return model.SerializeToString()

    return change


def test_round_trip(published):
    bundle = open_bundle(published)
    made = policies.bundle(published, "mlp")
    assert bundle.config == dataclasses.replace(made.config)
    assert bundle.model == made.model
    assert BundleConfig.from_dict(bundle.config.to_dict()) == bundle.config
    assert bundle.config.delay == {"frames": 2, "trained_min": 1, "trained_max": 3}
    assert bundle.config.window_size == policies.WINDOW


def test_players_travel_along(published, copy):
    assert "players" not in json.loads((published / CONFIG).read_bytes())
    players = {"key": "public", "ids": {"0123456789abcdef": 1}}
    assert open_bundle(copy(config=edited(players=players))).config.players == players


@pytest.mark.parametrize(
    ("conditions", "said"),
    [
        ({"name": {"default": 0, "least": 0, "most": 3}}, r"conditions: want \[\]"),
        ({"who": {}}, "conditions: unknown"),
        ({"delay": {"default": 0}}, "conditions.delay: want"),
        ({"delay": {"default": 9, "least": 0, "most": 3}}, "least <= default <= most"),
        ({"return": {"default": 0, "least": 0, "most": 5}}, "conditions.return: want"),
        ([], "conditions: want an object"),
    ],
)
def test_conditions_that_the_graph_does_not_read(copy, conditions, said):
    assert re.search(said, refused(copy(config=edited(conditions=conditions))))


def test_it_plays(published):
    stepper = Stepper(open_bundle(published))
    columns = {name: value for name, value in SCHEMA.empty(1).items()}
    answer = stepper.step(columns, temperature=0.0)
    assert answer.controller.shape == (1, 13)
    assert np.isfinite(answer.logits).all()


def test_a_win_probability_is_that_of_keras(published, copy):
    rng = np.random.default_rng(4)
    weights = dict(zip(NAMES, rng.normal(size=len(NAMES)).tolist(), strict=True))
    folder = copy(config=edited(win_probability=weights))
    stepper = Stepper(open_bundle(folder), batch_size=40)
    columns = {name: value for name, value in SCHEMA.empty(40).items()}
    columns["p.stock"] = rng.integers(0, 6, (40, 2)).astype(np.uint8)
    columns["p.percent"] = rng.uniform(0, 300, (40, 2)).astype(np.float32)
    stepper.step(columns)
    want = keras.ops.sigmoid(win_logits(columns, as_vector(weights), xp=keras.ops))
    np.testing.assert_allclose(stepper.win_probability(), want, atol=1e-5)
    assert np.std(want) > 0.2
    assert "win_probability" not in json.loads((published / CONFIG).read_bytes())
    with pytest.raises(ValueError, match="want a bundle that knows it"):
        Stepper(open_bundle(published)).win_probability()


@pytest.mark.parametrize("weights", [[], {}, dict.fromkeys(NAMES, "1")])
def test_a_win_probability_of_other_weights_is_refused(copy, weights):
    assert "win_probability: want" in refused(copy(config=edited(win_probability=weights)))


def test_the_graph_carries_what_a_reader_must_know(published):
    bundle = open_bundle(published)
    metadata = bundle.session().get_modelmeta().custom_metadata_map
    assert metadata["exphil_tf.schema_fingerprint"] == SCHEMA.fingerprint()
    assert metadata["exphil_tf.precision"] == "float32"
    assert json.loads(metadata["exphil_tf.codec"]) == bundle.config.codec
    assert json.loads(metadata["exphil_tf.delay"])["frames"] == 2
    place = json.loads(metadata["exphil_tf.columns"])["numbers"]["p.x"]
    assert place["unit"]
    assert place["stop"] - place["start"] == 2
    assert json.loads(metadata["exphil_tf.provenance"])["weights_sha256"] == "ab" * 32


def test_only_an_older_export_is_replaced(published, tmp_path):
    mixed = shutil.copytree(published, tmp_path / "mixed")
    for free in (published, mixed, tmp_path / "new/deeper"):
        require_room(free)
    (tmp_path / "empty").mkdir()
    require_room(tmp_path / "empty")
    run, file = tmp_path / "run", tmp_path / "file"
    (run / "policy").mkdir(parents=True)
    (run / "policy/config.json").write_text("{}")
    file.write_text("mine")
    (mixed / "notes.txt").write_text("mine")
    for taken in (run, run / "policy", file, mixed):
        with pytest.raises(UserError, match="holds something else than an export") as caught:
            require_room(taken)
        assert caught.value.exit_code == 73


def test_equal_exports_are_equal_bytes(published, tmp_path):
    publish(policies.bundle(tmp_path / "again", "mlp"), {"forms": {}})
    for path in published.iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes(), path.name


# -- Refusals --------------------------------------------------------------------------------------


def test_no_bundle(tmp_path):
    assert "no exported policy here" in refused(tmp_path, 66)
    assert "python -m exphil_tf.export" in refused(tmp_path / "missing", 66)


@pytest.mark.parametrize("name", [MODEL, CONFIG, PARITY])
def test_changed_bytes(copy, name):
    folder = copy()
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    assert f"{name}: its bytes changed" in refused(folder)


def test_cut_and_missing_files(copy):
    folder = copy()
    (folder / MODEL).write_bytes((folder / MODEL).read_bytes()[:-10])
    assert f"{MODEL}: want" in refused(folder)
    (folder / MODEL).unlink()
    assert "no exported policy here" in refused(folder, 66)
    folder = copy()
    (folder / atomic.CHECKSUMS).unlink()
    assert f"{atomic.CHECKSUMS}: not readable" in refused(folder)


def test_files_that_do_not_belong(copy):
    folder = copy()
    (folder / "custom_ops.so").write_bytes(b"x")
    assert "custom_ops.so: not in checksums.json" in refused(folder)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/b", "weights.bin"])
def test_paths_in_the_list_of_checksums_are_not_followed(copy, name):
    folder = copy()
    listed = json.loads((folder / atomic.CHECKSUMS).read_bytes())
    listed["files"][name] = {"sha256": "0" * 64, "bytes": 1}
    (folder / atomic.CHECKSUMS).write_text(json.dumps(listed))
    assert "and nothing else" in refused(folder)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"files": 3}', "[" * 100_000, "1" * 10_000])
def test_hostile_lists_of_checksums(copy, text):
    folder = copy()
    (folder / atomic.CHECKSUMS).write_text(text)
    assert atomic.CHECKSUMS in refused(folder)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "{", "[" * 100_000, '{"format": "exphil-tf policy"}', "NaN", "1" * 9999],
)
def test_hostile_configurations(copy, text):
    assert CONFIG in refused(copy(config=lambda _: text.encode()))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": "another"}, "want format 'exphil-tf onnx'"),
        ({"inputs": None}, CONFIG),
        ({"inputs": [{"name": "numbers"}]}, CONFIG),
        ({"inputs": [{"name": 3, "dtype": "a", "shape": [1], "doc": ""}]}, "want a name"),
        ({"surplus": 1}, "surplus"),
        ({"precision": {}}, "precision: want a word"),
        ({"players": []}, "players: want an object"),
        ({"players": {"key": "public", "ids": {"Ann": 1}}}, "players: want pseudonyms"),
        ({"columns": {"numbers": {}, "ids": {}}}, "columns.numbers: want"),
        (
            {"columns": {"numbers": {"x": {"start": -5, "stop": 85}}, "ids": {}}},
            "columns.numbers.'x': want a column of the schema",
        ),
        (
            {"columns": {"numbers": {"x": {"start": 0, "stop": 10**9}}, "ids": {}}},
            "columns.numbers",
        ),
        ({"columns": {"numbers": {"x": {"start": 0, "stop": "9"}}, "ids": {}}}, "columns.numbers"),
    ],
)
def test_configurations_of_another_shape(copy, changes, words):
    assert words in refused(copy(config=edited(**changes)))


def test_another_version(copy):
    sentence = refused(copy(config=edited(format_version=2)), 78)
    assert "want format version 1. Received: 2" in sentence


def test_another_schema_lists_what_differs(copy):
    digests = SCHEMA.digests()
    digests["p.x"] = "0" * 16
    del digests["p.y"]
    schema = {"fingerprint": "f" * 16, "digests": digests}
    sentence = refused(copy(config=edited(schema=schema)), 78)
    assert "p.x: defined differently" in sentence
    assert "p.y: missing there" in sentence


def test_graph_and_configuration_must_agree(copy, published):
    values = json.loads((published / CONFIG).read_bytes())
    inputs = [dict(port) for port in values["inputs"]]
    inputs[2]["shape"] = ["batch", 14]
    assert "inputs of the graph: want ('prev_action'" in refused(copy(config=edited(inputs=inputs)))
    outputs = [dict(port) for port in values["outputs"]]
    outputs[2]["shape"] = ["batch", 9]
    assert "outputs of the graph" in refused(copy(config=edited(outputs=outputs)))
    assert "ports: want" in refused(copy(config=edited(outputs=outputs[:-1])))


def test_a_graph_of_another_schema(copy):
    def edit(model):
        for entry in model.metadata_props:
            if entry.key.endswith("schema_fingerprint"):
                entry.value = "0" * 16

    assert "is of another schema" in refused(copy(model=remodelled(edit)))


# -- The graph's file ------------------------------------------------------------------------------


def outside(model):
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    tensor.ClearField("raw_data")


def outside_in_a_constant(model):
    tensor = onnx.TensorProto(data_type=1, dims=[1], data_location=onnx.TensorProto.EXTERNAL)
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor))


def outside_in_a_branch(model):
    tensor = onnx.TensorProto(name="t", data_type=1, dims=[1])
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "x"
    branch = helper.make_graph([], "branch", [], [], [tensor])
    model.graph.node.append(helper.make_node("If", ["c"], ["d"], then_branch=branch))


def foreign_operator(model):
    model.graph.node.append(helper.make_node("Run", ["numbers"], ["z"], domain="evil"))


def foreign_library(model):
    model.opset_import.append(helper.make_opsetid("evil.ops", 1))


def function(model):
    opsets = [helper.make_opsetid("", 18)]
    model.functions.append(helper.make_function("evil", "f", [], [], [], opsets))


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (outside, "weights in another file"),
        (outside_in_a_constant, "weights in"),
        (outside_in_a_branch, "graphs within a graph"),
        (foreign_operator, "an operator of another library ('evil')"),
        (foreign_library, "operators of another library ('evil.ops')"),
        (function, "functions or training graphs"),
    ],
)
def test_graphs_that_reach_beyond_their_file(copy, edit, words):
    assert words in refused(copy(model=remodelled(edit)))


@pytest.mark.parametrize(
    "data",
    [b"", b"\0", b"not a graph", b"\x3a\xff\xff\xff\xff\x0f", b"\xff" * 40, bytes(range(256))],
)
def test_bytes_that_are_no_graph(copy, data):
    assert "ONNX file" in refused(copy(model=lambda _: data))


def test_cut_graphs_are_refused_or_differ(published):
    """Whatever is cut off: never a crash, and never the whole graph's declarations."""
    data = (published / MODEL).read_bytes()
    whole = read_onnx(data)
    for size in np.linspace(1, len(data) - 1, 60).astype(int):
        try:
            assert read_onnx(data[:size]) != whole
        except OnnxFileError:
            continue


def test_random_bytes_do_not_crash_the_reader(published):
    data = (published / MODEL).read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(300):
        spoilt = bytearray(data)
        for place in rng.integers(0, len(data), 8):
            spoilt[place] = rng.integers(0, 256)
        try:
            read_onnx(bytes(spoilt))
        except OnnxFileError as error:
            assert len(str(error)) < 200


def test_the_reader_agrees_with_onnx(published):
    data = (published / MODEL).read_bytes()
    model, read = onnx.load_from_string(data), read_onnx(data)
    assert [p.name for p in read.inputs] == [v.name for v in model.graph.input]
    assert [p.shape for p in read.outputs] == [
        tuple(d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim)
        for v in model.graph.output
    ]
    assert read.metadata == {e.key: e.value for e in model.metadata_props}
    assert [(n.operator.split(".")[-1], list(n.outputs)) for n in read.nodes] == [
        (node.op_type, list(node.output)) for node in model.graph.node
    ]
    for tensor in model.graph.initializer:
        np.testing.assert_array_equal(read.constants[tensor.name], numpy_helper.to_array(tensor))


def test_a_graph_that_onnx_runtime_refuses(copy):
    def edit(model):
        next(n for n in model.graph.node if n.op_type == "MatMul").op_type = "MatMulInteger"

    bundle = open_bundle(copy(model=remodelled(edit)))
    with pytest.raises(UserError, match="ONNX Runtime refuses it"):
        bundle.session()


def test_a_graph_that_fails_at_play(copy):
    """Indices out of a table are seen only when they come."""

    def edit(model):
        gather = next(n for n in model.graph.node if n.op_type == "Gather" and n.input[0] in names)
        table = next(t for t in model.graph.initializer if t.name == gather.input[0])
        kept = numpy_helper.to_array(table)[:0]
        table.CopyFrom(numpy_helper.from_array(kept, table.name))

    model = onnx.load_from_string(policies.bundle(Path(), "mlp").model)
    names = {tensor.name for tensor in model.graph.initializer}
    stepper = Stepper(open_bundle(copy(model=remodelled(edit))))
    with pytest.raises(UserError, match="ONNX Runtime refuses it"):
        stepper.step(SCHEMA.empty(1))


def test_it_opens_and_plays_without_tensorflow(published):
    code = f"""
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {{"tensorflow", "keras", "tf2onnx", "onnx", "models", "tf_keras",
                                  "tensorflow_model_optimization", "pydantic"}}:
            raise ImportError("blocked: " + name)
sys.meta_path.insert(0, Blocked())
from pathlib import Path
from exphil_tf.features.schema import SCHEMA
from exphil_tf.inference.bundle import open_bundle
from exphil_tf.inference.stepper import Stepper
answer = Stepper(open_bundle(Path({str(published)!r}))).step(SCHEMA.empty(1))
print(answer.controller.shape)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"\(1, 13\)", done.stdout)
