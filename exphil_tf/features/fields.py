"""The declarative list of every per-frame field; everything else about a field is derived from it.

Derived: the columns of `Frames`, checks, the packed row of the records, mirror and noise
augmentation, the model's embedding, hypothesis strategies, `docs/features.md` and the fingerprint
that manifests, checkpoints and ONNX files carry. To add a field, add one `Field` here and teach the
readers (`exphil_tf.replays.peppi`, `libmelee_reader`) to fill it and the writer to write it; a test
adds some and looks at the rest. Only a field of the controller needs more, as it is an action too:
`exphil_tf.features.controller`.

Vocabulary: a *group* fixes the trailing shape of a column (`[time]`, `[time, players]`,
`[time, items]`). `mirror` says what a left-right reflection of the game does to a field, `store`
how it lies on disk, `embed` how the network sees it. Column names match libmelee's and UMI's where
they name the same thing. A nested class per player (libmelee, slippi-ai) was dropped because it
forces 150 leaves per batch on every consumer.
"""

from dataclasses import replace

from exphil_tf.features.field import Embed, EmbedKind, Field, Group, Mirror, Store
from exphil_tf.melee.enums import ACTION_COUNT
from exphil_tf.melee.specials import Held, Special


def _scale(scale: float, low: float = -10.0, high: float = 10.0) -> Embed:
    return Embed(EmbedKind.SCALE, scale=scale, low=low, high=high)


def _category(size: int) -> Embed:
    return Embed(EmbedKind.CATEGORY, size=size)


_FLAG, _SIGN, _NONE = Embed(EmbedKind.FLAG), Embed(EmbedKind.SIGN), Embed(EmbedKind.NONE)
_POSITION, _SPEED = _scale(0.05), _scale(0.5)

_OTHER: tuple[Field, ...] = (
    Field(
        name="frame", group=Group.FRAME, dtype="int32", store=Store.I32,
        unit="frames", low=-123, high=2**31 - 1, embed=_scale(1 / 28800, 0, 1),
        peppi="id", libmelee="frame",
        doc="Frame id; the game starts at -123, players act from -39.",
    ),
    Field(
        name="absent", group=Group.FRAME, dtype="uint8", store=Store.U8,
        unit="bitmask", low=0, high=255, embed=_NONE,
        doc=(
            "What the replay did not record: one bit per version that added columns (2.0, 2.1, "
            "3.0, 3.5, 3.6, 3.8, 3.18 from the lowest on; 0 in play), and 128 for a frame that is "
            "not to be learnt from: filled in, or with a value masked."
        ),
    ),
    Field(
        name="n.exists", group=Group.NANA, dtype="uint8", store=Store.U8,
        unit="bool", low=0, high=1, embed=_FLAG,
        peppi="follower", libmelee="nana",
        doc="A second Ice Climber is alive.",
    ),
    Field(
        name="p.items_owned", group=Group.PLAYER, dtype="uint8", store=Store.U8,
        unit="bitmask", low=0, high=31, embed=_NONE,
        peppi="item.owner", libmelee="projectiles[].owner",
        doc="Bit i: this player owns the item in slot i.",
        since=(3, 6),
    ),
)  # fmt: skip

