"""Our id tables against libmelee's, which was checked against the game."""

import numpy as np
import pytest

melee_enums = pytest.importorskip("melee.enums")

from exphil_tf.melee import enums  # noqa: E402
from exphil_tf.melee.enums import Character, Stage  # noqa: E402


def test_characters_are_libmelees():
    for character in Character:
        assert melee_enums.Character(int(character)).name == character.name
    playable = {c.value for c in melee_enums.Character} & set(range(27))
    assert playable == {int(character) for character in Character}


def test_external_ids_are_the_start_blocks():
    # Spelled out: libmelee has no table of this space (its `to_internal` converts icon order).
    known = {0: "CPTFALCON", 2: "FOX", 9: "MARTH", 10: "MEWTWO", 14: "POPO", 18: "ZELDA",
             19: "SHEIK", 20: "FALCO", 24: "PICHU", 25: "GANONDORF"}  # fmt: skip
    assert sorted(enums.EXTERNAL_TO_INTERNAL) == list(range(26))
    for external, name in known.items():
        assert enums.EXTERNAL_TO_INTERNAL[external].name == name
    for external, internal in enums.EXTERNAL_TO_INTERNAL.items():
        assert enums.INTERNAL_TO_EXTERNAL[internal] == external
    assert enums.INTERNAL_TO_EXTERNAL[Character.NANA] == 14
    assert set(enums.EXTERNAL_TO_INTERNAL.values()) == set(Character) - {Character.NANA}


def test_stages_are_converted_as_libmelee_does():
    for stage in Stage:
        assert melee_enums.to_internal_stage(int(stage)).value == enums.STAGE_TO_LIBMELEE[stage]
        assert enums.STAGE_FROM_LIBMELEE[enums.STAGE_TO_LIBMELEE[stage]] is stage
    # 8 means two different stages; this is the trap the two tables exist for.
    assert Stage(8) is Stage.YOSHIS_STORY
    assert enums.STAGE_FROM_LIBMELEE[8] is Stage.FOUNTAIN_OF_DREAMS


def test_zero_index_table_is_the_one_that_consoles_use():
    import csv
    from pathlib import Path

    import melee

    wanted = set()
    with (Path(melee.__file__).parent / "actiondata.csv").open() as file:
        for line in csv.DictReader(file):
            if line["zeroindex"] == "True":
                wanted.add((int(line["character"]), int(line["action"])))
    ours = {(int(c), int(a)) for c, a in np.argwhere(enums.zero_index_table())}
    assert ours == wanted and len(wanted) > 1000


def test_zero_index_table_equals_a_console_that_reads_a_file(real_replay):
    import melee

    console = melee.Console(
        path=str(real_replay("items")), is_dolphin=False, allow_old_version=True
    )
    ours = enums.zero_index_table()
    for character, actions in console.zero_indices.items():
        assert set(np.flatnonzero(ours[character])) == actions


# (action by libmelee's name, our category): a spot check of every category with a common meaning.
SPOTS = {
    "DEAD_DOWN": "dead", "DEAD_FLY_STAR": "dead", "STANDING": "idle", "WALK_SLOW": "walk",
    "WALK_FAST": "walk", "DASHING": "dash", "RUNNING": "dash", "TURNING": "dash",
    "KNEE_BEND": "jumpsquat", "JUMPING_FORWARD": "jump", "JUMPING_ARIAL_BACKWARD": "jump",
    "FALLING": "fall", "DEAD_FALL": "fall", "TUMBLING": "fall", "CROUCHING": "crouch",
    "LANDING": "land", "LANDING_SPECIAL": "land", "NEUTRAL_ATTACK_1": "ground_attack",
    "DASH_ATTACK": "ground_attack", "UPTILT": "ground_attack", "FSMASH_MID": "smash",
    "UPSMASH": "smash", "DOWNSMASH": "smash", "NAIR": "aerial", "DAIR": "aerial",
    "NAIR_LANDING": "land", "DAIR_LANDING": "land", "DAMAGE_HIGH_1": "damage",
    "DAMAGE_FLY_ROLL": "damage", "SHIELD_START": "shield", "SHIELD": "shield",
    "SHIELD_STUN": "shield", "GRAB": "grab", "GRAB_PULLING": "grab", "THROW_FORWARD": "throw",
    "THROW_DOWN": "throw", "GRAB_PULL": "grabbed", "GRABBED": "grabbed", "ROLL_FORWARD": "dodge",
    "SPOTDODGE": "dodge", "AIRDODGE": "dodge", "TECH_MISS_UP": "down",
    "LYING_GROUND_UP": "down", "NEUTRAL_TECH": "dodge", "FORWARD_TECH": "dodge",
    "EDGE_CATCHING": "ledge", "EDGE_HANGING": "ledge", "EDGE_ROLL_SLOW": "ledge",
}  # fmt: skip


