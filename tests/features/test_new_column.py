"""A new column is one entry of `fields.py`, and what fills it: all else follows by itself."""

import importlib
import sys
from typing import Any, NamedTuple

import numpy as np
import pytest

from exphil_tf.features.field import Embed, EmbedKind, Field, Group, Mirror, Store
from exphil_tf.features.schema import SCHEMA
from models.layers import embedding_layout
from models.policy_config import EmbeddingConfig

OWN_PACKAGES = ("exphil_tf", "models", "tests.strategies")
SCALE = Embed(EmbedKind.SCALE, scale=0.5)
TOYS = (
    Field(
        name="p.spin", group=Group.PLAYER, dtype="float32", store=Store.F32, unit="turns", low=-9,
        high=9, embed=SCALE, doc="Toy.", mirror=Mirror.NEGATE, noise=1, since=(3, 8),
    ),
    Field(
        name="n.spin", group=Group.NANA, dtype="float32", store=Store.F32, unit="turns", low=-9,
        high=9, embed=SCALE, doc="Toy.", mirror=Mirror.NEGATE, present="n.exists",
    ),
    Field(
        name="p.stance", group=Group.PLAYER, dtype="uint8", store=Store.U8, unit="id", low=0,
        high=4, embed=Embed(EmbedKind.CATEGORY, size=5), doc="Toy.",
    ),
    Field(
        name="i.kind", group=Group.ITEM, dtype="uint8", store=Store.U8, unit="id", low=0, high=2,
        embed=Embed(EmbedKind.CATEGORY, size=3), doc="Toy.", present="i.exists",
    ),
    Field(
        name="s.tide", group=Group.STAGE, dtype="int8", store=Store.I8, unit="-1, 0, 1", low=-1,
        high=1, embed=SCALE, doc="Toy.", mirror=Mirror.NEGATE,
    ),
    Field(
        name="i.lit", group=Group.ITEM, dtype="uint8", store=Store.U8, unit="bool", low=0, high=1,
        embed=Embed(EmbedKind.FLAG), doc="Toy.", mirror=Mirror.FLIP, present="i.exists",
    ),
)  # fmt: skip


class Modules(NamedTuple):
    """The package as it is with the toy columns in `fields.py`."""

    fields: Any
    schema: Any
    packing: Any
    viewpoint: Any
    builder: Any
    layout: Any
    embedding: Any
    config: Any
    docs: Any
    strategies: Any
    types: Any


NAMES = (
    "exphil_tf.features.fields", "exphil_tf.features.schema", "exphil_tf.features.packing",
    "exphil_tf.features.viewpoint", "exphil_tf.features.frame_builder",
    "models.layers.embedding_layout", "models.layers.frame_embedding", "models.policy_config",
    "exphil_tf.docs", "tests.strategies", "exphil_tf.melee.types",
)  # fmt: skip


def is_own(name: str) -> bool:
    return any(name == own or name.startswith(f"{own}.") for own in OWN_PACKAGES)


@pytest.fixture(scope="module")
def extended() -> Modules:
    """Every module read anew after the toys were added to `fields.FIELDS`, and nothing else.

    Numpy and TensorFlow stay loaded.
    """
    kept = {name: sys.modules.pop(name) for name in list(sys.modules) if is_own(name)}
    try:
        fields = importlib.import_module(NAMES[0])
        field = importlib.import_module("exphil_tf.features.field")
        # The same entries, of the classes that were read anew.
        entries = [field.Field(**_facts(toy, field)) for toy in TOYS]
        fields.FIELDS = (*fields.FIELDS, *entries)
        found = Modules(*map(importlib.import_module, NAMES))
    finally:
        for name in list(sys.modules):
            if is_own(name):
                del sys.modules[name]
        sys.modules.update(kept)
    return found


def _facts(toy: Field, field: Any) -> dict[str, Any]:
    embed = field.Embed(**(vars(toy.embed) | {"kind": field.EmbedKind(toy.embed.kind)}))
    enums = {
        "group": field.Group(toy.group),
        "store": field.Store(toy.store),
        "mirror": field.Mirror(toy.mirror),
    }
    return vars(toy) | enums | {"embed": embed}


def made(extended: Modules, num_frames: int = 40) -> Any:
    return extended.strategies.make_frames(
        seed=3, num_frames=num_frames, extremes=0.1, on_grid=True
    )


