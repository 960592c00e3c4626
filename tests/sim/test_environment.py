"""The environment: what policies read equals the schema's columns, what they answer what the game
reads, and events what happened.

The reference of observations is written here once more, in numpy, through the checks of
`FrameBuilder`; of character state it is `CharacterTracker`, of sticks `clamp_stick`.
"""

import numpy as np
import pytest

from exphil_tf.features.character_state import COLUMNS, CharacterTracker
from exphil_tf.features.controller import to_bytes
from exphil_tf.features.frame_builder import FrameBuilder
from exphil_tf.features.schema import ITEM_SLOTS, SCHEMA, Group
from exphil_tf.features.stage_columns import stage_columns
from exphil_tf.features.viewpoint import take_perspective
from exphil_tf.melee import specials
from exphil_tf.melee.controls import clamp_stick
from exphil_tf.melee.enums import HITSTUN_ACTIONS, Character, Stage, zero_index_table
from exphil_tf.melee.types import FIRST_FRAME, GO_FRAME, Frames
from exphil_tf.sim import actions as act
from exphil_tf.sim import pads
from exphil_tf.sim.environment import NOBODY, Environment
from exphil_tf.sim.observe import STARTS, Layout
from exphil_tf.sim.opponents import SCRIPTS
from exphil_tf.sim.random_pads import RandomPads
from exphil_tf.sim.rules import controls
from exphil_tf.sim.shot_tables import shot_tables
from exphil_tf.sim.stage_lines import STAGES

KNOWN = [int(one) for one in Character if one != Character.NANA]
FOX, MARTH = int(Character.FOX), int(Character.MARTH)
KEEPERS = [Character.SAMUS, Character.DK, Character.SHEIK, Character.MEWTWO, Character.GAMEANDWATCH,
           Character.PEACH, Character.LUIGI, Character.KIRBY]  # fmt: skip
_COPIED = {
    "percent": "percent", "x": "x", "y": "y", "speed_air_x_self": "vx",
    "speed_ground_x_self": "ground_speed", "speed_y_self": "vy", "speed_x_attack": "kx",
    "speed_y_attack": "ky", "shield": "shield", "action": "action", "character": "character",
    "jumps_left": "jumps", "on_ground": "grounded", "stock": "stock",
}  # fmt: skip
_HELD = {
    "main_x": "stick_x", "main_y": "stick_y", "c_x": "c_x", "c_y": "c_y", "shoulder": "trigger",
    "buttons": "buttons",
}  # fmt: skip


def reference(matches, tracker):
    """The columns of matches, in numpy; a frame out of the schema's bounds is refused."""
    players = matches["players"]
    stage = np.array([int(one) for one in STAGES])[matches["stage"]]
    action = players["action"].astype(int)
    hurt = (action >= HITSTUN_ACTIONS[0]) & (action <= HITSTUN_ACTIONS[1])
    shift = zero_index_table()[players["character"], action]
    builder = FrameBuilder((len(matches),))
    builder.put(Group.FRAME, {"frame": matches["frame"]})
    builder.put(Group.PLAYER, {name: players[ours] for name, ours in _COPIED.items()})
    builder.put(
        Group.PLAYER,
        {
            "action_frame": players["age"].astype(int) + shift,
            "hitstun": np.where(hurt, players["hitstun"], 0).astype(int),
            "hitlag": players["hitlag"].astype(int),
            "facing": players["facing"] > 0,
            "invulnerable": players["safe_frames"] > 0,
        },
    )
    builder.put(Group.CONTROLLER, {name: players[ours] for name, ours in _HELD.items()})
    is_fountain = stage == Stage.FOUNTAIN_OF_DREAMS
    heights = np.where(is_fountain[:, None], matches["heights"], 0)
    moving = {"s.fod_left": heights[:, 0], "s.fod_right": heights[:, 1]}
    builder.put_columns(stage_columns(stage, matches["frame"], moving))
    builder.put_columns(dict.fromkeys(("p.held_item", "p.held_frames"), 0))
    builder.put_columns(shown_shots(matches["shots"][:, :ITEM_SLOTS]))
    builder.put_columns(tracker.step(builder.peek()))
    return builder.columns()


