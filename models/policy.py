"""A policy: frame columns and the previous action in, a distribution over the next action out.

`unroll` trains on `[batch, time]` frames, teacher-forced on the actions taken; `step` plays one
frame and samples; `evaluate_actions` says how likely actions were that `step` took. All are pure
functions of their arguments and the weights (dropout's seed aside), and compile under XLA with
static shapes. Weights exist as soon as a policy does, and are a function of (config, seed).

Where `is_resetting` is True a game begins: the backbone's state and the previous action count as
zeros there, whatever the caller hands in.
"""

from typing import Any, NamedTuple

import keras
import numpy as np

from exphil_tf.features.controller import COMPONENTS, ControllerCodec
from exphil_tf.melee.enums import BUTTONS
from models.heads import distribution
from models.heads.controller import HEADS
from models.heads.distribution import ActionLikelihood, Buckets, Logits
from models.layers.backend import ops, take_rows
from models.layers.frame_embedding import Columns, FrameEmbedding
from models.layers.seeding import derive_seed
from models.layers.temporal import State, Tensor, zero_on_reset
from models.policy_config import PolicyConfig

PREVIOUS_CONTROLLER = len(BUTTONS) + len(COMPONENTS) - 1
"""Numbers of a decoded action: a flag per button, one value per stick axis and the shoulder."""


class PolicyStep(NamedTuple):
    """What one frame of play gives."""

    buckets: Buckets
    """The sampled action: int32 `[batch]` per component, buttons `[batch, 8]` of 0/1."""
    logits: Logits
    """float32, what it was drawn from, before temperature."""
    hidden: Tensor
    """`[batch, width + num_previous]`, what the head reads; for value heads."""
    state: State
    """The backbone's state after this frame."""


class ActionEvaluation(NamedTuple):
    """What a policy says of actions taken, on every frame of an unroll."""

    likelihood: ActionLikelihood
    """Log-probability, entropy and KL at the sampling temperature, float32 `[batch, time]`."""
    logits: Logits
    """float32 `[batch, time, …]`, before temperature."""
    hidden: Tensor
    """`[batch, time, width + num_previous]`, what the heads read; for value heads."""
    state: State
    """The backbone's state after the last frame."""


class JoinedStep(NamedTuple):
    """A `PolicyStep` with components side by side, in `COMPONENTS` order."""

    controller: Tensor
    """float32 `[batch, 13]`: buttons 0/1, main_x, main_y, c_x, c_y in [-1, 1], shoulder in [0, 1].
    It is the next step's `controller`."""
    buckets: Tensor
    """int32 `[batch, 13]`: buttons 0/1, then a bucket per axis and for the shoulder."""
    logits: Tensor
    """float32 `[batch, num_logits]`."""
    state: State
    """The backbone's state after this frame."""


