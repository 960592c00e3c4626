"""What a policy makes of somebody else's game: what it would do, and how it is surprised.

The policy is shown the game as it is shown one in play, and made to do what the human did, so its
memory and its previous action are the human's (`inference.forcing`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from exphil_tf.agents.policy_source import PolicySource
from exphil_tf.features.controller import COMPONENTS, ControllerCodec
from exphil_tf.features.packing import action_order, pack, perspective_order, unpack
from exphil_tf.foundation.errors import UserError
from exphil_tf.inference.forcing import FORCING_TEMPERATURE, force
from exphil_tf.melee.types import Game
from exphil_tf.rewards.win_score import win_probability


@dataclass(frozen=True)
class Judgement:
    """Of both players of a game, in port order; arrays begin `[frames, 2, …]`."""

    delay: int
    """Frame f's answer is about the input of frame f + 1 + delay."""
    probabilities: np.ndarray
    """float32 `[frames, 2, logits]`: of each button to be down, of each bucket of the others."""
    targets: np.ndarray
    """int32 `[frames, 2, 13]`: the human's buckets."""
    nats: np.ndarray
    """float32 `[frames, 2]`: surprise at them; 0 where none is known."""
    sizes: dict[str, int]
    """Logits per component, in sampling order."""
    values: dict[str, list[float]]
    """What buckets mean: `axis_centres`, `shoulder_centres`."""
    win: np.ndarray | None = None
    """float32 `[frames]`: probability that the first player wins; None if the policy knows none."""


def judge(source: PolicySource, game: Game, *, delay: int | None = None) -> Judgement:
    """Plays a whole game under a policy's eyes, both sides at once.

    Args:
      source: the policy.
      game: of two players.
      delay: to judge at; None for the policy's own.

    Raises: UserError: if the policy was not trained for the delay.
    """
    delay = source.conditions.delay.frames if delay is None else delay
    told = source.conditions.ids(frame_delay=delay)
    codec = source.codec
    stepper = source.stepper(batch_size=2, told=told)
    rows = pack(game.frames)
    sides = [unpack(rows[:, perspective_order(player)]).columns for player in range(2)]
    targets = _both_targets(rows, codec, delay=delay)
    frames, known = len(rows), max(0, len(rows) - 1 - delay)
    if not known:
        raise UserError(
            f"want more than {delay + 1} frames. Received: {frames}", "Take a longer game."
        )
    uniforms = force(targets, codec.sizes)
    logits = np.zeros((frames, 2, uniforms.shape[-1]), np.float32)
    stepper.reset()
    for frame in range(known):
        columns = {name: np.stack([side[name][frame] for side in sides]) for name in sides[0]}
        output = stepper.step(columns, uniforms=uniforms[frame], temperature=FORCING_TEMPERATURE)
        logits[frame] = output.logits
    judged = judgement_of(logits, game, codec, delay=delay)
    if source.win_weights is None:
        return judged
    return replace(judged, win=win_probability(sides[0], source.win_weights))


def judgement_of(
    logits: np.ndarray, game: Game, codec: ControllerCodec, *, delay: int
) -> Judgement:
    """The opinion that a policy's teacher-forced logits come to.

    Args:
      logits: float32 `[frames, 2, logits]`; those whose answer lies behind the game's end are
        left out.
      game: of two players.
      codec: the policy's buckets.
      delay: frames between a state and the input that answers it, beyond 1.
    """
    targets = _both_targets(pack(game.frames), codec, delay=delay)
    known = max(0, len(targets) - 1 - delay)
    chances, nats = _likelihood(logits, targets, codec.sizes)
    nats[known:], chances[known:] = 0, 0
    return Judgement(delay, chances, targets, nats, codec.sizes, codec.bucket_values())


def _both_targets(rows: np.ndarray, codec: ControllerCodec, *, delay: int) -> np.ndarray:
    """int32 `[frames, 2, 13]`."""
    return np.stack([_targets(rows, player, codec, delay=delay) for player in range(2)], 1)


def _targets(rows: np.ndarray, player: int, codec: ControllerCodec, *, delay: int) -> np.ndarray:
    """int32 `[frames, 13]`: buckets of the input that answers each frame, or of the last one."""
    buckets = codec.encode(rows[:, action_order(player)])
    joined = np.concatenate(
        [buckets["buttons"], *(buckets[name][:, None] for name in COMPONENTS[1:])], -1
    )
    return joined[np.minimum(np.arange(len(rows)) + 1 + delay, len(rows) - 1)]


def _likelihood(
    logits: np.ndarray, targets: np.ndarray, sizes: dict[str, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities as of `Judgement`, and nats float32 `[frames, 2]`."""
    buttons = sizes["buttons"]
    pressed = 1 / (1 + np.exp(-logits[..., :buttons].astype(np.float64)))
    taken = np.where(targets[..., :buttons] > 0, pressed, 1 - pressed)
    parts, nats = [pressed], -np.log(np.maximum(taken, 1e-12)).sum(-1)
    start = buttons
    for place, size in enumerate(list(sizes.values())[1:], start=buttons):
        part = logits[..., start : start + size].astype(np.float64)
        part = np.exp(part - part.max(-1, keepdims=True))
        part /= part.sum(-1, keepdims=True)
        parts.append(part)
        chosen = np.take_along_axis(part, targets[..., place : place + 1].astype(int), -1)[..., 0]
        nats -= np.log(np.maximum(chosen, 1e-12))
        start += size
    return np.concatenate(parts, -1).astype(np.float32), nats.astype(np.float32)


def worst_moments(nats: np.ndarray, *, count: int = 12, apart: int = 60) -> list[tuple[int, int]]:
    """(frame index, player) of the greatest surprises, no two of a player within `apart` frames.

    Args:
      nats: float32 `[frames, 2]`.
      count: at most.
      apart: frames.
    """
    found: list[tuple[int, int]] = []
    for place in np.argsort(-nats, axis=None, kind="stable").tolist():
        frame, player = divmod(place, 2)
        if len(found) == count or nats[frame, player] <= 0:
            break
        if all(p != player or abs(f - frame) >= apart for f, p in found):
            found.append((frame, player))
    return found
