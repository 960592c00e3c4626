"""The report's figures as SVG text that takes its colours from the page around it.

Figures are drawn with stand-in colours, which are then replaced by CSS variables, so one figure
suits a light and a dark page. Text stays text. Nothing refers to anything outside: heat maps are
embedded images, XML headers and namespaces are dropped, and identifiers are prefixed per figure.
The drawing is deterministic, so equal results give equal bytes.

plotly was dropped: its script adds megabytes to every page.
"""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from exphil_tf.evaluation.results import (
    COMPONENT_TITLES,
    Curve,
    Evaluation,
    Measured,
    PolicyMetrics,
    WinForecast,
    WinMetrics,
)
from exphil_tf.features.controller import AXES, COMPONENTS
from exphil_tf.melee.enums import BUTTONS

# Stand-in colour -> CSS variable of the page.
INK, MUTED, GRID, POLICY, HUMAN, OTHER, PAPER = (f"#0000{n:02x}" for n in range(1, 8))
_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--grid",
    POLICY: "--policy",
    HUMAN: "--human",
    OTHER: "--other",
    PAPER: "--paper",
}
# Hues of heat maps, as they have to be pixels: legible on white and on near-black.
_HUMAN_HUE, _POLICY_HUE = (0.88, 0.45, 0.13), (0.15, 0.50, 0.85)
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "exphil",
    "font.size": 9,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "grid.color": GRID,
    "legend.frameon": False,
}


