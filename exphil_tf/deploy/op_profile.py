"""Where a frame's time goes: ONNX Runtime's own profile, by kind of operation.

The profiler notes whole microseconds and takes time itself, so the figures say which operations
matter, not how long a frame takes.
"""

import json
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from exphil_tf.inference.session import MODEL, open_session
from exphil_tf.inference.stepper import Bundle, Stepper

_KERNEL = "_kernel_time"


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


class _Profiled:
    """A bundle with a session that writes a profile."""

    def __init__(self, bundle: Bundle, *, batch_size: int, prefix: Path):
        self.config = bundle.config
        self.folder = bundle.folder
        self._opened = open_session(bundle.folder / MODEL, batch_size=batch_size, profile=prefix)

    def session(self, *, threads: int = 1, batch_size: int | None = None) -> ort.InferenceSession:
        """The one session, of one thread."""
        del threads, batch_size
        return self._opened

    def finish(self) -> list[Any]:
        """Ends the profile; its events."""
        return json.loads(Path(self._opened.end_profiling()).read_text(encoding="utf-8"))


def profile(
    bundle: Bundle, frames: Sequence[Mapping[str, np.ndarray]], *, calls: int = 1000
) -> tuple[OpTime, ...]:
    """Plays some frames with the profiler on; the costliest kind of operation comes first.

    Args:
      bundle: an opened bundle.
      frames: of one batch size, played over again if there are fewer than `calls`.
      calls: frames to play.
    """
    batch_size = len(frames[0]["frame"])
    with tempfile.TemporaryDirectory(prefix="exphil-profile-") as folder:
        profiled = _Profiled(bundle, batch_size=batch_size, prefix=Path(folder) / "ops")
        stepper = Stepper(profiled, batch_size=batch_size)
        for index in range(calls):
            stepper.step(frames[index % len(frames)])
        events = profiled.finish()
    return summarise(events, calls=calls)


def summarise(events: Sequence[Mapping[str, Any]], *, calls: int) -> tuple[OpTime, ...]:
    """Sums a profile's kernel events by kind of operation.

    Args:
      events: as ONNX Runtime writes them: `cat`, `name`, `dur` in µs, `args.op_name`.
      calls: frames that they are of.
    """
    time: Counter[str] = Counter()
    count: Counter[str] = Counter()
    for event in events:
        if event.get("cat") == "Node" and str(event.get("name", "")).endswith(_KERNEL):
            op = event["args"]["op_name"]
            time[op] += event["dur"]
            count[op] += 1
    total = sum(time.values()) or 1
    return tuple(
        OpTime(op, count[op] / calls, us / calls, us / total) for op, us in time.most_common()
    )
