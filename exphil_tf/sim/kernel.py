"""One frame of a match, and of many matches in one call.

Order of a frame, as in the game: the stage moves; hitlag holds or ends; animations advance and what
ends is followed by the next action, and projectiles leave; controllers are read; choices; speeds;
steps and landings; hits; projectiles fly and hit; stocks.
"""

from exphil_tf.melee.types import GO_FRAME
from exphil_tf.sim.compiled import kernel, passage, rule
from exphil_tf.sim.pads import read_answers
from exphil_tf.sim.rules import (
    bodies,
    choices,
    controls,
    downs,
    ends,
    entry,
    events,
    floors,
    frames,
    grabs,
    hits,
    keeps,
    knockback,
    motion,
    moving,
    scripts,
    shields,
    shots,
    stocks,
)


@passage
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


@passage
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
        floors.ride(match, p, tables)
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


@passage
def step(match, pads, tables):
    """One frame of a match that is not over, with what becomes of stocks.

    Args:
      match: `MATCH` record.
      pads: `INPUT` records `[2]`.
      tables: `TABLES` record.
    """
    # An array of players of its own would be compiled for anew where there is but one match.
    players = match.players
    moving.move(match, players)
    step_match(match, players, pads, tables)
    for seat in range(2):
        stocks.live_or_die(match, seat, players, tables)
        keeps.remember(players[seat], tables)
    stocks.count_down(match)


@kernel
def play_matches(
    matches, pads, controllers, played_by, happened, which, seen, numbers, ids, sources, tables
):
    """One frame of matches, all of it in one call: without Python, threads run side by side.

    What is empty (`[0, …]`) is left out.

    Args:
      matches: `MATCH` `[matches]`, changed in place.
      pads: `INPUT` `[matches, 2]`; written where controllers are read or scripts play.
      controllers: float32 `[matches, 2, CONTROLLER_VALUES]`.
      played_by: int8 `[matches, 2]`: places in `opponents.SCRIPTS`, or `EXTERNAL`.
      happened: `EVENTS` `[matches]`, written.
      which: int64 `[some]`: matches that are only seen, as they stand. If empty, all are played. A
        kernel of its own would compile what is seen once more.
      seen: float32 `[matches, FRAME_VALUES]`, written; see `show`.
      numbers: float32 `[matches, 2, numbers]`, written.
      ids: int32 `[matches, 2, ids]`, written.
      sources: of what is seen; see `show`.
      tables: `TABLES` `[1]`.
    """
    plays = len(which) == 0
    read_answers(controllers, pads)
    for place in range(len(matches) if plays else len(which)):
        at = place if plays else which[place]
        match = matches[at]
        if plays and not match.over:
            if len(played_by) > 0:
                scripts.play_scripts(match, played_by[at], pads[at], tables[0])
            step(match, pads[at], tables[0])
        if len(happened) > 0:
            events.note_events(match, happened[at])
        if len(seen) > 0:
            frames.show(match, seen[at], numbers[at], ids[at], sources, tables[0])
