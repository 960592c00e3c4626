"""One frame of a match, and of many matches in one call.

Order of a frame, as in the game: the stage moves; hitlag holds or ends; animations advance and what
ends is followed by the next action, and projectiles leave; controllers are read; choices; speeds;
steps and landings; hits; projectiles fly and hit; stocks.
"""

from exphil_tf.melee.types import GO_FRAME
from exphil_tf.sim.compiled import kernel, rule
from exphil_tf.sim.rules import (
    bodies,
    choices,
    controls,
    downs,
    ends,
    entry,
    floors,
    grabs,
    hits,
    keeps,
    knockback,
    motion,
    moving,
    shields,
    shots,
    stocks,
)


@rule
def step_match(match, players, pads, tables):
    """One frame.

    Args:
      match: `MATCH` record.
      players: its `PLAYER` records `[2]`.
      pads: `INPUT` records `[2]`.
      tables: `TABLES` record.
    """
    match.frame += 1
    if match.frame < GO_FRAME:
        entry.enter_stage(match, players, pads, tables)
    else:
        _play(match, players, pads, tables)


@rule
def _play(match, players, pads, tables):
    for seat in range(2):
        _age(players[seat], tables)
        shots.leave(match, players[seat], seat, tables)
    floors.mark_ledges(players[0], players[1])
    for seat in range(2):
        controls.read_input(players[seat], pads[seat])
    for seat in range(2):
        choices.choose(match, players[seat], tables.attributes[players[seat].character], tables)
        downs.choose(players[seat], tables)
    bodies.push(players[0], players[1], tables)
    for seat in range(2):
        _move(match, players[seat], tables)
    grabs.carry(match, players, tables)
    for seat in range(2):
        shields.hold(players[seat], tables)
    hits.strike(match, players, tables)
    shots.fly(match, players, tables)


@rule
def _age(p, tables):
    """Animations advance on the controller of the frame before: a jump goes where it pointed."""
    p.safe_frames = max(0, p.safe_frames - 1)
    p.ledge_wait = max(0, p.ledge_wait - 1)
    if p.hitlag > 0:
        p.hitlag = max(0.0, p.hitlag - 1.0)
        if p.hitlag <= 0:
            knockback.end_hitlag(p)
    if p.hitlag > 0:
        return
    if grabs.is_tied(p.action):
        grabs.grow(p, tables)
    else:
        ends.advance(p, tables.attributes[p.character], tables)


@rule
def _move(match, p, tables):
    if p.hitlag > 0:
        knockback.smash_shift(p)
        return
    if grabs.is_held(p.action):
        return
    a = tables.attributes[p.character]
    if p.grounded:
        motion.ground_speed(p, a, tables)
        motion.lose_knockback(p, a)
        floors.walk_on(match, p, a, tables)
    else:
        motion.air_speed(p, a, tables)
        motion.lose_knockback(p, a)
        floors.fly_on(match, p, a, tables)


@kernel
def step_matches(matches, pads, tables):
    """One frame of every match that is not over.

    Args:
      matches: `MATCH` `[matches]`, changed in place.
      pads: `INPUT` `[matches, 2]`.
      tables: `TABLES` `[1]`.
    """
    for at in range(len(matches)):
        if matches[at].over:
            continue
        # An array of players of its own would be compiled for anew where there is but one match.
        players = matches[at].players
        moving.move(matches[at], players)
        step_match(matches[at], players, pads[at], tables[0])
        for seat in range(2):
            stocks.live_or_die(matches[at], seat, players, tables[0])
            keeps.remember(players[seat], tables[0])
        stocks.count_down(matches[at])
