"""Writes a converted policy as a bundle (`exphil_tf.inference.bundle`)."""

import dataclasses
import importlib.metadata
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import onnx

from exphil_tf.checkpoints.file_names import WEIGHTS
from exphil_tf.checkpoints.policy_bundle import PolicyInfo
from exphil_tf.checkpoints.provenance import git_commit, package_versions
from exphil_tf.evaluation.policy_conditions import conditions_of
from exphil_tf.exporting.convert import Converted, activations_of
from exphil_tf.exporting.precisions import Precision
from exphil_tf.exporting.tf_to_onnx import describe_columns
from exphil_tf.features.schema import SCHEMA
from exphil_tf.foundation import atomic
from exphil_tf.inference.bundle import CONFIG, METADATA_PREFIX, PARITY, Bundle
from exphil_tf.inference.bundle_config import BundleConfig
from exphil_tf.inference.onnx_cost import check_cost
from exphil_tf.inference.onnx_file import read_onnx
from exphil_tf.inference.session import MODEL
from models.policy import Policy

_PACKAGES = ("onnx", "onnxruntime", "tf2onnx")
_IN_METADATA = ("precision", "activations", "form", "columns", "codec", "delay", "provenance")


def assemble(
    folder: Path,
    converted: Converted,
    *,
    policy: Policy,
    info: PolicyInfo,
    precision: Precision,
    batch_size: int | None,
    provenance: Mapping[str, Any],
    told: Mapping[str, int] = MappingProxyType({}),
) -> Bundle:
    """A bundle in memory, which `publish` writes; it can be played already.

    Args:
      folder: where it will lie.
      converted: the graph.
      policy: what it was made from.
      info: of the run's policy bundle.
      precision: of the graph.
      batch_size: rows that it is fixed to, None for any.
      provenance: `describe_source`.
      told: ids by condition that are its defaults, where these are not the policy's own.

    Raises: OnnxFileError: if the graph holds what `open_bundle` would refuse: a defect.
    """
    conditions = conditions_of(info)
    config = BundleConfig(
        precision=precision,
        activations=activations_of(precision, policy),
        form=_form(converted),
        batch_size=batch_size,
        inputs=converted.signature.inputs,
        outputs=converted.signature.outputs,
        columns=describe_columns(policy),
        codec=policy.config.head.codec.bucket_values(),
        delay=dataclasses.asdict(info.delay),
        window_size=info.window_size,
        schema={"fingerprint": SCHEMA.fingerprint(), "digests": SCHEMA.digests()},
        policy=policy.config.to_dict(),
        provenance=provenance,
        players=None if info.players is None else info.players.to_dict(),
        conditions=conditions.with_defaults(told) or None,
        win_probability=info.win_probability,
    )
    model = onnx.ModelProto()
    model.CopyFrom(converted.model)
    onnx.helper.set_model_props(model, _metadata(config))
    data = model.SerializeToString(deterministic=True)
    # Whoever opens it would refuse what is not on the list of what exports hold.
    check_cost(read_onnx(data), batch_size)
    return Bundle(folder, config, data)


def _form(converted: Converted) -> str:
    """Only a window's numbers have an axis for time."""
    return "step" if len(converted.signature.inputs[0].shape) == 2 else "window"


def describe_source(source: Path, info: PolicyInfo) -> dict[str, Any]:
    """Which weights a bundle was made from, and by what; equal for equal exports."""
    versions = package_versions()
    versions |= {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {
        "weights_sha256": atomic.sha256(source / WEIGHTS),
        "weights": info.weights,
        "git_commit": git_commit(),
        "packages": versions,
        "training": dict(info.provenance),
    }


def publish(bundle: Bundle, parity: Mapping[str, Any]) -> None:
    """Writes a bundle whole or not at all, replacing an older one in the same place.

    Raises: OSError: if the disk is full.
    """
    with atomic.publish(bundle.folder) as temporary:
        atomic.write_bytes(temporary / MODEL, bundle.model)
        atomic.write_json(temporary / CONFIG, bundle.config.to_dict())
        atomic.write_json(temporary / PARITY, dict(parity))


def _metadata(config: BundleConfig) -> dict[str, str]:
    """The graph's own copy of what a reader must know, should it be parted from its bundle."""
    values = config.to_dict()
    for columns in values["columns"].values():
        for place in columns.values():
            place.pop("doc", None)
    compact = {
        name: values[name]
        if isinstance(values[name], str)
        else json.dumps(values[name], separators=(",", ":"), sort_keys=True)
        for name in _IN_METADATA
    }
    compact["schema_fingerprint"] = config.schema["fingerprint"]
    compact["format_version"] = str(values["format_version"])
    return {f"{METADATA_PREFIX}{name}": text for name, text in sorted(compact.items())}
