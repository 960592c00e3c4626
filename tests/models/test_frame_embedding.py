"""The embedding: widths of the documents, hand-computed frames, and no dead option."""

import dataclasses
import itertools

import numpy as np
import policy_inputs
import pytest
import tensorflow as tf
from replay_games import make_game

from exphil_tf.features import packing
from exphil_tf.features.schema import SCHEMA, SPOILED, EmbedKind
from exphil_tf.melee.enums import ACTION_CATEGORIES, ACTION_COUNT, Character, Stage
from models.layers import embedding_layout as layouts
from models.layers import embedding_tables as tables
from models.layers.frame_embedding import FrameEmbedding
from models.policy_config import EmbeddingConfig

ONE_HOT = {"action_mode": "one_hot", "character_mode": "one_hot", "stage_mode": "full"}


def make(seed: int = 0, **options) -> FrameEmbedding:
    layer = FrameEmbedding(EmbeddingConfig(**options), seed=seed)
    layer.build()
    return layer


def embed(layer: FrameEmbedding, columns: dict, prev_action: dict | None = None) -> np.ndarray:
    lead = np.shape(columns["frame"])
    prev_action = policy_inputs.prev_action(*lead) if prev_action is None else prev_action
    return np.asarray(layer(tensors(columns), tensors(prev_action)))


def tensors(values: dict) -> dict:
    return {name: tf.constant(value) for name, value in values.items()}


def frame(**values) -> dict[str, np.ndarray]:
    """One zero frame `[1, …]` with some columns set (dots in names are written `_`)."""
    columns = {f.name: np.zeros((1, *f.shape), f.dtype) for f in SCHEMA.fields}
    names = {name.replace(".", "_"): name for name in columns}
    for name, value in values.items():
        columns[names[name]][0] = value
    return columns | {"name": np.zeros(1, np.int32)}


@pytest.mark.parametrize(
    ("options", "raw", "padded"),
    [
        ({}, 287, 288),
        ({"nana_mode": "enhanced"}, 239, 240),
        ({"character_mode": "one_hot", "stage_mode": "full"}, 408, 408),
        (ONE_HOT, 1204, 1208),
        (ONE_HOT | {"jumps_normalized": False, "nana_mode": "full"}, 2048, 2048),
    ],
)
def test_raw_widths_are_those_of_the_documents(options, raw, padded):
    width = layouts.raw_width(EmbeddingConfig(**options))
    assert (width, layouts.padded(width)) == (raw, padded)


MODES = [
    {"nana_mode": nana, "action_mode": ids, "character_mode": ids, "stage_mode": stage}
    for nana, ids, stage in itertools.product(
        ("compact", "enhanced", "full"), ("learned", "one_hot"), ("compact", "full", "learned")
    )
]


@pytest.mark.parametrize(
    "options", [*MODES, {"with_items": True, "learn_player_styles": True}], ids=str
)
@pytest.mark.parametrize("jumps_normalized", [True, False])
def test_layout_says_how_wide_the_vector_is(options, jumps_normalized):
    layer = make(jumps_normalized=jumps_normalized, **options)
    vector = embed(layer, policy_inputs.columns(2))
    used = max(span.stop for span in layouts.layout(layer.config).values())
    assert vector.shape == (2, layouts.dense_width(layer.config)) == (2, layouts.padded(used))
    assert np.isfinite(vector).all()
    assert (vector[:, used:] == 0).all()


