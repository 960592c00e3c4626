"""A toy of Melee's physics, for smoke tests of learning: nothing to compile.

What it has: flat ground with edges and blast zones of the six stages, six characters with their own
weight, gravity and speeds, jumps (short and full), walking, dashing, one up-B to recover, fourteen
attacks with hit boxes that are rectangles, knockback that grows with percent, hitlag, hitstun,
shields, stocks and a respawn platform. What it lacks is everything else: platforms, ledges, grabs,
throws, dodges, projectiles, L-cancels, directional influence. Action ids are those of the real game
and every value stays inside the feature schema's range.

All matches step together: every array is `[matches, 2]`, so a frame costs a few hundred small numpy
calls however many matches there are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from exphil_tf.melee.enums import Character, Stage
from exphil_tf.melee.stages import GEOMETRY
from exphil_tf.melee.types import FIRST_FRAME, GO_FRAME
from exphil_tf.sim.moves import (
    AERIALS,
    AIR_FREE,
    DAMAGE,
    DEAD,
    DURATION,
    FIXED,
    GROUND_FREE,
    IS_ATTACK,
    LANDS,
    MOVE_TABLE,
    MOVES,
    SHIELDING,
    STATS,
    Action,
    Stats,
    set_of,
)

STOCKS = 4
MAX_SHIELD = 60.0
_HITLAG_MAX = 20
_RESPAWN_HEIGHT = 45.0
_UP_B_FRAMES = 26


@dataclass
class Inputs:
    """Controllers of one frame, as the game sees them; arrays `[matches, 2]`.

    `main_x` … `c_y` float32 in [-1, 1], `shoulder` float32 in [0, 1], `buttons` uint8 (bit 0 to 7 =
    A B X Y Z L R D_UP).
    """

    main_x: np.ndarray
    main_y: np.ndarray
    c_x: np.ndarray
    c_y: np.ndarray
    shoulder: np.ndarray
    buttons: np.ndarray

    def pressed(self, bit: int) -> np.ndarray:
        """Whether the button is down, bool `[matches, 2]`."""
        return (self.buttons >> bit & 1) != 0


A, B, X, Y, Z, L, R = range(7)


class ToyWorld:
    """Matches of two players in flight.

    Args:
      characters: int `[matches, 2]`, internal ids out of `STATS`.
      stages: external stage id of each match.
    """

    def __init__(self, characters: np.ndarray, stages: list[Stage]):
        shape = characters.shape
        self.characters = characters.astype(np.uint8)
        rows = np.array([[STATS[Character(c)] for c in pair] for pair in characters], np.float64)
        self.stats = {name: rows[..., i] for i, name in enumerate(Stats._fields)}
        self.edge = np.array([[GEOMETRY[stage].edge] for stage in stages])
        self._zones = {
            side: np.array([[getattr(GEOMETRY[stage], side)] for stage in stages])
            for side in ("left", "right", "top", "bottom")
        }
        self.frame = FIRST_FRAME
        zero = np.zeros(shape)
        self.x = np.stack([-self.edge[:, 0] * 0.6, self.edge[:, 0] * 0.6], 1)
        self.y, self.vx, self.vy, self.kx, self.ky = (zero.copy() for _ in range(5))
        self.percent, self.shield = zero.copy(), zero + MAX_SHIELD
        self.facing = np.tile(np.array([1, -1]), (shape[0], 1))
        self.action = np.full(shape, Action.ENTRY, np.int64)
        self.timer, self.hitstun, self.hitlag, self.safe = (zero.astype(int) for _ in range(4))
        self.jumps, self.stock = zero.astype(int) + 2, zero.astype(int) + STOCKS
        self.on_ground = np.ones(shape, bool)
        self._has_hit, self._recovered = np.zeros(shape, bool), np.zeros(shape, bool)
        self._last = np.zeros(shape, np.uint8)
        self._last_c = np.zeros(shape, bool)

    # -- One frame ---------------------------------------------------------------------------------

    def step(self, inputs: Inputs) -> None:
        """Advances every match by one frame under the controllers of that frame."""
        self.frame += 1
        held = self.hitlag > 0
        self.hitlag -= held
        live = ~held
        self.timer += live
        self.safe = np.maximum(self.safe - 1, 0)
        if self.frame >= GO_FRAME:
            self._play(live, inputs)
        else:
            self._enter()
        self._last, self._last_c = inputs.buttons, _c_out(inputs)

    def _play(self, live: np.ndarray, inputs: Inputs) -> None:
        self._end_actions(live, inputs)
        self._act(live, inputs)
        above = self.y >= 0
        self._move(live, inputs)
        self._land(live, above)
        self._hit()
        self._die(live)

    def _set(self, mask: np.ndarray, action: int | np.ndarray) -> None:
        if not mask.any():
            return
        self.action = np.where(mask, action, self.action)
        self.timer = np.where(mask, 1, self.timer)
        self._has_hit &= ~mask

    def _enter(self) -> None:
        self._set(np.full_like(self.on_ground, self.frame == -90), Action.ENTRY_END)
        self._set(np.full_like(self.on_ground, self.frame == GO_FRAME - 1), Action.STANDING)

    def _is(self, *actions: int) -> np.ndarray:
        return set_of(*actions)[self.action]

    def _end_actions(self, live: np.ndarray, inputs: Inputs) -> None:
        """What ends by itself: attacks, landings, hitstun, shields, deaths."""
        idle = np.where(self.on_ground, Action.STANDING, Action.FALLING)
        self._set(live & (self.timer > DURATION[self.action]), idle)
        self._leave_jumpsquat(live, inputs)
        damage = live & DAMAGE[self.action]
        self.hitstun -= damage & (self.hitstun > 0)
        over = damage & (self.hitstun == 0)
        self._set(over, np.where(self.on_ground, Action.STANDING, Action.TUMBLING))
        self._set(live & self._is(Action.UP_B) & (self.timer > _UP_B_FRAMES), Action.DEAD_FALL)
        holds = (inputs.shoulder > 0.3) & (self.shield > 0)
        self._set(live & self._is(Action.SHIELD_START) & (self.timer > 8), Action.SHIELD)
        released = self._is(Action.SHIELD_START, Action.SHIELD) & ~holds & (self.timer > 8)
        self._set(live & released, Action.SHIELD_RELEASE)
        stunned = self._is(Action.SHIELD_STUN) & (self.timer > 8)
        self._set(live & stunned, Action.SHIELD)
        self._respawn(live, inputs)

    def _leave_jumpsquat(self, live: np.ndarray, inputs: Inputs) -> None:
        stats = self.stats
        leaves = live & self._is(Action.KNEE_BEND) & (self.timer > stats["jumpsquat"])
        is_full = inputs.pressed(X) | inputs.pressed(Y)
        self.vy = np.where(leaves, np.where(is_full, stats["jump"], stats["short_hop"]), self.vy)
        self.vx = np.where(leaves, self.vx * 0.7 + inputs.main_x * 0.4, self.vx)
        self.on_ground &= ~leaves
        self.jumps = np.where(leaves, 1, self.jumps)
        back = inputs.main_x * self.facing < -0.3
        self._set(leaves, np.where(back, Action.JUMPING_BACKWARD, Action.JUMPING_FORWARD))

    def _respawn(self, live: np.ndarray, inputs: Inputs) -> None:
        appears = live & DEAD[self.action] & (self.timer > 60) & (self.stock > 0)
        self._set(appears, Action.ON_HALO_DESCENT)
        self.x = np.where(appears, np.array([-20.0, 20.0]), self.x)
        self.facing = np.where(appears, np.array([1, -1]), self.facing)
        descends = live & self._is(Action.ON_HALO_DESCENT)
        self.y = np.where(descends, _RESPAWN_HEIGHT + np.maximum(40 - self.timer, 0), self.y)
        self._set(descends & (self.timer > 40), Action.ON_HALO_WAIT)
        wants = (np.abs(inputs.main_x) > 0.3) | (np.abs(inputs.main_y) > 0.3)
        leaves = live & self._is(Action.ON_HALO_WAIT) & (wants | (self.timer > 120))
        self._set(leaves, Action.FALLING)
        self.safe = np.where(appears, 240, np.where(leaves, 120, self.safe))

    # -- What a free player does -------------------------------------------------------------------

    def _act(self, live: np.ndarray, inputs: Inputs) -> None:
        fresh = inputs.buttons & ~self._last
        edge = {bit: (fresh >> bit & 1) != 0 for bit in (A, B, X, Y, Z)}
        c_stick = _c_out(inputs) & ~self._last_c
        ground = live & GROUND_FREE[self.action]
        air = live & AIR_FREE[self.action]
        recovers = edge[B] & (inputs.main_y > 0.5) & ~self._recovered & (ground | air)
        self._set(recovers, Action.UP_B)
        self._recovered |= recovers
        self.on_ground &= ~recovers
        self.vy = np.where(recovers, np.maximum(self.stats["jump"] * 1.1, 3.2), self.vy)
        self.vx = np.where(recovers, inputs.main_x * 1.1, self.vx)
        attacks = (edge[A] | edge[Z] | c_stick) & (ground | air) & ~recovers
        if attacks.any():
            self._set(attacks, self._chosen_attack(attacks, inputs, c_stick))
        specials = edge[B] & (inputs.main_y < -0.5) & ground & ~recovers
        self._set(specials, MOVES["down_b"].action)
        attacks |= specials
        free = ~(recovers | attacks)
        jumps = (edge[X] | edge[Y]) & free
        self._set(jumps & (ground | (live & self._is(*_SHIELD_JUMP))), Action.KNEE_BEND)
        again = jumps & air & (self.jumps > 0)
        self._set(again, Action.JUMPING_ARIAL_FORWARD)
        self.vy = np.where(again, self.stats["air_jump"], self.vy)
        self.jumps -= again
        shields = (inputs.shoulder > 0.3) & ground & free & ~jumps & (self.shield > 5)
        self._set(shields, Action.SHIELD_START)
        self._walk(ground & free & ~jumps & ~shields, inputs)

    def _chosen_attack(
        self, attacks: np.ndarray, inputs: Inputs, c_stick: np.ndarray
    ) -> np.ndarray:
        """The attack that an A press or a flick of the C-stick means, int `[matches, 2]`.

        Who attacks backwards from the ground turns round first.
        """
        x = np.where(c_stick, inputs.c_x, inputs.main_x) * self.facing
        y = np.where(c_stick, inputs.c_y, inputs.main_y)
        is_vertical = np.abs(y) > np.abs(x)
        pick = {name: move.action for name, move in MOVES.items()}
        up, down = is_vertical & (y > 0.3), is_vertical & (y < -0.3)
        ahead, behind = ~is_vertical & (x > 0.3), ~is_vertical & (x < -0.3)
        tilt = np.select(
            [up, down, ahead | behind], [pick["utilt"], pick["dtilt"], pick["ftilt"]], pick["jab"]
        )
        smash = np.select([up, down], [pick["usmash"], pick["dsmash"]], pick["fsmash"])
        fast = self._is(Action.DASHING, Action.RUNNING)
        ground = np.where(c_stick, smash, np.where(fast, pick["dash_attack"], tilt))
        aerial = np.select(
            [up, down, ahead, behind],
            [pick["uair"], pick["dair"], pick["fair"], pick["bair"]],
            pick["nair"],
        )
        turns = attacks & self.on_ground & behind
        self.facing = np.where(
            turns & (c_stick | ~fast) & GROUND_FREE[self.action], -self.facing, self.facing
        )
        return np.where(self.on_ground, ground, aerial)

    def _walk(self, free: np.ndarray, inputs: Inputs) -> None:
        x = inputs.main_x
        size, ahead = np.abs(x), x * self.facing > 0
        runs = self._is(Action.DASHING, Action.RUNNING)
        dashes = free & (size >= 0.8) & (~runs | ~ahead)
        # A dash back turns at once; from a run or a walk it takes a turn first.
        turns = free & (size >= 0.25) & ~ahead & (self.action != Action.TURNING)
        self.facing = np.where(turns, np.sign(x), self.facing).astype(int)
        self._set(dashes, Action.DASHING)
        self._set(turns & ~dashes, Action.TURNING)
        rest = free & ~dashes & ~turns
        self._set(
            rest & self._is(Action.DASHING) & (self.timer > 14) & (size >= 0.6), Action.RUNNING
        )
        self._set(rest & runs & (size < 0.6) & (self.timer > 10), Action.RUN_BRAKE)
        walk = np.select(
            [size < 0.45, size < 0.65], [Action.WALK_SLOW, Action.WALK_MIDDLE], Action.WALK_FAST
        )
        still = rest & ~runs & ~self._is(Action.TURNING, Action.RUN_BRAKE)
        new = np.where(
            size >= 0.25, walk, np.where(inputs.main_y < -0.6, Action.CROUCHING, Action.STANDING)
        )
        self._set(still & (new != self.action), new)

    # -- Motion ------------------------------------------------------------------------------------

    def _move(self, live: np.ndarray, inputs: Inputs) -> None:
        stats, ground = self.stats, self.on_ground
        free = GROUND_FREE[self.action]
        target = (
            inputs.main_x * stats["walk"] * (free & ~self._is(Action.CROUCHING, Action.RUN_BRAKE))
        )
        target = np.where(self._is(Action.DASHING), self.facing * stats["dash"], target)
        target = np.where(self._is(Action.RUNNING), self.facing * stats["run"], target)
        pull = np.where(free, 0.25, stats["traction"])
        on_ground = self.vx + np.clip(target - self.vx, -pull, pull)
        drift = np.where(np.abs(inputs.main_x) > 0.25, inputs.main_x * stats["air_accel"], 0)
        drift *= ~DAMAGE[self.action]
        in_air = np.clip(self.vx * 0.99 + drift, -stats["air_max"] * 1.4, stats["air_max"] * 1.4)
        moves = live & ~FIXED[self.action]
        self.vx = np.where(moves, np.where(ground, on_ground, in_air), np.where(live, 0, self.vx))
        fast = (inputs.main_y < -0.65) & (self.vy < 0) & (AIR_FREE | IS_ATTACK)[self.action]
        fallen = np.where(
            fast, -stats["fast_fall"], np.maximum(self.vy - stats["gravity"], -stats["fall"])
        )
        fallen = np.where(self.vy < -stats["fall"], self.vy, fallen)
        self.vy = np.where(moves & ~ground, fallen, np.where(live, 0, self.vy))
        speed = np.hypot(self.kx, self.ky)
        keep = np.maximum(speed - 0.051, 0) / np.maximum(speed, 1e-9) * (moves & live)
        self.kx, self.ky = (np.where(live, k * keep, k) for k in (self.kx, self.ky))
        self.x = self.x + np.where(moves, self.vx + self.kx, 0)
        self.y = self.y + np.where(moves, self.vy + self.ky, 0)
        self._shrink_shield(live, inputs)

    def _shrink_shield(self, live: np.ndarray, inputs: Inputs) -> None:
        up = SHIELDING[self.action]
        change = np.where(up, -0.28 * np.maximum(inputs.shoulder, 0.3), 0.07)
        self.shield = np.clip(self.shield + change * live, 0, MAX_SHIELD)
        broken = up & (self.shield <= 0)
        self._set(broken, Action.SHIELD_BREAK_TEETER)
        self.shield = np.where(broken, 30.0, self.shield)

    def _land(self, live: np.ndarray, above: np.ndarray) -> None:
        over = np.abs(self.x) <= self.edge
        falls = self.vy + self.ky <= 0
        lands = live & ~self.on_ground & over & above & (self.y <= 0) & falls
        lands &= LANDS[self.action]
        is_aerial = (self.action >= AERIALS[0]) & (self.action <= AERIALS[1])
        # The five landings follow the five aerials at the same distance.
        is_special = self._is(Action.DEAD_FALL, Action.UP_B)
        landing = np.where(is_aerial, self.action + 5, Action.LANDING)
        landing = np.where(is_special, Action.LANDING_SPECIAL, landing)
        hurt = DAMAGE[self.action]
        self.on_ground |= lands
        self.y = np.where(lands | (self.on_ground & ~FIXED[self.action]), 0.0, self.y)
        self.vy, self.ky = np.where(lands, 0, self.vy), np.where(lands, 0, self.ky)
        self.jumps = np.where(lands, 2, self.jumps)
        self._recovered &= ~lands
        self._set(lands & ~hurt, landing)
        slips = live & self.on_ground & ~over & ~FIXED[self.action]
        self.on_ground &= ~slips
        self.jumps = np.where(slips, 1, self.jumps)
        keeps = hurt | is_special
        self._set(slips & ~keeps, Action.FALLING)

    # -- Hits and deaths ---------------------------------------------------------------------------

    def _hit(self) -> None:
        at = {name: table[self.action] for name, table in MOVE_TABLE.items()}
        active = IS_ATTACK[self.action] & (self.timer >= at["first"]) & (self.timer <= at["last"])
        active &= ~self._has_hit & (self.hitlag == 0)
        other = (slice(None), slice(None, None, -1))
        ahead = (self.x[other] - self.x) * self.facing
        above = self.y[other] - self.y
        reach = self.stats["reach"]
        inside = (ahead > at["back"] * reach - 2) & (ahead < at["front"] * reach + 4)
        inside &= (above > at["low"] * reach - 4) & (above < at["high"] * reach)
        hurtable = ~FIXED[self.action] & (self.safe == 0)
        hits = active & inside & hurtable[other]
        if not hits.any():
            return
        self._has_hit |= hits
        taken, damage = hits[other], at["damage"][other]
        blocked = taken & SHIELDING[self.action]
        lag = np.where(
            hits | taken, np.floor(np.maximum(at["damage"] * hits, damage * taken) / 3) + 3, 0
        )
        self.hitlag = np.maximum(self.hitlag, np.minimum(lag, _HITLAG_MAX)).astype(int)
        self.shield = np.where(blocked, np.maximum(self.shield - damage * 0.7, 0), self.shield)
        self._set(blocked, Action.SHIELD_STUN)
        away = np.where(np.abs(ahead) > 2, np.sign(ahead), 1)[other] * self.facing[other]
        self.vx = np.where(blocked, away * 0.8, self.vx)
        self._launch(taken & ~blocked, away, {name: value[other] for name, value in at.items()})

    def _launch(self, hurt: np.ndarray, away: np.ndarray, move: dict[str, np.ndarray]) -> None:
        """Damage, knockback and hitstun by the game's formula, without staling or charge."""
        damage = move["damage"]
        self.percent = np.where(hurt, np.minimum(self.percent + damage, 999), self.percent)
        force = self.percent / 10 + self.percent * damage / 20
        force = (force * 200 / (self.stats["weight"] + 100) * 1.4 + 18) * move["growth"] / 100
        force = np.minimum(force + move["base"], 300)
        angle = np.deg2rad(move["angle"])
        self.kx = np.where(hurt, force * 0.03 * np.cos(angle) * away, self.kx)
        self.ky = np.where(hurt, force * 0.03 * np.sin(angle), self.ky)
        self.vx, self.vy = np.where(hurt, 0, self.vx), np.where(hurt, 0, self.vy)
        self.hitstun = np.where(hurt, np.floor(force * 0.4), self.hitstun).astype(int)
        self.on_ground &= ~(hurt & (force > 55))
        self.facing = np.where(hurt, -away, self.facing).astype(int)
        heavy = np.where(force > 80, Action.DAMAGE_FLY_NEUTRAL, Action.DAMAGE_AIR_2)
        self._set(hurt, np.where(self.on_ground, Action.DAMAGE_NEUTRAL_2, heavy))

    def _die(self, live: np.ndarray) -> None:
        zones = self._zones
        sides = [
            self.y < zones["bottom"],
            self.x < zones["left"],
            self.x > zones["right"],
            (self.y > zones["top"]) & (self.ky > 0),
        ]
        dies = live & np.any(sides, axis=0) & ~FIXED[self.action]
        if not dies.any():
            return
        names = [Action.DEAD_DOWN, Action.DEAD_LEFT, Action.DEAD_RIGHT, Action.DEAD_UP]
        self._set(dies, np.select(sides, names, Action.DEAD_DOWN))
        self.stock -= dies
        for name in ("percent", "vx", "vy", "kx", "ky"):
            setattr(self, name, np.where(dies, 0.0, getattr(self, name)))
        self.hitstun = np.where(dies, 0, self.hitstun)
        self.shield = np.where(dies, MAX_SHIELD, self.shield)
        self.on_ground &= ~dies
        self.jumps = np.where(dies, 1, self.jumps)
        self._recovered &= ~dies