def test_generated_frames_have_the_new_columns_in_their_bounds(extended):
    frames = made(extended)
    assert extended.schema.SCHEMA.check(frames) == []
    assert {toy.name for toy in TOYS} <= set(frames)
    assert frames["p.spin"].min() < 0 < frames["p.spin"].max()
    assert not frames["i.kind"][frames["i.exists"] == 0].any()


def test_rows_hold_them(extended):
    frames, packing = made(extended), extended.packing
    back = packing.unpack(packing.pack(frames))
    for name in frames:
        np.testing.assert_array_equal(back[name], frames[name], err_msg=name)
    slots = packing.LAYOUT.slots
    assert slots["p.spin"].offset < packing.NOISE_BYTES <= slots["n.spin"].offset


def test_mirror_perspective_and_noise_know_them(extended):
    frames, packing, viewpoint = made(extended), extended.packing, extended.viewpoint
    planes = packing.pack_planes(frames)
    mirrored = viewpoint.mirror_columns(frames.columns)
    as_frames = extended.types.Frames
    packed = packing.pack_planes(as_frames(mirrored))
    np.testing.assert_array_equal(packed, packing.mirror_planes(planes))
    np.testing.assert_array_equal(mirrored["p.spin"], -frames["p.spin"])
    np.testing.assert_array_equal(mirrored["s.tide"], -frames["s.tide"])
    np.testing.assert_array_equal(mirrored["i.lit"], frames["i.lit"] ^ frames["i.exists"])
    other = viewpoint.take_perspective(frames.columns, 1)
    np.testing.assert_array_equal(other["p.stance"], frames["p.stance"][:, ::-1])
    order = packing.perspective_order(1)
    np.testing.assert_array_equal(packing.pack_planes(as_frames(other)), planes[order])
    noisy = packing.noisy_planes(planes, 0.1, np.random.default_rng(0))
    changed = packing.unpack(np.ascontiguousarray(noisy.T))
    known = frames["absent"] & extended.schema.SCHEMA.absent_bits[3, 8] == 0
    assert (changed["p.spin"] != frames["p.spin"])[known].all()
    np.testing.assert_array_equal(changed["n.spin"], frames["n.spin"])


def test_the_builder_asks_for_them(extended):
    builder = extended.builder.FrameBuilder()
    with pytest.raises(ValueError, match=r"p\.spin, p\.stance, s\.tide"):
        builder.columns()


@pytest.mark.parametrize("nana_mode", ["compact", "full"])
def test_the_network_reads_them(extended, nana_mode):
    """Widths grow by what the columns need, and the layer gives that width."""
    layout, config = extended.layout, extended.config.EmbeddingConfig(nana_mode=nana_mode)
    spans = layout.layout(config)
    assert spans["p.spin"].stop - spans["p.spin"].start == 2
    assert spans["p.stance"].stop - spans["p.stance"].start == 2 * 5
    assert spans["i.kind"].stop - spans["i.kind"].start == 5 * 3
    assert {"s.tide", "i.lit"} <= set(spans)
    assert ("n.spin" in spans) == (nana_mode == "full")
    frames = made(extended)
    config = extended.config.EmbeddingConfig(nana_mode=nana_mode, with_prev_action=False)
    layer = extended.embedding.FrameEmbedding(config)
    dense = np.asarray(layer({name: column[None] for name, column in frames.columns.items()}))[0]
    assert dense.shape[-1] == layout.dense_width(config)
    spans = layout.layout(config)
    np.testing.assert_allclose(dense[:, spans["p.spin"]], frames["p.spin"] * 0.5, rtol=1e-6)
    stance = np.eye(5)[frames["p.stance"]].reshape(len(frames), -1)
    np.testing.assert_array_equal(dense[:, spans["p.stance"]], stance)
    kind = np.eye(3)[frames["i.kind"]] * frames["i.exists"][..., None]
    np.testing.assert_array_equal(dense[:, spans["i.kind"]], kind.reshape(len(frames), -1))


def test_the_page_explains_them(extended):
    page = extended.docs.features_page()
    for toy in TOYS:
        assert f"| `{toy.name}` | Toy." in page


def test_everything_else_stays_as_it_was(extended):
    """The rest keeps its digest and, among its like, its order in the network's input."""
    digests = extended.schema.SCHEMA.digests()
    assert {name: digests[name] for name in SCHEMA.names} == SCHEMA.digests()
    assert extended.schema.SCHEMA.fingerprint() != SCHEMA.fingerprint()
    toys = {toy.name for toy in TOYS}
    grown = [n for n in extended.layout.layout(extended.config.EmbeddingConfig()) if n not in toys]
    assert grown == list(embedding_layout.layout(EmbeddingConfig()))
