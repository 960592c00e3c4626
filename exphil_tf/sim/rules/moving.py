"""Stages that move: Fountain of Dreams' platforms and Dream Land's wind; `stadium` has a third.

What they do next is drawn by lot, here by a hash of the match's seed and the time. Which states
they go through is the game's (published: doldecomp/melee). Speeds, heights, the wind and where it
is felt are read off players in recorded games, who go with them: 7,000 frames on platforms that
move, 42,000 in the wind, 309 gusts. How often platforms are moved, and how long they stay under
water, where nobody stands, is what those sightings leave open: about so.
"""

from exphil_tf.melee.enums import Stage
from exphil_tf.sim.compiled import rule
from exphil_tf.sim.rules import stadium
from exphil_tf.sim.rules.script_parts import chance
from exphil_tf.sim.stage_lines import STAGES

FOUNTAIN, DREAMLAND = STAGES.index(Stage.FOUNTAIN_OF_DREAMS), STAGES.index(Stage.DREAMLAND)
SCALE, TOP = 0.75, 1.125
"""Game units of a unit of a platform's height as replays tell it, and its top above that."""
HIGHEST, LOWEST, HOME, SUNK = 35.0, 15.0, 25.0, -1.0
"""Heights between which platforms move, where they come up again, and where they go under."""
RISE, FALL = 0.15, 0.1
"""Units a frame."""
WAIT_LEAST, WAIT_MOST = 600, 1200
"""Frames until a platform is moved, or lot is cast again."""
UNDER_LEAST, UNDER_MOST = 300, 900
"""Frames for which a platform stays under water."""
STEP_LEAST, STEP_MOST = 5.0, 10.0
SINKS, MOVES = 0.15, 0.35
"""Chances that a platform sinks, and that it moves by a step; else it waits on."""
TURNS_BACK = 0.85
"""Chance that a step leads towards the height that platforms come up to."""
BLOW_FRAMES = 274
"""Frames for which it blows."""
CALM_LEAST, CALM_MOST = 680, 1350
"""Frames between."""
WIND = 0.2
"""What it moves bodies by, units a frame."""
NEAR_X, FAR_X, LOW_Y, HIGH_Y = -16.8, 150.0, -10.0, 40.0
"""Where it is felt, from the middle outwards."""
REST, WAITS, GOES, UNDER = 0, 1, 2, 3
"""What a part does: nothing yet, wait, move (or blow), stay under water."""


@rule
def move(match, players):
    """A frame of what moves by itself.

    Args:
      match: `MATCH` record; its frame is the one before.
      players: its `PLAYER` records `[2]`.
    """
    if match.stage == FOUNTAIN:
        for side in range(2):
            _move_platform(match, side)
    elif match.stage == DREAMLAND:
        _breathe(match, players)
        feel_wind(match, players)
    elif match.stage == stadium.STADIUM:
        stadium.transform(match)


@rule
def height(told):
    """Where one stands on a platform of Fountain of Dreams, of its height as replays tell it."""
    return SCALE * told + TOP


@rule
def _between(match, side, salt, least, most):
    """A whole number, drawn anew for each frame and part."""
    return least + int(chance(match, side, 1, salt) * (most - least))


@rule
def _move_platform(match, side):
    mood = match.moods[side]
    if mood == REST:
        match.waits[side] = _between(match, side, 30, WAIT_LEAST, WAIT_MOST)
        match.moods[side] = WAITS
    elif mood == GOES:
        _approach_goal(match, side)
    else:
        match.waits[side] -= 1
        if match.waits[side] >= 0:
            return
        if mood == WAITS:
            _choose_goal(match, side)
        else:
            match.goals[side] = HOME
            match.moods[side] = GOES


@rule
def _choose_goal(match, side):
    """It sinks, makes a step, or waits on; steps lead rather towards the height it comes up to."""
    lot = chance(match, side, 1, 31)
    match.moods[side] = GOES if lot < SINKS + MOVES else REST
    if lot < SINKS:
        match.goals[side] = SUNK
    elif lot < SINKS + MOVES:
        step = STEP_LEAST + chance(match, side, 1, 32) * (STEP_MOST - STEP_LEAST)
        back = 1.0 if match.heights[side] < HOME else -1.0
        share = 0.5 if match.heights[side] == HOME else TURNS_BACK
        way = back if chance(match, side, 1, 33) < share else -back
        match.goals[side] = min(max(match.goals[side] + way * step, LOWEST), HIGHEST)


@rule
def _approach_goal(match, side):
    left = match.goals[side] - match.heights[side]
    if left > RISE:
        match.heights[side] += RISE
    elif left < -FALL:
        match.heights[side] -= FALL
    else:
        match.heights[side] = match.goals[side]
        match.moods[side] = REST
        if match.goals[side] < LOWEST:
            match.moods[side] = UNDER
            match.waits[side] = _between(match, side, 34, UNDER_LEAST, UNDER_MOST)


@rule
def _breathe(match, players):
    """The tree waits, then blows towards the side on which the players are."""
    match.waits[0] -= 1
    if match.moods[0] == REST:
        match.waits[0] = _between(match, 0, 35, CALM_LEAST, CALM_MOST)
        match.moods[0] = WAITS
    elif match.waits[0] > 0:
        pass
    elif match.moods[0] == WAITS:
        match.blows = 1 if players[0].x + players[1].x > 0 else -1
        match.waits[0] = BLOW_FRAMES
        match.moods[0] = GOES
    else:
        match.blows = 0
        match.moods[0] = REST


@rule
def feel_wind(match, players):
    """What the wind moves each player by on this frame."""
    for seat in range(2):
        out = players[seat].x * match.blows
        inside = NEAR_X < out < FAR_X and LOW_Y < players[seat].y < HIGH_Y
        players[seat].wind = WIND * match.blows if inside and match.blows != 0 else 0.0