_SHIELD_JUMP = (Action.SHIELD_START, Action.SHIELD)


def _c_out(inputs: Inputs) -> np.ndarray:
    return np.maximum(np.abs(inputs.c_x), np.abs(inputs.c_y)) > 0.6


_LOOPED_FRAMES = 60
"""Animations of idle actions start over after so many frames."""


def observe_players(world: ToyWorld) -> dict[str, np.ndarray]:
    """One frame of players' columns by short name, `[games, 2]` each."""
    is_idle = GROUND_FREE[world.action] | AIR_FREE[world.action]
    loops = np.where(is_idle, (world.timer - 1) % _LOOPED_FRAMES + 1, world.timer)
    values = {
        "percent": world.percent,
        "x": world.x,
        "y": world.y,
        "speed_air_x_self": world.vx * ~world.on_ground,
        "speed_ground_x_self": world.vx * world.on_ground,
        "speed_y_self": world.vy,
        "speed_x_attack": world.kx,
        "speed_y_attack": world.ky,
        "shield": world.shield,
        "action": world.action,
        "action_frame": np.maximum(loops, 1),
        "hitstun": world.hitstun,
        "hitlag": world.hitlag,
        "character": world.characters,
        "facing": world.facing > 0,
        "jumps_left": world.jumps,
        "on_ground": world.on_ground,
        "invulnerable": world.safe > 0,
        "stock": world.stock,
    }
    # The world changes its arrays in place.
    return {name: value.copy() for name, value in values.items()}
