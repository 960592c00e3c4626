"""A game as one self-contained HTML page: to be looked at, step by step, with a policy's opinion.

No network, no art of anybody's: the stage is lines, characters are capsules, hitboxes are circles
from libmelee's tables. Columns travel as bytes, each plane of bytes by itself, deflated, in base64;
the page's own script puts them together and draws them. What a replay says (names, tags) enters
the page as data alone and is shown as text, so a hostile one cannot inject anything.
"""

from __future__ import annotations

import base64
import csv
import functools
import importlib.util
import json
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from exphil_tf.agents.game_judgement import Judgement, worst_moments
from exphil_tf.features.packing import pack, unpack
from exphil_tf.features.schema import SCHEMA
from exphil_tf.melee.enums import STAGE_TO_LIBMELEE, Stage, character_name, stage_name
from exphil_tf.melee.stages import GEOMETRY
from exphil_tf.melee.types import Game

_HERE = Path(__file__).parent
_COLUMNS = (
    "frame", "p.x", "p.y", "p.percent", "p.stock", "p.action", "p.action_frame", "p.facing",
    "p.on_ground", "p.invulnerable", "p.shield", "p.hitlag", "p.hitstun", "p.character",
    "p.charge", "n.exists", "n.x", "n.y", "c.main_x", "c.main_y", "c.c_x", "c.c_y", "c.shoulder",
    "c.buttons", "i.exists", "i.type", "i.x", "i.y", "s.fod_left", "s.fod_right", "s.randall_x",
    "s.randall_y", "s.stadium", "s.whispy",
)  # fmt: skip
_STEPS = {"c.shoulder": 140, "c.main_x": 80, "c.main_y": 80, "c.c_x": 80, "c.c_y": 80}
"""Columns that travel as whole steps."""
_TYPES = {"f4": "Float32Array", "i4": "Int32Array", "i2": "Int16Array", "u2": "Uint16Array"}
_TYPES |= {"i1": "Int8Array", "u1": "Uint8Array"}
_PERCENT_STEPS = 255
_WORDS = {
    Stage.POKEMON_STADIUM: ("s.stadium", {3: "fire", 4: "grass", 6: "rock", 9: "water"}),
    Stage.DREAMLAND: ("s.whispy", {-1: "Whispy blows left", 1: "Whispy blows right"}),
}
"""Of moving stages that are not drawn otherwise: a column, and what its values are called."""
_BOXES = 4


def game_page(game: Game, judgement: Judgement | None = None, *, title: str = "") -> str:
    """The page.

    Args:
      game: of two players on a legal stage.
      judgement: a policy's opinion of it; None without one.
      title: of the page.
    """
    columns = unpack(pack(game.frames)).columns
    shown = {name: _column(name, columns[name]) for name in _COLUMNS}
    facts: dict[str, Any] = {
        "title": title or stage_name(game.info.stage),
        "stage": _stage(game.info.stage),
        "players": [_player(player) for player in game.info.players],
        "actions": _action_names(columns["p.action"]),
        "characters": {str(c): character_name(c) for c in _distinct(columns["p.character"])},
        "sizes": _character_sizes(),
        "hitboxes": _hitboxes(columns["p.character"], columns["p.action"]),
        "steps": _STEPS,
        "schema": SCHEMA.fingerprint(),
    }
    if judgement is not None:
        shown |= {
            "chances": np.rint(judgement.probabilities * _PERCENT_STEPS).astype(np.uint8),
            "targets": judgement.targets.astype(np.uint8),
            "nats": judgement.nats.astype(np.float16).astype(np.float32),
        }
        if judgement.win is not None:
            shown["win"] = np.rint(judgement.win * _PERCENT_STEPS).astype(np.uint8)
        facts["policy"] = {
            "delay": judgement.delay,
            "sizes": judgement.sizes,
            "worst": worst_moments(judgement.nats),
            "mean": float(judgement.nats[judgement.nats > 0].mean()),
        }
    facts["columns"], blob = _blob(shown)
    return _template().render(title=facts["title"], facts=_embedded(facts), blob=blob)


