"""A session of play: policies, Dolphin, games, and Dolphin again if it died."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from exphil_tf.agents import sim_play
from exphil_tf.agents.agent import Agent
from exphil_tf.agents.dolphin import Dolphin, DolphinGone, DolphinOptions
from exphil_tf.agents.drivers import Beside, InStep
from exphil_tf.agents.game_record import Report
from exphil_tf.agents.match_loop import MatchLoop, MatchRules, Seat, describe
from exphil_tf.agents.named_agents import make_agent
from exphil_tf.agents.play_config import PlayConfig, required
from exphil_tf.agents.policy_source import open_policy
from exphil_tf.checkpoints.provenance import unfamiliar
from exphil_tf.foundation.errors import UserError
from exphil_tf.melee.enums import character_from_name, character_name, stage_from_name
from exphil_tf.process.exit_codes import EXIT_DATA, EXIT_NO_INPUT, EXIT_USAGE

_PAUSE_S = 2.0


def play(config: PlayConfig, say: Callable[[str], None]) -> Report:
    """Plays the games that are asked for.

    Args:
      config: what is asked for.
      say: tells the user a line.

    Raises: UserError: if something is missing (66), damaged (65) or of another schema (78), or
      Dolphin died or hung more often than it may be started again (74).
    """
    if config.sim:
        return _play_sim(config, say)
    _require(config)
    report = Report(config.report)
    seats = _seats(config, say)
    restarts, played = config.restarts, 0
    # What is there now stays: collections look only at what games leave behind.
    gc.collect()
    gc.freeze()
    try:
        while True:
            loop = None
            try:
                with Dolphin(_dolphin_options(config), [seat.port for seat in seats]) as dolphin:
                    rules = _rules(config, played)
                    loop = MatchLoop(dolphin, seats, rules, report=report, say=say)
                    loop.run()
                return report
            except DolphinGone as error:
                played += loop.played if loop is not None else 0
                if not restarts:
                    raise
                restarts -= 1
                say(f"{error.message}; starting it again ({restarts} times left)")
                time.sleep(_PAUSE_S)
    finally:
        gc.unfreeze()
        for seat in seats:
            if seat.driver is not None:
                seat.driver.close()


def _play_sim(config: PlayConfig, say: Callable[[str], None]) -> Report:
    _require(config, "policy")
    assert config.policy is not None
    count = sim_play.rows(config.games)
    ours, theirs = _agent(config, config.policy, say, batch_size=count), None
    if config.has_second_policy:
        other = _of_opponent(config)
        theirs = _agent(other, Path(config.opponent), say, batch_size=count)
    match = sim_play.SimMatch(
        str(config.policy),
        config.opponent,
        config.script,
        (character_from_name(config.character), character_from_name(config.opponent_character)),
        stage_from_name(config.stage),
        config.games,
        port=config.port,
        mirrors_ports=config.mirror_ports,
        seed=config.seed,
        replay_dir=config.replay_dir,
    )
    report = Report(config.report)
    games = sim_play.SimGames(
        match, (ours, theirs), report=report, say=lambda record: say(describe(record))
    )
    games.run()
    return report


def _require(config: PlayConfig, *names: str) -> None:
    for name in names or ("policy", "dolphin", "iso"):
        required(name, getattr(config, name))
    if config.has_second_policy and not Path(config.opponent).is_dir():
        raise UserError(
            "--opponent: want human, cpu1 to cpu9, with --sim a script, or a policy's folder. "
            f"Received: {config.opponent}",
            "Check the path.",
            exit_code=EXIT_NO_INPUT,
        )
    _own_code(config)


def _seats(config: PlayConfig, say: Callable[[str], None]) -> list[Seat]:
    assert config.policy is not None
    seats = [_seat(config, config.policy, say)]
    if config.cpu_level:
        character = character_from_name(config.opponent_character)
        seats.append(
            Seat(config.opponent_port, character, config.opponent, cpu_level=config.cpu_level)
        )
    elif config.has_second_policy:
        seats.append(_seat(_of_opponent(config), Path(config.opponent), say))
    return seats


def _of_opponent(config: PlayConfig) -> PlayConfig:
    """What the second policy is played by."""
    return replace(
        config,
        port=config.opponent_port,
        opponent_port=config.port,
        character=config.opponent_character,
        player_style=None,
        seed=config.seed + 1,
    )


def _seat(config: PlayConfig, policy: Path, say: Callable[[str], None]) -> Seat:
    """A policy's seat, its agent warmed up."""
    agent = _agent(config, policy, say)
    agent.warm_up()
    delay = agent.options.delay
    say(f"{policy}: {delay} frames of delay, of which it keeps {agent.options.held_back} itself")
    return Seat(
        config.port,
        character_from_name(config.character),
        str(policy),
        agent,
        InStep(agent) if config.waits else Beside(agent),
    )


def _agent(
    config: PlayConfig, policy: Path, say: Callable[[str], None], *, batch_size: int = 1
) -> Agent:
    source = open_policy(policy)
    character = character_name(character_from_name(config.character))
    stranger = unfamiliar(source.provenance, character)
    if stranger:
        say(f"note: {policy}: {stranger}")
    delay = source.conditions.delay.frames if config.frame_delay is None else config.frame_delay
    try:
        options = config.agent_options(delay)
    except ValueError as error:
        raise UserError(
            str(error), "Train with --online-robust, or --frame-delay.", exit_code=EXIT_USAGE
        ) from error
    return make_agent(
        source,
        options,
        batch_size=batch_size,
        seed=config.seed,
        threads=config.threads,
        player_style=config.player_style,
        desired_return=config.desired_return,
    )


def _dolphin_options(config: PlayConfig) -> DolphinOptions:
    assert config.dolphin is not None
    is_netplay = config.connect_code is not None
    return DolphinOptions(
        config.dolphin,
        config.iso,
        config.replay_dir,
        is_blocking=config.waits,
        speed=config.speed,
        is_headless=config.headless,
        is_fast_forward=config.fast_forward,
        online_delay=config.online_delay if is_netplay else 0,
        user_json=config.user_json,
        hang_timeout_s=config.hang_timeout,
    )


def _rules(config: PlayConfig, played: int) -> MatchRules:
    games = 1 if config.on_game_end == "stop" else config.games
    return MatchRules(
        stage_from_name(config.stage),
        games=max(1, games - played) if games else 0,
        opponent=config.opponent,
        connect_code=config.connect_code or "",
        own_code=_own_code(config),
        replay_dir=config.replay_dir,
        mirrors_ports=config.mirror_ports,
    )


def _own_code(config: PlayConfig) -> str:
    if config.connect_code is None:
        return ""
    if config.user_json is None or not config.user_json.is_file():
        raise UserError(
            f"--user-json: want the account's user.json. Received: {config.user_json}",
            "Slippi Launcher keeps it in Slippi/ of Dolphin's user folder.",
            exit_code=EXIT_NO_INPUT,
        )
    try:
        return str(json.loads(config.user_json.read_text())["connectCode"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"--user-json: {config.user_json}: no connectCode in it",
            "Log in with Slippi Launcher; it writes the file.",
            exit_code=EXIT_DATA,
        ) from error