def nll_bars(evaluation: Evaluation) -> str:
    """NLL of the whole action and of each component: policy against baselines."""
    names = ["policy", *sorted(evaluation.baselines, key=evaluation.nll)]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 4.6), layout="constrained")
        grid = figure.add_gridspec(3, 3)
        panels: list[tuple[str | None, Axes]] = [(None, figure.add_subplot(grid[0, :]))]
        for index, component in enumerate(COMPONENTS):
            panels.append((component, figure.add_subplot(grid[1 + index // 3, index % 3])))
        for component, axes in panels:
            _bars(axes, names, [evaluation.nll(name, component) for name in names])
            axes.set_title(COMPONENT_TITLES[component] if component else "Whole action")
            gain = evaluation.gain(component)
            verdict = evaluation.versus(component)
            axes.set_title(verdict, loc="right", fontsize=8, fontweight="normal",
                           color=MUTED if gain > 0 else HUMAN)  # fmt: skip
        return svg_text(
            figure, "nll", "Negative log-likelihood of policy and baselines, per component"
        )


def _bars(axes: Axes, names: Sequence[str], values: Sequence[float]) -> None:
    """Horizontal bars with their values at the end, best possible (0) on the left."""
    colours = [POLICY if name == "policy" else OTHER for name in names]
    axes.barh(range(len(names)), values, color=colours, height=0.7)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlim(0, max(values) * 1.18 or 1)
    axes.tick_params(length=0)
    axes.set_xticks([])
    axes.spines[["bottom", "left"]].set_visible(False)
    for row, value in enumerate(values):
        axes.annotate(f"{value:.3f}", (value, row), xytext=(3, 0), textcoords="offset points",
                      va="center", color=INK, fontsize=8)  # fmt: skip


def calibration(metrics: PolicyMetrics) -> str:
    """Reliability of each component: how often predictions of a confidence come true."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 2.3), layout="constrained")
        for axes, component in zip(figure.subplots(1, 6, sharey=True), COMPONENTS, strict=True):
            curve = metrics.components[component].calibration
            filled = [i for i, weight in enumerate(curve.weight) if weight > 0]
            x, y = ([values[i] for i in filled] for values in (curve.confidence, curve.accuracy))
            share = np.array(curve.weight)[filled] / sum(curve.weight)
            axes.plot([0, 1], [0, 1], color=GRID, linewidth=1)
            axes.plot(x, y, color=POLICY, linewidth=1.2)
            axes.scatter(
                x, y, s=8 + 120 * share, color=POLICY, linewidths=0, zorder=3, clip_on=False
            )
            axes.set(xlim=(0, 1), ylim=(0, 1.02), title=COMPONENT_TITLES[component], aspect="equal")
            axes.set_xticks([0, 0.5, 1], ["0", ".5", "1"])
            axes.set_yticks([0, 0.5, 1], ["0", ".5", "1"])
            axes.set_xlabel(f"ECE {100 * metrics.components[component].ece:.1f} %")
        figure.supxlabel("confidence", color=MUTED, fontsize=9)
        figure.supylabel("came true", color=MUTED, fontsize=9)
        return svg_text(figure, "calibration", "Calibration curve of each component")


def win_reliability(win: WinMetrics) -> str:
    """How often games were won by how probable that was said to be, with the bootstrap's spread."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 3.4), layout="constrained")
        shown = {"Policy": win.policy, "Lead": win.lead, "By turns": win.by_turns}
        drawn = {title: found for title, found in shown.items() if found is not None}
        panels = figure.subplots(1, len(drawn), sharey=True)
        for axes, (title, found) in zip(panels, drawn.items(), strict=True):
            _win_panel(axes, found)
            axes.set_title(f"{title}, {found.games:,} games")
            axes.set_xlabel(f"probability of winning · ECE {100 * found.ece.value:.1f} %")
        panels[0].set_ylabel("share won")
        return svg_text(figure, "win", "Reliability of the win probability")


def _win_panel(axes: Axes, found: WinForecast) -> None:
    curve, total = found.calibration, sum(found.calibration.weight)
    axes.plot([0, 1], [0, 1], color=GRID, linewidth=1)
    bins = zip(curve.confidence, found.came_true, curve.weight, strict=True)
    filled = [(x, share, w) for x, share, w in bins if x is not None and share is not None]
    for x, share, _ in filled:
        axes.plot([x, x], [share.low, share.high], color=OTHER, linewidth=1)
    x, y = [x for x, _, _ in filled], [share.value for _, share, _ in filled]
    sizes = [8 + 300 * weight / total for _, _, weight in filled]
    axes.scatter(x, y, s=sizes, color=POLICY, linewidths=0, zorder=3)
    axes.set(xlim=(0, 1), ylim=(-0.02, 1.02), aspect="equal")
    axes.tick_params(length=0)


_RARE = 1e-4
"""Share of frames below which it makes no difference how rarely a button is held."""


def press_rates(metrics: PolicyMetrics) -> str:
    """Share of frames on which each button is held: human, sampled policy, likeliest choice."""
    buttons = list(metrics.buttons.values())
    rows = {
        "human": ({"facecolors": "none", "edgecolors": HUMAN, "linewidths": 2, "s": 110},
                  [button.rate for button in buttons]),
        "policy, sampled": ({"color": POLICY, "s": 36},
                            [button.predicted_rate for button in buttons]),
        "policy, likeliest choice": ({"color": POLICY, "marker": "|", "s": 80},
                                     [button.likeliest_rate for button in buttons]),
    }  # fmt: skip
    positive = [value for _, values in rows.values() for value in values if value > 0]
    floor = 10 ** np.floor(np.log10(max(min(positive, default=1), _RARE)))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 3.1), layout="constrained")
        axes = figure.subplots()
        for y, button in enumerate(buttons):
            ends = np.maximum([button.rate, button.predicted_rate], floor)
            axes.plot(ends, [y, y], color=GRID, linewidth=3, zorder=1)
        for label, (marker, values) in rows.items():
            y = range(len(BUTTONS))
            axes.scatter(np.maximum(values, floor), y, label=label, zorder=3, **marker)
        _rate_axes(axes, floor)
        return svg_text(figure, "press", "Press rates of human and policy, per button")


def _rate_axes(axes: Axes, floor: float) -> None:
    axes.set_xscale("log")
    axes.set_xlim(floor * 0.85, 1)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_yticks(range(len(BUTTONS)), [name.replace("_", "-") for name in BUTTONS])
    axes.invert_yaxis()
    axes.grid(axis="x", linewidth=0.5)
    axes.tick_params(length=0, which="both")
    axes.set_xlabel("share of frames held; what is rarer, or never held, stands at the left edge")
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)


def sticks(metrics: PolicyMetrics) -> str:
    """Where the sticks are held, human beside policy, on one logarithmic scale of darkness."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 2.75), layout="constrained")
        panels = iter(figure.subplots(1, 4))
        for stick, title in (("main", "Main stick"), ("c", "C-stick")):
            histogram = metrics.sticks[stick]
            for who, hue, values in (
                ("human", _HUMAN_HUE, histogram.human),
                ("policy", _POLICY_HUE, histogram.model),
            ):
                axes = next(panels)
                axes.imshow(_shade(np.array(values).T, hue), origin="lower", extent=(-1, 1, -1, 1))
                axes.set(title=f"{title}, {who}", xticks=[-1, 0, 1], yticks=[-1, 0, 1])
                axes.tick_params(length=0)
        return svg_text(figure, "sticks", "Stick positions of human and policy")


def confusion(metrics: PolicyMetrics) -> str:
    """Mean predicted probability of each bucket (across) by the human's bucket (up)."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 2.75), layout="constrained")
        for axes, axis in zip(figure.subplots(1, 4), AXES, strict=True):
            shade = _shade(np.array(metrics.confusion[axis]), _POLICY_HUE)
            axes.imshow(shade, origin="lower", extent=(-1, 1, -1, 1))
            axes.set(title=COMPONENT_TITLES[axis], xticks=[-1, 0, 1], yticks=[-1, 0, 1])
            axes.set_xlabel("policy")
            axes.tick_params(length=0)
        figure.supylabel("human", color=MUTED, fontsize=9)
        return svg_text(figure, "confusion", "Predicted against human bucket, per stick axis")


def training_curves(curves: dict[str, Curve], level: float, level_name: str) -> str:
    """NLL over training steps, and the best baseline's as a line to get below."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 2.8), layout="constrained")
        axes = figure.subplots()
        for name, curve in curves.items():
            colour, width = (OTHER, 1.0) if name == "train" else (POLICY, 2.0)
            marker = "o" if len(curve.steps) < 30 and name != "train" else ""
            axes.plot(curve.steps, curve.values, color=colour, linewidth=width, label=name,
                      marker=marker, markersize=4)  # fmt: skip
        axes.axhline(level, color=HUMAN, linewidth=1, linestyle="--", label=level_name)
        # The first steps of training would squeeze the rest, so validation sets the scale.
        scale = curves.get("validation") or next(iter(curves.values()))
        highest = max(level, float(np.percentile(scale.values, 95)))
        lowest = min(level, *(min(c.values) for c in curves.values()))
        axes.set_ylim(lowest - 0.05 * (highest - lowest), highest + 0.1 * (highest - lowest))
        axes.set(xlabel="step", ylabel="nats per frame")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(linewidth=0.5)
        axes.tick_params(length=0)
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.legend(loc="upper right")
        return svg_text(figure, "training", "Negative log-likelihood while training")


def component_curves(curves: Mapping[str, Mapping[str, Curve]]) -> str:
    """NLL of each component over training steps; empty if no log told it."""
    shown = {name: found for name, found in curves.items() if found}
    if not shown:
        return ""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 3.6), layout="constrained")
        panels = figure.subplots(2, 3, sharex=True).flat
        for axes, (name, found) in zip(panels, shown.items(), strict=False):
            for kind, curve in found.items():
                colour, width = (OTHER, 0.8) if kind == "train" else (POLICY, 1.8)
                axes.plot(curve.steps, curve.values, color=colour, linewidth=width)
            scale = found.get("validation") or next(iter(found.values()))
            highest = float(np.percentile(scale.values, 95))
            lowest = min(min(curve.values) for curve in found.values())
            spread = max(highest - lowest, 1e-6)
            axes.set_ylim(lowest - 0.05 * spread, highest + 0.2 * spread)
            axes.set_title(COMPONENT_TITLES[name])
            axes.tick_params(length=0)
            axes.grid(linewidth=0.5)
        figure.supxlabel("step", color=MUTED, fontsize=9)
        figure.supylabel("nats per frame", color=MUTED, fontsize=9)
        return svg_text(figure, "parts", "Negative log-likelihood of each component, in training")


def side_by_side_bars(policies: Mapping[str, Measured]) -> str:
    """Nats per frame of several policies, one bar each, made of the components.

    Args:
      policies: by name, the likeliest first; those without parameters are baselines.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 0.9 + 0.36 * len(policies)), layout="constrained")
        axes = figure.subplots()
        for row, found in enumerate(policies.values()):
            colour, start = (POLICY if "parameters" in found.facts else OTHER), 0.0
            for place, component in enumerate(COMPONENTS):
                value = found.metrics.components[component].nll
                axes.barh(row, value, left=start, color=colour, alpha=1 - 0.14 * place, height=0.7)
                start += value
            axes.annotate(f"{start:.3f}", (start, row), xytext=(4, 0), textcoords="offset points",
                          va="center", color=INK, fontsize=8)  # fmt: skip
        axes.set_yticks(range(len(policies)), [_shortened(name) for name in policies])
        axes.invert_yaxis()
        axes.set_xlim(0, max(found.metrics.nll for found in policies.values()) * 1.12)
        axes.tick_params(length=0)
        axes.set_xlabel(
            "nats per frame, from the left: " + ", ".join(COMPONENT_TITLES.values()).lower()
        )
        axes.spines[["bottom", "left"]].set_visible(False)
        return svg_text(figure, "bars", "Nats per frame of each policy, by component")


