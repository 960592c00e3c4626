"""Which games and players are chosen, and that every exclusion has its own reason."""

import dataclasses

import numpy as np
import pytest

from exphil_tf.features.schema import SCHEMA
from exphil_tf.melee.enums import Character, Stage
from exphil_tf.melee.types import Frames, Game, GameInfo, PlayerInfo
from exphil_tf.replays.filters import (
    Exclusion,
    FilterConfig,
    Selection,
    check,
    main_character,
    select,
)

FOX, FALCO, SHEIK, ZELDA = Character.FOX, Character.FALCO, Character.SHEIK, Character.ZELDA


def game(*played: Character, length: int = 800, ports: tuple[int, ...] = (1, 2), **facts) -> Game:
    """A game in which player i is `played[i]` throughout."""
    players = [PlayerInfo(port, int(c)) for port, c in zip(ports, played, strict=False)]
    columns = SCHEMA.empty(length)
    for index, character in enumerate(played[:2]):
        columns["p.character"][:, index] = character
    info = GameInfo(**({"stage": int(Stage.BATTLEFIELD), "players": tuple(players)} | facts))
    return Game(info, Frames(columns))


def cpu(one: Game, index: int) -> Game:
    players = list(one.info.players)
    players[index] = dataclasses.replace(players[index], is_cpu=True, cpu_level=9)
    return Game(dataclasses.replace(one.info, players=tuple(players)), one.frames)


def test_two_humans_on_a_legal_stage_both_teach():
    assert select(game(FOX, FALCO), FilterConfig()) == Selection(3)


@pytest.mark.parametrize(
    ("one", "exclusion"),
    [
        (game(FOX, FALCO, FOX, ports=(1, 2, 3)), Exclusion.PLAYERS),
        (game(FOX, ports=(1,)), Exclusion.PLAYERS),
        (game(FOX, FALCO, is_teams=True), Exclusion.TEAMS),
        (cpu(game(FOX, FALCO), 1), Exclusion.CPU),
        (cpu(game(FOX, FALCO), 0), Exclusion.CPU),
        (game(FOX, FALCO, stage=18), Exclusion.STAGE),  # Battlefield's number in the other space
        (game(FOX, FALCO, length=599), Exclusion.TOO_SHORT),
        (game(FOX, 32), Exclusion.CHARACTER),
    ],
)
def test_every_exclusion_has_its_reason(one, exclusion):
    assert select(one, FilterConfig()) == Selection(0, exclusion)


def test_all_stages_are_admitted_on_request():
    everything = FilterConfig(stages=("ALL",))
    for stage, wanted in ((18, None), (31, None), (63, None), (64, Exclusion.STAGE)):
        assert check(game(FOX, FALCO, stage=stage).info, everything) is wanted
    with pytest.raises(ValueError, match="want one of fountain_of_dreams"):
        FilterConfig(stages=("all", "fd"))


def test_what_the_header_shows_is_found_without_frames():
    config = FilterConfig(characters=("marth",))
    assert check(game(FOX, FALCO).info, config) is Exclusion.OTHER_CHARACTERS
    assert (
        check(game(FOX, FALCO, stage=32).info, FilterConfig(stages=("bf",)))
        is Exclusion.OTHER_STAGE
    )
    assert check(game(FOX, FALCO).info, FilterConfig()) is None


def test_computer_players_can_be_admitted():
    """They are opponents only: their sticks lie on a grid that no human's does."""
    admit = FilterConfig(include_cpus=True)
    assert select(cpu(game(FOX, FALCO), 1), admit) == Selection(0b01)
    assert select(cpu(game(FOX, FALCO), 0), admit) == Selection(0b10)
    both = cpu(cpu(game(FOX, FALCO), 0), 1)
    assert select(both, admit) == Selection(0, Exclusion.CPU)
    single = FilterConfig(include_cpus=True, dual_port=False)
    assert select(cpu(game(FOX, FALCO), 0), single) == Selection(0b10)


def test_lengths():
    config = FilterConfig(min_frames=100, max_frames=200)
    for length, wanted in (
        (99, Exclusion.TOO_SHORT),
        (100, None),
        (200, None),
        (201, Exclusion.TOO_LONG),
    ):
        assert select(game(FOX, FALCO, length=length), config).exclusion is wanted


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        ({"train_character": "fox"}, Selection(1)),
        ({"train_character": "falco"}, Selection(2)),
        ({"train_character": "marth"}, Selection(0, Exclusion.TRAIN_CHARACTER)),
        ({"player_port": 2}, Selection(1)),
        ({"player_port": 4}, Selection(2)),
        ({"player_port": 1}, Selection(0, Exclusion.PORT)),
        ({"player_port": 2, "train_character": "falco"}, Selection(0, Exclusion.TRAIN_CHARACTER)),
        ({"player_port": 4, "train_character": "falco"}, Selection(2)),
        ({"dual_port": False}, Selection(1)),
        ({"dual_port": False, "train_character": "falco"}, Selection(2)),
        ({"characters": ("falco", "marth")}, Selection(3)),
        ({"characters": ("falco",), "train_character": "fox"}, Selection(1)),
    ],
)
def test_ports_and_characters(config, wanted):
    assert select(game(FOX, FALCO, ports=(2, 4)), FilterConfig(**config)) == wanted