_PLAYER: tuple[Field, ...] = (
    Field(
        name="p.percent", group=Group.PLAYER, dtype="float32", store=Store.F32,
        unit="%", low=0, high=999, embed=_scale(0.01, 0, 5),
        noise=10,
        peppi="post.percent", libmelee="percent",
        doc="Damage taken; fractional.",
    ),
    Field(
        name="p.x", group=Group.PLAYER, dtype="float32", store=Store.F32,
        unit="game units", low=-1000, high=1000, embed=_POSITION,
        mirror=Mirror.NEGATE, noise=1,
        peppi="post.position.x", libmelee="position.x",
        doc="Horizontal position.",
    ),
    Field(
        name="p.y", group=Group.PLAYER, dtype="float32", store=Store.F32,
        unit="game units", low=-1000, high=1000, embed=_POSITION,
        noise=1,
        peppi="post.position.y", libmelee="position.y",
        doc="Vertical position, 0 at the main ground.",
    ),
    Field(
        name="p.speed_air_x_self", group=Group.PLAYER, dtype="float32", store=Store.F32,
        unit="game units/frame", low=-100, high=100, embed=_SPEED,
        mirror=Mirror.NEGATE, noise=1,
        peppi="post.velocities.self_x_air", libmelee="speed_air_x_self",
        doc="Own horizontal speed in the air.",
        since=(3, 5),
    ),
    Field(
        name="p.speed_ground_x_self", group=Group.PLAYER, dtype="float32", store=Store.F32,
        unit="game units/frame", low=-100, high=100, embed=_SPEED,
        mirror=Mirror.NEGATE, noise=1,
        peppi="post.velocities.self_x_ground", libmelee="speed_ground_x_self",
        doc="Own horizontal speed on the ground.",
        since=(3, 5),
    ),
    Field(
        name="p.speed_y_self", group=Group.PLAYER, dtype="float32", store=Store.F32,
        unit="game units/frame", low=-100, high=100, embed=_SPEED,
        noise=1,
        peppi="post.velocities.self_y", libmelee="speed_y_self",
        doc="Own vertical speed.",
        since=(3, 5),
    ),
    Field(
        name="p.speed_x_attack", group=Group.PLAYER, dtype="float32", store=Store.F32,
        unit="game units/frame", low=-100, high=100, embed=_SPEED,
        mirror=Mirror.NEGATE,
        peppi="post.velocities.knockback_x", libmelee="speed_x_attack",
        doc="Horizontal knockback speed.",
        since=(3, 5),
    ),
    Field(
        name="p.speed_y_attack", group=Group.PLAYER, dtype="float32", store=Store.F32,
        unit="game units/frame", low=-100, high=100, embed=_SPEED,
        peppi="post.velocities.knockback_y", libmelee="speed_y_attack",
        doc="Vertical knockback speed.",
        since=(3, 5),
    ),
    Field(
        name="p.shield", group=Group.PLAYER, dtype="float32", store=Store.F32,
        unit="0 to 60", low=0, high=60, embed=_scale(0.01, 0, 1),
        peppi="post.shield", libmelee="shield_strength",
        doc="Shield health.",
    ),
    Field(
        name="p.action", group=Group.PLAYER, dtype="uint16", store=Store.U16,
        unit="id", low=0, high=ACTION_COUNT - 1, embed=_category(ACTION_COUNT),
        mirror=Mirror.SIDES, mirror_with="p.character",
        peppi="post.state", libmelee="action.value",
        doc="Action state id; Kirby's copied abilities reach to the end.",
    ),
    Field(
        name="p.action_frame", group=Group.PLAYER, dtype="int16", store=Store.I16,
        unit="frames", low=-1000, high=32767, embed=_scale(1 / 60, -2, 2),
        mirror=Mirror.COUNT, mirror_with="p.action",
        peppi="post.state_age", libmelee="action_frame",
        doc=(
            "Frame of the action, counted from 1: int(state_age), plus 1 for (character, action) "
            "pairs in libmelee's zero-index table (leaders only)."
        ),
    ),
    Field(
        name="p.hitstun", group=Group.PLAYER, dtype="int16", store=Store.I16,
        unit="frames", low=-1000, high=32767, embed=_scale(1 / 120, 0, 1),
        peppi="post.misc_as", libmelee="hitstun_frames_left",
        doc=(
            "Hitstun left; 0 unless the action is a damage action (75 to 91), where the register "
            "means something else."
        ),
        since=(2, 0),
    ),
    Field(
        name="p.hitlag", group=Group.PLAYER, dtype="uint8", store=Store.U8,
        unit="frames", low=0, high=255, embed=_scale(1 / 20, 0, 1),
        peppi="post.hitlag", libmelee="hitlag_left",
        doc="Hitlag left.",
        since=(3, 8),
    ),
    Field(
        name="p.character", group=Group.PLAYER, dtype="uint8", store=Store.U8,
        unit="id", low=0, high=32, embed=_category(33),
        peppi="post.character", libmelee="character.value",
        doc="Internal character id; Zelda/Sheik change.",
    ),
    Field(
        name="p.facing", group=Group.PLAYER, dtype="uint8", store=Store.U8,
        unit="bool", low=0, high=1, embed=_SIGN,
        mirror=Mirror.FLIP,
        peppi="post.direction > 0", libmelee="facing",
        doc="1 faces right.",
    ),
    Field(
        name="p.jumps_left", group=Group.PLAYER, dtype="uint8", store=Store.U8,
        unit="count", low=0, high=6, embed=_scale(1 / 6, 0, 1),
        peppi="post.jumps", libmelee="jumps_left",
        doc="Jumps left.",
        since=(2, 0),
    ),
    Field(
        name="p.on_ground", group=Group.PLAYER, dtype="uint8", store=Store.U8,
        unit="bool", low=0, high=1, embed=_FLAG,
        peppi="post.airborne == 0", libmelee="on_ground",
        doc="Standing on something.",
        since=(2, 0),
    ),
    Field(
        name="p.invulnerable", group=Group.PLAYER, dtype="uint8", store=Store.U8,
        unit="bool", low=0, high=1, embed=_FLAG,
        peppi="post.hurtbox_state != 0", libmelee="invulnerable",
        doc="Cannot be hit.",
        since=(2, 1),
    ),
    Field(
        name="p.stock", group=Group.PLAYER, dtype="uint8", store=Store.U8,
        unit="count", low=0, high=99, embed=_scale(1 / 4, 0, 1),
        peppi="post.stocks", libmelee="stock",
        doc="Stocks left.",
    ),
)  # fmt: skip

