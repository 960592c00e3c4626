"""Figures of a comparison of architectures, drawn as those of an evaluation are."""

from collections.abc import Mapping, Sequence
from typing import Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from exphil_tf.benchmarking.architecture_training import Point
from exphil_tf.evaluation.figures import HUMAN, INK, STYLE, svg_text

_COLOURS = (
    "#1f78d1", "#d9661a", "#2a9d62", "#c2385f", "#8a63d2", "#a07a2c", "#1aa3a3", "#d14fb0",
    "#7a8794", "#5c9c1f", "#b0413e", "#4f6fd1",
)  # fmt: skip
"""Legible on white and on near-black."""
_LABELS = {"cpu_s": "processor seconds of training", "frames": "labelled frames learnt from"}


def curves(
    found: Mapping[str, Sequence[Point]],
    level: tuple[float, str],
    *,
    by: Literal["cpu_s", "frames"],
) -> str:
    """NLL while training, one line an architecture, over time or frames.

    Args:
      found: by name, in the order of the legend.
      level: NLL of the best baseline and its name, a line to get below.
      by: the horizontal axis.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 3.6), layout="constrained")
        axes = figure.subplots()
        for place, (name, points) in enumerate(found.items()):
            x, y = [getattr(point, by) for point in points], [point.nll for point in points]
            axes.plot(
                x, y, color=_colour(place), linewidth=1.6, marker="o", markersize=3, label=name
            )
        axes.axhline(level[0], color=HUMAN, linewidth=1, linestyle="--", label=level[1])
        values = np.array([point.nll for points in found.values() for point in points])
        low, high = min(level[0], values.min()), max(level[0], np.percentile(values, 80))
        axes.set_ylim(low - 0.05 * (high - low), high + 0.15 * (high - low))
        axes.set(xlabel=_LABELS[by], ylabel="nats per frame")
        _finish(axes)
        axes.legend(loc="upper right", ncols=2)
        return svg_text(figure, by, f"Negative log-likelihood over {_LABELS[by]}")


def latency(places: Mapping[str, tuple[float, float]]) -> str:
    """What a frame costs in play against how well it predicts; left and low is best.

    Args:
      places: µs a frame and NLL, by `NAME float` and `NAME INT8`.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 3.6), layout="constrained")
        axes = figure.subplots()
        names = list(dict.fromkeys(label.rpartition(" ")[0] for label in places))
        for label, (us, nll) in places.items():
            name, _, form = label.rpartition(" ")
            marker = "s" if form == "INT8" else "o"
            axes.plot(us, nll, marker, color=_colour(names.index(name)), markersize=6)
            axes.annotate(label, (us, nll), xytext=(6, 3), textcoords="offset points",
                          color=INK, fontsize=8)  # fmt: skip
        axes.set_xscale("log")
        axes.set(xlabel="µs a frame, one row on one thread (median)", ylabel="nats per frame")
        axes.margins(x=0.15, y=0.15)
        _finish(axes)
        return svg_text(figure, "latency", "Latency of a frame against negative log-likelihood")


def _colour(place: int) -> str:
    return _COLOURS[place % len(_COLOURS)]


def _finish(axes: Axes) -> None:
    axes.grid(linewidth=0.5)
    axes.tick_params(length=0)
    axes.spines[["left", "bottom"]].set_visible(False)
