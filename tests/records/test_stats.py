import numpy as np
import pytest
from replay_collection import human_game

from exphil_tf.features.packing import pack_planes
from exphil_tf.melee.enums import BUTTONS, Character
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


def test_add_needs_equal_nests() -> None:
    assert add({"a": 1, "b": [1, 2]}, {"b": [3, 4], "c": {"d": 5}}) == {
        "a": 1, "b": [4, 6], "c": {"d": 5},
    }  # fmt: skip
    with pytest.raises(ValueError, match="equal nests"):
        add({"a": 1}, {"a": [1]})
    with pytest.raises(ValueError, match="equal nests"):
        add([1], [1, 2])
