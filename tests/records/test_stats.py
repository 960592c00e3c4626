import numpy as np
import pytest
from replay_collection import human_game

from exphil_tf.features.packing import pack_planes
from exphil_tf.features.schema import SPOILED
from exphil_tf.melee.enums import BUTTONS, Character
from exphil_tf.records.manifest import Manifest, SplitStats
from exphil_tf.records.stats import add, tally_game


def test_counts_are_those_of_the_columns() -> None:
    game = human_game(3, length=400)
    frames = game.frames
    tally = tally_game(
        frames, pack_planes(frames), perspectives=0b10, stage=game.info.stage, route="strict"
    )
    assert tally["frames"] == tally["perspective_frames"] == 400
    held = frames["c.buttons"][:, 1]
    for bit, name in enumerate(BUTTONS):
        down = held >> bit & 1
        assert tally["buttons_down"][name] == down.sum()
        assert tally["buttons_pressed"][name] == ((down[1:] == 1) & (down[:-1] == 0)).sum()
    for axis, counts in tally["sticks"].items():
        readings = np.rint(frames[f"c.{axis}"][:, 1] * 80).astype(int)
        assert counts == [int((readings == v).sum()) for v in range(-80, 81)]
    own, other = frames["p.character"][:, 1], frames["p.character"][:, 0]
    assert tally["characters"] == {
        Character(c).name.lower(): int((own == c).sum()) for c in np.unique(own)
    }
    assert sum(tally["opponents"].values()) == len(other)
    assert tally["stages"] == {"battlefield": 1}


def test_both_players_add_up() -> None:
    game = human_game(4, length=100)
    planes = pack_planes(game.frames)

    def tally(mask: int) -> dict:
        return tally_game(game.frames, planes, perspectives=mask, stage=31, route="strict")

    both, one, two = tally(3), tally(1), tally(2)
    assert both["perspective_frames"] == 200
    for name in ("buttons_down", "buttons_pressed", "sticks", "characters"):
        assert both[name] == add(one[name], two[name])


def test_spoiled_frames_and_absent_columns_are_counted() -> None:
    """Stage parts count only where the stage has some."""
    game = human_game(4, length=100)
    frames, planes = game.frames, pack_planes(game.frames)
    frames["absent"][:] = 32
    frames["absent"][[3, 50, 99]] |= SPOILED

    def tally(stage: int) -> dict:
        return tally_game(frames, planes, perspectives=3, stage=stage, route="strict")

    assert tally(31)["spoiled_frames"] == 3
    assert tally(31)["absent"] == {"3.8": 1}
    others = {"2.0": 1, "2.1": 1, "3.0": 1, "3.5": 1, "3.6": 1}
    assert tally(31)["recorded"] == others
    assert tally(2)["recorded"] == others | {"3.18": 1}


@pytest.mark.parametrize(
    ("absent", "recorded", "want"),
    [
        ({}, {}, 0),
        ({"3.8": 3}, {}, 32),
        ({"3.8": 3}, {"3.8": 1}, 0),
        ({"3.8": 3, "3.18": 2}, {"3.5": 1}, 96),
        ({}, {"3.18": 5}, 0),
    ],
)
def test_what_no_game_recorded(absent: dict, recorded: dict, want: int) -> None:
    stats = SplitStats(games=4, absent=absent, recorded=recorded)
    manifest = Manifest.model_construct(stats={"train": stats})
    assert manifest.unrecorded() == want
    assert manifest.unrecorded("validation") == 0


def test_add_needs_equal_nests() -> None:
    assert add({"a": 1, "b": [1, 2]}, {"b": [3, 4], "c": {"d": 5}}) == {
        "a": 1, "b": [4, 6], "c": {"d": 5},
    }  # fmt: skip
    with pytest.raises(ValueError, match="equal nests"):
        add({"a": 1}, {"a": [1]})
    with pytest.raises(ValueError, match="equal nests"):
        add([1], [1, 2])
