"""The toy world: what little physics it has, and players worth imitating."""

import numpy as np
import pytest

from exphil_tf.melee.enums import Character, Stage
from exphil_tf.melee.types import GO_FRAME
from exphil_tf.sim.moves import STATS, Action
from exphil_tf.sim.scripted import STYLES, ScriptedPlayers
from exphil_tf.sim.toy import STOCKS, Inputs, ToyWorld

STICKS = ("main_x", "main_y", "c_x", "c_y")
FOX, MARTH = int(Character.FOX), int(Character.MARTH)


def neutral(**facts) -> Inputs:
    """One match's controllers; `facts` set both players' values, or a pair."""
    values = {
        name: np.zeros((1, 2), np.float32)
        for name in ("main_x", "main_y", "c_x", "c_y", "shoulder")
    }
    values["buttons"] = np.zeros((1, 2), np.uint8)
    for name, value in facts.items():
        values[name] = np.broadcast_to(np.asarray(value, values[name].dtype), (1, 2)).copy()
    return Inputs(**values)


def started(x: tuple[float, float] = (-30, 30), stage: Stage = Stage.BATTLEFIELD) -> ToyWorld:
    """A Fox and a Marth standing at `x`, from GO on."""
    world = ToyWorld(np.array([[FOX, MARTH]]), [stage])
    while world.frame < GO_FRAME:
        world.step(neutral())
    world.x = np.array([x], float)
    return world


def run(world: ToyWorld, frames: int, **facts) -> None:
    for _ in range(frames):
        world.step(neutral(**facts))


def test_nothing_moves_before_go():
    world = ToyWorld(np.array([[FOX, MARTH]]), [Stage.BATTLEFIELD])
    start = world.x.copy()
    while world.frame < GO_FRAME - 1:
        world.step(neutral(main_x=1, buttons=1))
        assert (world.x == start).all()
    # A button held since then is no press.
    world.step(neutral(buttons=1))
    assert (world.action == Action.STANDING).all()


def test_players_stand_and_dash_and_walk():
    world = started()
    run(world, 5)
    assert (world.action == Action.STANDING).all() and (world.vx == 0).all()
    run(world, 10, main_x=(1.0, -0.4))
    assert world.action.tolist() == [[Action.DASHING, Action.WALK_SLOW]]
    assert world.x[0, 0] > -30 + 10 and 30 - 8 < world.x[0, 1] < 30
    assert world.facing.tolist() == [[1, -1]]


def test_short_and_full_jumps_land_and_give_the_jumps_back():
    tops = []
    for held in (2, 12):
        world, top = started(), 0.0
        for frame in range(120):
            world.step(neutral(buttons=(4 if frame < held else 0, 0)))
            top = max(top, world.y[0, 0])
        tops.append(top)
        assert world.on_ground.all() and world.y[0, 0] == 0 and world.jumps[0, 0] == 2
    assert 5 < tops[0] < 0.6 * tops[1]
    # Rise of a constant deceleration: v²/2g, give or take a frame.
    stats = STATS[Character.FOX]
    assert tops[1] == pytest.approx(stats.jump**2 / (2 * stats.gravity), abs=stats.jump)


def test_a_hit_hurts_by_the_knockback_formula_and_stuns():
    world = started(x=(0, 12))
    run(world, 1, main_x=(0.5, 0))
    run(world, 8, main_x=(0.5, 0), buttons=(1, 0))
    assert world.percent.tolist() == [[0, 9]]
    force = (9 / 10 + 9 * 9 / 20) * 200 / (87 + 100) * 1.4 + 18
    force = force * 90 / 100 + 15  # the move's growth and base
    assert world.hitstun[0, 1] == int(force * 0.4) and world.hitlag.min() > 0
    run(world, 60)
    assert world.hitstun[0, 1] == 0 and world.x[0, 1] > 20


def test_knockback_grows_with_percent():
    speeds = []
    for percent in (0, 100):
        world = started(x=(0, 12))
        world.percent[0, 1] = percent
        run(world, 1, main_x=(0.5, 0))
        run(world, 8, main_x=(0.5, 0), buttons=(1, 0))
        speeds.append(world.kx[0, 1])
    assert speeds[1] > 2 * speeds[0] > 0


def test_a_shield_takes_the_hit():
    world = started(x=(0, 12))
    run(world, 3, shoulder=(0, 1.0))
    run(world, 8, shoulder=(0, 1.0), buttons=(1, 0))
    assert world.percent[0, 1] == 0 and world.shield[0, 1] < 57
    assert world.action[0, 1] == Action.SHIELD_STUN
    run(world, 120)
    assert world.action[0, 1] == Action.STANDING and world.shield[0, 1] > 59


def test_walking_off_costs_a_stock_and_the_player_returns():
    world = started(x=(-66, 0))
    run(world, 100, main_x=(-1, 0))
    assert world.stock.tolist() == [[STOCKS - 1, STOCKS]]
    run(world, 330)
    assert world.on_ground.all() and world.x[0, 0] == -20 and world.percent[0, 0] == 0


def test_matches_do_not_touch_each_other():
    """A match played beside others is the match played alone."""
    rng = np.random.default_rng(3)
    characters = rng.choice([int(c) for c in STATS], (3, 2))
    stages = [Stage.BATTLEFIELD, Stage.YOSHIS_STORY, Stage.DREAMLAND]
    together = ToyWorld(characters, stages)
    alone = ToyWorld(characters[1:2], stages[1:2])
    for _ in range(700):
        inputs = Inputs(
            **{
                n: rng.choice([-1, -0.5, 0, 0, 0.5, 1], (3, 2))
                for n in ("main_x", "main_y", "c_x", "c_y")
            },
            shoulder=rng.choice([0, 0, 0, 1.0], (3, 2)),
            buttons=rng.choice([0, 0, 1, 2, 4, 16], (3, 2)).astype(np.uint8),
        )
        together.step(inputs)
        alone.step(Inputs(**{name: value[1:2] for name, value in vars(inputs).items()}))
    for name in ("x", "y", "percent", "action", "stock", "shield", "facing"):
        assert (getattr(together, name)[1:2] == getattr(alone, name)).all(), name


def played(seed: int) -> tuple[ToyWorld, list[Inputs]]:
    world = ToyWorld(np.array([[FOX, MARTH]]), [Stage.BATTLEFIELD])
    players = ScriptedPlayers(np.array([[0, 1]]), np.random.default_rng(seed))
    inputs = []
    for _ in range(700):
        inputs.append(players.act(world))
        world.step(inputs[-1])
    return world, inputs


def test_scripted_players_are_deterministic_for_a_seed_and_differ_between_seeds():
    first, again, other = played(1)[0], played(1)[0], played(2)[0]
    assert (first.x == again.x).all() and (first.percent == again.percent).all()
    assert (first.x != other.x).any()


def test_scripted_inputs_lie_on_the_games_grid():
    _, inputs = played(1)
    for name in STICKS:
        steps = np.stack([getattr(one, name) for one in inputs]) * 80
        np.testing.assert_allclose(steps, np.rint(steps), atol=1e-4)
        assert set(np.unique(np.abs(np.rint(steps)))) & set(range(1, 23)) == set()
    for one in inputs:
        assert (np.hypot(one.main_x, one.main_y) <= 1 + 1e-6).all()
    shoulder = np.stack([one.shoulder for one in inputs]) * 140
    np.testing.assert_allclose(shoulder, np.rint(shoulder), atol=1e-4)


def test_styles_differ():
    assert len({style.name for style in STYLES}) == len(STYLES) >= 4
    for style in STYLES:
        assert sum(style.moods) == pytest.approx(1)
