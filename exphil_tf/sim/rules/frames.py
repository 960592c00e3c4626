"""A match as a frame's values, side by side: what `exphil_tf.sim.observe` shows of it."""

from exphil_tf.features.field import ITEM_SLOTS, PLAYERS
from exphil_tf.melee import specials, stages
from exphil_tf.melee.enums import HITSTUN_ACTIONS, Stage
from exphil_tf.sim.compiled import rule
from exphil_tf.sim.rules.keeps import counted_frame
from exphil_tf.sim.stadium_lines import KINDS
from exphil_tf.sim.stage_lines import STAGES

_FOUNTAIN, _YOSHIS, _STADIUM = (
    STAGES.index(one)
    for one in (Stage.FOUNTAIN_OF_DREAMS, Stage.YOSHIS_STORY, Stage.POKEMON_STADIUM)
)
_RANDALL_PERIOD = stages.RANDALL_PERIOD_FRAMES
_FIRST_HURT, _LAST_HURT = HITSTUN_ACTIONS
_SPECIAL_SHIFT, _SPECIAL_BITS = specials.SPECIAL_SHIFT, specials.SPECIAL_BITS
_JUDGES = specials.JUDGES


@rule
def show(match, row, numbers, ids, sources, table):
    """Every value of a match, and those that each player's policy reads.

    Args:
      match: `MATCH` record.
      row: float32 `[FRAME_VALUES]`, written.
      numbers: float32 `[2, numbers]`, written but where nothing is known.
      ids: int32 `[2, ids]`, alike.
      sources: `(places, numbers, ids)`: where columns begin, a record `[1]`; and of each of the
        other two int32 `[2, width]`, indices of values; below 0 where nothing is known.
      table: `TABLES` record.
    """
    places, of_numbers, of_ids = sources
    at = places[0]
    _write_stage(match, row, at, table)
    _write_items(match, row, at, table)
    for seat in range(PLAYERS):
        p = match.players[seat]
        _write_player(p, seat, row, at, table)
        _write_controller(p, seat, row, at)
    _join(row, numbers, of_numbers)
    _join(row, ids, of_ids)


@rule
def _join(row, joined, sources):
    for seat in range(PLAYERS):
        for place in range(sources.shape[1]):
            source = sources[seat, place]
            if source >= 0:
                joined[seat, place] = row[source]


@rule
def _write_stage(match, row, at, table):
    row[at.frame] = match.frame
    row[at.s_stage] = table.stage_id[match.stage]
    row[at.s_fod_left] = match.heights[0] if match.stage == _FOUNTAIN else 0.0
    row[at.s_fod_right] = match.heights[1] if match.stage == _FOUNTAIN else 0.0
    row[at.s_whispy] = match.blows
    row[at.s_stadium] = KINDS[match.coming] if match.stage == _STADIUM else 0
    if match.stage == _YOSHIS:
        row[at.s_randall_x] = table.randall[match.frame % _RANDALL_PERIOD, 0]
        row[at.s_randall_y] = table.randall[match.frame % _RANDALL_PERIOD, 1]
    else:
        row[at.s_randall_x] = 0.0
        row[at.s_randall_y] = 0.0


@rule
def _write_items(match, row, at, table):
    """Projectiles, as items in the slots that they have here; the last ones are not seen."""
    for seat in range(PLAYERS):
        row[at.p_items_owned + seat] = 0
    shots = match.shots
    for slot in range(ITEM_SLOTS):
        shot = shots[slot]
        exists = shot.kind > 0
        kind = table.shots[max(0, shot.kind - 1)]
        row[at.i_exists + slot] = exists
        row[at.i_x + slot] = shot.x if exists else 0.0
        row[at.i_y + slot] = shot.y if exists else 0.0
        row[at.i_speed_x + slot] = shot.vx if exists else 0.0
        row[at.i_speed_y + slot] = shot.vy if exists else 0.0
        row[at.i_type + slot] = kind.type if exists else 0
        row[at.i_state + slot] = kind.state if exists else 0
        row[at.i_timer + slot] = shot.life if exists else 0
        if exists:
            row[at.p_items_owned + shot.owner] += 1 << slot


@rule
def _write_player(p, seat, row, at, table):
    row[at.p_percent + seat] = p.percent
    row[at.p_x + seat] = p.x
    row[at.p_y + seat] = p.y
    row[at.p_speed_air_x_self + seat] = p.vx
    row[at.p_speed_ground_x_self + seat] = p.ground_speed
    row[at.p_speed_y_self + seat] = p.vy
    row[at.p_speed_x_attack + seat] = p.kx
    row[at.p_speed_y_attack + seat] = p.ky
    row[at.p_shield + seat] = p.shield
    row[at.p_action + seat] = p.action
    row[at.p_action_frame + seat] = counted_frame(p, table)
    is_hurt = _FIRST_HURT <= p.action <= _LAST_HURT
    row[at.p_hitstun + seat] = int(p.hitstun) if is_hurt else 0
    row[at.p_hitlag + seat] = int(p.hitlag)
    row[at.p_character + seat] = p.character
    row[at.p_facing + seat] = p.facing > 0
    row[at.p_jumps_left + seat] = p.jumps
    row[at.p_on_ground + seat] = p.grounded
    row[at.p_invulnerable + seat] = p.safe_frames > 0
    row[at.p_stock + seat] = p.stock
    code = int(p.was_code)
    row[at.p_charge + seat] = p.charge
    row[at.p_lift_spent + seat] = p.lift_spent
    row[at.p_judge_last + seat] = p.judge_last if code & _JUDGES else 0
    row[at.p_judge_before + seat] = p.judge_before if code & _JUDGES else 0
    row[at.p_special_state + seat] = code >> _SPECIAL_SHIFT & _SPECIAL_BITS


@rule
def _write_controller(p, seat, row, at):
    row[at.c_main_x + seat] = p.stick_x
    row[at.c_main_y + seat] = p.stick_y
    row[at.c_c_x + seat] = p.c_x
    row[at.c_c_y + seat] = p.c_y
    row[at.c_shoulder + seat] = p.trigger
    row[at.c_buttons + seat] = p.buttons