_CHARACTER_STATE: tuple[Field, ...] = (
    Field(
        name="p.charge", group=Group.PLAYER, dtype="uint8", store=Store.U8,
        unit="% of full", low=0, high=100, embed=_scale(0.01, 0, 1),
        doc=(
            "In store between actions, derived: Charge Shot (7 levels), Giant Punch (10 swings), "
            "needles (6), Shadow Ball (7 levels), Oil Panic (3 fills); 0 for others."
        ),
    ),
    Field(
        name="p.lift_spent", group=Group.PLAYER, dtype="uint8", store=Store.U8,
        unit="bool", low=0, high=1, embed=_FLAG,
        doc=(
            "Used since the last landing, derived: the float (Peach), special move that lifts "
            "(Mario, Dr. Mario, Luigi, Marth, Roy, Mewtwo, Game & Watch, Kirby, Ice Climbers) or "
            "grapple (Samus, Link, Young Link) that a character has once in the air."
        ),
    ),
    Field(
        name="p.held_item", group=Group.PLAYER, dtype="uint8", store=Store.U8,
        unit="id", low=0, high=max(Held), embed=_category(len(Held)),
        peppi="item.state", libmelee="projectiles[].subtype",
        doc=(
            "In the hand, by the item's kind, state and owner: 1 turnip, 2 bomb (Link's, Young "
            "Link's, Bob-omb), 3 Mr. Saturn or beam sword."
        ),
        since=(3, 6),
    ),
    Field(
        name="p.held_frames", group=Group.PLAYER, dtype="int16", store=Store.I16,
        unit="frames", low=0, high=32767, embed=_scale(1 / 300, 0, 1),
        peppi="item.timer", libmelee="projectiles[].expiration_frames",
        doc="Until the bomb in the hand goes off; 0 for anything else.",
        since=(3, 6),
    ),
    Field(
        name="p.judge_last", group=Group.PLAYER, dtype="uint8", store=Store.U8,
        unit="number", low=0, high=9, embed=_scale(1 / 9, 0, 1),
        doc=(
            "Mr. Game & Watch: the last number of his hammer, which the next one is not; derived. "
            "2 at the start of a stock; 0 for others."
        ),
    ),
    Field(
        name="p.judge_before", group=Group.PLAYER, dtype="uint8", store=Store.U8,
        unit="number", low=0, high=9, embed=_scale(1 / 9, 0, 1),
        doc="The number before `p.judge_last`, which the next one is not either; 1 at the start.",
    ),
    Field(
        name="p.special_state", group=Group.PLAYER, dtype="uint8", store=Store.U8,
        unit="id", low=0, high=max(Special), embed=_category(len(Special)),
        doc=(
            "From character and action: 1 gone in a teleport (Mewtwo, Sheik, Zelda), 2 grapple "
            "out in the air or hanging (Samus, Link, Young Link), 3 transforming (Zelda, Sheik)."
        ),
    ),
)  # fmt: skip
"""What a player keeps between actions: `exphil_tf.features.character_state` makes it of the rest,
`item_slots` what is held."""


