"""What a policy says of where it came from, whoever wrote it."""

import pytest

from exphil_tf.checkpoints.provenance import data_of, describe_played, nested, unfamiliar


@pytest.mark.parametrize(
    "facts",
    [{}, {"data": [1]}, {"data": {"folder": None}}, {"data": "folder"}, [], "data", None, 3],
)
def test_what_is_not_told_is_none(facts):
    assert nested(facts, "data", "folder") is None


def test_what_is_told():
    assert nested({"data": {"folder": "d"}}, "data", "folder") == "d"
    assert nested({"a": 1}) == {"a": 1}


@pytest.mark.parametrize(
    "facts", [{}, {"data": [1]}, {"start_data": "x"}, {"data": None, "start_data": 3}, [], None]
)
def test_no_data_is_told(facts):
    assert data_of(facts) == {}


def test_who_learns_by_playing_tells_what_the_start_imitated():
    imitated = {"folder": "games", "manifest_sha256": "sum", "games": 9}
    assert data_of({"data": imitated, "start_data": {"manifest_sha256": "other"}}) == imitated
    told = {"config": {}, "seed": 1, "prog": "python -m exphil_tf.ppo", "sources": {}, "argv": []}
    first = describe_played(**told, start={"data": imitated})
    second = describe_played(**told, start=first)
    assert data_of(second)["folder"] == "games"
    assert data_of(second)["manifest_sha256"] == "sum"
    assert second["data"]["manifest_sha256"] is None, "it has no data of its own"
    assert data_of(describe_played(**told, start={}))["folder"] is None


def imitated(**frames):
    return {"data": {"manifest_sha256": "sum", "character_distribution": frames}}


def test_a_character_that_hardly_was_there_is_told_beside_those_that_were():
    facts = imitated(fox=500, falco=300, marth=150, peach=41, mewtwo=9)
    said = unfamiliar(facts, "mewtwo")
    assert "mewtwo in 0.9% of the frames" in said
    assert "fox (50%), falco (30%), marth (15%)" in said
    assert "link in 0.0%" in unfamiliar(facts, "link")
    told = {"config": {}, "seed": 1, "prog": "python -m exphil_tf.ppo", "sources": {}, "argv": []}
    assert unfamiliar(describe_played(**told, start=facts), "mewtwo") == said
    for played, noted in (("Mewtwo", None), ("fox", said), ("nobody", said), (3, said)):
        learnt = describe_played(**told | {"config": {"character": played}}, start=facts)
        assert unfamiliar(learnt, "mewtwo") == noted


@pytest.mark.parametrize(
    "facts",
    [
        imitated(fox=99, mewtwo=1),
        imitated(),
        imitated(fox="many", falco=-3),
        {"data": {"manifest_sha256": "sum"}},
        {"data": {"manifest_sha256": "sum", "character_distribution": [3]}},
        {},
        None,
    ],
)
def test_nothing_is_said_of_a_character_that_was_there_or_where_nothing_is_told(facts):
    assert unfamiliar(facts, "mewtwo") is None