def axis_use(policies: Mapping[str, Measured]) -> str:
    """How often each bucket of the stick axes is held: the human's filled, policies as lines."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 2.9), layout="constrained")
        panels = figure.subplots(1, len(AXES), sharey=True)
        for axes, axis in zip(panels, AXES, strict=True):
            for place, (name, found) in enumerate(policies.items()):
                use = found.metrics.axis_use[axis]
                x = np.linspace(-1, 1, len(use.human))
                if not place:
                    width = 1.8 / len(x)
                    axes.bar(x, use.human, width=width, color=HUMAN, alpha=0.55, label="human")
                axes.plot(x, use.model, color=(POLICY, INK)[place % 2], linewidth=1.4,
                          label=_shortened(name, 24),
                          linestyle=_DASHES[place % len(_DASHES)])  # fmt: skip
            axes.set_yscale("log")
            axes.set_ylim(1e-5, 1)
            axes.set(title=COMPONENT_TITLES[axis], xticks=[-1, 0, 1])
            axes.tick_params(length=0, which="both")
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=4)
        return svg_text(figure, "axes", "How often human and policies hold each stick position")


_DASHES = ((0, ()), (0, (6, 2)), (0, (2, 1.5)), (0, (6, 2, 1.5, 2)))


def curves_side_by_side(curves: Mapping[str, Mapping[str, Curve]]) -> str:
    """Validation NLL of several runs over their steps, or training's; empty without a log.

    Args:
      curves: by run, then by `train` and `validation`.
    """
    shown = {
        name: found.get("validation") or next(iter(found.values()))
        for name, found in curves.items()
        if found
    }
    if not shown:
        return ""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 3.2), layout="constrained")
        axes = figure.subplots()
        for place, (name, curve) in enumerate(shown.items()):
            axes.plot(curve.steps, curve.values, color=(POLICY, INK)[place % 2], linewidth=1.8,
                      label=_shortened(name),
                      linestyle=_DASHES[place % len(_DASHES)])  # fmt: skip
        lowest = min(min(curve.values) for curve in shown.values())
        # Of each, but for its beginning.
        highest = max(float(np.percentile(curve.values, 75)) for curve in shown.values())
        ends = [max(curve.steps) for curve in shown.values()]
        if max(ends) > _MUCH_LONGER * min(ends):
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
        spread = max(highest - lowest, 1e-6)
        axes.set_ylim(lowest - 0.05 * spread, highest + 0.1 * spread)
        axes.set(xlabel="step", ylabel="nats per frame")
        axes.grid(linewidth=0.5)
        axes.tick_params(length=0, which="both")
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.legend(loc="upper right")
        return svg_text(figure, "curves", "Negative log-likelihood of the runs while training")


_MUCH_LONGER = 5
"""Times as long as another run, beyond which steps are shown by their logarithm."""


def _shortened(name: str, most: int = 40) -> str:
    """A name that leaves room for the figure; its end tells most."""
    return name if len(name) <= most else f"…{name[1 - most :]}"


def _shade(values: np.ndarray, hue: tuple[float, float, float]) -> np.ndarray:
    """RGBA picture of shares: opaque at 1, one step fainter per factor of ten, clear at 1e-4."""
    opacity = np.clip(1 + np.log10(np.maximum(values, 1e-9)) / 4, 0, 1)
    return np.concatenate([np.broadcast_to(hue, (*values.shape, 3)), opacity[..., None]], -1)


def svg_text(figure: Figure, name: str, label: str) -> str:
    """A figure drawn in `STYLE` for a page with the colours of `page_style.css`.

    Args:
      figure: what was drawn.
      name: prefix of its identifiers; another for each figure of a page.
      label: what it shows, for who cannot see it.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
    svg = re.sub(r'id="', f'id="{name}-', svg)
    svg = re.sub(r"url\(#", f"url(#{name}-", svg)
    svg = re.sub(r'xlink:href="#', f'xlink:href="#{name}-', svg)
    svg = re.sub(r"font-family:[^;\"]*", "font-family: inherit", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    return svg.strip()