def test_numbers_by_hand():
    columns = frame(
        frame=14400, s_stage=Stage.POKEMON_STADIUM, s_stadium=4,
        p_percent=[123.4, 999], p_x=[-40.0, 60.0], p_y=[0.0, 30.0], p_facing=[0, 1],
        p_shield=[60, 20], p_jumps_left=[2, 6], p_on_ground=[1, 0], p_invulnerable=[0, 1],
        p_speed_y_self=[-3.0, 100.0], p_hitstun=[30, 240], p_action_frame=[12, 500],
        p_stock=[4, 1], p_hitlag=[5, 40],
    )  # fmt: skip
    layer = make()
    vector, layout = embed(layer, columns)[0], layouts.layout(layer.config)
    want = {
        "p.percent": [1.234, 5], "p.x": [-2, 3], "p.y": [0, 1.5], "p.facing": [-1, 1],
        "p.shield": [0.6, 0.2], "p.jumps_left": [2 / 6, 1], "p.on_ground": [1, 0],
        "p.invulnerable": [0, 1], "p.speed_y_self": [-1.5, 10], "p.hitstun": [0.25, 1],
        "p.action_frame": [0.2, 2], "p.stock": [1, 0.25], "p.hitlag": [0.25, 1], "frame": [0.5],
        "ledge_distance": [1 - 40 / 87.75, 1 - 60 / 87.75],
        "relative_position": [0.5, 0.3, np.hypot(100, 30) / 200],
        "s.stage": np.eye(7)[1], "s.stadium": [0, 1, 0, 0, 0],
    }  # fmt: skip
    for name, values in want.items():
        np.testing.assert_allclose(vector[layout[name]], values, atol=1e-6, err_msg=name)


def test_every_scaled_column_follows_its_schema_rule():
    layer = make(with_items=True, item_type_dim=0)
    columns, layout = policy_inputs.columns(50), layouts.layout(layer.config)
    vector = embed(layer, columns)
    checked = 0
    for name, span in layout.items():
        if name not in SCHEMA.names or SCHEMA.field(name).embed.kind is not EmbedKind.SCALE:
            continue
        rule = SCHEMA.field(name).embed
        value = columns[name].astype(np.float64).reshape(50, -1)
        want = np.clip((value + rule.bias) * rule.scale, rule.low, rule.high)
        np.testing.assert_allclose(vector[:, span], want, atol=1e-5, err_msg=name)
        checked += 1
    assert checked > 25


def test_conditions_by_hand():
    layer = make(with_delay=True, condition_on_return=True, learn_player_styles=True)
    layout = layouts.layout(layer.config)
    told = {"name": [0, 1, 112], "delay": [0, 21, 60], "return": [0, 2, 5]}
    columns = {name: np.repeat(value, 3, 0) for name, value in frame().items()}
    vector = embed(layer, columns | {n: np.array(v, np.int32) for n, v in told.items()})
    np.testing.assert_array_equal(vector[:, layout["name"]], np.eye(113)[told["name"], 1:])
    np.testing.assert_array_equal(vector[:, layout["return"]], np.eye(6)[told["return"], 1:])
    # Knots are 0, 1, 2, 4, 8, 12, 18, 24, 30, 42 and 60 frames: 21 lies between two.
    want = np.zeros((3, 11))
    want[0, 0] = want[2, 10] = 1
    want[1, 6] = want[1, 7] = 0.5
    np.testing.assert_allclose(vector[:, layout["delay"]], want, atol=1e-6)


