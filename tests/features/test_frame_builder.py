"""The builder: a replay's columns again from a live game's values; no wrong value in silence."""

from pathlib import Path
from typing import Any, NamedTuple

import melee
import numpy as np
import pytest
from hypothesis import given, settings

from exphil_tf.features.character_state import CharacterTracker
from exphil_tf.features.controller_state import ControllerState
from exphil_tf.features.frame_builder import FrameBuilder
from exphil_tf.features.item_slots import NO_ITEMS, Items, ItemTracker, item_columns
from exphil_tf.features.schema import SCHEMA, Group
from exphil_tf.features.stage_columns import stage_columns
from exphil_tf.melee.enums import BUTTONS, Stage
from exphil_tf.replays.parse import parse
from tests import strategies

GROUPS = {"p": Group.PLAYER, "n": Group.NANA, "c": Group.CONTROLLER, "i": Group.ITEM}


def whole_builder(lead: tuple[int, ...] = (), **facts) -> FrameBuilder:
    """A builder with everything that a frame needs, of zeros."""
    builder = FrameBuilder(lead, **facts)
    for group in (Group.PLAYER, Group.CONTROLLER):
        builder.put(group, {field.name[2:]: 0 for field in SCHEMA.group(group)})
    builder.put(Group.FRAME, {"frame": 0})
    builder.put_columns(stage_columns(Stage.BATTLEFIELD, np.zeros(lead, int)))
    return builder


@given(strategies.frames(on_grid=False))
@settings(deadline=None, max_examples=30)
def test_any_sound_columns_are_built_as_they_are(frames):
    """By group and player, over every column of the schema, with time and without."""
    absent = SCHEMA.fields[1].name
    for lead, columns in (
        ((len(frames),), frames.columns),
        ((), {name: column[0] for name, column in frames.columns.items()}),
    ):
        builder = FrameBuilder(lead)
        builder.put(Group.FRAME, {"frame": columns["frame"]})
        builder.put_columns({n: c for n, c in columns.items() if n.startswith(("s.", "i."))})
        for letter in "pnc":
            for player in (0, 1):
                own = {n[2:]: c[..., player] for n, c in columns.items() if n[:2] == f"{letter}."}
                builder.put(GROUPS[letter], own, player=player)
        built = builder.columns()
        assert list(built) == list(SCHEMA.names)
        for name in set(built) - {absent}:
            np.testing.assert_array_equal(built[name], columns[name], err_msg=name)
            assert built[name].dtype == columns[name].dtype


# -- As live play will use it ----------------------------------------------------------------------


class Trackers(NamedTuple):
    """What a live game remembers between frames."""

    items: ItemTracker
    characters: CharacterTracker


def live_frame(state: Any, ports: list[int], trackers: Trackers, stage: int) -> dict:
    """Columns of one libmelee game state, through nothing but the tools of `features`."""
    builder = FrameBuilder()
    builder.put(Group.FRAME, {"frame": int(state.frame)})
    for player, port in enumerate(ports):
        shown = state.players[port]
        builder.put(Group.PLAYER, body(shown), player=player)
        if shown.nana is not None:
            builder.put(Group.NANA, body(shown.nana), player=player)
        pad = shown.controller_state
        held = {name: pad.button[melee.Button[f"BUTTON_{name}"]] for name in BUTTONS}
        control = ControllerState.from_libmelee(
            held, pad.main_stick, pad.c_stick, shoulder=pad.l_shoulder
        )
        builder.put_columns(control.columns(), player=player)
    builder.put_columns(trackers.items.step(shown_items(state)))
    builder.put_columns(stage_columns(stage, np.int32(state.frame)))
    builder.put_columns(trackers.characters.step(builder.peek()))
    return builder.columns()