def _nana(field: Field) -> Field:
    """The same field of the second Ice Climber: zero while she is absent, never noised."""
    doc, mirror = f"Nana: {field.doc}", field.mirror
    if field.name == "p.action_frame":
        doc = "Nana: int(state_age), never shifted (as libmelee does)."
        mirror = Mirror.KEEP
    return replace(
        field,
        name=f"n.{field.name[2:]}",
        group=Group.NANA,
        noise=0.0,
        present="n.exists",
        mirror=mirror,
        mirror_with="" if mirror is Mirror.KEEP else field.mirror_with.replace("p.", "n."),
        doc=doc,
        peppi=f"follower.{field.peppi}",
        libmelee=f"nana.{field.libmelee}",
    )


_CONTROLLER: tuple[Field, ...] = (
    Field(
        name="c.main_x", group=Group.CONTROLLER, dtype="float32", store=Store.STICK,
        unit="-1 to 1", low=-1, high=1, embed=_scale(1.0),
        mirror=Mirror.NEGATE,
        peppi="pre.joystick.x", libmelee="controller_state.main_stick[0]",
        doc="Main stick, + right; the input that produced this state.",
    ),
    Field(
        name="c.main_y", group=Group.CONTROLLER, dtype="float32", store=Store.STICK,
        unit="-1 to 1", low=-1, high=1, embed=_scale(1.0),
        peppi="pre.joystick.y", libmelee="controller_state.main_stick[1]",
        doc="Main stick, + up.",
    ),
    Field(
        name="c.c_x", group=Group.CONTROLLER, dtype="float32", store=Store.STICK,
        unit="-1 to 1", low=-1, high=1, embed=_scale(1.0),
        mirror=Mirror.NEGATE,
        peppi="pre.cstick.x", libmelee="controller_state.c_stick[0]",
        doc="C-stick, + right.",
    ),
    Field(
        name="c.c_y", group=Group.CONTROLLER, dtype="float32", store=Store.STICK,
        unit="-1 to 1", low=-1, high=1, embed=_scale(1.0),
        peppi="pre.cstick.y", libmelee="controller_state.c_stick[1]",
        doc="C-stick, + up.",
    ),
    Field(
        name="c.shoulder", group=Group.CONTROLLER, dtype="float32", store=Store.TRIGGER,
        unit="0 to 1", low=0, high=1, embed=_scale(1.0),
        peppi="pre.triggers", libmelee="controller_state.l_shoulder",
        doc=(
            "Analog shoulder as the game sees it (the stronger of L and R; 1 when clicked, ≥ 0.35 "
            "with Z)."
        ),
    ),
    Field(
        name="c.buttons", group=Group.CONTROLLER, dtype="uint8", store=Store.U8,
        unit="bitmask", low=0, high=255, embed=_FLAG,
        peppi="pre.buttons_physical", libmelee="controller_state.button",
        doc="Physical buttons, bit 0 to 7 = A B X Y Z L R D_UP.",
    ),
)  # fmt: skip

_ITEM: tuple[Field, ...] = (
    Field(
        name="i.x", group=Group.ITEM, dtype="float32", store=Store.F32,
        unit="game units", low=-2000, high=2000, embed=_POSITION,
        mirror=Mirror.NEGATE,
        present="i.exists",
        peppi="item.position.x", libmelee="projectiles[].position.x",
        doc="Position of the item or projectile.",
        since=(3, 0),
    ),
    Field(
        name="i.y", group=Group.ITEM, dtype="float32", store=Store.F32,
        unit="game units", low=-2000, high=2000, embed=_POSITION,
        present="i.exists",
        peppi="item.position.y", libmelee="projectiles[].position.y",
        doc="Height.",
        since=(3, 0),
    ),
    Field(
        name="i.speed_x", group=Group.ITEM, dtype="float32", store=Store.F32,
        unit="game units/frame", low=-100, high=100, embed=_SPEED,
        mirror=Mirror.NEGATE,
        present="i.exists",
        peppi="item.velocity.x", libmelee="projectiles[].speed.x",
        doc="Horizontal speed.",
        since=(3, 0),
    ),
    Field(
        name="i.speed_y", group=Group.ITEM, dtype="float32", store=Store.F32,
        unit="game units/frame", low=-100, high=100, embed=_SPEED,
        present="i.exists",
        peppi="item.velocity.y", libmelee="projectiles[].speed.y",
        doc="Vertical speed.",
        since=(3, 0),
    ),
    Field(
        name="i.type", group=Group.ITEM, dtype="uint16", store=Store.U16,
        unit="id", low=0, high=65535, embed=_scale(0.01),
        present="i.exists",
        peppi="item.type", libmelee="projectiles[].type",
        doc="Item id (libmelee ProjectileType).",
        since=(3, 0),
    ),
    Field(
        name="i.timer", group=Group.ITEM, dtype="int16", store=Store.I16,
        unit="frames", low=-1, high=32767, embed=_scale(1 / 180, 0, 1),
        present="i.exists",
        peppi="item.timer", libmelee="projectiles[].expiration_frames",
        doc="Frames until it expires.",
        since=(3, 0),
    ),
    Field(
        name="i.exists", group=Group.ITEM, dtype="uint8", store=Store.U8,
        unit="bool", low=0, high=1, embed=_FLAG,
        peppi="item", libmelee="projectiles",
        doc="The slot holds an item; a slot keeps one item for its whole life.",
        since=(3, 0),
    ),
    Field(
        name="i.state", group=Group.ITEM, dtype="uint8", store=Store.U8,
        unit="id", low=0, high=255, embed=_NONE,
        present="i.exists",
        peppi="item.state", libmelee="projectiles[].subtype",
        doc="Item state.",
        since=(3, 0),
    ),
)  # fmt: skip

