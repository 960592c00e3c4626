"""A recorded frame as a match's state, and back into the columns of the schema.

What no replay records (how far the stick has been out, since when a jump is held, feet locked after
leaving the ground) follows from the frames before: the state walks along with the recording, and
what is recorded overwrites it on every frame.
"""

from __future__ import annotations

import math

import numpy as np

from exphil_tf.melee.controls import STICK_STEPS
from exphil_tf.melee.enums import HITSTUN_ACTIONS
from exphil_tf.melee.stages import FOD_START_HEIGHTS
from exphil_tf.sim import actions as act
from exphil_tf.sim.compiled import rule
from exphil_tf.sim.flights import flights, shot_uses, use_numbers
from exphil_tf.sim.recorded import Recorded
from exphil_tf.sim.rules import floors, grabs, hits, staling
from exphil_tf.sim.rules.air_jumps import FLOAT, PEACH
from exphil_tf.sim.rules.change import LONG_AGO
from exphil_tf.sim.rules.moving import DREAMLAND, SCALE, TOP, feel_wind
from exphil_tf.sim.rules.shots import move_of
from exphil_tf.sim.rules.stadium import STADIUM, WAITS
from exphil_tf.sim.sequences import FAST_FALL
from exphil_tf.sim.shot_tables import kind_of
from exphil_tf.sim.stadium_changes import forms_of
from exphil_tf.sim.stadium_lines import FIRST
from exphil_tf.sim.stage_lines import GAP, MAX_LINES, STAGES, line_table
from exphil_tf.sim.state import INPUT, MATCH, SHOT, SHOTS

SEEN = np.dtype(
    [
        ("x", "f4"), ("y", "f4"), ("vx", "f4"), ("vy", "f4"), ("ground_speed", "f4"),
        ("kx", "f4"), ("ky", "f4"), ("facing", "f4"), ("age", "f4"), ("percent", "f4"),
        ("shield", "f4"), ("hitlag", "f4"), ("hitstun", "f4"),
        ("action", "i2"), ("character", "i1"), ("stock", "i1"), ("jumps", "i1"),
        ("grounded", "i1"), ("line", "i1"), ("fast_falls", "i1"), ("safe", "i1"), ("slides", "i1"),
        ("foreign", "i1"),  # the stage has another form than at first, or gets one
        ("last_attack", "u1"),
    ],
    align=True,
)  # fmt: skip
"""What is recorded of a player on a frame."""
_COPIED = {
    "x": "x", "y": "y", "vx": "speed_air_x_self", "vy": "speed_y_self",
    "ground_speed": "speed_ground_x_self", "kx": "speed_x_attack", "ky": "speed_y_attack",
    "age": "state_age", "percent": "percent", "shield": "shield", "hitlag": "hitlag",
    "action": "action", "character": "character", "stock": "stock", "jumps": "jumps_left",
    "grounded": "on_ground", "safe": "invulnerable", "last_attack": "last_attack",
}  # fmt: skip
_STICKS = {"stick_x": "main_x", "stick_y": "main_y", "c_x": "c_x", "c_y": "c_y"}
LEAST_WIND, MOST_WIND = 0.02, 0.25
TOLD = np.dtype(
    [
        ("left", "f4"), ("right", "f4"), ("blows", "i1"), ("known", "i1"),
        ("form", "i1"), ("coming", "i1"), ("wait", "i2"),
    ],
    align=True,
)  # fmt: skip
"""What a stage does on a frame: Fountain of Dreams' platforms and Dream Land's wind, if `known`;
Pokémon Stadium's forms as `stadium_changes` finds them."""
_SAME_AGE = 0.02
_MOST_RATE = 40.0