def _column(name: str, values: np.ndarray) -> np.ndarray:
    if name not in _STEPS:
        return values
    steps = np.rint(values * _STEPS[name])
    return steps.astype(np.uint8 if name == "c.shoulder" else np.int8)


def _blob(columns: Mapping[str, np.ndarray]) -> tuple[list[dict[str, Any]], str]:
    """Where each column lies, and all of them: planes of bytes, deflated, in base64."""
    parts, places, start = [], [], 0
    for name, column in columns.items():
        little = np.ascontiguousarray(column, column.dtype.newbyteorder("<"))
        planes = little.reshape(-1, 1).view(np.uint8).T
        kind = f"{column.dtype.kind}{column.dtype.itemsize}"
        width = int(np.prod(column.shape[1:], dtype=int))
        places.append(
            {
                "name": name,
                "type": _TYPES[kind],
                "start": start,
                "width": width,
                "size": planes.size,
            }
        )
        # A plane per byte and cell: what changes slowly lies together.
        cells = planes.reshape(column.dtype.itemsize, len(column), width).transpose(0, 2, 1)
        parts.append(np.ascontiguousarray(cells).tobytes())
        start += planes.size
    return places, base64.b64encode(zlib.compress(b"".join(parts), 9)).decode()


def _embedded(facts: Mapping[str, Any]) -> str:
    """JSON that cannot end the element it stands in, nor begin a comment there."""
    text = json.dumps(facts, separators=(",", ":"), ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _player(player: Any) -> dict[str, Any]:
    name = player.name or player.tag or player.code or f"player {player.port}"
    cpu = f" (cpu {player.cpu_level})" if player.is_cpu else ""
    return {"name": f"{name}{cpu}", "port": player.port}


def _stage(stage: int) -> dict[str, Any]:
    import melee  # a second of import

    if stage not in set(Stage):
        return {"name": stage_name(stage), "edge": 80, "zones": [-240, 240, 200, -140]}
    known = GEOMETRY[Stage(stage)]
    at = melee.Stage(STAGE_TO_LIBMELEE[Stage(stage)])
    found = [
        place(at)
        for place in (
            melee.stages.left_platform_position,
            melee.stages.right_platform_position,
            melee.stages.top_platform_position,
        )
    ]
    return {
        "name": stage_name(stage),
        "id": stage,
        "words": _WORDS.get(Stage(stage)),
        "edge": known.edge,
        "zones": [known.left, known.right, known.top, known.bottom],
        "platforms": [None if p is None or p[0] is None else list(map(float, p)) for p in found],
    }


def _distinct(column: np.ndarray) -> Iterable[int]:
    return np.unique(column).tolist()


def _action_names(actions: np.ndarray) -> dict[str, str]:
    import melee

    names = {action.value: action.name.lower() for action in melee.Action}
    return {str(a): names.get(a, f"action {a}") for a in _distinct(actions)}


@functools.cache
def _table(name: str) -> Path:
    spec = importlib.util.find_spec("melee")
    assert spec is not None and spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / name


@functools.cache
def _character_sizes() -> dict[str, float]:
    with _table("characterdata.csv").open(newline="") as file:
        return {str(int(r["CharacterIndex"])): float(r["size"]) for r in csv.DictReader(file)}


def _hitboxes(characters: np.ndarray, actions: np.ndarray) -> dict[str, dict[str, list[float]]]:
    """`character:action` → frame → x, y, size of each active hitbox, of what happens here."""
    pairs = np.unique(np.stack([characters.ravel(), actions.ravel()], 1), axis=0)
    wanted = {(str(c), str(a)) for c, a in pairs.tolist()}
    found: dict[str, dict[str, list[float]]] = {}
    with _table("framedata.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if (row["character"], row["action"]) not in wanted:
                continue
            boxes = [
                round(float(row[f"hitbox_{box}_{part}"]), 2)
                for box in range(1, _BOXES + 1)
                if row[f"hitbox_{box}_status"] == "True"
                for part in ("x", "y", "size")
            ]
            if boxes:
                key = f"{row['character']}:{row['action']}"
                found.setdefault(key, {})[row["frame"]] = boxes
    return found


def _template() -> jinja2.Template:
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(_HERE), autoescape=True)
    return environment.get_template("game_page.html.j2")