_STAGE: tuple[Field, ...] = (
    Field(
        name="s.fod_left", group=Group.STAGE, dtype="float32", store=Store.F32,
        unit="game units", low=-100, high=100, embed=_POSITION,
        mirror=Mirror.SWAP, mirror_with="s.fod_right",
        peppi="fod_platform[platform=1].height", libmelee="fod_platforms.left",
        doc=(
            "Fountain of Dreams: height of the left platform (20 until the replay says otherwise; "
            "0 elsewhere)."
        ),
        since=(3, 18),
    ),
    Field(
        name="s.fod_right", group=Group.STAGE, dtype="float32", store=Store.F32,
        unit="game units", low=-100, high=100, embed=_POSITION,
        mirror=Mirror.SWAP, mirror_with="s.fod_left",
        peppi="fod_platform[platform=0].height", libmelee="fod_platforms.right",
        doc="Fountain of Dreams: height of the right platform (28 at the start).",
        since=(3, 18),
    ),
    Field(
        name="s.randall_x", group=Group.STAGE, dtype="float32", store=Store.F32,
        unit="game units", low=-150, high=150, embed=_POSITION,
        mirror=Mirror.NEGATE,
        libmelee="stages.randall_position",
        doc="Yoshi's Story: centre of the cloud, computed from the frame id; 0 elsewhere.",
    ),
    Field(
        name="s.randall_y", group=Group.STAGE, dtype="float32", store=Store.F32,
        unit="game units", low=-150, high=150, embed=_POSITION,
        libmelee="stages.randall_position",
        doc="Yoshi's Story: cloud height.",
    ),
    Field(
        name="s.stage", group=Group.STAGE, dtype="uint8", store=Store.U8,
        unit="id", low=0, high=63, embed=_category(64),
        peppi="start.stage", libmelee="stage",
        doc="Stage, external (replay) id: FoD 2, PS 3, YS 8, DL 28, BF 31, FD 32.",
    ),
    Field(
        name="s.stadium", group=Group.STAGE, dtype="uint8", store=Store.U8,
        unit="id", low=0, high=9, embed=_NONE,
        peppi="stadium_transformation.type", libmelee="stadium_transformation.type",
        doc=(
            "Pokémon Stadium: the transformation on the ground (3 fire, 4 grass, 5 normal, 6 rock, "
            "9 water), from the frame on which it rises, not from its announcement eight seconds "
            "before; 0 elsewhere."
        ),
        since=(3, 18),
    ),
    Field(
        name="s.whispy", group=Group.STAGE, dtype="int8", store=Store.I8,
        unit="-1, 0, 1", low=-1, high=1, embed=_scale(1.0),
        mirror=Mirror.NEGATE,
        peppi="dreamland_whispy.direction", libmelee="whispy",
        doc="Dream Land: wind to the left, none, right.",
        since=(3, 18),
    ),
)  # fmt: skip

FIELDS: tuple[Field, ...] = (
    *_OTHER,
    *_PLAYER,
    *map(_nana, _PLAYER),
    *_CONTROLLER,
    *_ITEM,
    *_STAGE,
    *_CHARACTER_STATE,
)
"""Every field, in the order of columns, documentation and fingerprint."""
