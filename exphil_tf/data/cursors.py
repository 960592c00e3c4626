"""Who walks through which game when.

A *cursor* walks through one view front to back, an unroll a step, and takes the next view where one
ends. Views are dealt in their order, each to the cursor that is free first; so the step is known of
every unroll, and no cursor ever waits. A step makes one batch, or several where cursors take turns
in its rows: batches in a row then hold other games.

At a run's start all cursors would stand at the first frames of games together, and the batches of
the first minutes would hold nothing but openings. So each begins its first view at a random unroll;
what it leaves out is walked through later, as a view of its own.

A *piece* is what one record holds of a cursor's walk. Pieces go on in the order of their first
step, still compressed: those of a window of games, and those of earlier windows whose time had not
come, at most one game for each cursor.
"""

from typing import Any, NamedTuple

import tensorflow as tf

from exphil_tf.data import sampling
from exphil_tf.data.games import Views, Window
from exphil_tf.data.grid import Grid
from exphil_tf.data.sampling import seed_pair


class Piece(NamedTuple):
    """What a record holds of a cursor's walk, int64 `[pieces]`."""

    step: tf.Tensor
    """That of its first unroll."""
    row: tf.Tensor
    """The cursor."""
    unrolls: tf.Tensor
    """How many, in consecutive steps."""
    first: tf.Tensor
    """Row of the record at which the first unroll starts."""
    start: tf.Tensor
    """Row of the game at which the record starts."""
    valid: tf.Tensor
    """Rows of the record, overlap included."""
    sight: tf.Tensor
    noisy: tf.Tensor
    told: tf.Tensor
    delay: tf.Tensor
    name: tf.Tensor
    character: tf.Tensor


class Pieces(NamedTuple):
    """Pieces with their records."""

    records: tf.Tensor
    """string `[pieces]`."""
    columns: tf.Tensor
    """int64 `[pieces, len(Piece)]`."""


class Walk(NamedTuple):
    """Where the cursors stand behind a window."""

    waiting: Pieces
    """Those whose step has not come."""
    free: tf.Tensor
    """int64 `[cursors]`: first step for which one has no view yet."""
    seen: tf.Tensor
    """int64 `[]`: views, or parts of them, dealt since the run's start."""


class _Parts(NamedTuple):
    """Views, or parts of them, int64 `[parts]`."""

    view: tf.Tensor
    low: tf.Tensor
    """First unroll of the view."""
    high: tf.Tensor
    """The one behind the last."""


