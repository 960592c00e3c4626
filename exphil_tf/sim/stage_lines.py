"""The six stages as lines to stand on, ledges and blast zones, in arrays that rules index.

Edges and platforms are libmelee's (`melee.stages`, read at run time through the test that holds
`exphil_tf.melee.stages` to it); slopes, seams and the ids that replays give to lines are read off
recorded games, where feet stand 0.0001 above a line. Moving parts: Fountain of Dreams' platforms,
Randall, and Pokémon Stadium's forms, whose lines follow those of the first (`stadium_lines`).
"""

from __future__ import annotations

import functools
import itertools
from typing import NamedTuple

import numpy as np

from exphil_tf.melee import stages
from exphil_tf.melee.enums import Stage
from exphil_tf.sim import stadium_lines

GAP = 1e-4
"""Feet above a line."""
STAGES: tuple[Stage, ...] = tuple(Stage)
"""Stages by row of the tables."""
LINE = np.dtype(
    [
        ("x0", "f8"), ("y0", "f8"), ("x1", "f8"), ("y1", "f8"),
        ("left", "i4"), ("right", "i4"),  # rows of the lines it joins, -1 for an edge
        ("soft", "i4"),  # can be dropped through
        ("moving", "i4"),  # 1, 2: left and right platform of Fountain of Dreams; 3: Randall;
        # 4: of one of Pokémon Stadium's forms
        ("form", "i4"),  # which: see exphil_tf.sim.stadium_lines
        ("id", "i4"),  # in replays
    ],
    align=True,
)  # fmt: skip
OF_A_FORM = 4
"""`moving` of a line that is not always there."""
MAX_LINES = 71
NO_LINE = -1
FORM_SIDE = np.dtype(
    [
        ("x0", "f8"), ("y0", "f8"), ("x1", "f8"), ("y1", "f8"),
        ("out", "f8"),  # 1: bodies are to the right of it; -1: to the left
        ("form", "i4"),  # 0: of the outer ground, there while the first form's is not
    ],
    align=True,
)  # fmt: skip
"""A part of a side of Pokémon Stadium's other forms."""
MAX_CORNERS = 9
"""Of a stage's side."""
STAGE = np.dtype(
    [
        ("edge", "f8"), ("ledge_y", "f8"), ("ledge_x", "f8"),
        ("left", "f8"), ("right", "f8"), ("top", "f8"), ("bottom", "f8"),
        ("lines", "i4"), ("all_lines", "i4"),  # at first; with those of all forms
        ("side", "f8", (MAX_CORNERS, 2)),
        ("start_x", "f8", (2,)), ("start_y", "f8", (2,)),
        ("halo_x", "f8", (2,)), ("halo_y", "f8"), ("halo_speed", "f8"),
    ],
    align=True,
)  # fmt: skip


class _Ground(NamedTuple):
    """A stage's ground from left to right, and its platforms, each with its id in replays."""

    points: tuple[tuple[float, float], ...]
    ids: tuple[int, ...]
    platforms: tuple[tuple[int, float, float, float, int], ...] = ()
    """Id, left, right, height, moving."""


