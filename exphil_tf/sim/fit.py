"""Constants of movement from recorded games: `python -m exphil_tf.sim fit`.

Each constant is read off the frames on which nothing else has a hand in the change: gravity off the
fall's change of speed, a dash's first speed off dashes from a stand. See `estimates` for how.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from exphil_tf.sim import actions as act
from exphil_tf.sim.estimates import NOTHING, Estimate, commonest, largest, line
from exphil_tf.sim.sequences import FAST_FALL, Sequences

Found = dict[str, Estimate]
_AIR = (act.JUMP_F, act.JUMP_B, act.FALL, act.NAIR, act.FAIR, act.BAIR, act.UAIR, act.DAIR)


def fit_character(seq: Sequences) -> Found:
    """Attribute → estimate, of one character's frames."""
    return {name: estimate for part in _PARTS for name, estimate in part(seq).items()}


def _in(seq: Sequences, *actions: int) -> np.ndarray:
    """Bool `[rows - 1]`: free pairs that are both in one of the actions, the same one."""
    before, after = seq.before("action"), seq.after("action")
    return seq.free & (before == after) & np.isin(after, actions)


def _enters(seq: Sequences, *actions: int) -> np.ndarray:
    before, after = seq.before("action"), seq.after("action")
    return seq.free & ~np.isin(before, actions) & np.isin(after, actions)


def _fall(seq: Sequences) -> Found:
    fall, speed = -seq.change("speed_y_self"), -seq.after("speed_y_self")
    air = _in(seq, *_AIR) & (seq.after("on_ground") == 0)
    fast = (seq.after("flags")[:, 1] & FAST_FALL) != 0
    steady = air & (fall == 0) & (speed > 0)
    return {
        "gravity": commonest(fall[air & ~fast & (fall > 1e-3)]),
        "terminal": commonest(speed[steady & ~fast]),
        "fast_fall": commonest(speed[steady & fast]),
    }


def _drift(seq: Sequences) -> Found:
    air = _in(seq, *_AIR) & (seq.after("on_ground") == 0)
    stick, before, after = (
        seq.after("main_x"), seq.before("speed_air_x_self"), seq.after("speed_air_x_self"),
    )  # fmt: skip
    gain = after - before
    against = air & (stick * before < 0) & (np.abs(before) > 0.2)
    base, slope = line(
        np.stack([np.ones(against.sum()), np.abs(stick[against])], 1), np.abs(gain[against])
    )
    steady = air & (gain == 0) & (np.abs(stick) > 0)
    slowing = air & (stick == 0) & (np.abs(gain) > 0) & (after * before > 0)
    return {
        "drift_base": base,
        "drift_stick": slope,
        "drift_max": commonest((after / np.where(stick == 0, 1, stick))[steady]),
        "air_friction": commonest(np.abs(gain[slowing])),
    }


def _ground(seq: Sequences) -> Found:
    speed, before = seq.after("speed_ground_x_self"), seq.before("speed_ground_x_self")
    stick = seq.after("main_x")
    slowing = _in(seq, act.WAIT, act.LANDING, act.LANDING_SPECIAL) & (speed * before > 0)
    loss = np.abs(before) - np.abs(speed)
    # Friction doubles above walking speed.
    bound = np.quantile(np.abs(before[slowing]), 0.3) + 1e-6 if slowing.any() else 0.0
    low = slowing & (np.abs(before) < bound)
    walks = (act.WALK_SLOW, act.WALK_MIDDLE, act.WALK_FAST)
    begins = _enters(seq, *walks) & (before == 0) & (np.abs(stick) > 0)
    base, slope = line(
        np.stack([np.ones(begins.sum()), np.abs(stick[begins])], 1), np.abs(speed[begins])
    )
    steady = _in(seq, *walks) & (speed == before) & (stick != 0)
    return {
        "friction": commonest(loss[low & (loss > 0)]),
        "walk_base": base,
        "walk_stick": slope,
        "walk_max": commonest((speed / np.where(stick == 0, 1, stick))[steady]),
        **_walk_kinds(seq),
    }