def test_neighbouring_delays_lie_side_by_side():
    table = tables.delay_table()
    assert table.shape == (61, 11)
    np.testing.assert_allclose(table.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(table @ tables.DELAY_KNOTS, np.arange(61), atol=1e-5)
    apart = np.abs(np.diff(table, axis=0)).max(1)
    assert (np.diff(apart) < 1e-6).all()  # a frame more tells less and less


def test_stage_is_one_of_seven():
    layer = make()
    span = layouts.layout(layer.config)["s.stage"]
    for index, stage in enumerate((2, 3, 8, 28, 31, 32)):
        np.testing.assert_array_equal(embed(layer, frame(s_stage=stage))[0, span], np.eye(7)[index])
    np.testing.assert_array_equal(embed(layer, frame(s_stage=5))[0, span], np.eye(7)[6])


def test_players_share_tables_and_swap_places():
    layer = make()
    columns = policy_inputs.columns(6)
    swapped = {n: v[:, ::-1].copy() if n[:2] in ("p.", "n.") else v for n, v in columns.items()}
    layout, half = layouts.layout(layer.config), {}
    vector, other = embed(layer, columns), embed(layer, swapped)
    for name, span in layout.items():
        if name[:2] in ("p.", "n.") or name in ("nana_category", "nana_synced", "ledge_distance"):
            half[name] = middle = (span.start + span.stop) // 2
            np.testing.assert_array_equal(
                vector[:, span.start : middle], other[:, middle : span.stop]
            )
    assert len(half) > 25
    dx, dy, distance = np.moveaxis(vector[:, layout["relative_position"]], -1, 0)
    np.testing.assert_allclose(
        other[:, layout["relative_position"]], np.stack([-dx, -dy, distance], -1)
    )


def test_learned_ids_are_rows_of_tables():
    layer = make(stage_mode="learned")
    layout = layouts.layout(layer.config)
    columns = frame(p_action=[14, 511], p_character=[Character.FOX, 32], s_stage=31)
    vector = embed(layer, columns)[0]
    action = np.asarray(layer.action_table)
    np.testing.assert_array_equal(
        vector[layout["p.action"]], np.concatenate([action[14], action[511]])
    )
    character = np.asarray(layer.character_table)
    np.testing.assert_array_equal(
        vector[layout["p.character"]], np.concatenate([character[1], character[32]])
    )
    np.testing.assert_array_equal(vector[layout["s.stage"]], np.asarray(layer.stage_vectors)[31])


@pytest.mark.parametrize("nana_mode", ["compact", "enhanced", "full"])
def test_learned_tables_learn(nana_mode):
    layer = make(nana_mode=nana_mode, stage_mode="learned")
    columns = policy_inputs.columns(8, 3)
    with tf.GradientTape() as tape:
        y = layer(tensors(columns), tensors(policy_inputs.prev_action(8, 3)))
        loss = tf.reduce_sum(y * y)
    gradients = tape.gradient(loss, layer.trainable_variables)
    assert len(gradients) == 4
    for weight, gradient in zip(layer.trainable_variables, gradients, strict=True):
        assert isinstance(gradient, tf.Tensor), f"{weight.path}: sparse gradient"
        rows = np.abs(np.asarray(gradient)).max(axis=1) > 0
        assert 1 < rows.sum() <= len(rows), weight.path


@pytest.mark.parametrize("ids", [{}, ONE_HOT], ids=["learned", "one_hot"])
def test_every_action_of_the_game_looks_different(ids):
    layer = make(**ids)
    columns = frame()
    columns = {name: np.repeat(column, ACTION_COUNT, 0) for name, column in columns.items()}
    columns["p.action"][:, 0] = np.arange(ACTION_COUNT)
    vector = embed(layer, columns)[:, layouts.layout(layer.config)["p.action"]]
    assert len(np.unique(vector, axis=0)) == ACTION_COUNT


def test_ids_beyond_the_game_share_a_row():
    layer = make()
    vector = embed(layer, frame(p_action=[544, 60000]))[0]
    last = np.asarray(layer.action_table)[544]
    place = layouts.layout(layer.config)["p.action"]
    np.testing.assert_array_equal(vector[place], np.concatenate([last, last]))


def test_mirrored_frames_show_nothing_of_what_is_absent():
    """No value on them that does not occur in play: as if a mirrored game were played."""
    game = make_game(5, length=200, picked=(Character.POPO, Character.FOX)).frames
    planes = packing.mirror_planes(packing.pack_planes(game))
    mirrored = packing.unpack(np.ascontiguousarray(planes.T)).columns
    layer = make(with_items=True)
    layout, name = layouts.layout(layer.config), {"name": np.zeros(200, np.int32)}
    live, seen = (embed(layer, {**columns, **name}) for columns in (game.columns, mirrored))
    assert 0.1 < game["n.exists"][:, 0].mean() < 0.9 and not game["n.exists"][:, 1].any()
    for flag, parts in (("n.exists", ("n.", "nana")), ("i.exists", ("i.", "item"))):
        for part, span in layout.items():
            if part.startswith(parts) and part != "item_held":
                shape = (200, game[flag].shape[1], -1)
                absent = game[flag] == 0
                before, after = (x[:, span].reshape(shape) for x in (live, seen))
                np.testing.assert_array_equal(after[absent], before[absent], err_msg=part)
    turned = seen[:, layout["n.facing"]][:, 0]
    np.testing.assert_array_equal(turned, -live[:, layout["n.facing"]][:, 0])


def test_one_hot_ids_beyond_the_range_are_zeros():
    layer = make(**ONE_HOT, jumps_normalized=False)
    layout = layouts.layout(layer.config)
    vector = embed(layer, frame(p_action=[5, 600], p_character=[32, 0], p_jumps_left=[0, 6]))[0]
    np.testing.assert_array_equal(vector[layout["p.action"]], np.eye(2 * ACTION_COUNT)[5])
    np.testing.assert_array_equal(vector[layout["p.character"]], np.eye(66)[32] + np.eye(66)[33])
    np.testing.assert_array_equal(vector[layout["p.jumps_left"]], np.eye(14)[0] + np.eye(14)[13])


@pytest.mark.parametrize("nana_mode", ["compact", "enhanced", "full"])
@pytest.mark.parametrize("ids", ["learned", "one_hot"])
def test_absent_nana_is_zero(nana_mode, ids):
    layer = make(nana_mode=nana_mode, action_mode=ids, character_mode=ids, jumps_normalized=False)
    vector = embed(layer, frame(p_action=[0, 14]))[0]
    parts = {n: s for n, s in layouts.layout(layer.config).items() if n.startswith(("n.", "nana"))}
    assert len(parts) > 10
    for name, span in parts.items():
        assert (vector[span] == 0).all(), name


def test_compact_nana_by_hand():
    layer = make()
    layout = layouts.layout(layer.config)
    # Own pair dashes together; the opponent's Nana shields while Popo stands (Wait).
    columns = frame(
        n_exists=[1, 1], n_x=[20, -20], n_facing=[1, 0], n_action=[0x14, 0xB3],
        p_action=[0x14, 0x0E], n_percent=[50, 0], n_stock=[4, 2],
    )  # fmt: skip
    vector = embed(layer, columns)[0]
    own, other = vector[layout["nana_category"]].reshape(2, 28)
    for block, category, flags in ((own, "dash", [0, 0, 1]), (other, "shield", [0, 0, 0])):
        np.testing.assert_array_equal(block[:25], np.eye(25)[ACTION_CATEGORIES.index(category)])
        np.testing.assert_array_equal(block[25:], flags)
    np.testing.assert_array_equal(vector[layout["nana_synced"]], [1, 0])
    np.testing.assert_array_equal(vector[layout["n.facing"]], [1, -1])
    np.testing.assert_allclose(vector[layout["n.percent"]], [0.5, 0])
    numbers = ("exists", "x", "y", "facing", "on_ground", "percent", "stock", "hitstun")
    compact = {f"n.{n}" for n in (*numbers, "action_frame", "invulnerable")}
    names = {n for n in layout if n.startswith("n.")}
    assert names == compact
    widths = [layout[n].stop - layout[n].start for n in (*compact, "nana_category", "nana_synced")]
    assert sum(widths) == 2 * 39


def test_enhanced_sync_is_equality_of_actions():
    layer = make(nana_mode="enhanced")
    layout = layouts.layout(layer.config)
    columns = frame(n_exists=[1, 1], n_action=[0x14, 0x15], p_action=[0x14, 0x14])
    vector = embed(layer, columns)[0]
    np.testing.assert_array_equal(vector[layout["nana_synced"]], [1, 0])
    np.testing.assert_array_equal(
        vector[layout["n.action"]], np.asarray(layer.action_table)[[0x14, 0x15]].reshape(-1)
    )


def test_items_by_hand():
    layer = make(with_items=True, item_type_dim=0)
    layout = layouts.layout(layer.config)
    # Slot 0: own turnip at rest in hand; 1: opponent's flying laser; 2: nobody's bob-omb.
    columns = frame(
        i_exists=[1, 1, 1, 0, 0], i_type=[0x63, 0x36, 0x06, 0, 0], i_x=[20, -40, 0, 0, 0],
        i_speed_x=[0, 5, 0, 0, 0], i_timer=[90, 0, 360, 0, 0], p_items_owned=[0b001, 0b010],
    )  # fmt: skip
    vector = embed(layer, columns)[0]
    np.testing.assert_array_equal(vector[layout["item_owner"]], [1, -1, 0, 0, 0])
    np.testing.assert_allclose(vector[layout["i.x"]], [1, -2, 0, 0, 0])
    np.testing.assert_allclose(vector[layout["i.speed_x"]], [0, 2.5, 0, 0, 0])
    np.testing.assert_allclose(vector[layout["i.type"]], [0.99, 0.54, 0.06, 0, 0], atol=1e-6)
    np.testing.assert_allclose(vector[layout["i.timer"]], [0.5, 0, 1, 0, 0])
    categories = vector[layout["item_category"]].reshape(5, 6).argmax(-1)
    assert [tables.ITEM_CATEGORIES[c] for c in categories] == [
        "other",
        "other",
        "bomb",
        "none",
        "none",
    ]
    held, by_self = vector[layout["item_held"]].reshape(2, 5)
    np.testing.assert_array_equal(held, [1, 0, 0, 0, 0])
    np.testing.assert_array_equal(by_self, [1, 0, 0, 0, 0])


def test_item_types_are_learned():
    layer = make()
    span = layouts.layout(layer.config)["i.type"]
    vector = embed(layer, frame(i_exists=[1, 1, 0, 0, 1], i_type=[0, 0x36, 0x36, 0, 60000]))[0]
    table = np.asarray(layer.item_type_table)
    np.testing.assert_array_equal(vector[span].reshape(5, -1), table[[1, 0x37, 0, 0, 256]])


def test_names_and_previous_action():
    layer = make(learn_player_styles=True, num_player_names=4)
    layout = layouts.layout(layer.config)
    columns = policy_inputs.columns(3, 2)
    columns["name"] = np.array([0, 1, 4], np.int32)
    previous = policy_inputs.prev_action(3, 2)
    vector = embed(layer, columns, previous)
    one_hot = np.concatenate([np.zeros((1, 4)), np.eye(4)])[[0, 1, 4]]
    np.testing.assert_array_equal(vector[..., layout["name"]], np.repeat(one_hot[:, None], 2, 1))
    rest = [previous[n][..., None] for n in ("main_x", "main_y", "c_x", "c_y", "shoulder")]
    want = np.concatenate([previous["buttons"], *rest], axis=-1)
    np.testing.assert_array_equal(vector[..., layout["prev_action"]], want)
    with pytest.raises(ValueError, match="want the previous controller"):
        layer(tensors(columns), None)


def test_a_batch_of_sequences_equals_single_frames():
    layer = make(with_items=True, learn_player_styles=True)
    columns, previous = policy_inputs.columns(3, 4), policy_inputs.prev_action(3, 4)
    whole = embed(layer, columns, previous)
    for t in range(4):
        one = embed(
            layer,
            {n: v[:, t] for n, v in columns.items()},
            {n: v[:, t] for n, v in previous.items()},
        )
        np.testing.assert_array_equal(whole[:, t], one)


def test_every_option_changes_the_vector():
    columns, previous = policy_inputs.columns(2), policy_inputs.prev_action(2)
    base = embed(make(), columns, previous)
    changes = {
        "stage_mode": "full", "action_mode": "one_hot", "character_mode": "one_hot",
        "nana_mode": "full", "jumps_normalized": False, "learn_player_styles": True,
        "with_projectiles": False, "with_items": True, "with_prev_action": False,
        "with_stage_state": False, "action_dim": 48, "character_dim": 8, "item_type_dim": 0,
        "with_delay": True,
    }  # fmt: skip
    assert (embed(make(unrecorded=8), columns, previous) != base).any()
    for name, value in changes.items():
        assert embed(make(**{name: value}), columns, previous).shape != base.shape, name
    learned = embed(make(stage_mode="learned"), columns, previous)
    wider = embed(make(stage_mode="learned", stage_dim=16), columns, previous)
    assert learned.shape != wider.shape
    styles = [make(learn_player_styles=True, num_player_names=n).width for n in (112, 12)]
    assert styles[0] != styles[1]
    parts = layouts.layout(EmbeddingConfig(condition_on_return=True, return_edges=(0.0, 9.0)))
    assert parts["return"].stop - parts["return"].start == 3
    names = {field.name for field in dataclasses.fields(EmbeddingConfig)}
    others = {"stage_dim", "num_player_names", "unrecorded"}
    # The half-life is of the data that it is told.
    others |= {"condition_on_return", "return_edges", "return_half_life"}
    assert names == set(changes) | others


def test_every_schema_column_is_used_or_known_to_be_unused():
    layer = make(with_items=True, nana_mode="full")
    columns, others, unused = policy_inputs.columns(60), policy_inputs.columns(60, seed=1), set()
    base = embed(layer, columns)
    for field in SCHEMA.fields:
        changed = embed(layer, columns | {field.name: others[field.name]})
        if np.array_equal(changed, base):
            unused.add(field.name)
    own_inputs = {f.name for f in SCHEMA.fields if f.name.startswith("c.")}
    assert unused == own_inputs | {"i.state"}


def test_absent_columns_are_flagged_and_the_width_is_that_of_the_documents():
    """Nested by version; spoiled rows show nothing, as play has none."""
    layer = make()
    assert layer.width == 416
    span = layouts.layout(layer.config)["absent"]
    want = {
        0: [0, 0, 0, 0, 0, 0], 64: [0, 0, 0, 0, 0, 1], 96: [0, 0, 0, 0, 1, 1],
        112: [0, 0, 0.5, 0, 1, 1], 124: [0, 0, 1, 1, 1, 1], 127: [1, 1, 1, 1, 1, 1],
    }  # fmt: skip
    for value, flags in want.items():
        for spoiled in (0, SPOILED):
            vector = embed(layer, frame(absent=value | spoiled))[0]
            np.testing.assert_array_equal(vector[span], flags)
            rest = np.delete(vector, np.r_[span])
            np.testing.assert_array_equal(rest, np.delete(embed(layer, frame())[0], np.r_[span]))


@pytest.mark.parametrize(
    "options", [{}, ONE_HOT, {"with_items": True, "nana_mode": "full"}], ids=str
)
@pytest.mark.parametrize("jumps_normalized", [True, False])
def test_what_training_never_saw_is_fed_as_zeros(options, jumps_normalized):
    """For every group: nothing that its columns hold, or their flag, reaches the network."""
    for bit in SCHEMA.absent_bits.values():
        layer = make(unrecorded=bit, jumps_normalized=jumps_normalized, **options)
        columns = policy_inputs.columns(30)
        other = policy_inputs.columns(30, seed=1)
        changed = columns | {
            field.name: other[field.name]
            for field in SCHEMA.fields
            if SCHEMA.absent_bit(field) & bit
        }
        changed["absent"] = columns["absent"] ^ np.uint8(bit)
        np.testing.assert_array_equal(embed(layer, columns), embed(layer, changed))
        everything = make(jumps_normalized=jumps_normalized, **options)
        assert (embed(everything, columns) != embed(everything, changed)).any()


TRAINED = """
p.percent 2 p.facing 2 p.x 2 p.y 2 p.invulnerable 2 p.jumps_left 2 p.shield 2 p.on_ground 2
p.speed_air_x_self 2 p.speed_ground_x_self 2 p.speed_y_self 2 p.speed_x_attack 2 p.speed_y_attack 2
p.hitstun 2 p.action_frame 2 p.stock 2 p.hitlag 2
p.charge 2 p.lift_spent 2 p.held_frames 2 p.judge_last 2 p.judge_before 2
n.exists 2 n.x 2 n.y 2 n.on_ground 2 n.percent 2 n.stock 2 n.hitstun 2 n.action_frame 2
n.invulnerable 2 frame 1 s.fod_left 1 s.fod_right 1 s.randall_x 1 s.randall_y 1 s.whispy 1
i.exists 5 i.x 5 i.y 5 i.speed_x 5 i.speed_y 5 n.facing 2 ledge_distance 2 relative_position 3
p.action 128 p.character 32 nana_category 56 nana_synced 2 s.stage 7 s.stadium 5 item_owner 5
i.type 40 absent 6 p.held_item 8 p.special_state 8 prev_action 13
"""
"""Parts of the default vector and their widths, as the first matrix of every trained policy has
them; a part in another place would be another network."""


def test_parts_lie_where_trained_policies_have_them():
    spans = layouts.layout(EmbeddingConfig())
    found = [text for name, span in spans.items() for text in (name, str(span.stop - span.start))]
    assert found == TRAINED.split()
    assert max(span.stop for span in spans.values()) == sum(map(int, found[1::2]))