_E = {stage: geometry.edge for stage, geometry in stages.GEOMETRY.items()}
_F, _B, _D, _Y, _P, _O = (
    Stage.FINAL_DESTINATION, Stage.BATTLEFIELD, Stage.DREAMLAND, Stage.YOSHIS_STORY,
    Stage.POKEMON_STADIUM, Stage.FOUNTAIN_OF_DREAMS,
)  # fmt: skip
_DL, _FOD, _RISE = 0.0088, 0.00278, 0.62378
_GROUNDS: dict[Stage, _Ground] = {
    _F: _Ground(((-_E[_F], 0), (-75, 0), (75, 0), (_E[_F], 0)), (0, 1, 2)),
    _B: _Ground(
        ((-_E[_B], 0), (-60, 0), (60, 0), (_E[_B], 0)), (0, 1, 5),
        ((2, -57.6, -20, 27.2, 0), (4, 20, 57.6, 27.2, 0), (3, -18.8, 18.8, 54.4, 0)),
    ),
    _D: _Ground(
        ((-_E[_D], _DL), (-67.613, _DL), (67.613, _DL), (_E[_D], _DL)), (3, 4, 5),
        ((0, -61.3929, -31.7254, 30.1421, 0), (1, 31.7036, 63.0745, 30.2425, 0),
         (2, -19.0181, 19.0171, 51.4253, 0)),
    ),
    _Y: _Ground(
        ((-_E[_Y], -3.5), (-39.2, 0), (39.2, 0), (_E[_Y], -3.5)), (2, 3, 6),
        ((1, -59.5, -28, 23.45, 0), (5, 28, 59.5, 23.45, 0), (4, -15.75, 15.75, 42, 0),
         (0, -5.95, 5.95, 0, 3)),
    ),
    _P: _Ground(
        ((-_E[_P], 0), (-72.5, 0), (-70, 0), (70, 0), (72.25, 0), (_E[_P], 0)),
        (51, 52, 34, 53, 54), ((35, -55, -25, 25, 4), (36, 25, 55, 25, 4)),
    ),
    _O: _Ground(
        ((-_E[_O], _RISE), (-53.5845, _RISE), (-51.2615, _FOD), (51.2615, _FOD),
         (53.5845, _RISE), (_E[_O], _RISE)), (3, 4, 5, 6, 7),
        ((0, -49.5, -21, 20, 1), (1, 21, 49.5, 28, 2), (2, -14.25, 14.25, 42.75, 0)),
    ),
}  # fmt: skip
_LEDGE_X = {_B: 71.30785, _F: 88.47355, _D: 80.17915, _O: 66.2554, _P: 90.65785, _Y: 58.90785}
"""|x| of who hangs on a ledge (libmelee `EDGE_POSITION`)."""
_SIDES: dict[Stage, tuple[tuple[float, float], ...]] = {
    _F: (
        (_E[_F], 0),
        (85.5657, -10.5),
        (65.7993, -20.4538),
        (65.8374, -31.3443),
        (61.4195, -47.3663),
        (53.7736, -54.2584),
        (47.456, -55.3882),
        (0, -55.4),
    ),
    _B: (
        (_E[_B], 0),
        (64.98, -6),
        (35.6, -18),
        (38, -21.2),
        (32.8, -24.8),
        (30.4, -28.8),
        (29.2, -34.8),
        (10.4, -40),
    ),
    _D: ((_E[_D], _DL), (76.3389, -11.0417), (65.7626, -35.7562), (0, -35.76)),
    _Y: (
        (_E[_Y], -3.5),
        (56, -6.65),
        (54.95, -7.7),
        (53.725, -10.5),
        (52.675, -12.25),
        (52.675, -26.95),
        (53.725, -28),
        (52.675, -46.2),
        (53.725, -136.5),
    ),
    _P: (
        (_E[_P], 0),
        (87.75, -4),
        (73.75, -15),
        (73.75, -17.5),
        (60, -17.51),
        (60, -38),
        (15, -60),
        (15, -135),
    ),
    _O: (
        (_E[_O], _RISE),
        (63.2594, -4.3963),
        (54.9274, -26.1178),
        (47.6036, -37.4821),
        (30.5579, -45.1609),
        (12.9621, -54.2805),
        (8.6837, -71.83),
        (8.4404, -247.4),
    ),
}
"""Corners of the right side from the ledge down; the left one is taken for its mirror image.
Published (blasphemetheus/exphil, read off the game's files); recorded contacts lie along them."""
_STARTS = {
    _F: ((-60, 60), (0, 0)), _B: ((-38.8, 38.8), (27.2, 27.2)),
    _D: ((-46.6, 47.4), (30.1422, 30.2426)), _Y: ((-42, 42), (23.45, 23.45)),
    _P: ((-40, 40), (25, 25)), _O: ((-41.25, 41.25), (16.125, 22.125)),
}  # fmt: skip
"""Where players stand when they may act first, as recorded."""
_HALOS = {
    _F: ((16, -50), 45, 1.15), _B: ((12.8, -40), 80, 0.93333), _D: ((0, 0), 84.2215, 1.76298),
    _Y: ((0, 0), 52.5, 1.09667), _P: ((0, 0), 60, 1.0), _O: ((0, 0), 63.75, 0.8125),
}  # fmt: skip
"""Where the halo waits for each, and how fast it comes down, as recorded."""