def seen(game: Recorded) -> np.ndarray:
    """`SEEN` `[frames, players]` of a game."""
    table = np.zeros(game["x"].shape, SEEN)
    for name, column in _COPIED.items():
        table[name] = game[column]
    table["facing"] = game["facing"].astype(np.float32) * 2 - 1
    table["fast_falls"] = (game["flags"][..., 1] & FAST_FALL) != 0
    first, last = HITSTUN_ACTIONS
    hurt = (table["action"] >= first) & (table["action"] <= last)
    table["hitstun"] = np.where(hurt, game["misc"], 0)
    table["line"] = _rows(game)
    form, coming, _ = forms_of(game)
    table["foreign"] = ((form != FIRST) | (coming != FIRST))[:, None]
    # Who lies counts as airborne while sliding, and yet stands on a line.
    lies = np.isin(table["action"], (act.DOWN_BOUND_UP, act.DOWN_BOUND_DOWN))
    table["slides"] = lies & (table["grounded"] == 0)
    table["grounded"] |= lies
    return table


def _rows(game: Recorded) -> np.ndarray:
    """Rows of the lines that are stood on; 0 for one that the tables do not know."""
    ids = line_table()["id"][STAGES.index(game.stage)]  # pyright: ignore[reportArgumentType]
    rows = np.zeros(game["ground"].shape, np.int8)
    for row in range(MAX_LINES - 1, -1, -1):
        if ids[row] >= 0:
            rows[game["ground"] == ids[row]] = row
    return rows


def pads(game: Recorded) -> np.ndarray:
    """`INPUT` `[frames, players]`: the controllers that led to each frame."""
    table = np.zeros(game["x"].shape, INPUT)
    for name, column in _STICKS.items():
        table[name] = game[column]
    if game.cardinals:
        _put_cardinals(table, game)
    table["trigger"] = game["shoulder"]
    table["buttons"] = game["buttons"]
    return table


def _put_cardinals(table: np.ndarray, game: Recorded) -> None:
    """UCF 0.84: a stick at the rim within six steps of an axis counts as all the way along it.

    Replays keep what the stick was before that.
    """
    raw = {"stick_x": game["raw_x"].astype(int), "stick_y": game["raw_y"].astype(int)}
    for along, across in (("stick_x", "stick_y"), ("stick_y", "stick_x")):
        small = np.abs(raw[across])
        rim = (np.abs(raw[along]) >= STICK_STEPS) & (small > 0) & (small <= _CARDINAL_STEPS)
        table[along] = np.where(rim, np.sign(raw[along]), table[along])


_CARDINAL_STEPS = 6


def shots(game: Recorded) -> np.ndarray:
    """`SHOT` `[frames, SHOTS]`: the recorded projectiles that the rules know, in their slots."""
    table = np.zeros((len(game), SHOTS), SHOT)
    uses = [use_numbers(game, player) for player in (0, 1)]
    for row in flights(game):
        at, slot = slice(int(row["first"]), int(row["after"])), int(row["slot"])
        owner = int(row["owner"])
        who = int(game["character"][at.start, owner])
        kind = kind_of(who, int(row["type"]), int(row["state"]))
        if not kind or row["bounced"]:
            continue
        here = table[at, slot]
        here["kind"], here["owner"] = kind, owner
        here["use"] = uses[owner][at.start]
        for name, column in (("x", "x"), ("y", "y"), ("vx", "speed_x"), ("vy", "speed_y"),
                             ("life", "timer")):  # fmt: skip
            here[name] = game[f"i.{column}"][at, slot]
        steps = np.hypot(here["vx"], here["vy"])
        here["flown"] = np.cumsum(steps) - steps[0]
    return table


def hit_by_shots(game: Recorded) -> np.ndarray:
    """Uint16 `[frames, players]`: the use of a player's projectile that hits the other; or 0."""
    return np.stack([shot_uses(game, 1 - player) for player in (0, 1)], 1)


