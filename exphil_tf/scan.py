"""What is in a collection of replays: `python -m exphil_tf.scan --replays DIR`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import jinja2
from rich.console import Console
from rich.table import Table

from exphil_tf.foundation.atomic import write_file
from exphil_tf.foundation.config import load_partial
from exphil_tf.foundation.errors import run
from exphil_tf.foundation.kinds import Kind, required
from exphil_tf.foundation.options import options
from exphil_tf.preprocessing import rejects
from exphil_tf.preprocessing.dataset_config import DatasetConfig, WorkerConfig, keyed
from exphil_tf.process.console import make_console
from exphil_tf.replays.filters import FilterConfig

PROG = "python -m exphil_tf.scan"
_SECTIONS = ("characters", "stages", "versions", "routes", "exclusions", "rejects")
_SHOWN = 12


@dataclass(frozen=True)
class ScanConfig:
    """Reports on a collection of replays, and what to do about it."""

    KIND: ClassVar = Kind.RESULT

    replays: tuple[str, ...] = required(kind=Kind.SOURCE)
    """Folders, .slp files (packed or not), zips or tars."""
    json: Path | None = None
    """Also write the report as JSON."""
    list: bool = False
    """Also name every file that gives no game, with its reason."""
    stages: tuple[str, ...] = ()
    """Games on these stages count; empty: the six tournament stages; `all`: every stage."""
    html: Path | None = None
    """Also write it as a self-contained page."""
    worker: WorkerConfig = field(default_factory=WorkerConfig)

    def __post_init__(self) -> None:
        """Refuses stages that there are none of."""
        FilterConfig(stages=self.stages)


def main(argv: Sequence[str]) -> int:
    """Prints the report."""
    config, beam_flags = load_partial(ScanConfig, argv, prog=PROG)
    console = make_console()
    from beam_pipelines.beam_flags import require_known
    from beam_pipelines.scan import inspect_collection, report
    from exphil_tf.preprocessing.inspection import inspect_game

    require_known(beam_flags, own_flags=[option.flag for option in options(ScanConfig).values()])
    everything = FilterConfig(include_cpus=True, min_frames=1, stages=config.stages)
    job = DatasetConfig(
        replays=config.replays, output=".", filters=everything, worker=config.worker
    )
    job = keyed(job, os.environ)
    found = inspect_collection(inspect_game, job, beam_flags=beam_flags)
    facts = report(found)
    _print(console, facts)
    if config.list:
        for line in found.rejects:
            console.print(str(rejects.of_line(line)))
    if config.json is not None:
        write_file(config.json, [(json.dumps(facts, indent=1) + "\n").encode()])
        console.print(f"Written to {config.json}", markup=False)
    if config.html is not None:
        write_file(config.html, [page(facts).encode()])
        console.print(f"Written to {config.html}", markup=False)
    return 0


def _print(console: Console, facts: dict[str, Any]) -> None:
    overview = Table("what", "count", title="Collection", title_justify="left")
    overview.columns[1].justify = "right"
    for name in ("files", "games", "usable_games", "duplicates", "cpu_games", "frames", "hours"):
        overview.add_row(name.replace("_", " "), f"{facts[name]:,}")
    overview.add_row("known players", f"{facts['players']['known']:,}")
    console.print(overview)
    for name, counts in _sections(facts).items():
        if counts:
            console.print(_counts_table(name, counts))
    for line in facts["advice"]:
        console.print(f"- {line}", markup=False)


def _sections(facts: dict[str, Any]) -> dict[str, dict[str, int]]:
    quality = facts["quality"]
    return {
        **{name: facts[name] for name in _SECTIONS},
        "quality": quality["histogram"] if facts["games"] else {},
    }


def _counts_table(name: str, counts: dict[str, int]) -> Table:
    table = Table(name, "count", "")
    table.columns[1].justify = "right"
    most = max(counts.values())
    for key, count in list(counts.items())[:_SHOWN]:
        table.add_row(key, f"{count:,}", "█" * round(20 * count / max(most, 1)))
    if len(counts) > _SHOWN:
        table.add_row("…", f"{sum(list(counts.values())[_SHOWN:]):,}", "")
    return table


_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Replay collection</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  color: #222; background: #fff; }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #181818; } }
table { border-collapse: collapse; margin: 0 0 2rem; width: 100%; }
td { padding: .15rem .6rem .15rem 0; white-space: nowrap; } td.n { text-align: right; }
td.b { width: 60%; } .bar { background: #4a7fb5; height: .8rem; border-radius: 2px; }
</style>
<h1>Replay collection</h1>
<p>{{ "{:,}".format(facts.files) }} files, {{ "{:,}".format(facts.games) }} games,
{{ facts.hours }} hours, {{ "{:,}".format(facts.players.known) }} known players.</p>
<h2>Advice</h2><ul>{% for line in facts.advice %}<li>{{ line }}</li>{% endfor %}</ul>
{% for name, counts in sections.items() if counts %}<h2>{{ name }}</h2><table>
{% set most = counts.values() | max %}{% for key, count in counts.items() %}
<tr><td>{{ key }}</td><td class="n">{{ "{:,}".format(count) }}</td>
<td class="b"><div class="bar" style="width: {{ 100 * count // ([most, 1] | max)
}}%"></div></td></tr> {% endfor %}</table>{% endfor %} </html>
"""


def page(facts: dict[str, Any]) -> str:
    """The report as one self-contained page of HTML."""
    environment = jinja2.Environment(autoescape=True)
    return environment.from_string(_PAGE).render(facts=facts, sections=_sections(facts))


if __name__ == "__main__":
    run(main, sys.argv[1:], is_product=True)
