"""How long a frame takes: raw columns in, controller out, forms against each other.

Forms take turns, a round each, so that whatever else the machine does hits all alike; compare rows
of one run only. A figure of the whole frame has everything in it that play pays: writing columns
into buffers, drawing uniforms, the call, memory and previous action fed back. The call alone is
timed beside it, and the processor time of the calling thread, which a busy machine changes less.
Frames are consecutive frames of real games, never noise, which would take other branches.
Each is written just before its call into the arrays that are passed, as an agent would.

`cold` reads more memory than the caches hold before that, which is more than 16 ms of an emulator
would. `paced` sleeps until the next of 60 frames a second, as play does: whatever else the machine
runs has the caches meanwhile, and a process that slept gets its core at once.
"""

import contextlib
import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from exphil_tf.benchmarking import host
from exphil_tf.benchmarking.timing import Clock
from exphil_tf.evaluation.episodes import Perspective
from exphil_tf.inference.bundle import Bundle
from exphil_tf.inference.stepper import Stepper

ROUNDS = 10
LEAST_CALLS = 500
"""Calls of a cell however large its batch is."""
WARM_CALLS = 50
"""Calls before each cell's first round that do not count."""
_KEPT_ROWS = 4096
"""Rows of frames that are held ready at a time, over all batches."""


Between = Literal["nothing", "cold", "paced"]
"""What happens between two calls."""
FRAMES_PER_SECOND = 60


class Cell(NamedTuple):
    """What is timed: a form under some circumstances."""

    form: str
    threads: int
    batch_size: int


@dataclass(frozen=True)
class Timing:
    """Microseconds of the calls of a cell."""

    calls: int
    p50: float
    p99: float
    max: float
    cpu_p99: float
    """Of processor time, which leaves out the time that other processes took."""
    round_p50s: tuple[float, ...]
    """Median of each round; rounds of one number ran side by side."""
    ort_p50: float
    """The call of ONNX Runtime alone."""
    preemptions: int
    """How often the process lost its core meanwhile."""

    @property
    def best_p50(self) -> float:
        """Median of the fastest round: what an idle machine would show."""
        return min(self.round_p50s)

    @property
    def packing(self) -> float:
        """What numpy adds: columns into buffers, uniforms, the finite check."""
        return self.p50 - self.ort_p50

    def times(self, other: "Timing") -> float:
        """How many times as long as `other`: the median over rounds that ran side by side."""
        return float(np.median(np.divide(self.round_p50s, other.round_p50s)))


Frame = Mapping[str, np.ndarray]