def body(shown: Any) -> dict[str, Any]:
    names = (
        "percent", "speed_air_x_self", "speed_ground_x_self", "speed_y_self", "speed_x_attack",
        "speed_y_attack", "action_frame", "facing", "jumps_left", "on_ground", "invulnerable",
        "stock",
    )  # fmt: skip
    hurt = 75 <= shown.action.value <= 91
    return {name: getattr(shown, name) for name in names} | {
        "x": shown.position.x, "y": shown.position.y, "shield": shown.shield_strength,
        "action": shown.action.value, "character": shown.character.value,
        "hitlag": shown.hitlag_left, "hitstun": shown.hitstun_frames_left if hurt else 0,
    }  # fmt: skip


def shown_items(state: Any) -> Items:
    if not state.projectiles:
        return NO_ITEMS
    rows = [
        (0, one.spawn_id, getattr(one.type, "value", one.type), one.subtype,
         one.expiration_frames, one.position.x, one.position.y, one.speed.x, one.speed.y,
         one.owner - 1)
        for one in state.projectiles
    ]  # fmt: skip
    return Items(*map(np.array, zip(*rows, strict=True)))


@pytest.mark.parametrize("name", ["items", "nana", "peppi/v3.16.slp", "peppi/v3.13.slp"])
def test_a_live_game_gives_the_columns_of_its_replay(real_replay, name: str):
    """Frame by frame from libmelee's states: what peppi's columns hold, but for `absent`."""
    path: Path = real_replay(name)
    game = parse(path, version="first")
    ports = [player.port for player in game.info.players]
    trackers = Trackers(ItemTracker([port - 1 for port in ports]), CharacterTracker())
    console = melee.Console(path=str(path), is_dolphin=False, allow_old_version=True)
    console.connect()
    rows = []
    while (state := console.step()) is not None:
        rows.append(live_frame(state, ports, trackers, game.info.stage))
    assert len(rows) == len(game.frames) > 100
    for column in set(SCHEMA.names) - {"absent"}:
        live = np.stack([row[column] for row in rows])
        np.testing.assert_array_equal(live, game.frames[column], err_msg=column)


