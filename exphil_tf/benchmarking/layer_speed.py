"""Layers beside their plain forms: the selective scan, attention, checkpointing, truncation.

Every figure is of a forward and backward pass, in processor time, the forms in turns, each one's
fastest round. Memory is what a pass takes in a process of its own, compiler and inputs aside.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from exphil_tf.benchmarking.memory import peak_bytes_apart
from exphil_tf.benchmarking.speed_table import Report
from exphil_tf.benchmarking.timing import cpu_seconds
from models.backbones import BACKBONES, backbone_config
from models.layers.backend import ops
from models.layers.selective_scan import Selection, selective_scan
from models.layers.sliding_window_attention import SlidingWindowAttention, unroll_window

Work = Callable[[], Any]

_SCAN = {"batch": 64, "time": 60, "channels": 512, "states": 16}
_LENGTHS = (60, 256, 1024, 4096)
_FRAMES = 4096
"""Of a batch, whatever its length."""
_ATTENTION = {"batch": 4, "time": 1024, "width": 256, "heads": 4, "window": 60}
_CHECKPOINTED = {"batch": 64, "time": 240, "width": 128, "layers": 3}
_TRUNCATED = 20
"""Frames of a piece."""


def run(backbones: Sequence[str] = ()) -> Iterator[tuple[str, Report]]:
    """Reports one after the other.

    Args:
      backbones: those whose checkpointing is measured; none measures all.
    """
    yield "scan", scan_report()
    yield "scan by length", length_report()
    yield "attention", attention_report()
    yield "gradient checkpointing", checkpoint_report(backbones or tuple(BACKBONES))
    yield "truncated backpropagation", truncation_report(backbones or tuple(BACKBONES))


def _pass(function: Callable[..., Any], inputs: Sequence[Any], *, jit: bool = True) -> Work:
    """Forward and backward pass of a function of tensors whose outputs are tensors."""

    def gradients(*inputs: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch([x for x in inputs if x.dtype.is_floating])
            outputs = function(*inputs)
            loss: Any = sum(tf.reduce_sum(y * y) for y in tf.nest.flatten(outputs))
        sources = [x for x in inputs if x.dtype.is_floating] + list(tape.watched_variables())
        return loss, tape.gradient(loss, sources)

    compiled = tf.function(gradients, jit_compile=jit, autograph=False)
    return lambda: compiled(*inputs)[0].numpy()  # noqa: PLW0108 - it runs only when called


# -- The selective scan ----------------------------------------------------------------------------


def _scan_inputs(batch: int, time: int, channels: int, states: int) -> list[Any]:  # noqa: PLR0917
    normal = np.random.default_rng(0).standard_normal
    shapes = [(batch, time, channels)] * 2 + [(states, channels)] + [(batch, time, states)] * 2
    x, delta, a, b, c, d = (normal(shape) for shape in (*shapes, (channels,)))
    values = [x, 0.1 * np.abs(delta), -np.exp(a), b, c, d, np.zeros((batch, states, channels))]
    return [tf.constant(value, tf.float32) for value in values]


def _scan(*inputs: Any) -> tuple[Any, Any]:
    x, delta, a, b, c, d, state = inputs
    is_resetting = tf.zeros(x.shape[:2], tf.bool)
    return selective_scan(x, Selection(delta, a, b, c, d), state, is_resetting=is_resetting)


def _keras_scan(*inputs: Any) -> tuple[Any, Any]:
    x, delta, a, b, c, d, state = inputs

    def step(h: Any, frame: tuple) -> tuple[Any, Any]:
        u, dt, b = frame
        h = ops.exp(dt[:, None, :] * a) * h + u[:, None, :] * b[:, :, None]
        return h, h  # on TensorFlow an output must look like the state

    frames = tuple(ops.swapaxes(v, 0, 1) for v in (x * delta, delta, b))
    state, states = ops.scan(step, state, frames)
    return _read_out(ops.swapaxes(states, 0, 1), c) + d * x, state


def _associative_scan(*inputs: Any) -> tuple[Any, Any]:
    x, delta, a, b, c, d, state = inputs
    decay = ops.exp(delta[:, :, None, :] * a)
    entering = (x * delta)[:, :, None, :] * b[..., None]
    entering = ops.concatenate(
        [entering[:, :1] + (decay[:, 0] * state)[:, None], entering[:, 1:]], 1
    )

    def then(first: tuple, second: tuple) -> tuple[Any, Any]:
        return first[0] * second[0], second[0] * first[1] + second[1]

    _, states = ops.associative_scan(then, (decay, entering), axis=1)
    return _read_out(states, c) + d * x, states[:, -1]


def _read_out(states: Any, c: Any) -> Any:
    return ops.sum(states * c[..., None], axis=2)


_SCANS = {
    "selective_scan": (_scan, True),
    "keras.ops.scan": (_keras_scan, False),
    "keras.ops.associative_scan": (_associative_scan, False),
}
"""Function, and whether XLA compiles it."""


def _scan_work(name: str, sizes: dict[str, int]) -> Work:
    function, jit = _SCANS[name]
    return _pass(function, _scan_inputs(**sizes), jit=jit)


def scan_report() -> Report:
    """The selective scan beside Keras' two, which XLA does not compile."""
    works = {name: _scan_work(name, _SCAN) for name in _SCANS}
    seconds = cpu_seconds(works, rounds=2)
    peaks = {name: peak_bytes_apart(_scan_work, name, _SCAN) for name in _SCANS}
    here, most = seconds["selective_scan"], peaks["keras.ops.associative_scan"]
    rows = {
        name: {
            "CPU ms": 1e3 * seconds[name],
            "times the first": seconds[name] / here,
            "peak MiB": peaks[name] / 2**20,
            "of the last's": peaks[name] / most,
        }
        for name in _SCANS
    }
    return _report("Selective scan, " + _words(_SCAN), rows)


