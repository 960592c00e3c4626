"""What a policy says of where it came from, whoever wrote it."""

import pytest

from exphil_tf.checkpoints.provenance import nested


@pytest.mark.parametrize(
    "facts",
    [{}, {"data": [1]}, {"data": {"folder": None}}, {"data": "folder"}, [], "data", None, 3],
)
def test_what_is_not_told_is_none(facts):
    assert nested(facts, "data", "folder") is None


def test_what_is_told():
    assert nested({"data": {"folder": "d"}}, "data", "folder") == "d"
    assert nested({"a": 1}) == {"a": 1}