def test_dittos_give_both_players():
    assert select(game(FOX, FOX), FilterConfig(train_character="fox")) == Selection(3)


@pytest.mark.parametrize("as_zelda", [0, 3, 399, 401, 800])
def test_a_player_who_transforms_is_whom_he_plays_most(as_zelda):
    one = game(ZELDA, FOX)
    one.frames["p.character"][as_zelda:, 0] = SHEIK
    names = {True: "zelda", False: "sheik"}
    mostly, other = names[as_zelda > 400], names[as_zelda < 400]
    assert check(one.info, FilterConfig(train_character=other)) is None, "the header cannot tell"
    assert select(one, FilterConfig(train_character=mostly)) == Selection(1)
    assert select(one, FilterConfig(characters=(mostly,))) == Selection(3)
    missing = select(one, FilterConfig(train_character=other))
    assert missing == Selection(0, Exclusion.TRAIN_CHARACTER)
    missing = select(one, FilterConfig(characters=(other,)))
    assert missing == Selection(0, Exclusion.OTHER_CHARACTERS)


def test_an_unknown_character_in_any_frame_excludes():
    one = game(FOX, FALCO)
    one.frames["p.character"][5, 1] = 32
    assert select(one, FilterConfig()) == Selection(0, Exclusion.CHARACTER)


def test_a_zelda_who_never_transforms_is_no_sheik():
    one = game(ZELDA, FOX)
    config = FilterConfig(train_character="sheik")
    # The header cannot tell, the frames can.
    assert check(one.info, config) is None
    assert select(one, config) == Selection(0, Exclusion.TRAIN_CHARACTER)
    started_as_sheik = game(SHEIK, FOX, players=(PlayerInfo(1, ZELDA), PlayerInfo(2, FOX)))
    assert select(started_as_sheik, config) == Selection(1)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"characters": ("sonic",)}, "character: want one of"),
        ({"train_character": "sonic"}, "character: want one of"),
        ({"stages": ("hyrule",)}, "stage: want one of"),
        ({"player_port": 5}, "player_port: want 1 to 4. Received: 5"),
        ({"player_port": 0}, "player_port: want 1 to 4. Received: 0"),
        ({"min_frames": 0}, "1 ≤ min_frames"),
        ({"min_frames": 10, "max_frames": 9}, "min_frames ≤ max_frames"),
        ({"min_quality": 101}, "min_quality: want 0 to 100"),
    ],
)
def test_impossible_configurations_are_refused(facts, message):
    with pytest.raises(ValueError, match=message):
        FilterConfig(**facts)


def test_the_first_exclusion_counts_whoever_finds_it():
    """What the header cannot tell, and frames must, has the same place among the others."""
    wrong = {"train_character": "sheik", "min_frames": 1000, "min_quality": 100}
    for one in (game(FOX, FALCO), game(ZELDA, FALCO)):  # only the first is clear from the header
        for config in (wrong, wrong | {"max_frames": 1000}):
            assert select(one, FilterConfig(**config)).exclusion is Exclusion.TRAIN_CHARACTER
    short = select(game(FOX, FALCO), FilterConfig(min_frames=1000, min_quality=100))
    assert short.exclusion is Exclusion.TOO_SHORT
    poor = select(game(FOX, FALCO), FilterConfig(min_quality=100))
    assert (poor.exclusion, poor.detail) == (Exclusion.QUALITY, "short")


def test_main_characters_are_counted():
    assert main_character(np.array([1, 22, 22], np.uint8)) == 22
    assert main_character(np.array([22, 1], np.uint8)) == 1
    assert main_character(np.array([], np.uint8)) == 0


def test_exclusions_and_reasons_count_alike():
    """Both end in one table, so a shared word must mean the same."""
    from exphil_tf.replays.refusals import Reason

    shared = {str(reason) for reason in Reason} & {str(exclusion) for exclusion in Exclusion}
    assert shared == {"players", "old_version"}


def test_characters_come_from_the_frames_as_plain_integers():
    from exphil_tf.replays.filters import characters_of

    found = characters_of(np.array([1, 1, 22], np.uint8))
    assert found == {1, 22} and all(type(value) is int for value in found)