# -- What it refuses -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("group", "values", "words"),
    [
        (Group.PLAYER, {"percents": 1}, "want a name of the schema. Received: 'p.percents'"),
        (Group.PLAYER, {"action": 544}, "p.action: want 0 to 543 id. Received: 544"),
        (Group.PLAYER, {"action": -1}, "p.action: want 0 to 543"),
        (Group.PLAYER, {"action": 14.0}, "p.action: want whole numbers"),
        (Group.PLAYER, {"x": np.nan}, "p.x: want -1000 to 1000"),
        (Group.PLAYER, {"x": np.array([0, np.nan], np.float32)}, "p.x: want -1000 to 1000"),
        (Group.PLAYER, {"stock": np.array([1, 300])}, "p.stock: want 0 to 99"),
        (Group.PLAYER, {"percent": np.zeros(3)}, "p.percent: want numbers [2]"),
        (Group.PLAYER, {"percent": np.array(["1", "2"])}, "p.percent: want numbers"),
        (Group.STAGE, {"stage": 64}, "s.stage: want 0 to 63"),
        (Group.ITEM, {"x": np.zeros(4)}, "i.x: want numbers [5]"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_by_name(group, values, words):
    with pytest.raises(ValueError) as caught:
        FrameBuilder().put(group, values)
    assert words in str(caught.value)


def test_values_of_a_batch_are_held_to_the_bounds_too():
    builder, wrong = whole_builder((100,)), np.zeros((100, 2))
    wrong[63, 1] = np.nan
    with pytest.raises(ValueError, match="p.y: want -1000 to 1000"):
        builder.put(Group.PLAYER, {"y": wrong})
    assert not builder.columns()["p.y"].any(), "nothing of it was put"


def test_a_player_is_named_for_players_only():
    for values in ({"s.stage": 3}, {"i.exists": 1}):
        with pytest.raises(ValueError, match="want a column of players"):
            FrameBuilder().put_columns(values, player=0)
    with pytest.raises(ValueError, match="player 0 or 1. Received: 2"):
        FrameBuilder().put(Group.PLAYER, {"x": 1.0}, player=2)


def test_a_frame_that_lacks_something_is_refused():
    builder = FrameBuilder()
    with pytest.raises(ValueError, match="want frame, p.percent, p.x"):
        builder.columns()
    assert set(whole_builder().columns()) == set(SCHEMA.names)


def test_what_a_source_does_not_know_is_marked_as_in_an_old_replay():
    builder = whole_builder((3,), lacks=["p.hitlag", "s.whispy"])
    bits = SCHEMA.absent_bits[3, 8] | SCHEMA.absent_bits[3, 18]
    assert builder.columns()["absent"].tolist() == [bits] * 3
    assert whole_builder().columns()["absent"] == 0
    bare = FrameBuilder(lacks=["p.hitlag"])
    with pytest.raises(ValueError) as caught:
        bare.columns()
    assert "p.hitstun" in str(caught.value) and "p.hitlag" not in str(caught.value)
    for name in ("p.x", "p.z"):
        with pytest.raises(ValueError, match="want"):
            FrameBuilder(lacks=[name])


def test_what_is_not_there_is_zero():
    """As everywhere: a Nana or an item that is gone leaves nothing behind."""
    builder = whole_builder((2,))
    builder.put(Group.NANA, {"x": np.full(2, 9.0), "stock": 3, "exists": [1, 0]}, player=1)
    builder.put(Group.ITEM, {"x": np.full((2, 5), 7.0)})
    columns = builder.columns()
    assert columns["n.exists"].tolist() == [[0, 1], [0, 0]]
    assert columns["n.x"].tolist() == [[0, 9], [0, 0]]
    assert columns["n.stock"].tolist() == [[0, 3], [0, 0]]
    assert columns["i.exists"].all() and (columns["i.x"] == 7).all()
    assert not whole_builder().columns()["i.exists"].any()


# -- Items and stages, one frame at a time ---------------------------------------------------------


@pytest.mark.parametrize("name", ["items", "nana", "peppi/duplicate_game_end.slp"])
def test_item_columns_frame_by_frame_are_those_of_the_whole_game(real_replay, name):
    """Of the items that a real game shows, crowds and repeated ids included."""
    frames = parse(real_replay(name)).frames
    row, slot = np.nonzero(frames["i.exists"])
    assert len(row) > 30
    rng = np.random.default_rng(0)
    begins = np.cumsum(np.diff(frames["i.exists"], axis=0, prepend=0) == 1, axis=0)[row, slot]
    spawn = begins * 8 + slot
    columns = {f: frames[f"i.{f}"][row, slot] for f in ("type", "state", "timer", "x", "y")}
    speeds = {f: frames[f"i.{f}"][row, slot] for f in ("speed_x", "speed_y")}
    items = Items(row=row, spawn_id=spawn, **columns, **speeds, owner=rng.integers(-1, 4, len(row)))
    twice = Items(*(np.concatenate([part, part[::3]]) for part in items))
    whole = item_columns(twice, len(frames), [0, 2])
    tracker = ItemTracker([0, 2])
    for frame in range(len(frames)):
        here = np.flatnonzero(twice.row == frame)
        one = tracker.step(Items(*(part[here] for part in twice))._replace(row=here * 0))
        for column, values in one.items():
            np.testing.assert_array_equal(values, whole[column][frame], err_msg=column)


@pytest.mark.parametrize("stage", Stage)
def test_stage_columns_of_games_are_those_of_each(stage):
    frame = np.array([-123, 0, 500, 1300])
    stages = np.array([stage, Stage.YOSHIS_STORY, Stage.FOUNTAIN_OF_DREAMS, stage])
    batch = stage_columns(stages, frame)
    for game, own in enumerate(stages):
        alone = stage_columns(int(own), frame[game])
        over_time = stage_columns(int(own), frame)
        for name, column in batch.items():
            assert column.dtype == alone[name].dtype == SCHEMA.field(name).dtype
            assert column[game] == alone[name] == over_time[name][game], name
    assert alone["s.stage"] == stage and batch["s.fod_left"][2] == 20
