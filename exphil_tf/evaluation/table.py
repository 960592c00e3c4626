"""An evaluation on the terminal: the table of components and the sentences about it."""

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from exphil_tf.evaluation.findings import findings
from exphil_tf.evaluation.results import COMPONENT_TITLES, Evaluation, OwnActions

_MARKS = {"good": "+", "bad": "!", "note": "-"}


def show(console: Console, evaluation: Evaluation) -> None:
    """Prints the table and the findings."""
    run_name, games = (evaluation.provenance[key] for key in ("run", "measured_on"))
    console.print(f"{run_name}: nats per frame on {games}", markup=False)
    console.print(_table(evaluation), "", sep="\n")
    if evaluation.own_actions is not None:
        console.print(_own_actions(evaluation.own_actions), "", sep="\n")
    for finding in findings(evaluation):
        console.print(f" {_MARKS[finding.kind]} {finding.text}", markup=False)
    if evaluation.by_delay:
        console.print("", by_delay(evaluation), sep="\n")
    if evaluation.by_return:
        console.print("", by_return(evaluation), sep="\n")
        found = evaluation.return_correlation
        console.print(f"rank correlation with the desired return: {_number(found)}", markup=False)


def by_delay(evaluation: Evaluation) -> Table:
    """Nats per frame, a row per delay."""
    rows = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for name in ("delay", *(name.replace("_", " ") for name in COMPONENT_TITLES), "whole"):
        rows.add_column(name, justify="right", no_wrap=True)
    for one in evaluation.by_delay:
        cells = (f"{one.components[name]:.4f}" for name in COMPONENT_TITLES)
        rows.add_row(str(one.delay), *cells, f"{one.nll:.4f}")
    return rows


def by_return(evaluation: Evaluation) -> Table:
    """Predicted gains, a row per level of the desired return."""
    rows = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for name in ("asked for", "gets", "± over nothing", "dealt %/s", "frames that count"):
        rows.add_column(name, justify="right", no_wrap=True)
    for one in evaluation.by_return:
        share = f"{100 * one.effective_share:.0f} %"
        figures = (f"{one.returns:+.3f} %", _number(one.error), f"{one.damage:.3f}")
        rows.add_row(one.asked, *figures, share)
    return rows


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _table(evaluation: Evaluation) -> Table:
    """Policy against baselines, a row per component; the lowest NLL of a row in bold."""
    names = ["policy", *evaluation.baselines]
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("", no_wrap=True)
    for name in (*names, "vs best", "acc%", "best's"):
        table.add_column(name, justify="right", no_wrap=True)
    for component, label in (*COMPONENT_TITLES.items(), (None, "Whole action")):
        values = {name: evaluation.nll(name, component) for name in names}
        best = min(values.values())
        cells = [Text(f"{v:.4f}", "bold" if v == best else "") for v in values.values()]
        if component is None:
            table.add_section()
        shares = _shares(evaluation, component) if component else ()
        table.add_row(label, *cells, evaluation.versus(component), *shares)
    return table


def _own_actions(found: OwnActions) -> Table:
    """How often the policy changes its input when it is fed its own, against the human."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for name in ("fed its own actions", "changes/s", "held ≥ 1 s", "never left"):
        table.add_column(name, justify="left" if name.startswith("fed") else "right", no_wrap=True)
    for name, changes in (("policy", found.policy), ("human", found.human)):
        shares = (changes.held_share, changes.stuck_share)
        cells = (f"{changes.changes_per_s:.2f}", *(f"{100 * share:.2f} %" for share in shares))
        table.add_row(name, *cells)
    return table


def _shares(evaluation: Evaluation, component: str) -> list[str]:
    values = (evaluation.policy.components[component].accuracy, evaluation.best_accuracy(component))
    return [f"{100 * value:.1f}" for value in values]
