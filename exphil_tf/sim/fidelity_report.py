"""The fidelity table for people: on a terminal, as JSON, as a page, as markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
from rich.table import Table as RichTable

from exphil_tf.sim.hit_fidelity import COVERED, HitCounts, HitTable
from exphil_tf.sim.shot_fidelity import ShotCounts
from exphil_tf.sim.validate import (
    DISTANCES,
    FREE_FRAMES,
    Counts,
    Fidelity,
    Table,
    summed,
)

LEDGER: dict[str, str] = {
    "hits": "hitboxes from the `melee` package against one upright capsule per character and pose, "
    "so that a hit may come a frame or two early or late; which of four hitboxes it was is the one "
    "that recorded hits were nearest to; attacks clash on the ground alone; moves that no game "
    "shows do what is about the middle of other characters' same move, and judge nothing",
    "smash attacks": "charged where a recorded game shows the age at which one stands still; "
    "nobody who charges is launched the further",
    "shields": "a circle that shrinks; no light shields, no tilting, nothing is reflected",
    "grabs and throws": "no chain of special grabs; throws of Donkey Kong's cargo and Kirby's "
    "leaps stay where they are",
    "projectiles and items": "what recorded games show to leave at an age of an action, as "
    "circles and straight beams against the same capsules; no turnips and bombs, which one has "
    "to hold; a blaster shoots once a draw; Shadow Balls, arrows, fire, Thunder, what Ness has, "
    "Din's Fire's blast and charge shots that are not full do nothing; a boomerang does not "
    "follow its owner; nothing is reflected, deflected or caught, and sides of stages let shots "
    "through; of both players eight at once, of which a policy sees the first five",
    "special moves": "flight by fitted rules in two parts or by recorded speeds, without effects; "
    "angles of Fire Fox, teleports and Dolphin Slash, Captain Falcon's and Ganondorf's rise are "
    "not followed by the stick",
    "walls and ceilings": "a stage's side as published corners, the same left and right; bodies "
    "are diamonds by action and age where a game shows them beside a side, else as slim as any; no "
    "wall jumps, wall techs or ceilings' bounces",
    "ledges": "caught from within one fitted box per character, by one at a time; no end of "
    "hanging",
    "knockback": "nobody spins (DAMAGE_FLY_ROLL, which the game draws by lot); off the top "
    "everybody falls away as a star, though the game draws by lot who falls towards the camera",
    "moving stages": "Pokémon Stadium keeps its first form, as in matchmaking, unless "
    "`stadium_forms` is asked for; its windmill is not there, and who is where a form has no "
    "ground is put on the nearest; how often Fountain of Dreams' platforms move and how long "
    "they stay under water is about so",
    "Nana": "Popo alone",
    "UCF": "the dash back and cardinals as netplay has them; shield drops follow the game's own "
    "thresholds",
}
"""What is not simulated."""
_HEADS = ("", "frames", *(f"≤ {d:g}" for d in DISTANCES), "action", "both",
          *(f"free {n}" for n in FREE_FRAMES))  # fmt: skip
_SECTIONS = ("Action class", "Character")


_HIT_HEADS = ("hits by", "recorded", "made", "early", "imagined", "percent", "launch", "hitstun",
              "hitlag", "action")  # fmt: skip


def facts(found: Fidelity) -> dict[str, Any]:
    """Everything, as plain values."""
    table = found.frames
    total = Counts()
    for counts in table.values():
        total.add(counts)
    parts = {
        name.lower().replace(" ", "_"): {k: c.to_dict() for k, c in summed(table, by).items()}
        for by, name in enumerate(_SECTIONS)
    }
    cells = [{"class": kind, "character": who} | c.to_dict() for (kind, who), c in table.items()]
    hits = {name: counts.to_dict() for name, counts in found.hits.kinds.items()}
    stocks = dict(zip(("lost", "made", "imagined"), found.hits.stocks.tolist(), strict=True))
    shots = {name: counts.to_dict() for name, counts in sorted(found.shots.items())}
    return {"all": total.to_dict(), **parts, "hits": hits, "stocks": stocks, "shots": shots,
            "cells": cells, "ledger": LEDGER}  # fmt: skip


def hit_rows(hits: HitTable) -> list[list[str]]:
    """Cells of the table of hits; the sum of what is judged, and stocks, last."""
    total, rows = HitCounts(), []
    for name, counts in hits.kinds.items():
        rows.append([name, *_hit_cells(counts)])
        if name in COVERED:
            total.add(counts)
    lost, made, imagined = (f"{one:,}" for one in hits.stocks.tolist())
    rows.append(["covered", *_hit_cells(total)])
    return [*rows, ["stocks", lost, made, "", imagined, *[""] * (len(_HIT_HEADS) - 5)]]


def _hit_cells(counts: HitCounts) -> list[str]:
    found = counts.to_dict()
    shares = [found[name] for name in ("percent", "speed", "stun", "hitlag", "action")]
    numbers = [f"{found[name]:,}" for name in ("recorded", "made", "early", "imagined")]
    return [*numbers, *("" if share is None else f"{100 * share:.1f}" for share in shares)]


def hit_terminal(hits: HitTable) -> RichTable:
    """The table of hits for a terminal."""
    return _terminal(_HIT_HEADS, hit_rows(hits), "Hits; of those made, % that agree")


def hit_markdown(hits: HitTable) -> str:
    """The table of hits for docs."""
    return _markdown(_HIT_HEADS, hit_rows(hits))


_SHOT_HEADS = ("projectile", "frames", "≤ 0.01", "lost", "launches", "made", "placed", "imagined",
               "ends", "made")  # fmt: skip


def shot_rows(shots: Mapping[str, ShotCounts]) -> list[list[str]]:
    """Cells of the table of projectiles, the most frequent first."""
    order = sorted(shots.items(), key=lambda pair: -pair[1].frames)
    return [[name, *(f"{one:,}" for one in counts.to_dict().values())] for name, counts in order]


def shot_terminal(shots: Mapping[str, ShotCounts]) -> RichTable:
    """The table of projectiles for a terminal."""
    return _terminal(_SHOT_HEADS, shot_rows(shots), "Projectiles, one frame ahead")


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
    return _terminal(_HEADS, rows(table, by), f"{_SECTIONS[by]}: % of frames")


def _terminal(heads: Sequence[str], cells: list[list[str]], title: str) -> RichTable:
    shown = RichTable(*heads, title=title, title_justify="left")
    for column in shown.columns[1:]:
        column.justify = "right"
    for row in cells:
        shown.add_row(*row)
    return shown


def markdown(table: Table, by: int) -> str:
    """The table for docs."""
    return _markdown(_HEADS, rows(table, by))


def _markdown(heads: Sequence[str], cells: list[list[str]]) -> str:
    lines = [heads, ["---"] + ["---:"] * (len(heads) - 1), *cells]
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
at the record, those within one unit after so many frames. Of hits: those in the record, those that
the rules make on the same frame and on others; and of those made, how many agree with the record in
percent, launch speed (1 %), hitstun (one frame), hitlag and the victim's action.</p>
{% for name, heads, rows in sections %}<h2>{{ name }}</h2><table>
<tr>{% for head in heads %}<th>{{ head }}</th>{% endfor %}</tr>
{% for row in rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</table>{% endfor %}
<h2>Not simulated</h2><dl>{% for name, text in ledger %}<dt>{{ name }}</dt><dd>{{ text }}</dd>
{% endfor %}</dl></html>
"""


def page(found: Fidelity) -> str:
    """One self-contained page of HTML."""
    frames = [(name, _HEADS, rows(found.frames, by)) for by, name in enumerate(_SECTIONS)]
    sections = [
        *frames,
        ("Hits", _HIT_HEADS, hit_rows(found.hits)),
        ("Projectiles", _SHOT_HEADS, shot_rows(found.shots)),
    ]
    environment = jinja2.Environment(autoescape=True)
    template = environment.from_string(_PAGE)
    return template.render(sections=sections, ledger=LEDGER.items())