def match_of(game: Recorded) -> np.ndarray:
    """`MATCH` `[1]` on the stage of a game; its players stand nowhere yet."""
    match = np.zeros(1, MATCH)
    match["stage"] = STAGES.index(game.stage)  # pyright: ignore[reportArgumentType]
    match["limit"] = np.iinfo(np.int32).max
    match["heights"] = FOD_START_HEIGHTS
    match["players"]["action"] = act.WAIT
    match["players"]["tilt_x"] = match["players"]["tilt_y"] = 254
    return match


@rule
def force(p, r, before, tables):
    """Overwrites a player with what is recorded; keeps what is not, where it can be right.

    Args:
      p: `PLAYER` record, the state that rules made of the frame before.
      r: `SEEN` record.
      before: `SEEN` record of the frame before.
      tables: `TABLES` record.
    """
    is_expected = p.action == r.action and abs(p.age - r.age) < _SAME_AGE
    if not is_expected:
        action = min(r.action, act.ACTIONS - 1)
        loops = p.action == r.action and act.DEAD_STAR <= r.action <= act.DEAD_AHEAD
        if not loops:
            p.frames = max(0, int(round(r.age - tables.begins_at[r.character, action])))
        p.rate = float(tables.begins_rate[r.character, action])
    if p.action != r.action:
        p.number = 0.0
        p.flag = 0
        _begin(p, r, before)
    if not r.grounded and before.grounded:
        p.air_frames = 0
    if r.action == act.SPECIAL_FALL and before.action != r.action:
        special = before.action >= act.SPECIAL_FIRST
        p.helpless = min(before.action, act.ACTIONS - 1) if special else 0
    if r.grounded:
        p.floated = 0
    elif r.character == PEACH and r.action == FLOAT:
        p.floated = 1
    p.x, p.y, p.vx, p.vy = r.x, r.y, r.vx, r.vy
    p.ground_speed, p.kx, p.ky, p.facing = r.ground_speed, r.kx, r.ky, r.facing
    p.age, p.percent, p.shield = r.age, r.percent, r.shield
    p.hitlag, p.hitstun = r.hitlag, r.hitstun
    p.action, p.character, p.stock, p.jumps = r.action, r.character, r.stock, r.jumps
    p.grounded, p.fast_falls = r.grounded, r.fast_falls
    p.safe_frames = max(p.safe_frames, 2) if r.safe else 0
    p.influence = r.hitlag > 0 and act.DAMAGE_FIRST <= r.action <= act.DAMAGE_LAST
    p.feet = 0.0 if r.grounded else floors.feet(p, tables)
    if r.slides:
        p.flag = 1
    if r.grounded:
        p.line = r.line


@rule
def _begin(p, r, before):
    """What the game sets as an action begins, where the rules foresaw another."""
    if r.action == act.DASH:
        p.tilt_x = LONG_AGO
    elif r.action == act.PLATFORM_DROP or act.JUMP_F <= r.action <= act.AIR_JUMP_B:
        p.tilt_y = LONG_AGO
        if r.action >= act.AIR_JUMP_F:
            p.air_frames = 0


@rule
def learn_hit(attacker, old, now, before, lands, by_shot, tables):
    """What an attack has done: the queue and who was struck are the record's, not the rules'.

    Args:
      attacker: `PLAYER` record, forced to the frame.
      old: `PLAYER` record of the same player on the frame before.
      now: `SEEN` record of the frame.
      before: `SEEN` record of the frame before.
      lands: whether the other player's percent rises.
      by_shot: the use of the projectile that does it; 0: none does.
      tables: `TABLES` record.
    """
    for at in range(staling.KEPT):
        attacker.stale[at] = old.stale[at]
    attacker.shot_use = old.shot_use
    goes_on = now.action == before.action and now.age >= before.age
    attacker.used = old.used if goes_on else 0
    attacker.struck = old.struck if goes_on else 0
    begins = now.action == act.GUARD_ON or now.action == act.GUARD_REFLECT
    if begins or grabs.is_tied(now.action):  # their ages are not counted from a beginning
        attacker.frames = 0
        if now.action == before.action:
            attacker.frames = old.frames + (1 if now.hitlag <= 0 else 0)
    attacker.grab_left = old.grab_left
    if grabs.is_held(now.action) and not grabs.is_held(before.action):
        attacker.grab_left = grabs.hold_frames(now.percent)
    if now.stock < before.stock:
        staling.forget(attacker)
    if by_shot:
        staling.remember_shot(attacker, now.last_attack, by_shot)
    else:
        _learn_touch(attacker, now, before, lands, tables)