class Policy(keras.Model):
    """Embedding, backbone and controller head under one contract.

    Args:
      config: everything that decides shapes.
      seed: initial weights and dropout are functions of it.
    """

    def __init__(self, config: PolicyConfig, *, seed: int = 0, **kwargs):
        super().__init__(**kwargs)
        self.config = config
        self.seed = seed
        parts = {name: derive_seed(seed, name) for name in ("embedding", "backbone", "head")}
        rounding = config.quantization.rounding
        tables = rounding is not None and config.quantization.quantize_embeddings
        self.embedding = FrameEmbedding(
            config.embedding, seed=parts["embedding"], quantize_tables=tables, name="embedding"
        )
        self.backbone = config.backbone.layer(
            seed=parts["backbone"], quantize=rounding, name="backbone"
        )
        head = HEADS[config.head.head]
        self.head = head(
            config.head,
            num_previous=self.num_previous,
            seed=parts["head"],
            quantize=rounding,
            name="head",
        )
        self.build()

    def build(self, input_shape: Any = None) -> None:
        """Builds every weight; the shapes follow from the configuration alone."""
        if self.built:
            return
        self.embedding.build()
        in_buckets = self.head.previous_action
        width = self.embedding.width + (0 if in_buckets is None else in_buckets.num_rows)
        self.backbone.build((None, None, width))
        self.head.build((None, None, self.backbone.width + self.num_previous))
        self.built = True

    @property
    def num_previous(self) -> int:
        """Numbers of the previous action that the head reads beside the backbone's output."""
        return PREVIOUS_CONTROLLER if self.config.embedding.with_prev_action else 0

    @property
    def num_uniforms(self) -> int:
        """Random numbers in [0, 1) that `step` consumes per row."""
        return self.head.num_uniforms

    @property
    def num_parameters(self) -> int:
        """Trainable numbers."""
        return int(sum(np.prod(w.shape, dtype=int) for w in self.trainable_weights))

    def initial_state(self, batch_size: int) -> State:
        """Returns the backbone's state at the start of a game."""
        return self.backbone.initial_state(batch_size)

    @property
    def state_names(self) -> tuple[str, ...]:
        """A name per tensor of the state, in flattened order."""
        return self.backbone.state_names

    def step(
        self,
        columns: Columns,
        prev_action: Columns | None,
        state: State,
        *,
        is_resetting: Tensor | None,
        uniforms: Tensor,
        temperature: Tensor,
    ) -> PolicyStep:
        """Plays one frame.

        Args:
          columns: schema columns from the own perspective, `[batch, …]` (see `FrameEmbedding`).
          prev_action: decoded controller of the frame before, `[batch, …]`, not read where a game
            begins; None if not embedded.
          state: the backbone's state.
          is_resetting: bool `[batch]`, True on a game's first frame; None if the caller gives rows
            that start a game their initial state.
          uniforms: float32 `[batch, num_uniforms]` in [0, 1).
          temperature: float32 `[]` or `[batch]`; 0 takes the mode.
        """
        controller = self.embedding.join_controller(_of_this_game(prev_action, is_resetting))
        x = self.embed(*self.embedding.inputs.join(columns, ops), controller)
        hidden, state = self.backbone.step(x, state, is_resetting)
        hidden = _with_previous(hidden, controller)
        buckets, logits = self.head.step(hidden, uniforms, temperature)
        return PolicyStep(buckets, logits, hidden, state)

    def step_joined(  # noqa: PLR0917 - the inputs of the exported graph
        self,
        numbers: Tensor,
        ids: Tensor,
        controller: Tensor | None,
        state: State,
        *,
        is_resetting: Tensor | None,
        uniforms: Tensor,
        temperature: Tensor,
    ) -> JoinedStep:
        """As `step`, with columns and components side by side: what an export computes.

        Args:
          numbers: float32 `[batch, num_numbers]`, see `embedding.inputs`.
          ids: int32 `[batch, num_ids]`.
          controller: float32 `[batch, 13]`, the frame before's; None if it is not embedded.
          state: the backbone's state.
          is_resetting: as in `step`.
          uniforms: as in `step`.
          temperature: as in `step`.
        """
        controller = _of_this_game(controller, is_resetting)
        x = self.embed(numbers, ids, controller)
        hidden, state = self.backbone.step(x, state, is_resetting)
        answer = self.head.step_frame(
            hidden[:, None], controller, uniforms=uniforms, temperature=temperature
        )
        return JoinedStep(*self.join_outputs(*answer), state)

    def embed(self, numbers: Tensor, ids: Tensor, controller: Tensor | None) -> Tensor:
        """What the backbone reads, `[…, features]`; arguments as of `FrameEmbedding.embed`."""
        x = self.embedding.embed(numbers, ids, controller)
        if self.head.previous_action is None:
            return x
        told = self.head.previous_action.one_hot(controller, x.dtype)
        return ops.concatenate([x, told], axis=-1)

    def join_outputs(self, buckets: Buckets, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Controller, buckets and logits `[batch, …]` of a head's `step_frame`."""
        axes = ops.concatenate([buckets[name] for name in COMPONENTS[1:]], axis=-1)
        others = ops.concatenate([buckets[name] for name in _OTHER_AXES], axis=-1)
        buttons = buckets["buttons"][:, 0]
        table, own, other, start = _value_table(self.config.head.codec)
        values = take_rows(table, axes * own + others * other + start)
        return (
            ops.concatenate([ops.cast(buttons, "float32"), values], axis=-1),
            ops.concatenate([buttons, axes], axis=-1),
            logits[:, 0],
        )

    def unroll(
        self,
        columns: Columns,
        prev_action: Columns | None,
        targets: Buckets | None,
        *,
        state: State,
        is_resetting: Tensor,
        training: bool = False,
    ) -> tuple[Logits, State]:
        """Reads `time` frames, the head teacher-forced on the actions taken.

        Args:
          columns: schema columns from the own perspective, `[batch, time, …]`.
          prev_action: decoded controllers of the frames before, `[batch, time, …]`, not read where
            a game begins; None if not embedded.
          targets: buckets `[batch, time]` (buttons `[batch, time, 8]`) that later components are
            conditioned on; may be None for an independent head.
          state: the backbone's state.
          is_resetting: bool `[batch, time]`, True on a game's first frame.
          training: a Python bool; dropout is active only when True.

        Returns: logits, float32 `[batch, time, …]`, and the state after the last frame.
        """
        hidden, state = self.unroll_hidden(
            columns, prev_action, state=state, is_resetting=is_resetting, training=training
        )
        return self.head.unroll(hidden, targets), state

    def evaluate_actions(
        self,
        columns: Columns,
        prev_action: Columns | None,
        actions: Buckets,
        *,
        state: State,
        is_resetting: Tensor,
        temperature: Tensor | None = None,
        reference: Logits | None = None,
        training: bool = False,
    ) -> ActionEvaluation:
        """Reads `time` frames and says how likely the actions taken in them were.

        With the weights that `step` played with, its actions, its starting state and its
        temperature, probabilities are those that `step` sampled with.

        Args:
          columns: as in `unroll`.
          prev_action: as in `unroll`.
          actions: buckets taken, int32 `[batch, time]` (buttons `[batch, time, 8]`).
          state: before the first frame; gradients flow into it.
          is_resetting: bool `[batch, time]`, True on a game's first frame.
          temperature: float32 `[]` or `[batch]`, positive, of the sampling; None for 1.
          reference: logits of another policy at the same frames and actions, before temperature,
            as `unroll` gives them; for KL.
          training: a Python bool; dropout is active only when True.
        """
        hidden, state = self.unroll_hidden(
            columns, prev_action, state=state, is_resetting=is_resetting, training=training
        )
        logits = self.head.unroll(hidden, actions)
        if temperature is not None:
            temperature = ops.reshape(ops.cast(temperature, "float32"), (-1, 1, 1))
        likelihood = distribution.evaluate(
            logits, actions, temperature=temperature, reference=reference
        )
        return ActionEvaluation(likelihood, logits, hidden, state)

    def unroll_hidden(
        self,
        columns: Columns,
        prev_action: Columns | None,
        *,
        state: State,
        is_resetting: Tensor,
        training: bool = False,
    ) -> tuple[Tensor, State]:
        """As `unroll`, up to what the head reads, `[batch, time, width + num_previous]`."""
        controller = self.embedding.join_controller(_of_this_game(prev_action, is_resetting))
        x = self.embed(*self.embedding.inputs.join(columns, ops), controller)
        hidden, state = self.backbone.unroll(x, state, is_resetting, training=training)
        return _with_previous(hidden, controller), state

    def unroll_joined(
        self,
        numbers: Tensor,
        ids: Tensor,
        controller: Tensor | None,
        *,
        state: State,
        is_resetting: Tensor,
        training: bool = False,
    ) -> tuple[Tensor, State]:
        """As `unroll_hidden`, of frames with columns and components side by side, as in play.

        Args:
          numbers: float32 `[batch, time, num_numbers]`, see `embedding.inputs`.
          ids: int32 `[batch, time, num_ids]`.
          controller: float32 `[batch, time, 13]`, what was decided on the frame before; None if it
            is not embedded.
          state: before the first frame.
          is_resetting: bool `[batch, time]`, True on a game's first frame.
          training: a Python bool; dropout is active only when True.
        """
        controller = _of_this_game(controller, is_resetting)
        x = self.embed(numbers, ids, controller)
        hidden, state = self.backbone.unroll(x, state, is_resetting, training=training)
        return _with_previous(hidden, controller), state

    def call(self, inputs: dict[str, Any], training: bool = False) -> Logits:
        """Unrolls a dict of `columns`, `prev_action`, `targets`, `is_resetting` from the start."""
        state = self.initial_state(ops.shape(inputs["is_resetting"])[0])
        return self.unroll(
            inputs["columns"],
            inputs.get("prev_action"),
            inputs.get("targets"),
            state=state,
            is_resetting=inputs["is_resetting"],
            training=training,
        )[0]

    def get_config(self) -> dict[str, Any]:
        """Returns plain values that `from_config` rebuilds an equal network from."""
        return {"policy": self.config.to_dict(), "seed": self.seed}

    @classmethod
    def from_config(
        cls, config: PolicyConfig | dict[str, Any], custom_objects: Any = None
    ) -> "Policy":
        """Builds a policy from a `PolicyConfig`, or from `get_config`'s dict."""
        del custom_objects
        if isinstance(config, PolicyConfig):
            return cls(config)
        return cls(PolicyConfig.from_dict(config["policy"]), seed=config["seed"])


_OTHER_AXES = ("main_y", "main_x", "c_y", "c_x", "shoulder")
"""The other axis of the same stick, for each component after the buttons."""


def _value_table(codec: ControllerCodec) -> tuple[np.ndarray, ...]:
    """What buckets decode to, as one table for one look-up.

    An axis is read at both buckets of its stick: x of every pair, then y, then the shoulder.

    Returns: float32 values `[…]`; int32 `[5]` each: the weight of the own bucket in the index, that
      of the other axis's, and where the component's values begin.
    """
    num, pairs = codec.num_axis, codec.num_axis**2
    x, y = np.moveaxis(codec.sticks.reshape(pairs, 2), -1, 0)
    numbers = ([num, 1, num, 1, 1], [1, num, 1, num, 0], [0, pairs, 0, pairs, 2 * pairs])
    own, other, start = (np.array(row, np.int32) for row in numbers)
    return np.concatenate([x, y, codec.shoulder_centres]), own, other, start


def _of_this_game(prev_action: Any, is_resetting: Tensor | None) -> Any:
    """The previous action, zeros (a controller at rest) where there was none in this game.

    An unroll's is zeroed before its components are joined: behind that, XLA sums the first norm
    over features in another order, and runs would not repeat to the bit from release to release.
    """
    if prev_action is None or is_resetting is None:
        return prev_action
    return keras.tree.map_structure(lambda x: zero_on_reset(x, is_resetting), prev_action)


def _with_previous(hidden: Tensor, controller: Tensor | None) -> Tensor:
    """Appends the previous action, past the backbone and its dropout.

    Holding is by far the commonest choice (98 % of buttons, 92 % of sticks), and a backbone
    that must carry the held controller through its blocks learns it late and blurs it.
    """
    if controller is None:
        return hidden
    return ops.concatenate([hidden, ops.cast(controller, hidden.dtype)], axis=-1)