def _walk_kinds(seq: Sequences) -> Found:
    """Speeds from which a walk is a middling and a fast one: the least that a change shows."""
    speed = np.abs(seq.after("speed_ground_x_self"))
    found: Found = {}
    kinds = (act.WALK_SLOW, act.WALK_MIDDLE, act.WALK_FAST)
    for name, slow, fast in zip(("walk_middle", "walk_fast"), kinds, kinds[1:], strict=False):
        change = seq.free & (seq.before("action") == slow) & (seq.after("action") == fast)
        stays = _in(seq, slow)
        if change.sum() < 8 or stays.sum() < 8:
            continue
        values = np.abs(seq.before("speed_ground_x_self")[change])
        found[name] = Estimate(float(np.quantile(values, 0.02)), int(change.sum()),
                               float(np.quantile(speed[stays], 0.98)), 1.0)  # fmt: skip
    return found


def _dash(seq: Sequences) -> Found:
    facing, stick = seq.after("facing"), seq.after("main_x")
    speed, before = seq.after("speed_ground_x_self"), seq.before("speed_ground_x_self")
    begins = _enters(seq, act.DASH) & (np.abs(before) < 1e-3)
    goes_on = _in(seq, act.DASH) & (stick * facing > 0) & (seq.before("state_age") >= 1)
    gain = (speed - before) * facing
    top = np.quantile(np.abs(speed[goes_on]), 0.98) if goes_on.any() else 0
    free = goes_on & (gain > 0) & (np.abs(speed) < 0.97 * np.abs(stick) * top)
    base, slope = line(np.stack([np.ones(free.sum()), np.abs(stick[free])], 1), gain[free])
    steady = _in(seq, act.RUN) & (speed == before) & (stick != 0)
    lasts, following, _ = seq.runs(act.DASH)
    brakes, after_brake, _ = seq.runs(act.RUN_BRAKE)
    turns, after_turn, _ = seq.runs(act.TURN)
    return {
        "dash_speed": commonest((speed * facing)[begins]),
        "run_base": base,
        "run_stick": slope,
        "run_max": commonest((speed / np.where(stick == 0, 1, stick))[steady]),
        "run_frame": commonest(lasts[following == act.RUN]),
        "dash_frames": commonest(lasts[following == act.WAIT]),
        "brake_frames": commonest(brakes[after_brake == act.WAIT]),
        "turn_frames": commonest(turns[after_turn == act.WAIT]),
        "turn_faces": _turn_faces(seq),
    }


def _turn_faces(seq: Sequences) -> Estimate:
    """Frame of a turn from a stand on which it faces the other way; flicks do on the first."""
    flips = _in(seq, act.TURN) & (seq.before("facing") != seq.after("facing"))
    frames = np.round(seq.after("state_age"))[flips] - 1
    return commonest(frames[frames > 1])


def _jump(seq: Sequences) -> Found:
    hop = _enters(seq, act.JUMP_F, act.JUMP_B) & (seq.before("action") == act.JUMPSQUAT)
    again = _enters(seq, act.AIR_JUMP_F, act.AIR_JUMP_B)
    rise, drift, stick = (
        seq.after("speed_y_self"), seq.after("speed_air_x_self"), seq.after("main_x"),
    )  # fmt: skip
    speeds = [commonest(rise[hop], rank) for rank in (0, 1)]
    speeds.sort(key=lambda one: -np.nan_to_num(one.value))
    bound = largest(np.abs(drift[hop]))
    inside = hop & (np.abs(drift) < bound.value - 1e-3) if bound.count else hop
    carried = seq.before("speed_ground_x_self")
    carry, push = line(np.stack([carried[inside], stick[inside]], 1), drift[inside])
    squats, following, _ = seq.runs(act.JUMPSQUAT)
    left = again & (stick != 0)
    return {
        "jump_speed": speeds[0],
        "hop_speed": speeds[1],
        "jump_carry": carry,
        "jump_stick": push,
        "jump_max": bound,
        "jumpsquat": commonest(squats[np.isin(following, (act.JUMP_F, act.JUMP_B))]),
        "air_jump_speed": commonest(rise[again]),
        "air_jump_stick": _air_push(seq, left),
        "jump_frames": _natural(seq, (act.JUMP_F, act.JUMP_B), act.FALL),
        "air_jump_frames": _natural(seq, (act.AIR_JUMP_F,), act.FALL_AERIAL),
        "multi_jump": _multi_jump(seq),
        "dodge_frames": _dodge_frames(seq),
        "dodge_step": _dodge_step(seq),
    }