def frames_of(perspectives: Sequence[Perspective], batch_size: int) -> list[dict[str, np.ndarray]]:
    """Consecutive frames for `batch_size` rows, each row at another place of the games.

    Raises: ValueError: if there is no frame.
    """
    columns = {
        name: np.concatenate([one.columns[name] for one in perspectives])
        for name in perspectives[0].columns
    }
    total = len(columns["frame"])
    if not total:
        raise ValueError("latency: want at least one frame. Received: none")
    count = min(total, max(32, _KEPT_ROWS // batch_size))
    offsets = np.arange(batch_size) * max(1, total // batch_size)
    places = (np.arange(count)[:, None] + offsets) % total
    taken = {name: column[places] for name, column in columns.items()}
    return [{name: column[index] for name, column in taken.items()} for index in range(count)]


def measure(
    bundles: Mapping[str, Bundle],
    perspectives: Sequence[Perspective],
    *,
    threads: Sequence[int] = (1,),
    batch_sizes: Sequence[int] = (1,),
    num_frames: int = 10_000,
    between: Between = "nothing",
    on_cell: Callable[[Cell], None] = lambda _: None,
) -> dict[Cell, Timing]:
    """Times all forms.

    Args:
      bundles: form → its opened bundle; one with a fixed batch is timed at that batch only.
      perspectives: games to play.
      threads: of a call.
      batch_sizes: rows of a call.
      num_frames: calls per cell at batch 1; larger batches make fewer calls, `LEAST_CALLS` at
        least.
      between: what happens before each call: `cold` empties the caches, `paced` awaits the next
        frame.
      on_cell: told each cell before it is timed first.
    """
    found: dict[Cell, Timing] = {}
    pause = {"nothing": lambda: None, "cold": _evictor, "paced": pacer}[between]()
    for batch_size in batch_sizes:
        frames = frames_of(perspectives, batch_size)
        calls = max(min(num_frames, LEAST_CALLS), num_frames // batch_size)
        for count in threads:
            cells = {
                Cell(form, count, batch_size): Stepper(bundle, batch_size=batch_size, threads=count)
                for form, bundle in bundles.items()
                if bundle.config.batch_size in (None, batch_size)
            }
            for cell in cells:
                on_cell(cell)
            found |= _rounds(cells, frames, calls=calls, pause=pause)
    return found


class Clocks(NamedTuple):
    """Nanoseconds since some moment."""

    wall: Callable[[], int] = time.perf_counter_ns
    cpu: Callable[[], int] = time.thread_time_ns
    """Of the calling thread."""


_CLOCKS = Clocks()


class Calls(NamedTuple):
    """Microseconds of some calls, float64 `[calls]`."""

    wall: np.ndarray
    cpu: np.ndarray
    """Of the calling thread."""


@dataclass
class Rounds:
    """What was measured of a cell so far, µs."""

    whole: list[Calls]
    ort: list[np.ndarray]
    preemptions: int = 0

    def result(self) -> Timing:
        """Figures over all rounds."""
        every = np.concatenate([one.wall for one in self.whole])
        cpu = np.concatenate([one.cpu for one in self.whole])
        return Timing(
            calls=len(every),
            p50=float(np.median(every)),
            p99=float(np.percentile(every, 99)),
            max=float(every.max()),
            cpu_p99=float(np.percentile(cpu, 99)),
            round_p50s=tuple(float(np.median(one.wall)) for one in self.whole),
            ort_p50=float(np.median(np.concatenate(self.ort))),
            preemptions=self.preemptions,
        )


def _rounds(
    cells: Mapping[Cell, Stepper],
    frames: Sequence[Frame],
    *,
    calls: int,
    pause: Callable[[], None] | None,
) -> dict[Cell, Timing]:
    """Times cells in turns."""
    rounds = {cell: Rounds([], []) for cell in cells}
    live = {name: column.copy() for name, column in frames[0].items()}

    def appear(index: int) -> None:
        """The next frame stands in `live`."""
        if pause is not None:
            pause()
        for name, column in frames[index % len(frames)].items():
            live[name][...] = column

    for stepper in cells.values():
        for _ in range(WARM_CALLS):
            stepper.step(live)
    for share in np.array_split(np.arange(calls), min(ROUNDS, calls)):
        for cell, stepper in cells.items():
            before = host.preemptions()
            with _without_collection():
                whole = time_calls(lambda s=stepper: s.step(live), share, prepare=appear)
                rounds[cell].whole.append(whole)
                rounds[cell].preemptions += host.preemptions() - before
                alone = time_calls(stepper.advance, share[::2], prepare=appear)
                rounds[cell].ort.append(alone.wall)
    return {cell: one.result() for cell, one in rounds.items()}


def time_calls(
    call: Callable[[], object],
    indices: Sequence[int] | np.ndarray,
    *,
    prepare: Callable[[int], None] = lambda _: None,
    clocks: Clocks = _CLOCKS,
) -> Calls:
    """Times a call per index; `prepare(index)` comes before it and is not timed."""
    wall, cpu = np.empty(len(indices)), np.empty(len(indices))
    clock, cpu_clock = clocks
    for place, index in enumerate(indices):
        prepare(int(index))
        cpu_began, began = cpu_clock(), clock()
        call()
        ended, cpu_ended = clock(), cpu_clock()
        wall[place], cpu[place] = ended - began, cpu_ended - cpu_began
    return Calls(wall / 1e3, cpu / 1e3)


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """Python's garbage collector paused, as an agent that cares collects between frames."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _evictor() -> Callable[[], None]:
    """Reads twice what the largest cache holds."""
    filler = np.ones(2 * host.last_cache_bytes(), np.uint8)
    return lambda: np.maximum.reduce(filler)


def pacer(
    *, clock: Clock = time.perf_counter, sleep: Callable[[float], None] = time.sleep
) -> Callable[[], None]:
    """Sleeps until the next of `FRAMES_PER_SECOND` frames begins, as play does."""
    start, interval = clock(), 1 / FRAMES_PER_SECOND

    def pause() -> None:
        sleep(interval - (clock() - start) % interval)

    return pause
