"""The figure of a learning rate sweep, as SVG."""

import io

from matplotlib.figure import Figure

from exphil_tf.training.lr_finder import Suggestion, Sweep


def draw(found: Sweep, suggestion: Suggestion) -> bytes:
    """The losses over the learning rates, with what is suggested."""
    figure = Figure(figsize=(8.0, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(found.rates, found.losses, color="0.8", linewidth=1, label="loss")
    axes.plot(found.rates, found.smoothed, color="tab:blue", linewidth=2, label="smoothed")
    for name, rate, style in (
        ("suggested", suggestion.lr, "-"),
        ("steepest", suggestion.steepest, ":"),
        ("lowest", suggestion.lowest, "--"),
    ):
        label = f"{name}: {rate:.2g}"
        axes.axvline(rate, color="tab:orange", linewidth=1.2, linestyle=style, label=label)
    low, high = min(found.smoothed), max(found.smoothed)
    axes.set(
        xscale="log",
        xlabel="learning rate",
        ylabel="loss per frame, nats",
        ylim=(low - 0.1 * (high - low), high + 0.1 * (high - low)),
    )
    axes.grid(linewidth=0.5, color="0.9")
    axes.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()
