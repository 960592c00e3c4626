"""The fidelity table for people: on a terminal, as JSON, as a page, as markdown."""

from __future__ import annotations

from typing import Any

import jinja2
from rich.table import Table as RichTable

from exphil_tf.sim.validate import DISTANCES, FREE_FRAMES, Counts, Table, summed

LEDGER: dict[str, str] = {
    "hits": "no attack, projectile or throw hits: knockback, hitlag, hitstun and percent run on "
    "from the record, they do not begin",
    "grabs and throws": "a grab reaches nobody; who is held or thrown does not move",
    "shields": "no drain, stun, push or break; no powershield",
    "projectiles and items": "none",
    "special moves": "flight by fitted rules in two parts or by recorded speeds, without effects; "
    "angles of Fire Fox, teleports and Dolphin Slash, Captain Falcon's and Ganondorf's rise are "
    "not followed by the stick",
    "walls and ceilings": "a stage's side as published corners, the same left and right; a body "
    "has one width; no wall jumps, wall techs or ceilings' bounces",
    "ledges": "caught from within one fitted box per character, by one at a time; no end of "
    "hanging",
    "DI, SDI, ASDI": "none",
    "moving stages": "Pokémon Stadium keeps its first form; Whispy's wind and the heights of "
    "Fountain of Dreams' platforms are those of the frame before, and do not change by themselves",
    "Nana": "Popo alone",
    "UCF": "the dash back and cardinals as netplay has them; shield drops follow the game's own "
    "thresholds",
}
"""What is not simulated."""
_HEADS = ("", "frames", *(f"≤ {d:g}" for d in DISTANCES), "action", "both",
          *(f"free {n}" for n in FREE_FRAMES))  # fmt: skip
_SECTIONS = ("Action class", "Character")


def facts(table: Table) -> dict[str, Any]:
    """Everything, as plain values."""
    total = Counts()
    for counts in table.values():
        total.add(counts)
    parts = {
        name.lower().replace(" ", "_"): {k: c.to_dict() for k, c in summed(table, by).items()}
        for by, name in enumerate(_SECTIONS)
    }
    cells = [{"class": kind, "character": who} | c.to_dict() for (kind, who), c in table.items()]
    return {"all": total.to_dict(), **parts, "cells": cells, "ledger": LEDGER}


def rows(table: Table, by: int) -> list[list[str]]:
    """Cells of the table by class (0) or character (1), the sum last."""
    total = Counts()
    for counts in table.values():
        total.add(counts)
    named = summed(table, by) | {"all": total}
    return [[name, *_cells(counts.to_dict())] for name, counts in named.items()]


def _cells(found: dict[str, Any]) -> list[str]:
    shares = [*(found[f"within_{d:g}"] for d in DISTANCES), found["action"], found["both"]]
    shares += [found[f"free_{n}"]["within_1"] for n in FREE_FRAMES]
    return [f"{found['frames']:,}", *("" if s is None else f"{100 * s:.1f}" for s in shares)]


def terminal(table: Table, by: int) -> RichTable:
    """The table for a terminal."""
    shown = RichTable(*_HEADS, title=f"{_SECTIONS[by]}: % of frames", title_justify="left")
    for column in shown.columns[1:]:
        column.justify = "right"
    for row in rows(table, by):
        shown.add_row(*row)
    return shown


def markdown(table: Table, by: int) -> str:
    """The table for docs."""
    lines = [_HEADS, ["---"] + ["---:"] * (len(_HEADS) - 1), *rows(table, by)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Fidelity of the simulator</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
  color: #222; background: #fff; }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #181818; } }
table { border-collapse: collapse; margin: 0 0 2rem; }
th, td { padding: .15rem .7rem .15rem 0; text-align: right; } td:first-child { text-align: left; }
</style>
<h1>Fidelity of the simulator</h1>
<p>Share of recorded frames, in percent, that the rules make of the frame before and both
controllers: position within so many game units, the same action, both; and of runs without looking
at the record, those within one unit after so many frames.</p>
{% for name, rows in sections %}<h2>{{ name }}</h2><table>
<tr>{% for head in heads %}<th>{{ head }}</th>{% endfor %}</tr>
{% for row in rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</table>{% endfor %}
<h2>Not simulated</h2><dl>{% for name, text in ledger %}<dt>{{ name }}</dt><dd>{{ text }}</dd>
{% endfor %}</dl></html>
"""


def page(table: Table) -> str:
    """One self-contained page of HTML."""
    sections = [(name, rows(table, by)) for by, name in enumerate(_SECTIONS)]
    environment = jinja2.Environment(autoescape=True)
    template = environment.from_string(_PAGE)
    return template.render(sections=sections, heads=_HEADS, ledger=LEDGER.items())
