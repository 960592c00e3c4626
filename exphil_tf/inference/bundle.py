"""An exported policy: one folder that needs numpy and ONNX Runtime to play, and nothing else.

`policy.onnx` is the graph of one frame (or of a window), `config.json` says what goes into it and
comes out of it, which frames it was made from and where it came from, `parity.json` how it was
checked, `checksums.json` holds a sha256 of each. Nothing in a bundle is executed but the graph, and
of that only ONNX's and ONNX Runtime's own operators, with the weights in the file itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import onnxruntime as ort

from exphil_tf.checkpoints import atomic
from exphil_tf.errors import EXIT_DATA, EXIT_INCOMPATIBLE, EXIT_NO_INPUT, UserError
from exphil_tf.features.schema import SCHEMA
from exphil_tf.inference.onnx_file import OnnxFile, OnnxFileError, read_onnx
from exphil_tf.inference.session import MODEL, session_options

CONFIG = "config.json"
PARITY = "parity.json"
FORMAT = "exphil-tf onnx"
FORMAT_VERSION = 1
METADATA_PREFIX = "exphil_tf."
"""Of the graph's own metadata: `exphil_tf.schema_fingerprint`, `exphil_tf.config`."""

_FILES = {MODEL, CONFIG, PARITY}
_MAX_JSON = 16 << 20
_MAX_MODEL = 1 << 30


@dataclass(frozen=True)
class Port:
    """An input or output of the graph."""

    name: str
    dtype: str
    """numpy's name."""
    shape: tuple[str | int, ...]
    """Sizes, `batch` where any number of rows will do."""
    doc: str = ""


@dataclass(frozen=True)
class BundleConfig:
    """`config.json`."""

    precision: str
    """`float32`, `int8-qat`, `int8-dynamic` or `int8-static`."""
    activations: str
    """How inputs of integer products are rounded: `static` by trained ranges, `dynamic` by what is
    there, or `float`."""
    form: str
    """`step`: one frame with memory going in and out. `window`: some frames from a game's start."""
    batch_size: int | None
    """Rows of a call, None for any number."""
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    columns: Mapping[str, Mapping[str, Mapping[str, Any]]]
    """`numbers` and `ids`: schema column → its place (`start`, `stop`), dtype, unit and meaning."""
    codec: Mapping[str, list[float]]
    """Values of the buckets: `axis_centres`, `shoulder_centres`."""
    delay: Mapping[str, int]
    """Frames between a state and the input that answers it: `frames`, trained range."""
    window_size: int
    """Frames of context that training unrolled."""
    schema: Mapping[str, Any]
    """Fingerprint and digests of the columns."""
    policy: Mapping[str, Any] = field(default_factory=dict)
    """The network's configuration."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """The weights' sha256, versions, commit, and how they were trained."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `config.json` holds them."""
        return {"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> BundleConfig:
        """Builds it from `to_dict`'s values.

        Raises: ValueError, TypeError, KeyError: if they are of another shape.
        """
        own: dict[str, Any] = dict(values)
        for name in ("format", "format_version"):
            own.pop(name, None)
        for name in ("inputs", "outputs"):
            own[name] = tuple(_port(port) for port in own[name])
        config = cls(**own)
        for name in ("precision", "activations", "form"):
            if not isinstance(getattr(config, name), str):
                raise ValueError(f"{name}: want a word")
        for name in ("numbers", "ids"):
            _check_columns(config, name)
        return config


@dataclass(frozen=True)
class Bundle:
    """A bundle whose bytes were verified. `open_bundle` makes one."""

    folder: Path
    config: BundleConfig
    model: bytes = field(repr=False)
    """The graph, as it was verified."""

    def session(
        self, *, threads: int = 1, batch_size: int | None = None, profile: Path | None = None
    ) -> ort.InferenceSession:
        """Opens the graph on the CPU.

        Args:
          threads: that one call may use.
          batch_size: rows of every call, if they are known, which makes it a little faster.
          profile: how the file begins in which the session notes the time of each operation.

        Raises: UserError: if ONNX Runtime refuses the graph (65).
        """
        options = session_options(threads=threads, batch_size=batch_size)
        # Processors without VNNI add pairs of products of u8 and s8 in 16 bits, which overflow.
        # There, ONNX Runtime turns such products into u8 x u8 ones.
        options.add_session_config_entry("session.x64quantprecision", "1")
        if profile is not None:
            options.enable_profiling = True
            options.profile_file_prefix = str(profile)
        try:
            return ort.InferenceSession(self.model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors share no other base
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise _damaged(self.folder, f"{MODEL}: ONNX Runtime refuses it: {first}") from error


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
        raise _damaged(folder, f"{CONFIG}: {type(error).__name__}: {error}") from error
    model = (folder / MODEL).read_bytes()
    try:
        declared = read_onnx(model)
    except OnnxFileError as error:
        raise _damaged(folder, f"{MODEL}: {error}") from error
    _check_agreement(folder, config, declared)
    return Bundle(folder, config, model)


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
    limits = {atomic.CHECKSUMS: _MAX_JSON, CONFIG: _MAX_JSON, PARITY: _MAX_JSON, MODEL: _MAX_MODEL}
    for name, limit in limits.items():
        path = folder / name
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
        return set(json.loads((folder / atomic.CHECKSUMS).read_bytes())["files"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = f"{atomic.CHECKSUMS}: not readable ({type(error).__name__})"
        raise _damaged(folder, reason) from error


def _read_json(folder: Path) -> Any:
    try:
        return json.loads((folder / CONFIG).read_bytes())
    except (ValueError, RecursionError) as error:
        raise _damaged(folder, f"{CONFIG}: {type(error).__name__}: {error}") from error


def _port(values: Mapping[str, Any]) -> Port:
    port = Port(**values)
    shape = tuple(port.shape)
    if not isinstance(port.name, str) or not all(isinstance(s, str | int) for s in shape):
        raise ValueError(f"ports: want a name and sizes. Received: {port.name!r:.40}")
    return Port(port.name, str(port.dtype), shape, str(port.doc))


def _check_columns(config: BundleConfig, name: str) -> None:
    """Columns must tile their input: no gap, no overlap, nothing outside."""
    width = next(port.shape[-1] for port in config.inputs if port.name == name)
    stop = 0
    for column, place in sorted(config.columns[name].items(), key=lambda item: item[1]["start"]):
        if place["start"] != stop or not isinstance(place["stop"], int) or place["stop"] <= stop:
            raise ValueError(f"columns.{name}.{column!s:.40}: want to start at {stop}")
        stop = place["stop"]
    if stop != width:
        raise ValueError(f"columns.{name}: want {width} numbers in all. Received: {stop}")


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