@functools.cache
def line_table() -> np.ndarray:
    """`LINE` `[stages, MAX_LINES]`."""
    table = np.zeros((len(STAGES), MAX_LINES), LINE)
    table["left"] = table["right"] = table["id"] = NO_LINE
    for row, stage in enumerate(STAGES):
        ground = _GROUNDS[stage]
        last = len(ground.ids) - 1
        for at, line_id in enumerate(ground.ids):
            ends = (*ground.points[at], *ground.points[at + 1])
            joins = (at - 1, at + 1 if at < last else NO_LINE)
            moving = OF_A_FORM if line_id == _FIRST_GROUND else 0
            table[row, at] = (*ends, *joins, 0, moving, stadium_lines.FIRST, line_id)
        for at, (line_id, left, right, height, moving) in enumerate(ground.platforms, last + 1):
            ends = (left, height, right, height)
            table[row, at] = (*ends, NO_LINE, NO_LINE, 1, moving, stadium_lines.FIRST, line_id)
        if stage == Stage.POKEMON_STADIUM:
            _put_forms(table[row], last + 1 + len(ground.platforms))
    table.setflags(write=False)
    return table


_FIRST_GROUND = 34
_JOINED = 0.01
"""Game units within which a form's ground goes on from the outer one."""


def _put_forms(table: np.ndarray, at: int) -> None:
    """Writes the lines of Pokémon Stadium's other forms, from a row on."""
    outer = {(line["x1"], 1): row for row, line in enumerate(table[:at]) if line["id"] == 52}
    outer |= {(line["x0"], 0): row for row, line in enumerate(table[:at]) if line["id"] == 53}
    for form, chains in stadium_lines.FORMS.items():
        for ids, corners, soft in chains:
            for step, line_id in enumerate(ids):
                joins = at - 1 if step else NO_LINE, at + 1 if step < len(ids) - 1 else NO_LINE
                line = (*corners[step], *corners[step + 1], *joins)
                table[at] = (*line, line_id in soft, OF_A_FORM, form, line_id)
                at += 1
            for (x, side), row in outer.items():
                end = table[at - len(ids)] if side else table[at - 1]
                near = abs(end["x0" if side else "x1"] - x) < _JOINED
                if near:
                    end["left" if side else "right"] = row


@functools.cache
def stage_table() -> np.ndarray:
    """`STAGE` `[stages]`."""
    table = np.zeros(len(STAGES), STAGE)
    for row, stage in enumerate(STAGES):
        zones, ground = stages.GEOMETRY[stage], _GROUNDS[stage]
        count = len(ground.ids) + len(ground.platforms)
        whole = MAX_LINES if stage == Stage.POKEMON_STADIUM else count
        table[row] = (
            zones.edge, ground.points[0][1], _LEDGE_X[stage],
            zones.left, zones.right, zones.top, zones.bottom, count, whole, _side(stage),
            *_STARTS[stage], *_HALOS[stage],
        )  # fmt: skip
    table.setflags(write=False)
    return table


@functools.cache
def side_table() -> np.ndarray:
    """`FORM_SIDE` `[sides]` of Pokémon Stadium's forms."""
    whole = {stadium_lines.FIRST: stadium_lines.PIT_SIDES} | stadium_lines.SIDES
    rows = [
        (*first, *second, 1 if first[1] > second[1] else -1, form)
        for form, sides in whole.items()
        for corners in sides
        for first, second in itertools.pairwise(corners)
    ]
    table = np.array(rows, FORM_SIDE)
    table.setflags(write=False)
    return table


def _side(stage: Stage) -> np.ndarray:
    """Its corners; the last one again where there are fewer than a side may have."""
    corners = _SIDES[stage]
    return np.array([*corners, *[corners[-1]] * (MAX_CORNERS - len(corners))])


@functools.cache
def randall_table() -> np.ndarray:
    """float64 `[1200, 2]`: Randall's centre x and height by frame of his loop."""
    return np.stack(stages.randall(np.arange(stages.RANDALL_PERIOD_FRAMES)), 1).astype(np.float64)