@pytest.mark.parametrize(("name", "category"), SPOTS.items())
def test_action_categories_follow_libmelees_names(name, category):
    table = enums.action_category_table()
    assert enums.ACTION_CATEGORIES[table[melee_enums.Action[name].value]] == category


FAMILIES = {
    "SHIELD_BREAK": "damage",
    "SHIELD_": "shield",
    "EDGE_TEETERING": "idle",
    "EDGE_": "ledge",
    "THROW_": "throw",
    "THROWN_": "grabbed",
    "GRABBED": "grabbed",
    "DAMAGE_GROUND": "down",
    "DAMAGE_": "damage",
    "WALK_": "walk",
    "DEAD_FALL": "fall",
    "DEAD_": "dead",
}


def test_action_categories_agree_with_families_of_names():
    """Every common action whose name begins as its family does; items and status effects apart."""
    table = enums.action_category_table()
    checked = 0
    for action in melee_enums.Action:
        if action.value >= 0x10A or 0x5C <= action.value <= 0xB1:
            continue
        family = next((c for prefix, c in FAMILIES.items() if action.name.startswith(prefix)), None)
        if family is not None:
            assert enums.ACTION_CATEGORIES[table[action.value]] == family, action.name
            checked += 1
    assert checked > 60


def test_hitstun_actions_are_the_damage_actions():
    first, last = enums.HITSTUN_ACTIONS
    assert melee_enums.Action(first).name == "DAMAGE_HIGH_1"
    assert melee_enums.Action(last).name == "DAMAGE_FLY_ROLL"
    assert max(a.value for a in melee_enums.Action if a.value < 0x1000) < enums.ACTION_COUNT


@pytest.mark.parametrize(
    ("text", "character"),
    [
        ("mewtwo", "MEWTWO"),
        ("Ice Climbers", "POPO"),
        ("Game & Watch", "GAMEANDWATCH"),
        ("gnw", "GAMEANDWATCH"),
        ("Dr. Mario", "DOC"),
        ("captain-falcon", "CPTFALCON"),
        ("FALCO", "FALCO"),
        ("puff", "JIGGLYPUFF"),
        ("young_link", "YLINK"),
        ("Donkey Kong", "DK"),
        ("ganon", "GANONDORF"),
    ],
)
def test_users_names_of_characters(text, character):
    assert enums.character_from_name(text) is Character[character]


@pytest.mark.parametrize(
    ("text", "stage"),
    [
        ("fd", "FINAL_DESTINATION"),
        ("Yoshi's Story", "YOSHIS_STORY"),
        ("Fountain of Dreams", "FOUNTAIN_OF_DREAMS"),
        ("Dream Land", "DREAMLAND"),
        ("pokemon stadium", "POKEMON_STADIUM"),
        ("BF", "BATTLEFIELD"),
    ],
)
def test_users_names_of_stages(text, stage):
    assert enums.stage_from_name(text) is Stage[stage]


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="character: want one of mario, .*Received: 'sonic'"):
        enums.character_from_name("sonic")
    with pytest.raises(ValueError, match="stage: want one of .*Received: 'hyrule'"):
        enums.stage_from_name("hyrule")


def test_button_masks_are_the_replays():
    # slippi's spec, physical buttons of the pre-frame event
    wanted = {
        "D_UP": 0x0008,
        "Z": 0x0010,
        "R": 0x0020,
        "L": 0x0040,
        "A": 0x0100,
        "B": 0x0200,
        "X": 0x0400,
        "Y": 0x0800,
    }
    assert wanted == enums.BUTTON_MASKS
    assert set(enums.BUTTONS) == set(wanted) and len(enums.BUTTONS) == 8
