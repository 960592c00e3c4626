"""`config.json` of an exported policy, and what makes it one: every value is checked when read.

Somebody else may have written it, so a key that nothing reads, a word where a number belongs, a
delay below nothing or a column that the schema does not know is refused by name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from exphil_tf.features.conditions import CONDITIONS, NAME
from exphil_tf.features.delay import Delay
from exphil_tf.features.schema import SCHEMA
from exphil_tf.inference.conditions import Conditions, Span
from exphil_tf.inference.session import BATCH
from exphil_tf.replays.players import KnownPlayers
from exphil_tf.rewards import win_score

FORMAT = "exphil-tf onnx"
FORMAT_VERSION = 1
_INPUTS = {"numbers", "ids", "uniforms", "temperature"}
_OUTPUTS = {"controller", "buckets", "logits"}
_DTYPES = ("float32", "int32", "bool")
_STATE, _NEW = "state.", "new."
_OPTIONAL = {"policy", "provenance", "players", "conditions", "win_probability"}
_MOST_PLAYERS = 100_000
_MAX_ROWS = _MAX_WINDOW = 65_536


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
    players: Mapping[str, Any] | None = None
    """Whose styles the policy learnt (`KnownPlayers`): the ids that the input `name` takes."""
    conditions: Mapping[str, Any] | None = None
    """What the policy can be told (`inference.conditions`), by column of `ids`: the ids that it
    takes, and the one that is told where nothing is said. None where it can be told nothing."""
    win_probability: win_score.Weights | None = None
    """Of the score (`rewards.win_score`), by name; None where none was learnt."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `config.json` holds them."""
        values = {"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(self)}
        for name in ("players", "conditions", "win_probability"):
            if getattr(self, name) is None:
                del values[name]
        return values

    def told(self) -> Conditions:
        """What the policy can be told.

        Raises: ValueError, TypeError, KeyError: if it makes no sense.
        """
        players = None if self.players is None else KnownPlayers.from_dict(self.players)
        return Conditions.from_dict(
            self.conditions or {}, delay=Delay(**self.delay), players=players
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> BundleConfig:
        """Builds it from `to_dict`'s values.

        Raises: ValueError, TypeError, KeyError: if they are of another shape.
        """
        own: dict[str, Any] = dict(values)
        for name in ("format", "format_version"):
            own.pop(name, None)
        _check_keys(own, {field.name for field in fields(cls)}, optional=_OPTIONAL)
        for name in ("inputs", "outputs"):
            own[name] = tuple(_port(port) for port in own[name])
        config = cls(**own)
        _check_values(config)
        _check_ports(config)
        for name in ("numbers", "ids"):
            _check_columns(config, name)
        return _check_conditions(config)


def _port(values: Mapping[str, Any]) -> Port:
    port = Port(**values)
    sizes = tuple(port.shape)
    texts = (port.name, port.dtype, port.doc)
    if not all(isinstance(text, str) for text in texts) or port.dtype not in _DTYPES:
        raise ValueError(f"ports: want a name, a type and words. Received: {texts!r:.120}")
    if not sizes or not all(_is_size(s) for s in sizes[1:]) or not _is_rows(sizes[0]):
        raise ValueError(f"ports.{port.name!r:.40}: want sizes. Received: {sizes!r:.80}")
    return Port(port.name, port.dtype, sizes, port.doc)


def _is_size(value: Any) -> bool:
    return type(value) is int and value > 0


def _is_rows(value: Any) -> bool:
    return value == BATCH or _is_size(value)


def _check_values(config: BundleConfig) -> None:
    """What is no port and no column."""
    for name in ("precision", "activations", "form"):
        if not isinstance(getattr(config, name), str):
            raise ValueError(f"{name}: want a word")
    if config.form not in ("step", "window"):
        raise ValueError(f"form: want step or window. Received: {config.form!r:.40}")
    rows = config.batch_size
    if rows is not None and not (_is_size(rows) and rows <= _MAX_ROWS):
        raise ValueError(f"batch_size: want rows or null. Received: {config.batch_size!r:.40}")
    if not _is_size(config.window_size) or config.window_size > _MAX_WINDOW:
        raise ValueError(
            f"window_size: want 1 to {_MAX_WINDOW:,}. Received: {config.window_size!r:.40}"
        )
    Delay(**config.delay)
    for name in ("axis_centres", "shoulder_centres"):
        values = config.codec[name]
        numbers = isinstance(values, list) and all(type(v) in (int, float) for v in values)
        if not numbers or not values or not all(map(math.isfinite, values)):
            raise ValueError(f"codec.{name}: want numbers. Received: {values!r:.80}")
    for name in ("columns", "schema", "policy", "provenance"):
        if not isinstance(getattr(config, name), dict):
            raise ValueError(f"{name}: want an object")
    _check_told(config)
    _check_win(config)


def _check_conditions(config: BundleConfig) -> BundleConfig:
    """The bundle, its conditions being those that the graph reads.

    One of before they were listed knows player styles at most: nobody's unless a frame says so.
    """
    read = {name for name in config.columns["ids"] if name in CONDITIONS}
    if config.conditions is None and read == {NAME}:
        span = Span(0, 0, _MOST_PLAYERS)
        return replace(config, conditions={NAME: asdict(span)})
    if read != set(config.conditions or ()):
        raise ValueError(
            f"conditions: want {sorted(read)}. Received: {sorted(config.conditions or ())}"
        )
    return config


def _check_told(config: BundleConfig) -> None:
    for name in ("players", "conditions"):
        if not isinstance(getattr(config, name), dict | None):
            raise ValueError(f"{name}: want an object. Received: {getattr(config, name)!r:.80}")
    config.told()  # Raises for what makes no sense.


def _check_win(config: BundleConfig) -> None:
    if config.win_probability is None:
        return
    if not isinstance(config.win_probability, dict):
        raise ValueError(
            f"win_probability: want an object. Received: {config.win_probability!r:.80}"
        )
    win_score.as_vector(config.win_probability)


def _check_ports(config: BundleConfig) -> None:
    """A policy's inputs and outputs: each once, memory out as it comes in, rows in front."""
    inputs, outputs = ({p.name: p for p in ports} for ports in (config.inputs, config.outputs))
    if len(inputs) + len(outputs) != len(config.inputs) + len(config.outputs):
        raise ValueError("ports: want each name once")
    states = {name for name in inputs if name.startswith(_STATE)}
    news = {_new(name) for name in states}
    if inputs.keys() - states - {"prev_action"} != _INPUTS or outputs.keys() - news != _OUTPUTS:
        raise ValueError(
            f"ports: want {sorted(_INPUTS)} and {sorted(_OUTPUTS)}. "
            f"Received: {sorted(inputs.keys() - states)!r:.120}, {sorted(outputs)!r:.120}"
        )
    rows = BATCH if config.batch_size is None else config.batch_size
    for name, port in (inputs | outputs).items():
        if port.shape[0] != rows:
            raise ValueError(f"ports.{name!r:.40}: want {rows} rows. Received: {port.shape[0]!r}")
    for name in states:
        new = outputs.get(_new(name))
        if new is None or (new.dtype, new.shape) != (inputs[name].dtype, inputs[name].shape):
            raise ValueError(f"ports.{name!r:.40}: want a new one of the same type and shape")


def _new(name: str) -> str:
    """The output that feeds a part of the memory."""
    return _NEW + name.removeprefix(_STATE)


def _check_columns(config: BundleConfig, name: str) -> None:
    """Columns of the schema must tile their input: no gap, no overlap, nothing outside."""
    width = next(port.shape[-1] for port in config.inputs if port.name == name)
    known = {field.name: math.prod(field.shape) for field in SCHEMA.fields}
    known |= dict.fromkeys(CONDITIONS, 1)
    stop = 0
    columns = config.columns[name]
    for column, place in sorted(columns.items(), key=lambda item: item[1]["start"]):
        _check_keys(
            place, {"start", "stop", "dtype", "unit", "doc"}, optional={"unit", "doc", "dtype"}
        )
        end = stop + known.get(column, -1)
        if end <= stop or type(place["start"]) is not int or type(place["stop"]) is not int:
            raise ValueError(f"columns.{name}.{column!r:.40}: want a column of the schema")
        if (place["start"], place["stop"]) != (stop, end):
            raise ValueError(
                f"columns.{name}.{column!r:.40}: want to start at {stop} and stop at {end}"
            )
        stop = end
    if stop != width:
        raise ValueError(f"columns.{name}: want {width} numbers in all. Received: {stop}")


def _check_keys(
    values: Mapping[str, Any], known: AbstractSet[str], *, optional: AbstractSet[str] = frozenset()
) -> None:
    """Refuses keys that nothing reads, which are misspelt or of another version.

    Raises: ValueError: naming what is unknown or missing.
    """
    unknown, missing = sorted(values.keys() - known), sorted(known - optional - values.keys())
    if unknown or missing:
        raise ValueError(f"unknown keys {unknown!r:.120}, missing keys {missing!r:.120}")
