"""What `python -m exphil_tf.export info` says of a bundle, and the lines of Python that run it."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import onnx
from onnx import TensorProto, helper, numpy_helper
from rich import box
from rich.console import Console
from rich.table import Table

from exphil_tf.checkpoints.provenance import data_of, nested
from exphil_tf.features.conditions import NAME, RETURN
from exphil_tf.inference.bundle import PARITY, Bundle
from exphil_tf.inference.bundle_config import BundleConfig, Port
from exphil_tf.inference.session import MODEL

RUN_IT = """\
import json, numpy as np, onnxruntime as ort
config = json.load(open({config!r}))
session = ort.InferenceSession({model!r}, providers=["CPUExecutionProvider"])
shape = lambda port: [size if isinstance(size, int) else 1 for size in port["shape"]]
feeds = {{port["name"]: np.zeros(shape(port), port["dtype"]) for port in config["inputs"]}}
names, rng = [port["name"] for port in config["outputs"]], np.random.default_rng()
for frame in range(3):  # fill feeds["numbers"] and feeds["ids"] by config["columns"] first
    feeds["temperature"][:], feeds["uniforms"] = 1, rng.random(feeds["uniforms"].shape, np.float32)
    answer = dict(zip(names, session.run(names, feeds)))
{keep}print(answer["controller"])  # 8 buttons, main x and y, c x and y, shoulder"""
"""Needs numpy and ONNX Runtime; a test runs it where nothing else can be imported."""
_KEEP_MEMORY = """\
    feeds.update({f"state.{n[4:]}": v for n, v in answer.items() if n.startswith("new.")})
"""
_KEEP_ACTION = """\
    feeds["prev_action"] = answer["controller"]
"""


@dataclass(frozen=True)
class Contents:
    """What a graph is made of."""

    operators: dict[str, int]
    """Nodes by operator, most frequent first."""
    bytes_by_type: dict[str, int]
    """Bytes of stored numbers by type, most first."""
    file_bytes: int
    """Of the graph, all in all."""


def contents(bundle: Bundle) -> Contents:
    """Counts a bundle's operators and bytes."""
    model = onnx.load_from_string(bundle.model)
    operators = Counter(node.op_type for node in model.graph.node)
    sizes: Counter[str] = Counter()
    for tensor in model.graph.initializer:
        sizes[_type_name(tensor)] += numpy_helper.to_array(tensor).nbytes
    return Contents(dict(operators.most_common()), dict(sizes.most_common()), len(bundle.model))


def how_to_run(bundle: Bundle) -> str:
    """Ten-odd lines of Python that play three frames of zeros."""
    folder, names = bundle.folder.resolve(), {port.name for port in bundle.config.inputs}
    keep = _KEEP_MEMORY if any(name.startswith("state.") for name in names) else ""
    if "prev_action" in names and bundle.config.form == "step":
        keep += _KEEP_ACTION
    return RUN_IT.format(config=str(folder / "config.json"), model=str(folder / MODEL), keep=keep)


def show(console: Console, bundle: Bundle) -> None:
    """Prints everything."""
    config, found = bundle.config, contents(bundle)
    console.print(_summary(bundle, found), "", sep="\n")
    console.print(_ports("input", config.inputs), "", sep="\n")
    console.print(_ports("output", config.outputs), "", sep="\n")
    console.print(_columns(bundle), "", sep="\n")
    operators = ", ".join(f"{count} {name}" for name, count in found.operators.items())
    console.print(f"{sum(found.operators.values())} nodes: {operators}\n", markup=False)
    console.print("To run it, with numpy and onnxruntime alone:\n", markup=False)
    console.print(how_to_run(bundle), markup=False, highlight=False)


def _summary(bundle: Bundle, found: Contents) -> Table:
    config, provenance = bundle.config, bundle.config.provenance
    versions = nested(provenance, "packages")
    versions = versions if isinstance(versions, Mapping) else {}
    rows = {
        "bundle": str(bundle.folder),
        "precision": f"{config.precision}, activations {config.activations}",
        "form": f"{config.form}, batch {config.batch_size or 'any'}",
        "file": f"{found.file_bytes:,} bytes: "
        + ", ".join(f"{size:,} {name}" for name, size in found.bytes_by_type.items()),
        "schema": str(config.schema["fingerprint"]),
        "delay": f"{config.delay['frames']} frames (trained for "
        f"{config.delay['trained_min']} to {config.delay['trained_max']})",
        **_told(config),
        **({"win": "known, by stocks and percent"} if config.win_probability else {}),
        "policy": _network(config.policy),
        "weights": f"{provenance.get('weights')}, sha256 {provenance.get('weights_sha256')}",
        "commit": str(provenance.get("git_commit")),
        "made with": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "trained": _training(provenance.get("training")),
        "parity": _parity(bundle),
    }
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, text in rows.items():
        table.add_row(name, text)
    return table


def _told(config: BundleConfig) -> dict[str, str]:
    """What it can be told besides the frames, and what it is told by default."""
    conditions, rows = config.told(), {}
    for name, span in conditions.spans.items():
        text = f"ids {span.least} to {span.most}, {span.default} by default"
        if name == RETURN and conditions.returns is not None:
            levels = range(1, conditions.returns.count + 1)
            text += f" ({', '.join(f'{n}: {conditions.returns.describe(n)}' for n in levels)})"
        if name == NAME and conditions.players is not None:
            text += f" ({len(conditions.players.ids)} known)"
        rows[f"told: {name}"] = text
    return rows


def _network(policy: Any) -> str:
    backbone, head = policy.get("backbone", {}), policy.get("head", {})
    widths = "x".join(str(width) for width in backbone.get("hidden", []))
    return f"{backbone.get('backbone')} {widths}, {head.get('head')} head"


def _training(training: Any) -> str:
    data = data_of(training).get("manifest_sha256")
    created, seed, commit = (nested(training, name) for name in ("created", "seed", "git_commit"))
    return f"{created}, seed {seed}, data sha256 {data}, commit {commit}"


def _parity(bundle: Bundle) -> str:
    """One line of `parity.json`."""
    try:
        values = json.loads((bundle.folder / PARITY).read_bytes())
    except (OSError, ValueError):
        return "not measured"
    checks = values.get("checks", [])
    if not values.get("forms"):
        return "not measured"
    met = sum(bool(check["is_met"]) for check in checks)
    return f"{met} of {len(checks)} checks hold, on {values['frames']:,} frames (parity.json)"


def _ports(what: str, ports: tuple[Port, ...]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for name in (what, "type", "shape", "meaning"):
        table.add_column(name)
    for port in ports:
        table.add_row(port.name, port.dtype, str(list(port.shape)).replace("'", ""), port.doc)
    return table


def _columns(bundle: Bundle) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for name in ("in", "from", "to", "column", "unit"):
        table.add_column(name)
    for joined, columns in bundle.config.columns.items():
        for name, place in columns.items():
            span = str(place["start"]), str(place["stop"])
            table.add_row(joined, *span, name, str(place.get("unit", "")))
    return table


def _type_name(tensor: TensorProto) -> str:
    return helper.tensor_dtype_to_np_dtype(tensor.data_type).name
