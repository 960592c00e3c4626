"""Scripted players for the toy world: simple, varied, and readable from the state of the game.

Each player has a *style* (how far it likes to stand, whether it dash-dances, jumps in, shields,
uses the C-stick) and a *mood* that lasts a second or so: approach, space or wait. Within a mood,
what it does follows from what it sees: distance, height, facing, percent, timers of both players'
actions. So a policy can learn to predict these inputs far better than from their frequencies or
from the input before; the moods and their lengths are the part that is chance.

Hands are hands: a button stays down for some frames and up for some, a stick takes two frames from
side to side, and values lie on the game's own grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from exphil_tf.melee.controls import STICK_DEAD_ZONE, STICK_STEPS, TRIGGER_STEPS
from exphil_tf.melee.types import GO_FRAME
from exphil_tf.sim.moves import AIR_FREE, GROUND_FREE, IS_ATTACK, Action
from exphil_tf.sim.toy import Inputs, ToyWorld

APPROACH, SPACE, WAIT = range(3)
_A, _B, _X, _Y, _Z, _L, _R, _D_UP = range(8)
_STICK_SPEED = 0.75
"""Most change of a stick axis in a frame."""


@dataclass(frozen=True)
class Style:
    """How a scripted player plays."""

    name: str
    moods: tuple[float, float, float]
    """How often it approaches, spaces, waits."""
    spacing: float
    """Distance at which it dash-dances, in game units."""
    flip: int
    """Frames of dash before it turns while dash-dancing."""
    walk: float
    """Stick with which it approaches up close."""
    hops: float
    """Share of approaches in the air."""
    shield: float
    """Shoulder value of its shield: 1 is a click, less a light shield."""
    c_stick: bool
    """Smashes and aerials by C-stick."""
    uses_x_and_l: bool
    """Jumps with X and shields with L, else with Y and R."""
    taunts: bool = False


STYLES: tuple[Style, ...] = (
    Style("rusher", (0.6, 0.3, 0.1), 28, 9, 1.0, 0.4, 1.0, False, True),
    Style("dancer", (0.3, 0.6, 0.1), 36, 11, 1.0, 0.5, 1.0, True, False),
    Style("waller", (0.3, 0.3, 0.4), 30, 13, 0.6, 0.7, 0.6, True, False, taunts=True),
    Style("turtle", (0.25, 0.15, 0.6), 24, 12, 0.7, 0.2, 1.0, True, True),
    Style("jumper", (0.5, 0.3, 0.2), 32, 10, 0.8, 0.9, 0.75, True, True),
)


class ScriptedPlayers:
    """Players of every match at once.

    Args:
      styles: index into `STYLES`, int `[matches, 2]`.
      rng: source of moods.
    """

    def __init__(self, styles: np.ndarray, rng: np.random.Generator):
        self._rng = rng
        rows = [[STYLES[i] for i in pair] for pair in styles]
        self._cut = np.array([[np.cumsum(s.moods) for s in pair] for pair in rows])
        get = {
            name: np.array([[getattr(s, name) for s in pair] for pair in rows])
            for name in (
                "spacing",
                "flip",
                "walk",
                "hops",
                "shield",
                "c_stick",
                "uses_x_and_l",
                "taunts",
            )
        }
        self._style = get
        self._uses_x = get["uses_x_and_l"]
        shape = styles.shape
        self._mood, self._left = np.zeros(shape, int), np.zeros(shape, int)
        self._hops = np.zeros(shape, bool)
        self._x, self._y = np.zeros(shape), np.zeros(shape)
        self._c = np.zeros((*shape, 2))
        self._c_left = np.zeros(shape, int)
        self._down, self._up = np.zeros((*shape, 8), int), np.zeros((*shape, 8), int)
        self._random = rng.random

    def act(self, world: ToyWorld) -> Inputs:
        """Controllers of the next frame, from the state of this one."""
        self._change_moods(world)
        seen = _look(world)
        stick = _Stick(np.zeros_like(world.x), np.zeros_like(world.x))
        wants = np.zeros((*world.x.shape, 8), bool)
        c = np.zeros((*world.x.shape, 2))
        self._stand(world, seen, stick)
        self._attack(world, seen, stick, wants=wants, c=c)
        shields = self._defend(world, seen, stick)
        self._recover(world, seen, stick, wants=wants)
        dead = world.action[:, ::-1] <= Action.DEAD_UP
        wants[..., _D_UP] |= self._style["taunts"] & dead & (world.timer % 40 < 10)
        if world.frame < GO_FRAME:
            wants[:], c[:], shields = False, 0, np.zeros_like(shields)
            stick.x[:], stick.y[:] = 0, 0
        return self._hands(world, stick, shields, wants=wants, c=c)

    def _change_moods(self, world: ToyWorld) -> None:
        shape = world.x.shape
        draw, length, hop = (self._random(shape) for _ in range(3))
        self._left -= 1
        new = (self._left <= 0) & GROUND_FREE[world.action]
        mood = (draw[..., None] > self._cut[..., :2]).sum(-1)
        self._mood = np.where(new, mood, self._mood)
        self._hops = np.where(new, hop < self._style["hops"], self._hops)
        self._left = np.where(new, 40 + 60 * length, self._left).astype(int)

    # -- What it wants -----------------------------------------------------------------------------

    def _stand(self, world: ToyWorld, seen: _Seen, stick: _Stick) -> None:
        style = self._style
        close = seen.distance < 25
        approach = seen.side * np.where(close, style["walk"], 1.0)
        dashing = world.action == Action.DASHING
        flips = dashing & (world.timer >= style["flip"])
        dance = np.where(dashing, np.where(flips, -world.facing, world.facing), seen.side)
        off = seen.distance - style["spacing"]
        dance = np.where(off > 30, seen.side, np.where(off < -12, -seen.side, dance))
        x = np.select([self._mood == APPROACH, self._mood == SPACE], [approach, dance], 0.0)
        x = np.where((np.abs(world.x) > world.edge - 14) & (x * world.x > 0), -np.sign(world.x), x)
        # Holding the ledge against somebody off stage: stand near the edge, crouch.
        post = np.sign(world.x[:, ::-1]) * world.edge * 0.8
        guards = seen.opponent_out & ~seen.out
        x = np.where(guards, np.clip((post - world.x) / 12, -1, 1), x)
        waits = (self._mood == WAIT) & (seen.distance < 60)
        stick.x[:] = x
        stick.y[:] = np.where((waits | (guards & (np.abs(x) < 0.3))) & seen.ground, -1.0, 0.0)

    def _attack(
        self, world: ToyWorld, seen: _Seen, stick: _Stick, *, wants: np.ndarray, c: np.ndarray
    ) -> None:
        style = self._style
        reach = 14 * world.stats["reach"] + 4
        eager = (self._mood == APPROACH) | seen.opponent_open
        pushed = seen.ground & (seen.distance < 13) & (np.abs(seen.above) < 10) & ~eager
        wants[..., _B] |= pushed
        near = seen.ground & (seen.distance < reach) & (np.abs(seen.above) < 14) & eager
        over = seen.ground & (seen.distance < 16) & (seen.above > 8) & (seen.above < 40)
        kills = world.percent[:, ::-1] > 70
        smash = kills | seen.opponent_open | (world.action == Action.DASHING)
        smash &= near & style["c_stick"]
        grab = near & ~kills & (world.percent[:, ::-1] < 15)
        c[..., 0] = np.where(smash, seen.side, c[..., 0])
        wants[..., _Z] |= grab & ~over
        wants[..., _A] |= (near & ~smash & ~grab) | over
        low = near & ~over & (world.percent[:, ::-1] > 40)
        low |= pushed
        stick.y[:] = np.where(over, 0.65, np.where(low & ~smash, -0.6, stick.y))
        stick.x[:] = np.where(over | low, 0.0, np.where(near, 0.5 * seen.side, stick.x))
        # Jump in, and act in the air.
        span = (seen.distance > 22) & (seen.distance < 45) & (self._mood == APPROACH)
        chase = (seen.above > 30) & (seen.distance < 30) & ~seen.opponent_out
        jumps = seen.ground & ~near & ((span & self._hops) | chase)
        self._want_jump(wants, jumps)
        aerial = seen.air & (seen.distance < 22) & (np.abs(seen.above) < 30) & ~seen.out
        vertical = np.where(seen.above > 10, 1.0, np.where(seen.above < -12, -1.0, 0.0))
        by_c = aerial & style["c_stick"]
        c[..., 1] = np.where(by_c, vertical, c[..., 1])
        c[..., 0] = np.where(by_c & (vertical == 0), seen.side, c[..., 0])
        wants[..., _A] |= aerial & ~by_c
        stick.y[:] = np.where(aerial & ~by_c, vertical, stick.y)
        stick.x[:] = np.where(aerial & ~by_c & (vertical != 0), 0.0, stick.x)
        falls = ~world.on_ground & (world.vy < -0.3) & IS_ATTACK[world.action] & ~seen.out
        stick.y[:] = np.where(falls & (world.timer > 8), -1.0, stick.y)

    def _defend(self, world: ToyWorld, seen: _Seen, stick: _Stick) -> np.ndarray:
        """Shoulder value `[matches, 2]`; sets the stick in hitstun."""
        hurt = world.hitstun > 0
        stick.x[:] = np.where(hurt, -np.sign(world.x), stick.x)
        stick.y[:] = np.where(hurt, 0.6, stick.y)
        up = (world.action >= Action.SHIELD_START) & (world.action <= Action.SHIELD_STUN)
        threat = IS_ATTACK[world.action[:, ::-1]] & (seen.distance < 32) & (np.abs(seen.above) < 30)
        threat &= world.timer[:, ::-1] < 22
        ready = seen.ground | (up & (world.action != Action.SHIELD_RELEASE))
        shields = ready & threat & (self._mood != APPROACH) & (world.shield > 15)
        stick.x[:] = np.where(shields, 0.0, stick.x)
        stick.y[:] = np.where(shields, 0.0, stick.y)
        return np.where(shields, self._style["shield"], 0.0)

    def _recover(self, world: ToyWorld, seen: _Seen, stick: _Stick, *, wants: np.ndarray) -> None:
        home = -np.sign(world.x)
        out = seen.out & (world.hitstun == 0)
        stick.x[:] = np.where(out, home, stick.x)
        stick.y[:] = np.where(out, 0.0, stick.y)
        low = out & (world.y < 0) & (world.vy < 0) & AIR_FREE[world.action]
        again = low & (world.jumps > 0)
        self._want_jump(wants, again)
        up_b = low & (world.jumps == 0) & (world.y < -12)
        wants[..., _B] |= up_b
        stick.y[:] = np.where(up_b, 1.0, stick.y)
        wants[..., _A] &= ~out
        waiting = (world.action == Action.ON_HALO_WAIT) & (world.timer > 30)
        stick.y[:] = np.where(waiting, -1.0, stick.y)

    def _want_jump(self, wants: np.ndarray, jumps: np.ndarray) -> None:
        wants[..., _X] |= jumps & self._uses_x
        wants[..., _Y] |= jumps & ~self._uses_x

    # -- What its hands do -------------------------------------------------------------------------

    def _hands(
        self,
        world: ToyWorld,
        stick: _Stick,
        shields: np.ndarray,
        *,
        wants: np.ndarray,
        c: np.ndarray,
    ) -> Inputs:
        clicks = (shields == 1.0)[..., None]
        shielding = np.zeros_like(wants)
        shielding[..., _L] = clicks[..., 0] & self._uses_x
        shielding[..., _R] = clicks[..., 0] & ~self._uses_x
        full = world.y[:, ::-1] - world.y > 30
        hold = np.full(8, 4) + np.zeros((*world.x.shape, 1), int)
        hold[..., _X] = hold[..., _Y] = np.where(full, 9, 2)
        presses = wants & (self._down == 0) & (self._up == 0)
        self._down = np.where(presses, hold, np.maximum(self._down - 1, 0))
        self._up = np.where(self._down > 0, 3, np.maximum(self._up - 1, 0))
        down = (self._down > 0) | shielding
        self._c_left -= 1
        flicks = (np.abs(c).max(-1) > 0) & (self._c_left < -4)
        self._c = np.where(flicks[..., None], c, np.where(self._c_left[..., None] > 0, self._c, 0))
        self._c_left = np.where(flicks, 4, self._c_left)
        self._x += np.clip(stick.x - self._x, -_STICK_SPEED, _STICK_SPEED)
        self._y += np.clip(stick.y - self._y, -_STICK_SPEED, _STICK_SPEED)
        main_x, main_y = _on_grid(self._x, self._y)
        c_x, c_y = _on_grid(self._c[..., 0], self._c[..., 1])
        shoulder = np.maximum(shields, np.where(down[..., _Z], 0.35, 0.0))
        return Inputs(
            main_x=main_x,
            main_y=main_y,
            c_x=c_x,
            c_y=c_y,
            shoulder=(np.rint(shoulder * TRIGGER_STEPS) / TRIGGER_STEPS).astype(np.float32),
            buttons=np.packbits(down, axis=-1, bitorder="little")[..., 0],
        )


@dataclass(frozen=True)
class _Stick:
    """Where the main stick should go; arrays `[matches, 2]`, changed in place."""

    x: np.ndarray
    y: np.ndarray


@dataclass(frozen=True)
class _Seen:
    """What a player sees, arrays `[matches, 2]`."""

    side: np.ndarray
    """+1 if the opponent is to the right, else -1."""
    distance: np.ndarray
    above: np.ndarray
    """How much higher the opponent is."""
    out: np.ndarray
    """Beyond the edge."""
    opponent_out: np.ndarray
    opponent_open: np.ndarray
    """The opponent cannot act yet: landing, or late in an attack."""
    ground: np.ndarray
    """Free to act on the ground."""
    air: np.ndarray


def _look(world: ToyWorld) -> _Seen:
    ahead = world.x[:, ::-1] - world.x
    out = ((np.abs(world.x) > world.edge) | (world.y < -4)) & ~world.on_ground
    action, timer = world.action[:, ::-1], world.timer[:, ::-1]
    landing = (action >= 42) & (action <= 43) | (action >= 70) & (action <= 74)
    return _Seen(
        side=np.where(ahead >= 0, 1.0, -1.0),
        distance=np.abs(ahead),
        above=world.y[:, ::-1] - world.y,
        out=out,
        opponent_out=out[:, ::-1],
        opponent_open=landing | (IS_ATTACK[action] & (timer > 14)) | (action == 211),
        ground=GROUND_FREE[world.action],
        air=AIR_FREE[world.action],
    )


def _on_grid(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Any positions as sticks that the game could read: in the unit circle, live, in 1/80.

    Not `controls.clamp_stick`, which wants the whole steps that an adapter sends.
    """
    length = np.maximum(np.hypot(x, y), 1.0)
    steps = [np.trunc(axis / length * STICK_STEPS + np.sign(axis) * 1e-6) for axis in (x, y)]
    x, y = (np.where(np.abs(axis) < STICK_DEAD_ZONE, 0, axis) for axis in steps)
    return (x / STICK_STEPS).astype(np.float32), (y / STICK_STEPS).astype(np.float32)