def length_report() -> Report:
    """The selective scan of as many frames in fewer, longer rows."""
    rows = {}
    for length in _LENGTHS:
        sizes = {**_SCAN, "batch": _FRAMES // length, "time": length}
        work = _scan_work("selective_scan", sizes)
        frames = sizes["batch"] * length
        seconds = cpu_seconds({"": work}, rounds=3)[""]
        peak = peak_bytes_apart(_scan_work, "selective_scan", sizes)
        rows[f"{sizes['batch']} × {length} frames"] = {
            "CPU µs per frame": 1e6 * seconds / frames,
            "peak kiB per frame": peak / 2**10 / frames,
        }
    return _report("Selective scan by length, 512 channels, 16 states", rows)


# -- Attention -------------------------------------------------------------------------------------


_FORMS: Mapping[str, Mapping[str, Any]] = {
    "blocks": {},
    "masked": {"chunk": _ATTENTION["time"]},
    "chunked": {"chunk": 32},
    "memory efficient": {"key_block": 32},
}
"""Arguments of the layer: the default, all frames with all, `--chunked-attention`,
`--memory-efficient-attention`."""
_PROJECTIONS = "projections alone"


def _attention_work(form: str) -> Work:
    batch, frames, width, heads, window = _ATTENTION.values()
    x = tf.constant(np.random.default_rng(0).standard_normal((batch, frames, width)), tf.float32)
    is_resetting = tf.zeros((batch, frames), tf.bool)
    options = _FORMS.get(form, {})
    attention = SlidingWindowAttention(width, num_heads=heads, window=window, **options)
    attention.build((None, width))

    def unroll(x: Any) -> Any:
        view = unroll_window(tf.zeros(batch, tf.int32), is_resetting, window)
        return attention.unroll(x, attention.initial_cache(batch), view)[0]

    def projections(x: Any) -> Any:
        return attention.out(tf.add_n(tf.split(attention.qkv(x), 3, axis=-1)))

    return _pass(projections if form == _PROJECTIONS else unroll, [x])


def attention_report() -> Report:
    """Blocks of a window beside one product of all frames with all, most of it masked."""
    forms = (*_FORMS, _PROJECTIONS)
    seconds = cpu_seconds({form: _attention_work(form) for form in forms})
    peaks = {form: peak_bytes_apart(_attention_work, form) for form in forms}
    base = seconds[_PROJECTIONS]
    rows = {
        form: {
            "CPU ms": 1e3 * seconds[form],
            "times the first": seconds[form] / seconds["blocks"],
            "without projections, ms": 1e3 * (seconds[form] - base),
            "times the first's": (seconds[form] - base) / (seconds["blocks"] - base),
            "peak MiB": peaks[form] / 2**20,
        }
        for form in forms
    }
    return _report("Attention, " + _words(_ATTENTION), rows)


# -- Gradient checkpointing ------------------------------------------------------------------------


def checkpoint_report(backbones: Sequence[str]) -> Report:
    """Each backbone with and without gradient checkpointing."""
    rows = {name: _checkpointed(name) for name in backbones}
    return _report("Gradient checkpointing, " + _words(_CHECKPOINTED), rows)


def truncation_report(backbones: Sequence[str]) -> Report:
    """Each backbone with memory, with gradients through whole unrolls and through pieces."""
    rows = {name: _truncated(name) for name in backbones if BACKBONES[name].has_memory}
    words = f"{_words(_CHECKPOINTED)}, pieces of {_TRUNCATED} frames"
    return _report("Truncated backpropagation, " + words, rows)


def _truncated(name: str) -> dict[str, float]:
    lengths = {"whole": None, "pieces": _TRUNCATED}
    works = {form: _backbone_work(name, False, n) for form, n in lengths.items()}
    seconds = cpu_seconds(works, rounds=1)
    whole, pieces = (peak_bytes_apart(_backbone_work, name, False, n) for n in lengths.values())
    return {
        "whole, MiB": whole / 2**20,
        "pieces, MiB": pieces / 2**20,
        "memory": pieces / whole,
        "time": seconds["pieces"] / seconds["whole"],
    }


def _backbone_work(name: str, is_checkpointed: bool, truncate_bptt: int | None = None) -> Work:
    batch, frames, width, layers = _CHECKPOINTED.values()
    sizes: dict[str, Any] = {"hidden": (width,) * layers}
    if BACKBONES[name].has_memory:
        sizes = {"hidden": (width,), "num_layers": layers, "truncate_bptt": truncate_bptt}
    layer = backbone_config(name, gradient_checkpoint=is_checkpointed, **sizes).layer()
    layer.build((None, None, width))
    x = tf.constant(np.random.default_rng(0).standard_normal((batch, frames, width)), tf.float32)
    is_resetting = tf.zeros((batch, frames), tf.bool)
    start = layer.initial_state
    return _pass(lambda x: layer.unroll(x, start(batch), is_resetting, training=True)[0], [x])


def _checkpointed(name: str) -> dict[str, float]:
    works = {form: _backbone_work(name, form == "again") for form in ("kept", "again")}
    seconds = cpu_seconds(works, rounds=1)
    kept, again = (peak_bytes_apart(_backbone_work, name, form) for form in (False, True))
    return {
        "kept, MiB": kept / 2**20,
        "computed again, MiB": again / 2**20,
        "memory": again / kept,
        "time": seconds["again"] / seconds["kept"],
    }


def _words(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {size}" for name, size in sizes.items())


def _report(title: str, rows: dict[str, dict[str, float]]) -> Report:
    columns = tuple(dict.fromkeys(name for row in rows.values() for name in row))
    return Report(title, columns, rows, ("Forward and backward pass, processor time.",))