def shown_shots(shots):
    """Columns of items: the projectiles in the first slots."""
    there = shots["kind"] > 0
    kinds = shot_tables()["shots"][np.maximum(shots["kind"] - 1, 0)]
    columns = {"i.exists": there, "i.type": kinds["type"], "i.state": kinds["state"]}
    columns |= {"i.x": shots["x"], "i.y": shots["y"], "i.timer": shots["life"]}
    columns |= {"i.speed_x": shots["vx"], "i.speed_y": shots["vy"]}
    columns = {name: np.where(there, column, 0) for name, column in columns.items()}
    bits = there * 2 ** np.arange(ITEM_SLOTS)
    owned = [(bits * (shots["owner"] == seat)).sum(1) for seat in (0, 1)]
    return columns | {"p.items_owned": np.stack(owned, 1)}


def whole_layout():
    """Every column of the schema, ids and numbers, in an order of its own, and a condition."""
    names = sorted(SCHEMA.names, reverse=True)
    kinds = {"numbers": [], "ids": ["name"]}
    for name in names:
        is_number = SCHEMA.field(name).dtype == "float32"
        kinds["numbers" if is_number else "ids"].append(name)
    found = []
    for group in kinds.values():
        widths = [1 if n == "name" else int(np.prod(SCHEMA.field(n).shape)) for n in group]
        starts = np.cumsum([0, *widths])
        places = zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)
        found.append(dict(zip(group, (slice(*p) for p in places), strict=True)))
    return Layout(*found)


def matches_of(count, characters=KNOWN, **options):
    rng = np.random.default_rng(5)
    stages = [list(Stage)[at % len(Stage)] for at in range(count)]
    return Environment(rng.choice(characters, (count, 2)), stages, **options)


@pytest.mark.parametrize(
    ("characters", "first_frame"), [(KNOWN, GO_FRAME), (KEEPERS, GO_FRAME), (KNOWN, FIRST_FRAME)]
)
def test_what_is_observed_is_what_the_schema_says(characters, first_frame):
    layout = whole_layout()
    environment = matches_of(24, characters, layout=layout, first_frame=first_frame)
    environment.ids[:, :, layout.ids["name"]] = 7
    source, tracker, seen = RandomPads(24, seed=9), CharacterTracker(), {}
    players, rng = environment.world.players, np.random.default_rng(2)
    for frame in range(240):
        want = reference(environment.world.matches, tracker)
        got = environment.columns()
        for name, column in want.items():
            np.testing.assert_array_equal(got[name], column, err_msg=f"{name}, frame {frame}")
            seen[name] = seen.get(name, False) or bool(column.any())
        if frame % 10 == 0:
            check_joined(environment, layout, want)
        if frame % 40 == 39:
            players["percent"] += np.float32(3)
            players["hitlag"][::2] = 4
        if characters is KEEPERS and frame % 30 == 5:
            begin_specials(players, rng)
        environment.step_pads(source.next())
    if characters is KEEPERS:
        assert [name for name in COLUMNS if not seen[name]] == []


def begin_specials(players, rng):
    """Puts every other player into an action that keeps something, of his own."""
    codes = specials.action_codes().reshape(specials.CHARACTERS, -1)
    for player in players[:, 0]:  # records are views
        known = np.flatnonzero(codes[player["character"]] & ~np.uint16(specials.JUDGES))
        player["action"] = rng.choice(known)
        player["frames"], player["age"] = 0, rng.integers(1, 12)
        player["grounded"], player["y"] = rng.integers(0, 2), 30


def check_joined(environment, layout, want):
    for own in (0, 1):
        ego = take_perspective(want, own)
        for places, joined in zip(layout, (environment.numbers, environment.ids), strict=True):
            for name, place in places.items():
                found = joined[:, own, place]
                value = np.full_like(found, 7) if name == "name" else ego[name]
                np.testing.assert_array_equal(found, value.reshape(found.shape), err_msg=name)


def test_a_layout_of_other_columns_is_refused():
    with pytest.raises(ValueError, match=r"want the schema's columns. Received: p.mood"):
        matches_of(1, layout=Layout({"p.mood": slice(0, 2)}, {}))
    places = {"numbers": {"p.x": (0, 2)}, "ids": {"s.stage": (0, 1)}}
    bundle = {
        kind: {name: {"start": a, "stop": b} for name, (a, b) in columns.items()}
        for kind, columns in places.items()
    }
    assert Layout.of_bundle(bundle) == Layout({"p.x": slice(0, 2)}, {"s.stage": slice(0, 1)})


