"""The schema: checks find what is wrong, the fingerprint changes with meaning and only with it."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings

from exphil_tf.features.character_state import COLUMNS
from exphil_tf.features.item_slots import HELD, HELD_FRAMES, OWNED
from exphil_tf.features.schema import SCHEMA, EmbedKind, Group, Mirror, Schema
from exphil_tf.melee.types import Frames
from tests import strategies


def changed(name: str, **facts) -> Schema:
    fields = [dataclasses.replace(f, **facts) if f.name == name else f for f in SCHEMA.fields]
    return Schema(tuple(fields))


@given(strategies.frames())
@settings(deadline=None, max_examples=30)
def test_legal_frames_pass(frames):
    assert SCHEMA.check(frames) == []


def test_empty_frames_are_legal_and_start_at_minus_123():
    frames = Frames(SCHEMA.empty(5))
    assert SCHEMA.check(frames) == []
    assert frames["frame"].tolist() == [-123, -122, -121, -120, -119]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("p.percent", np.nan, "NaN"),
        ("p.x", np.inf, "NaN or infinity"),
        ("p.percent", -1, "want 0 to 999 %"),
        ("p.facing", 2, "want 0 to 1"),
        ("s.whispy", -2, "want -1 to 1"),
        ("c.main_x", 1.01, "want -1 to 1"),
    ],
)
def test_check_names_the_field_and_the_fault(name, value, message):
    columns = SCHEMA.empty(4)
    columns[name].reshape(4, -1)[2, 0] = value
    problems = SCHEMA.check(Frames(columns))
    assert len(problems) == 1 and problems[0].startswith(f"{name}: ") and message in problems[0]


def test_check_finds_missing_unknown_and_misshapen_columns():
    columns = SCHEMA.empty(4)
    del columns["p.x"]
    columns["p.z"] = np.zeros(4)
    columns["p.y"] = columns["p.y"][:, 0]
    columns["p.stock"] = columns["p.stock"].astype(np.int64)
    problems = SCHEMA.check(Frames(columns))
    assert [problem.split(":")[0] for problem in problems] == ["p.z", "p.x", "p.y", "p.stock"]


def test_fingerprint_ignores_documentation_only():
    assert changed("p.x", doc="Else.").fingerprint() == SCHEMA.fingerprint()
    assert changed("p.x", high=900).fingerprint() == SCHEMA.fingerprint()
    scale = dataclasses.replace(SCHEMA.field("p.x").embed, scale=1.0)
    for facts in ({"embed": scale}, {"mirror": Mirror.KEEP}, {"unit": "m"}):
        other = changed("p.x", **facts)
        assert other.fingerprint() != SCHEMA.fingerprint()
        assert SCHEMA.differences(other.digests()) == ["p.x: defined differently"]
    reordered = Schema(SCHEMA.fields[::-1])
    assert reordered.fingerprint() != SCHEMA.fingerprint()


def test_differences_name_fields_that_only_one_side_has():
    fewer = Schema(tuple(f for f in SCHEMA.fields if f.name != "p.shield"))
    assert SCHEMA.differences(fewer.digests()) == ["p.shield: missing there"]
    assert fewer.differences(SCHEMA.digests()) == ["p.shield: unknown here"]
    assert SCHEMA.differences(SCHEMA.digests()) == []


def test_duplicate_names_and_one_sided_swaps_are_refused():
    with pytest.raises(ValueError, match="unique names"):
        Schema((*SCHEMA.fields, SCHEMA.fields[0]))
    with pytest.raises(ValueError, match="mirror partner"):
        changed("s.fod_left", mirror_with="s.randall_x")


def test_presence_is_declared_and_can_hold():
    for field in SCHEMA.fields:
        owner = {Group.NANA: "n.exists", Group.ITEM: "i.exists"}.get(field.group, "")
        assert field.present == ("" if field.name == owner else owner), field.name
    for wrong in ("p.percent", "i.exists", "n.x"):
        with pytest.raises(ValueError, match="want a flag of its shape"):
            changed("n.facing", present=wrong)
    with pytest.raises(ValueError, match="noise would fall on what is absent"):
        changed("n.x", noise=1.0)
    with pytest.raises(ValueError, match="want a value for each"):
        changed("p.action", mirror_with="s.stage")


def test_nana_mirrors_the_leader():
    kept = {OWNED, HELD, HELD_FRAMES, *COLUMNS}  # she owns, holds and keeps nothing of her own
    leader = [f.name[2:] for f in SCHEMA.group(Group.PLAYER) if f.name not in kept]
    follower = [f.name[2:] for f in SCHEMA.group(Group.NANA) if f.name != "n.exists"]
    assert leader == follower
    for name in leader:
        own, nana = SCHEMA.field(f"p.{name}"), SCHEMA.field(f"n.{name}")
        # Her action frames are never shifted, so a mirror need not shift them either.
        mirror = Mirror.KEEP if name == "action_frame" else own.mirror
        assert (own.dtype, own.store, mirror) == (nana.dtype, nana.store, nana.mirror)


def test_every_field_says_what_it_is():
    for field in SCHEMA.fields:
        assert field.doc.endswith((".", ")")) and field.unit and field.low <= field.high, field.name
        if field.embed.kind is EmbedKind.CATEGORY:
            assert field.embed.size > 0, field.name
