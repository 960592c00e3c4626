"""The replays in the repository: what they are cut from, what they hold, and what they may not."""

from pathlib import Path

import fixture_replays
import numpy as np
import pytest

from exphil_tf.features.schema import SCHEMA, SPOILED
from exphil_tf.melee.enums import Character
from exphil_tf.replays import slp
from exphil_tf.replays.parse import parse
from exphil_tf.replays.writer import write_slp

every_fixture = pytest.mark.parametrize("name", fixture_replays.NAMES)


@every_fixture
def test_they_are_cut_from_the_originals(name: str, replays_dir: Path, update_golden: bool) -> None:
    """Renewed by `pytest --update-golden tests/replays/test_fixtures.py`, where originals are."""
    data = fixture_replays.cut(name, replays_dir)
    if update_golden:
        fixture_replays.fixture(name).write_bytes(data)
    assert fixture_replays.fixture(name).read_bytes() == data
    private = fixture_replays.private_texts(name, replays_dir)
    assert not [text for text in private if text in data]


@every_fixture
def test_they_are_small_and_tell_nobodys_name(name: str) -> None:
    data = fixture_replays.fixture(name).read_bytes()
    assert len(data) < 62_000
    info = slp.read_header(data)
    told = {text for player in info.players for text in (player.name, player.code, player.tag)}
    assert told <= {"", "One", "Two", "ONE#1", "TWO#1"}
    assert (info.match_id, info.start_at[:4]) in (("", ""), ("", "2000"))
    assert info.seed == 1 + fixture_replays.NAMES.index(name)


def test_they_hold_what_tests_are_to_see() -> None:
    items, nana, old = (
        parse(fixture_replays.fixture(name)).frames for name in fixture_replays.NAMES
    )
    assert items["i.exists"].sum(1).max() >= 3 and (items["p.items_owned"] != 0).any(0).all()
    assert 0.2 < nana["n.exists"].any(1).mean() < 0.8
    assert (nana["p.character"] == Character.POPO).any()
    assert SCHEMA.absent_bits[2, 0] & old["absent"][0] == 0
    assert SCHEMA.absent_bits[3, 5] & old["absent"][0]
    for frames in (items, nana, old):
        assert (frames["p.hitstun"] > 0).any() and (frames["p.hitlag"] > 0).any()
        assert (frames["c.buttons"] != 0).any(0).all() and (np.abs(frames["c.main_x"]) > 0).any()
        assert not (frames["absent"] & SPOILED).any()


@pytest.mark.parametrize("name", ["items", "nana"])
def test_writing_a_fixture_again_gives_its_bytes(name: str) -> None:
    data = fixture_replays.fixture(name).read_bytes()
    assert write_slp(parse(data)) == data