@rule
def _learn_touch(attacker, now, before, lands, tables):
    if lands and now.last_attack > 0:
        staling.remember(attacker, now.last_attack)
    if lands or (now.hitlag > 0 and before.hitlag <= 0):
        row = hits.box_row(attacker, tables)
        if row >= 0:
            attacker.struck = tables.boxes[row].window
        elif grabs.is_holding(now.action):
            attacker.struck = 1


@rule
def remember_share(shot, slot, before, tables):
    """How stale a recorded shot is: as its owner's queue was when it left.

    Args:
      shot: `SHOT` record of the frame.
      slot: its place.
      before: `MATCH` record of the frame before.
      tables: `TABLES` record.
    """
    if shot.kind <= 0:
        return
    old = before.shots[slot]
    if old.kind == shot.kind and old.flown < shot.flown:
        shot.share = old.share
        return
    owner = before.players[shot.owner]
    shot.share = staling.share(owner, move_of(tables.shots[shot.kind - 1], owner))


@rule
def was_hit(now, before):
    """Whether a recorded player is hit on a frame, as `exphil_tf.sim.hit_events.begins` says it."""
    launched = math.hypot(now.kx, now.ky) > math.hypot(before.kx, before.ky) + 0.06
    held = grabs.is_held(now.action)
    return now.percent > before.percent + 1e-4 and (now.hitlag > 0 or launched or held)


@rule
def learn_rate(p, before, now):
    """The speed of an animation, from two recorded frames of it."""
    gain = now.age - before.age
    if before.action == now.action and 0 < gain < _MOST_RATE and now.hitlag == 0:
        p.rate = gain


def told(game: Recorded) -> np.ndarray:
    """`TOLD` `[frames]`: what the stage does, where the game's version tells it."""
    table = np.zeros(len(game), TOLD)
    table["left"], table["right"], table["blows"] = game["left"], game["right"], game["whispy"]
    table["known"] = game.tells_stage
    table["form"], table["coming"], table["wait"] = forms_of(game)
    return table


@rule
def set_stage(match, players, stage):
    """The stage of a frame to come: as it is recorded, if it is.

    Args:
      match: `MATCH` record.
      players: its `PLAYER` records `[2]`.
      stage: `TOLD` record.
    """
    if match.stage == STADIUM:
        match.form, match.coming, match.waits[0] = stage.form, stage.coming, stage.wait
        match.moods[0] = WAITS
    if not stage.known:
        return
    match.heights[0], match.heights[1] = stage.left, stage.right
    match.blows = stage.blows
    if match.stage == DREAMLAND:
        feel_wind(match, players)


@rule
def guess_wind(match, p, r):
    """Dream Land: what blows shows in the last step, as replays before 3.18 do not tell it.

    Args:
      match: `MATCH` record.
      p: `PLAYER` record, as the rules made it of the frame before.
      r: `SEEN` record of the frame.
    """
    missed = r.x - p.x + p.wind
    blows = match.stage == DREAMLAND and p.action == r.action
    p.wind = missed if blows and LEAST_WIND < abs(missed) < MOST_WIND else 0.0


@rule
def settle_platform(match, p, tables):
    """Fountain of Dreams: who stands on a platform shows its height, which replays seldom tell."""
    if p.grounded:
        moving = tables.lines[match.stage, p.line].moving
        if moving == 1 or moving == 2:
            match.heights[moving - 1] = (p.y - GAP - TOP) / SCALE