class Cursors:
    """Deals views to cursors.

    Args:
      grid: how games are cut into unrolls.
      count: cursors.
      seed: of the unrolls at which first views begin.
      staggered: begin first views somewhere; otherwise at their beginning.
    """

    def __init__(self, grid: Grid, *, count: int, seed: int, staggered: bool):
        self._grid, self._count, self._seed = grid, count, seed
        self._staggered = staggered

    def start(self) -> Walk:
        """Before the first window."""
        none = Pieces(tf.zeros([0], tf.string), tf.zeros([0, len(Piece._fields)], tf.int64))
        return Walk(none, tf.zeros([self._count], tf.int64), tf.constant(0, tf.int64))

    def deal_next(self, walk: Walk, window: Window) -> tuple[Walk, Pieces]:
        """Step of a scan: the pieces that are known to come next, in order of their step."""
        views = Views(*tf.unstack(window.views, axis=1))
        parts = self._parts(views, walk.seen)
        free, row, step = _earliest(walk.free, parts.high - parts.low)
        new = self._pieces(window, views, parts, row=row, step=step)
        pieces = Pieces(*(tf.concat(pair, 0) for pair in zip(walk.waiting, new, strict=True)))
        steps = pieces.columns[:, Piece._fields.index("step")]
        # A view that is still to be dealt begins where a cursor is free, never before.
        is_known = window.is_end | (steps < tf.reduce_min(free))
        order = tf.argsort(steps, stable=True)
        known = tf.reduce_sum(tf.cast(is_known, tf.int32))
        now, later = (
            Pieces(*(tf.gather(part, some) for part in pieces))
            for some in (order[:known], order[known:])
        )
        return Walk(later, free, walk.seen + tf.shape(parts.view, tf.int64)[0]), now

    def _parts(self, views: Views, seen: tf.Tensor) -> _Parts:
        """All views; each cursor's first one begins somewhere, its beginning comes last."""
        number = tf.range(tf.shape(views.record, tf.int64)[0])
        if not self._staggered:
            return _Parts(number, tf.zeros_like(number), views.unrolls)
        seed = seed_pair(self._seed, sampling.STAGGER, seen)
        draws = tf.random.stateless_uniform(tf.shape(number), seed, dtype=tf.float64)
        at = tf.cast(draws * tf.cast(views.unrolls, tf.float64), tf.int64)
        at = tf.where(seen + number < self._count, at, 0)
        left = tf.where(at > 0)[:, 0]
        return _Parts(
            tf.concat([number, left], 0),
            tf.concat([at, tf.zeros_like(left)], 0),
            tf.concat([views.unrolls, tf.gather(at, left)], 0),
        )

    def _pieces(
        self, window: Window, views: Views, parts: _Parts, *, row: tf.Tensor, step: tf.Tensor
    ) -> Pieces:
        """What each record holds of the parts."""
        chunk, width = self._grid.chunk, self._grid.chunk + self._grid.overlap
        frames = tf.gather(views.frames, parts.view)
        part, number = spread(-(-frames // chunk))
        view = tf.gather(parts.view, part)
        starts = number * chunk
        low = tf.maximum(self._first_unroll(starts), tf.gather(parts.low, part))
        high = tf.minimum(self._first_unroll(starts + chunk), tf.gather(parts.high, part))
        kept = tf.where(low < high)[:, 0]
        of = Views(*(tf.gather(column, view) for column in views))
        columns = Piece(
            step=tf.gather(step, part) + low - tf.gather(parts.low, part),
            row=tf.gather(row, part),
            unrolls=high - low,
            first=low * self._grid.window - starts,
            start=starts,
            valid=tf.minimum(of.frames - starts, width),
            sight=of.sight,
            noisy=of.noisy,
            told=of.told,
            delay=of.delay,
            name=of.name,
            character=of.character,
        )
        place = tf.gather(tf.stack([of.record + number, of.variant], 1), kept)
        return Pieces(tf.gather_nd(window.records, place), tf.gather(tf.stack(columns, 1), kept))

    def _first_unroll(self, row: Any) -> Any:
        """Number of the first unroll that starts at this row of a game or behind it."""
        return -(-row // self._grid.window)


def _earliest(free: tf.Tensor, lengths: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Deals parts in turn, each to the cursor that is free first.

    Args:
      free: int64 `[cursors]`, first free step of each.
      lengths: int64 `[parts]`, in steps.

    Returns: the new `free`; cursor and first step of each part, int64 `[parts]`.
    """
    count = tf.shape(lengths)[0]

    def deal(number: Any, free: Any, *dealt: Any) -> tuple[Any, ...]:
        rows, steps = dealt
        row = tf.argmin(free)
        step = free[row]
        after = tf.tensor_scatter_nd_add(free, row[None, None], lengths[number][None])
        return number + 1, after, rows.write(number, row), steps.write(number, step)

    arrays = (tf.TensorArray(tf.int64, count, element_shape=[]) for _ in range(2))
    _, free, rows, steps = tf.while_loop(
        lambda number, *_: number < count, deal, (tf.constant(0), free, *arrays)
    )
    return free, rows.stack(), steps.stack()


def spread(counts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """For counts `[2, 1, …]`: which one each element is of `[0, 0, 1, …]`, and its number in it."""
    which = tf.repeat(tf.range(tf.shape(counts, tf.int64)[0]), counts)
    before = tf.gather(tf.cumsum(counts, exclusive=True), which)
    return which, tf.range(tf.shape(which, tf.int64)[0]) - before