def _multi_jump(seq: Sequences) -> Estimate:
    """Id of the first of an own action for each jump in the air, of those who have them."""
    if seq.columns["jumps_left"].max() <= _TWO_JUMPS:
        return NOTHING
    lost = seq.before("jumps_left").astype(int) - seq.after("jumps_left")
    again = seq.free & (lost == 1) & (seq.before("on_ground") == 0)
    again &= (seq.after("action") >= act.SPECIAL_FIRST) & (seq.before("action") < act.SPECIAL_FIRST)
    used = int(seq.columns["jumps_left"].max()) - seq.before("jumps_left").astype(int)
    found = commonest((seq.after("action") - used + 1)[again])
    return found if found.count >= 8 and found.share > 0.8 and again.sum() > 20 else NOTHING


_TWO_JUMPS = 2


def _dodge_frames(seq: Sequences) -> Estimate:
    """Frames of an air dodge that slow by its own rule; gravity comes after."""
    air = _in(seq, act.AIR_DODGE) & (np.abs(seq.before("speed_y_self")) > 0.02)
    slows = air & (np.abs(seq.after("speed_y_self") - 0.9 * seq.before("speed_y_self")) < 1e-3)
    ages = np.round(seq.after("state_age"))
    later = ages[air & ~slows]
    if len(later) < 3 or not slows.any():
        return NOTHING
    last = ages[slows & (ages < later.min())]
    return Estimate(float(last.max()), int(slows.sum() + len(later))) if len(last) else NOTHING


def _dodge_step(seq: Sequences) -> Estimate:
    """Share of its first step that a wavedash on the first frame makes."""
    lands = seq.free & (seq.before("action") == act.JUMPSQUAT)
    lands &= seq.after("action") == act.LANDING_SPECIAL
    lands &= np.abs(seq.after("speed_air_x_self")) > 0.3
    return commonest((seq.change("x")[lands] / seq.after("speed_air_x_self")[lands]).round(2))


def _air_push(seq: Sequences, left: np.ndarray) -> Estimate:
    """Speed that the stick gives an air jump; drift or friction has had its share already."""
    stick, speed = np.abs(seq.after("main_x")[left]), np.abs(seq.after("speed_air_x_self")[left])
    air = {name: found.value for name, found in _drift(seq).items()}
    slowed = speed > stick * air["drift_max"] + 1e-3
    sped = (speed - air["drift_base"]) / stick - air["drift_stick"]
    return commonest(np.where(slowed, (speed + air["air_friction"]) / stick, sped))


def _natural(seq: Sequences, actions: Iterable[int], following: int) -> Estimate:
    lasts = [frames[nxt == following] for frames, nxt, _ in map(seq.runs, actions)]
    return commonest(np.concatenate(lasts))


def _lags(seq: Sequences) -> Found:
    found: Found = {}
    for index, name in enumerate(("nair_lag", "fair_lag", "bair_lag", "uair_lag", "dair_lag")):
        action = act.NAIR_LANDING + index
        enters = _enters(seq, action)
        rate = seq.columns["state_age"][2:] - seq.after("state_age")[:-1]
        failed = enters[:-1] & (seq.after("l_cancel")[:-1] == 2) & (rate > 0)
        failed &= seq.columns["action"][2:] == action
        found[name] = commonest(_LANDING_AGES / rate[failed]) if failed.any() else NOTHING
    lands, following, _ = seq.runs(act.LANDING)
    early = lands[np.isin(following, (act.JUMPSQUAT, act.DASH, act.TURN, act.GUARD_ON))]
    found["landing_lag"] = commonest(early[early < 8])
    found["landing_frames"] = commonest(lands[following == act.WAIT])
    found["squat_frames"] = _natural(seq, (act.SQUAT,), act.SQUAT_WAIT)
    found["rise_frames"] = _natural(seq, (act.SQUAT_RISE,), act.WAIT)
    return found


_LANDING_AGES = 30.1
"""Age at which every landing ends; it runs faster or slower to fit its lag."""
_PARTS: tuple[Callable[[Sequences], Found], ...] = (_fall, _drift, _ground, _dash, _jump, _lags)
