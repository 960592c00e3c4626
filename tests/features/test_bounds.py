"""No bound is narrower than the game: its own enumerations, and what real games hold."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fixture_replays import NAMES
from melee import enums as melee_enums

from exphil_tf.features.schema import SCHEMA, EmbedKind
from exphil_tf.melee import stages
from exphil_tf.melee.controls import STICK_DEAD_ZONE
from exphil_tf.melee.enums import ACTION_COUNT, Character, Stage, action_category_table
from exphil_tf.replays.parse import parse
from models.layers import embedding_layout
from models.layers import embedding_tables as tables
from models.policy_config import EmbeddingConfig

KIRBY_LAST = 543
"""Ganondorf's hat in the air, the last of the game's motion states (doldecomp/melee, ftKirby)."""
KNOWN = {
    "p.action": [a.value for a in melee_enums.Action if a.value < 0x1000] + [KIRBY_LAST],
    "p.character": [c.value for c in melee_enums.Character if c.value < 0xFF] + list(Character),
    "i.type": [kind.value for kind in melee_enums.ProjectileType],
    "s.stage": list(Stage),
    "s.stadium": [3, 4, 5, 6, 9],
    "s.whispy": [-1, 0, 1],
    # Game mechanics: 999 % is the most, a shield is 60, Kirby and Jigglypuff have six jumps.
    "p.percent": [0, 999],
    "p.shield": [0, 60],
    "p.jumps_left": [0, 6],
    "p.stock": [0, 99],
    # Knockback ends at 2,500 units, of which each is 0.03 of speed; electric hits freeze longest.
    "p.speed_x_attack": [-75, 75],
    "p.speed_y_attack": [-75, 75],
    "p.hitlag": [0, 30],
    "s.fod_left": list(stages.FOD_START_HEIGHTS),
    "c.buttons": [0, 255],
    "c.main_x": [-1, STICK_DEAD_ZONE / 80, 1],
    "c.shoulder": [0, 1],
}
"""Field → values that the game can produce."""
SEEN = {
    "percent": (0, 272.1), "x": (-265.9, 270.1), "y": (-151.7, 253.9), "shield": (0.07, 60),
    "speed_air_x_self": (-18.8, 18.8), "speed_ground_x_self": (-18.8, 18.8),
    "speed_y_self": (-28.6, 33.9), "speed_x_attack": (-8.6, 13.3), "speed_y_attack": (-9.9, 15.2),
    "action": (0, 391), "action_frame": (-2, 296), "hitstun": (0, 250), "hitlag": (0, 16),
    "character": (1, 26), "jumps_left": (0, 6), "stock": (0, 4),
}  # fmt: skip
"""Least and greatest of the players' fields in 337 real games, 6.4 million rows."""
SEEN_ITEMS = {
    "x": (-292, 304), "y": (-218.3, 546.9), "speed_x": (-14.3, 7), "speed_y": (-11.8, 15),
    "type": (0, 210), "timer": (-1, 1400), "state": (0, 14),
}  # fmt: skip


@pytest.mark.parametrize("name", KNOWN)
def test_bounds_hold_what_the_game_enumerates(name: str) -> None:
    names = [name, name.replace("p.", "n.")]
    for field in (SCHEMA.field(name) for name in names):
        assert field.low <= min(KNOWN[name]) and max(KNOWN[name]) <= field.high, field.name
        info = np.iinfo(field.dtype) if "int" in field.dtype else np.finfo(field.dtype)
        assert info.min <= field.low and field.high <= info.max


RANGES = {f"{group}.{name}": limits for name, limits in SEEN.items() for group in "pn"}
RANGES |= {f"i.{name}": limits for name, limits in SEEN_ITEMS.items()}


@pytest.mark.parametrize("name", RANGES)
def test_bounds_leave_room_around_what_real_games_hold(name: str) -> None:
    field = SCHEMA.field(name)
    low, high = RANGES[name]
    assert field.low <= low and high <= field.high
    if field.dtype == "float32" and name[2:] not in ("percent", "shield"):
        assert 2 * low >= field.low and 2 * high <= field.high


def test_tables_cover_the_bounds() -> None:
    """An embedding knows every id that a frame may hold, or says where it puts the others."""
    for field in SCHEMA.fields:
        if field.embed.kind is EmbedKind.CATEGORY:
            assert field.embed.size == field.high + 1, field.name
    assert len(action_category_table()) == ACTION_COUNT == SCHEMA.field("p.action").high + 1
    assert SCHEMA.field("p.character").high + 1 == tables.CHARACTER_COUNT
    assert SCHEMA.field("s.stage").high + 1 == tables.STAGE_COUNT
    assert SCHEMA.field("p.jumps_left").high + 1 == tables.JUMPS_COUNT
    assert len(tables.stadium_table()) == SCHEMA.field("s.stadium").high + 1
    assert SCHEMA.field("p.items_owned").high + 1 == tables.OWNER_MASKS
    # Types beyond the table share its last row, which no type of the game's has.
    assert max(KNOWN["i.type"]) < tables.ITEM_TYPE_COUNT
    assert embedding_layout.raw_width(EmbeddingConfig()) == 287


@pytest.mark.parametrize(
    "hat", ["marth_hat_action_495", "falco_hat_action_520", "roy_hat_action_530"]
)
def test_kirbys_copied_abilities_are_games(cases_dir: Path, hat: str) -> None:
    frames = parse(cases_dir / f"kirby_copy_ability/kirby_{hat}.slp").frames
    assert frames["p.action"].max() == int(hat[-3:])
    assert (frames["p.action"] == int(hat[-3:])).sum() == 30


@pytest.mark.parametrize("name", NAMES)
def test_real_games_are_inside(real_replay: Callable[[str], Path], name: str) -> None:
    assert SCHEMA.check(parse(real_replay(name)).frames) == []


@pytest.mark.slow
def test_games_of_the_corpus_are_inside(corpus_dir: Path) -> None:
    with zipfile.ZipFile(corpus_dir / "games.zip") as archive:
        for name in sorted(n for n in archive.namelist() if n.endswith(".slp"))[7::80]:
            assert SCHEMA.check(parse(archive.read(name)).frames) == []