# -- What a batch may not change, and what nothing may do ------------------------------------------

MANY = 1024


def of_many(count, frames, **options):
    """Some first matches of many, half against scripts, played by the same controllers."""
    rng = np.random.default_rng(7)
    characters = rng.choice(KNOWN, (MANY, 2))[:count]
    names = rng.choice(list(SCRIPTS), MANY)[:count]
    pairs = [("", name) if at % 2 else ("", "") for at, name in enumerate(names)]
    stages = [list(Stage)[at % len(Stage)] for at in range(count)]
    environment = Environment(
        characters, stages, layout=whole_layout(), scripts=pairs, limit_frames=150, **options
    )
    environment.reset(seeds=np.arange(count))
    return environment, frames


@pytest.fixture(scope="module")
def many_pads():
    source = RandomPads(MANY, seed=3)
    return [source.next() for _ in range(170)]


def run(environment, frames, held):
    events = environment.events
    for frame in range(frames):
        environment.step_pads(held[frame][: len(environment)])
        environment.reset(np.flatnonzero(events["done"]))
    found = (environment.numbers, environment.ids, environment.values, events)
    return [array.copy() for array in found]


def test_bits_of_observations_and_events_are_those_of_any_batch(many_pads):
    whole = run(*of_many(MANY, 170, threads=2), many_pads)
    for count, threads in ((1, 1), (7, 1), (7, 2), (MANY, 1)):
        part = run(*of_many(count, 170, threads=threads), many_pads)
        for one, other in zip(part, whole, strict=True):
            assert one.tobytes() == other[:count].tobytes(), (count, threads)


@pytest.mark.slow
def test_ten_million_frames_end_and_stay_inside_the_schema():
    """Of all characters, stages and scripts, and of controllers that press anything."""
    environment, frames = of_many(MANY, 10_000)
    source, ended, longest = RandomPads(MANY, seed=8), 0, 0
    for frame in range(frames):
        events = environment.step_pads(source.next())
        done = np.flatnonzero(events["done"])
        ended += len(done)
        longest = max(longest, int(environment.values[:, STARTS["frame"]].max()))
        assert np.isfinite(environment.values.sum())
        if frame % 25 == 0:
            assert SCHEMA.check(Frames(environment.columns())) == []
        environment.reset(done)
    assert ended > 50 * MANY and longest == GO_FRAME + 150


# -- Controllers -----------------------------------------------------------------------------------


def read(held):
    """`INPUT` of answers `[many, 13]`."""
    found = pads.neutral(len(held))
    pads.read_controllers(np.stack([held, held], 1).astype(np.float32), found)
    return found[:, 0]


def test_sticks_are_read_as_the_game_does():
    x, y = (v.ravel() for v in np.meshgrid(*[np.arange(-80, 81)] * 2))
    held = np.zeros((len(x), 13), np.float32)
    held[:, 8], held[:, 9], held[:, 10], held[:, 11] = x / 80, y / 80, y / 80, x / 80
    got = read(held)
    want = [(v / 80).astype(np.float32) for v in clamp_stick(x, y)]
    for name, value in zip(("stick_x", "stick_y", "c_y", "c_x"), (*want, *want), strict=True):
        np.testing.assert_array_equal(got[name], value, err_msg=name)


def test_shoulder_and_buttons_are_read_as_the_game_does():
    rows = [
        ((), 0.3, 0.0), ((), 43 / 140, 43 / 140), ((), 0.7, 0.7), (("Z",), 0.0, 0.35),
        (("Z",), 0.8, 0.8), (("L",), 0.0, 1.0), (("R", "A"), 0.4, 1.0),
    ]  # fmt: skip
    bits = {"A": 0, "Z": 4, "L": 5, "R": 6}
    held = np.zeros((len(rows), 13), np.float32)
    for row, (names, shoulder, _) in enumerate(rows):
        held[row, [bits[name] for name in names]] = 1
        held[row, -1] = shoulder
    got = read(held)
    np.testing.assert_allclose(got["trigger"], [value for *_, value in rows], atol=1e-6)
    assert got["buttons"].tolist() == [sum(1 << bits[n] for n in names) for names, *_ in rows]


