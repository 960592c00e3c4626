"""Pokémon Stadium's forms: which lines are there, how high they are, and when that changes.

A form sinks for 120 frames to a twentieth of its height and stays so for 61; then the next one
rises for 120, from 10 units below, while the old one goes under, and who stands goes along
(published: doldecomp/melee). The 19 changes of eight recorded games follow it to 0.003 units. Their
times agree with the published lots: 3,600 to 3,800 frames of the first form and 1,200 to 1,800 of
another, then 306 of announcement; a frame more or less is about so. The next one is any of the
four, the last one too: of 13 that were seen six were rock, five water, and two of rock in a row.
"""

from exphil_tf.melee.enums import Stage
from exphil_tf.melee.types import GO_FRAME
from exphil_tf.sim.compiled import rule
from exphil_tf.sim.rules.script_parts import chance
from exphil_tf.sim.stadium_lines import FIRST, FORMS, ROCK, ROCK_LEDGE
from exphil_tf.sim.stage_lines import OF_A_FORM, STAGES

STADIUM = STAGES.index(Stage.POKEMON_STADIUM)
OTHERS = len(FORMS)
SINK_FRAMES, LOW_FRAMES, RISE_FRAMES = 120, 61, 120
LEAST_SHARE = 0.05
"""Of its height, of a form that has sunk or begins to rise."""
DEPTH = 10.0
"""Game units that a form comes up from, or goes down by, in the half of a rise."""
FIRST_LEAST, FIRST_MOST, OTHER_LEAST, OTHER_MOST = 3600, 3800, 1200, 1800
"""Frames for which a form stands before the next one is announced."""
ANNOUNCED = 306 + SINK_FRAMES + LOW_FRAMES
"""Frames from there until the next one begins to rise."""
LEDGE_X, LEDGE_Y = ROCK_LEDGE
ABOVE_LEDGE = 5.0
"""Height from which on a ledge can only be that of rock."""
REST, WAITS = 0, 1
"""Nothing is drawn yet; the next form is due in `waits[0]` frames."""
HALF = RISE_FRAMES // 2


@rule
def transform(match):
    """A frame of the stage; `waits[0]` are the frames until the next form begins to rise.

    Args:
      match: `MATCH` record; its frame is the one before.
    """
    if not match.transforms or match.frame < GO_FRAME:
        return
    match.waits[0] -= 1
    if match.moods[0] == REST:
        match.moods[0] = WAITS
        stays = OTHER_LEAST + chance(match, 0, 1, 36) * (OTHER_MOST - OTHER_LEAST)
        if match.form == FIRST:
            stays = FIRST_LEAST + chance(match, 0, 1, 36) * (FIRST_MOST - FIRST_LEAST)
        match.waits[0] = int(stays) + ANNOUNCED
    elif match.waits[0] == 0:
        lot = 1 + min(int(chance(match, 0, 1, 37) * OTHERS), OTHERS - 1)
        match.coming = lot if match.form == FIRST else FIRST
    elif match.waits[0] < -RISE_FRAMES:
        match.form = match.coming
        match.moods[0] = REST


@rule
def is_plain(match):
    """Whether nothing but the first form's lines is there."""
    return match.form == FIRST and match.coming == FIRST


@rule
def stands(match, line):
    """Whether a `LINE` record is there at the moment."""
    return line.moving != OF_A_FORM or line.form == match.form or line.form == match.coming


@rule
def height(match, form, rest, ago):
    """Height of a point of a form.

    Args:
      match: `MATCH` record.
      form: one that is there.
      rest: its height when nothing moves.
      ago: frames back that it is asked for, 0 or 1.
    """
    since = -match.waits[0] - ago
    if match.moods[0] == REST or since <= -SINK_FRAMES - LOW_FRAMES:
        return rest
    gain = (1.0 - LEAST_SHARE) / RISE_FRAMES
    if form == match.form:
        part = since + SINK_FRAMES + LOW_FRAMES
        share = 1.0 - gain * part if part < SINK_FRAMES else LEAST_SHARE
        return rest * share - DEPTH * max(0.0, (since - HALF) / HALF)
    risen = max(since, 0)
    return rest * (LEAST_SHARE + gain * risen) - DEPTH * max(0.0, 1.0 - risen / HALF)


@rule
def ledge(match, p, stage):
    """|x| and height of the ledge that is on a player's side.

    Args:
      match: `MATCH` record.
      p: `PLAYER` record.
      stage: `STAGE` record.
    """
    is_rock = match.form == ROCK or match.coming == ROCK
    if is_rock and p.x < 0 and p.y > ABOVE_LEDGE:
        return -LEDGE_X, height(match, ROCK, LEDGE_Y, 0)
    return stage.edge, stage.ledge_y
