"""Where a frame's time goes: ONNX Runtime's own profile, by kind of operation.

The profiler adds two to three microseconds to every operation, and most take less than one. How
much, is measured on a chain of additions of a few numbers, with and without profiler: what one of
them takes without is the price of any operation, and what an operation takes beyond one of them
with profiler is its own work.
"""

import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from exphil_tf.inference.bundle import Bundle
from exphil_tf.inference.session import open_session, session_options
from exphil_tf.inference.stepper import Stepper

_KERNEL = "_kernel_time"
_CHAIN, _CHAIN_WIDTH = 100, 32
CALLS = 300
"""Frames of a profile; ONNX Runtime writes 100 kB for each."""


@dataclass(frozen=True)
class OpTime:
    """One kind of operation in a frame."""

    op: str
    count: float
    """Operations per frame."""
    us: float
    """Microseconds per frame."""
    share: float
    """Of the time of all operations."""


@dataclass(frozen=True)
class NodePrice:
    """What an operation with next to no work takes, µs."""

    plain: float
    """Without profiler."""
    profiled: float
    """As the profiler notes it."""


@dataclass(frozen=True)
class Profile:
    """Where a frame's time goes."""

    ops: tuple[OpTime, ...]
    """The costliest kind of operation first."""
    price_us: float
    """Of any operation, before it does any work."""

    @property
    def operations(self) -> float:
        """Per frame."""
        return sum(op.count for op in self.ops)


def profile(
    bundle: Bundle,
    frames: Sequence[Mapping[str, np.ndarray]],
    *,
    price: NodePrice,
    calls: int = CALLS,
) -> Profile:
    """Plays frames with the profiler on.

    Args:
      bundle: an opened bundle.
      frames: of one batch size, played over again if there are fewer.
      price: from `node_price`.
      calls: frames to play.
    """
    batch_size = len(frames[0]["frame"])
    with tempfile.TemporaryDirectory(prefix="exphil-profile-") as folder:
        options = session_options(batch_size=batch_size, profile=Path(folder) / "ops")
        session = bundle.session(options)
        stepper = Stepper(bundle, batch_size=batch_size, session=session)
        for index in range(calls):
            stepper.step(frames[index % len(frames)])
        events = _events(session)
    return Profile(summarise(events, calls=calls, price=price), price.plain)


def node_price(*, calls: int = CALLS) -> NodePrice:
    """Measures a chain of additions, with and without profiler."""
    short, long = (_call_us(open_session(chain(n)), calls) for n in (_CHAIN, 2 * _CHAIN))
    with tempfile.TemporaryDirectory(prefix="exphil-profile-") as folder:
        session = open_session(chain(_CHAIN), session_options(profile=Path(folder) / "chain"))
        _call_us(session, calls)
        noted = _durations(_events(session)).values()
    return NodePrice(
        plain=max(0.0, (long - short) / _CHAIN),
        profiled=float(np.median([_middle_mean(found) for found in noted])),
    )


def summarise(
    events: Sequence[Mapping[str, Any]], *, calls: int, price: NodePrice
) -> tuple[OpTime, ...]:
    """Sums a profile's kernel events by kind of operation.

    Of each node the mean of the middle half counts: a process that loses its core for a
    millisecond would otherwise show up as a slow addition.

    Args:
      events: as ONNX Runtime writes them: `cat`, `name`, `dur` in µs, `args.op_name`.
      calls: frames that they are of.
      price: of an operation without work.
    """
    sums: defaultdict[str, np.ndarray] = defaultdict(lambda: np.zeros(2))
    for (op, _), found in _durations(events).items():
        count = len(found) / calls
        work = max(_middle_mean(found) - price.profiled, 0.0)
        sums[op] += (count, count * (work + price.plain))
    total = float(sum(us for _, us in sums.values())) or 1.0
    slowest_first = sorted(sums.items(), key=lambda item: -item[1][1])
    return tuple(
        OpTime(op, float(n), float(us), float(us) / total) for op, (n, us) in slowest_first
    )


def _durations(events: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], list[float]]:
    """Microseconds of every run of each node, by its kind and name."""
    found: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for event in events:
        name = str(event.get("name", ""))
        if event.get("cat") == "Node" and name.endswith(_KERNEL):
            found[event["args"]["op_name"], name].append(event["dur"])
    return dict(found)


def _middle_mean(values: Sequence[float]) -> float:
    low, high = len(values) // 4, -(-3 * len(values) // 4)
    return float(np.mean(sorted(values)[low:high]))


def _events(session: ort.InferenceSession) -> list[dict[str, Any]]:
    return json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))


def _call_us(session: ort.InferenceSession, calls: int) -> float:
    """Median microseconds of a call."""
    values = {"x": np.zeros((1, _CHAIN_WIDTH), np.float32)}
    took, clock = np.empty(calls), time.perf_counter_ns
    for index in range(calls):
        began = clock()
        session.run(None, values)
        took[index] = clock() - began
    return float(np.median(took)) / 1e3


def chain(length: int) -> bytes:
    """A graph of additions one after another, each of other numbers, so that none is folded."""
    names = ["x", *(f"x{index}" for index in range(1, length)), "y"]
    nodes = [
        helper.make_node("Add", [names[index], f"c{index}"], [names[index + 1]])
        for index in range(length)
    ]
    constants = [
        numpy_helper.from_array(np.full(_CHAIN_WIDTH, index, np.float32), f"c{index}")
        for index in range(length)
    ]
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, _CHAIN_WIDTH]) for name in "xy"
    )
    graph = helper.make_graph(nodes, "chain", [x], [y], constants)
    opset = helper.make_opsetid("", 18)
    return helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()
