"""An exported policy: one folder that needs numpy and ONNX Runtime to play, and nothing else.

`policy.onnx` is the graph of one frame (or of a window), `config.json` says what goes into it and
comes out of it, which frames it was made from and where it came from, `parity.json` how it was
checked, `checksums.json` holds a sha256 of each. Nothing in a bundle is executed but the graph, of
the operators that exports hold, with the weights in the file itself, and only once it is known what
that takes (`onnx_file`, `onnx_cost`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnxruntime as ort

from exphil_tf.features.schema import SCHEMA
from exphil_tf.foundation import atomic
from exphil_tf.foundation.errors import UserError
from exphil_tf.inference.bundle_config import FORMAT, FORMAT_VERSION, BundleConfig
from exphil_tf.inference.onnx_cost import check_cost
from exphil_tf.inference.onnx_file import MAX_BYTES, OnnxFile, OnnxFileError, read_onnx
from exphil_tf.inference.session import MODEL, open_session
from exphil_tf.process.exit_codes import (
    EXIT_CANNOT_CREATE,
    EXIT_DATA,
    EXIT_INCOMPATIBLE,
    EXIT_NO_INPUT,
)

CONFIG = "config.json"
PARITY = "parity.json"
METADATA_PREFIX = "exphil_tf."
"""Of the graph's own metadata, such as `exphil_tf.schema_fingerprint`."""

_FILES = {MODEL, CONFIG, PARITY}


@dataclass(frozen=True)
class Bundle:
    """A bundle whose bytes were verified. `open_bundle` makes one."""

    folder: Path
    config: BundleConfig
    model: bytes = field(repr=False)
    """The graph, as it was verified."""

    def session(self, options: ort.SessionOptions | None = None) -> ort.InferenceSession:
        """Opens the graph, as `open_session` does.

        Raises: UserError: if ONNX Runtime refuses the graph (65).
        """
        try:
            return open_session(self.model, options)
        except Exception as error:  # ONNX Runtime's errors share no other base
            raise refused(self.folder, error) from error


def open_bundle(folder: Path) -> Bundle:
    """Verifies a bundle and reads it.

    Raises: UserError: if there is none (66), it is damaged, foreign or contradicts itself (65), or
      was made for another schema or by another version (78).
    """
    _check_files(folder)
    values = _read_json(folder)
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise _damaged(folder, f"{CONFIG}: want format {FORMAT!r}")
    if values.get("format_version") != FORMAT_VERSION:
        raise UserError(
            f"{folder}: want format version {FORMAT_VERSION}. "
            f"Received: {values.get('format_version')!r:.40}",
            "Use the release that exported it, or export it again.",
            exit_code=EXIT_INCOMPATIBLE,
        )
    try:
        check_schema(folder, values["schema"])
        config = BundleConfig.from_dict(values)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(folder, f"{CONFIG}: {type(error).__name__}: {error!s:.300}") from error
    model = (folder / MODEL).read_bytes()
    try:
        declared = read_onnx(model)
        check_cost(declared, config.batch_size)
    except OnnxFileError as error:
        raise _damaged(folder, f"{MODEL}: {error}") from error
    _check_agreement(folder, config, declared)
    return Bundle(folder, config, model)


def require_room(folder: Path) -> None:
    """Refuses a place for a bundle where something else stands, which publishing would replace.

    The folder above is made.

    Raises: UserError: (73) naming the place; OSError: if the folder above cannot be made.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    if not folder.exists():
        return
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else {""}
    if names and not {MODEL} <= names <= {*_FILES, atomic.CHECKSUMS}:
        raise UserError(
            f"{folder}: holds something else than an export, and is not replaced",
            "Choose another --output.",
            exit_code=EXIT_CANNOT_CREATE,
        )


def refused(folder: Path, error: Exception) -> UserError:
    """What ONNX Runtime says of a graph that it cannot load or run, as a sentence (65)."""
    first = str(error).splitlines()[0] if str(error) else type(error).__name__
    return _damaged(folder, f"{MODEL}: ONNX Runtime refuses it: {first:.200}")


def check_schema(folder: Path, schema: Mapping[str, Any]) -> None:
    """Refuses frames of another make.

    Raises: UserError: listing the differing fields (78).
    """
    if schema["fingerprint"] == SCHEMA.fingerprint():
        return
    raise UserError(
        f"{folder}: {SCHEMA.mismatch(schema['fingerprint'], schema['digests'])}",
        "Use the release that exported it, or train and export again.",
        exit_code=EXIT_INCOMPATIBLE,
    )


def _check_files(folder: Path) -> None:
    """Refuses what is no bundle or has other bytes than it was published with."""
    if not (folder / CONFIG).is_file() or not (folder / MODEL).is_file():
        raise UserError(
            f"{folder}: no exported policy here (no {CONFIG} and {MODEL})",
            "Export one: python -m exphil_tf.export RUN --output BUNDLE.",
            exit_code=EXIT_NO_INPUT,
        )
    for name in (atomic.CHECKSUMS, *sorted(_FILES)):
        path, limit = folder / name, MAX_BYTES if name == MODEL else atomic.MAX_JSON
        if path.exists() and (not path.is_file() or path.stat().st_size > limit):
            raise _damaged(folder, f"{name}: want a file of at most {limit:,} bytes")
    listed = _listed(folder)
    if not {MODEL, CONFIG} <= listed <= _FILES:
        raise _damaged(folder, f"{atomic.CHECKSUMS}: want {sorted(_FILES)} and nothing else")
    found = atomic.problems(folder)
    if found:
        raise _damaged(folder, found[0])


def _listed(folder: Path) -> set[str]:
    """Names in the list of checksums, before any is used as a path."""
    try:
        return set(atomic.read_json(folder / atomic.CHECKSUMS)["files"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"{atomic.CHECKSUMS}: not readable ({type(error).__name__})"
        raise _damaged(folder, reason) from error


def _read_json(folder: Path) -> Any:
    try:
        return atomic.read_json(folder / CONFIG)
    except ValueError as error:
        raise _damaged(folder, f"{CONFIG}: {error!s:.200}") from error


def _check_agreement(folder: Path, config: BundleConfig, declared: OnnxFile) -> None:
    """The graph must take and give what the configuration says, and be of the same make."""
    for what, ports, found in (
        ("inputs", config.inputs, declared.inputs),
        ("outputs", config.outputs, declared.outputs),
    ):
        wanted = [(port.name, port.dtype, port.shape) for port in ports]
        received = [(port.name, port.dtype, port.shape) for port in found]
        if wanted != received:
            differing = next(
                (pair for pair in zip(wanted, received, strict=False) if pair[0] != pair[1]),
                (f"{len(wanted)} {what}", len(received)),
            )
            raise _damaged(
                folder, f"{what} of the graph: want {differing[0]}. Received: {differing[1]}"
            )
    fingerprint = declared.metadata.get(f"{METADATA_PREFIX}schema_fingerprint")
    if fingerprint != config.schema["fingerprint"]:
        raise _damaged(folder, f"{MODEL} is of another schema than {CONFIG}: {fingerprint!r:.40}")


def _damaged(folder: Path, reason: str) -> UserError:
    return UserError(
        f"{folder}: not a sound exported policy: {reason}",
        "Copy it again, or export it anew: python -m exphil_tf.export RUN --output BUNDLE.",
        exit_code=EXIT_DATA,
    )