def test_stored_controllers_come_back_as_they_were():
    rng = np.random.default_rng(0)
    x, y = clamp_stick(rng.integers(-80, 81, 500), rng.integers(-80, 81, 500))
    held = np.zeros((500, 13), np.float32)
    held[:, :8] = rng.random((500, 8)) < 0.5
    held[:, 8], held[:, 9], held[:, 10], held[:, 11] = x / 80, y / 80, y / 80, x / 80
    held[:, 12] = rng.integers(0, 141, 500) / 140
    names = ("main_x", "main_y", "c_x", "c_y", "shoulder")
    values = {name: held[:, 8 + at] for at, name in enumerate(names)} | {"buttons": held[:, :8]}
    np.testing.assert_array_equal(pads.from_stored(to_bytes(values)), held)


def test_wrong_controllers_are_refused():
    environment = matches_of(2)
    with pytest.raises(ValueError, match=r"want float32 \[2, 2, 13\]. Received: float64"):
        environment.step(np.zeros((2, 2, 13)))
    held = np.zeros((2, 2, 13), np.float32)
    held[0, 1, 8] = np.nan
    with pytest.raises(ValueError, match="want finite numbers"):
        environment.step(held)


# -- Events ----------------------------------------------------------------------------------------


def test_events_tell_damage_stocks_and_the_winner():
    environment = Environment(np.array([[FOX, MARTH]] * 2), [Stage.BATTLEFIELD] * 2)
    held, players = np.zeros((2, 2, 13), np.float32), environment.world.players
    events = environment.step(held)
    assert not events["damage"].any() and not events["done"].any()
    # The second player is hit in the first match and dies in the air; the first falls by himself
    # in the second match, with his last stock.
    players["percent"][0, 1] = 12.5
    environment.step(held)
    assert events["damage"].tolist() == [[12.5, 0], [0, 0]]
    for match, seat in ((0, 1), (1, 0)):
        players[match, seat]["grounded"], players[match, seat]["action"] = 0, act.FALL
        players[match, seat]["y"] = 150
    players["percent"][0, 1] = 14
    players["stock"][1, 0] = environment.events["stocks"][1, 0] = 1
    environment.step(held)
    players["y"][0, 1] = players["y"][1, 0] = -300
    environment.step(held)
    assert events["stocks_lost"].tolist() == [[0, 1], [1, 0]]
    assert events["self_destructs"].tolist() == [[0, 0], [1, 0]]
    assert events["damage"].sum() == 0, "percent that falls is no damage"
    assert events["done"].tolist() == [False, True] and events["winner"].tolist() == [NOBODY, 1]
    environment.step(held)
    assert not events["stocks_lost"].any() and events["done"].tolist() == [False, True]
    environment.reset(np.array([1]))
    assert not events["done"].any() and environment.columns()["p.stock"].tolist() == [
        [4, 3],
        [4, 4],
    ]


def test_time_goes_to_who_has_less_percent():
    environment = Environment(np.array([[FOX, MARTH]] * 2), [Stage.BATTLEFIELD] * 2, limit_frames=2)
    environment.world.players["percent"][0, 0] = 5
    for _ in range(3):
        events = environment.step(np.zeros((2, 2, 13), np.float32))
    assert events["done"].all() and events["winner"].tolist() == [1, NOBODY]


def test_a_countdown_ends_with_both_on_the_ground():
    environment = Environment(
        np.array([[FOX, MARTH]]), [Stage.BATTLEFIELD], first_frame=FIRST_FRAME
    )
    environment.pads["buttons"][:] = controls.A
    held, start = np.zeros((1, 2, 13), np.float32), environment.columns()["p.x"]
    held[:, :, 0], held[:, :, 8] = 1, 1.0
    actions = []
    for _ in range(FIRST_FRAME, GO_FRAME - 1):
        environment.step(held)
        actions.append(int(environment.columns()["p.action"][0, 0]))
    assert actions[0] == act.ENTRY and actions[-1] in (act.LANDING, act.WAIT)
    assert (environment.columns()["p.x"] == start).all()
    assert environment.columns()["p.on_ground"].all()
    environment.step(held)
    assert environment.columns()["frame"][0] == GO_FRAME
    assert not (environment.world.players["action"] == act.JAB_1).any(), "held since before GO"
