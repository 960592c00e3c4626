"""The action codec: controller bytes ↔ buckets ↔ values.

Targets, previous action, sampling and play all go through it.

An action is six components, in the order in which the autoregressive head samples them: 8 Bernoulli
buttons, four stick axes with the same buckets, one shoulder. Stored controllers are bytes on the
game's own grid (stick 1/80, trigger 1/140), so encoding is a table of 256 entries indexed by the
byte: exact, identical in numpy and in graphs.

A reading goes to the bucket whose value is nearest, half away from the centre, which makes buckets
symmetric (`bucket(-v) = n - bucket(v)`); mirrored labels therefore equal labels of mirrored frames.
No value lies in the game's dead zone but 0: of 6.4 million human readings of either stick none lay
there, so buckets at even steps from the centre (10/80 of 17) would never be used. The first step is
at least as far out as the dead zone's edge, and the rest of the way is divided evenly.

The axes of a stick are chosen one after the other, and 3 % of what people do falls into a pair of
buckets whose centres no stick can reach. Decoding brings such a pair back as the game does with
what an adapter sends (`clamp_stick`), so that the previous action of training and of play is what
the game saw. Of some pairs a corner alone is within reach, and what is brought back lies in another
pair: full left and a little up came back as left, on 0.8 % of human frames. With `within_reach` the
nearest position of the pair is taken, and whatever a human holds is told by its values again.
"""

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from exphil_tf.features.packing import ACTION_BYTES, CONTROLLER_FIELDS
from exphil_tf.melee.controls import (
    AXES,
    STICK_DEAD_ZONE,
    STICK_STEPS,
    TRIGGER_DEAD_ZONE,
    TRIGGER_STEPS,
    clamp_stick,
)
from exphil_tf.melee.enums import BUTTONS

COMPONENTS = ("buttons", *AXES, "shoulder")
"""Sampling order."""
_BYTE = {field.name[2:]: index for index, field in enumerate(CONTROLLER_FIELDS)}
_AXIS_BYTES = [_BYTE[axis] for axis in AXES]


def _even_steps(count: int, *, first: int, last: int) -> np.ndarray:
    """`count` positive values up to `last`: even steps, from `first` on if there are enough."""
    first = min(first, last - count + 1)
    return np.rint(np.linspace(max(first, last / count), last, count))


def _nearest(values: np.ndarray, readings: np.ndarray) -> np.ndarray:
    """int32 `[readings]`: index of the nearest of ascending values; the greater one half-way."""
    borders = (values[1:] + values[:-1]) / 2
    return np.searchsorted(borders, readings, side="right").astype(np.int32)


@dataclass(frozen=True)
class ControllerCodec:
    """Buckets of a policy's action space.

    Args:
      axis_buckets: buckets per stick axis, odd (17 and 33 are the usual choices; beyond 117 the
        innermost lie in the dead zone, where no stick is read); ignored when `axis_centres` is set.
      shoulder_buckets: buckets of the shoulder, at least 2.
      axis_centres: bucket centres in [-1, 1] fitted by `python -m exphil_tf.kmeans`: sorted,
        symmetric, holding 0.
      within_reach: pairs of buckets that some stick can reach decode to a position in them.

    Raises:
      ValueError: if the buckets are not symmetric or a centre would not survive encode(decode(·)).
    """

    axis_buckets: int = 17
    shoulder_buckets: int = 5
    axis_centres: tuple[float, ...] = ()
    within_reach: bool = False

    def __post_init__(self) -> None:
        """Checks symmetry and the exact round trip of every centre."""
        if self.axis_centres:
            centres = np.asarray(self.axis_centres)
            if (
                len(centres) % 2 == 0
                or not np.allclose(centres, -centres[::-1])
                or (np.diff(centres) <= 0).any()
            ):
                raise ValueError(
                    "codec.axis_centres: want an odd number of sorted, symmetric centres. "
                    f"Received: {centres.tolist()}"
                )
        elif self.axis_buckets % 2 == 0 or not 3 <= self.axis_buckets <= 161:
            raise ValueError(
                f"codec.axis_buckets: want an odd number in 3…161. Received: {self.axis_buckets}"
            )
        if not 2 <= self.shoulder_buckets <= 141:
            raise ValueError(
                f"codec.shoulder_buckets: want 2…141. Received: {self.shoulder_buckets}"
            )
        back = self.axis_table[np.rint(self.centres * STICK_STEPS).astype(np.int8).view(np.uint8)]
        if (back != np.arange(self.num_axis)).any():
            raise ValueError(
                "codec: centres closer than 1/80 cannot be told apart. "
                f"Received: {self.centres.tolist()}"
            )

    @property
    def num_axis(self) -> int:
        """Buckets per stick axis."""
        return len(self.axis_centres) or self.axis_buckets

    @property
    def sizes(self) -> dict[str, int]:
        """Logits per component, in sampling order."""
        return {
            "buttons": len(BUTTONS),
            **dict.fromkeys(AXES, self.num_axis),
            "shoulder": self.shoulder_buckets,
        }

    @functools.cached_property
    def centres(self) -> np.ndarray:
        """float32 `[num_axis]`: stick values of the buckets, -1 to 1."""
        if self.axis_centres:
            return np.asarray(self.axis_centres, np.float32)
        half = _even_steps(self.axis_buckets // 2, first=STICK_DEAD_ZONE, last=STICK_STEPS)
        steps = np.concatenate([-half[::-1], [0], half])
        return (steps / STICK_STEPS).astype(np.float32)

    @functools.cached_property
    def axis_table(self) -> np.ndarray:
        """int32 `[256]`: stored stick byte → bucket."""
        byte = np.arange(256).astype(np.uint8).view(np.int8).astype(int)
        steps = np.clip(byte, -STICK_STEPS, STICK_STEPS)
        half = self.num_axis // 2
        centres = np.asarray(self.axis_centres or self.centres, np.float64) * STICK_STEPS
        # Centres on the grid are whole numbers in float32, too, once rounding is taken back.
        found = _nearest(np.round(centres[half:], 4), np.abs(steps))
        return (half + np.sign(steps) * found).astype(np.int32)

    @functools.cached_property
    def shoulder_centres(self) -> np.ndarray:
        """float32 `[shoulder_buckets]`: trigger values of the buckets, 0 to 1."""
        count = self.shoulder_buckets - 1
        steps = _even_steps(count, first=TRIGGER_DEAD_ZONE, last=TRIGGER_STEPS)
        return (np.concatenate([[0], steps]) / TRIGGER_STEPS).astype(np.float32)

    @functools.cached_property
    def shoulder_table(self) -> np.ndarray:
        """int32 `[256]`: stored trigger byte → bucket."""
        steps = np.minimum(np.arange(256), TRIGGER_STEPS)
        return _nearest(np.rint(self.shoulder_centres * TRIGGER_STEPS), steps)

    def bucket_values(self) -> dict[str, list[float]]:
        """What buckets decode to, as bundles, exports and soft labels hold it."""
        return {
            "axis_centres": [float(value) for value in self.centres],
            "shoulder_centres": [float(value) for value in self.shoulder_centres],
        }

    @functools.cached_property
    def sticks(self) -> np.ndarray:
        """float32 `[num_axis, num_axis, 2]`: what the game reads of a pair of buckets, x and y."""
        x, y = np.meshgrid(self.centres, self.centres, indexing="ij")
        steps = (np.round(v.astype(np.float64) * STICK_STEPS, 4) for v in (x, y))
        read = np.stack(clamp_stick(*steps), axis=-1)
        if self.within_reach:
            read = self._moved_within_reach(read)
        return (read / STICK_STEPS).astype(np.float32)

    def _moved_within_reach(self, read: np.ndarray) -> np.ndarray:
        """Positions of pairs in 1/80, each in its own pair if any position is."""
        x, y = np.meshgrid(*[np.arange(-STICK_STEPS, STICK_STEPS + 1)] * 2, indexing="ij")
        stays = np.all([a == b for a, b in zip((x, y), clamp_stick(x, y), strict=True)], axis=0)
        x, y = x[stays], y[stays]
        pair = self._axis_buckets(x), self._axis_buckets(y)
        distance = ((np.stack([x, y], -1) - read[pair]) ** 2).sum(-1)
        # Equal distances must not break the mirror symmetry.
        order = np.lexsort([abs(y), abs(x), distance])[::-1]
        nearest, found = read.copy(), tuple(index[order] for index in pair)
        nearest[found] = np.stack([x, y], -1)[order]  # of one pair, the last one stays
        own = (self._axis_buckets(np.rint(read[..., i])) for i in (0, 1))
        index = np.indices(read.shape[:2])
        is_moved = np.any([a != b for a, b in zip(own, index, strict=True)], axis=0)
        return np.where(is_moved[..., None], nearest, read)

    def _axis_buckets(self, steps: np.ndarray) -> np.ndarray:
        """int32: buckets of whole steps of 1/80."""
        return self.axis_table[steps.astype(np.int8).view(np.uint8)]

    def encode(self, actions: Any, xp: Any = np) -> dict[str, Any]:
        """Buckets of stored controller bytes.

        Args:
          actions: uint8 `[…, ACTION_BYTES]`, one player's controller bytes
            (`packing.action_order`).
          xp: `numpy` or `keras.ops`.

        Returns: int32 arrays: `buttons` `[…, 8]` of 0/1, the axes and `shoulder` `[…]`.
        """
        bytes_ = xp.cast(actions, "int32") if xp is not np else np.asarray(actions).astype(np.int32)
        take = functools.partial(xp.take, axis=0)
        buckets = {"buttons": take(_button_bits(), bytes_[..., _BYTE["buttons"]])}
        buckets |= {axis: take(self.axis_table, bytes_[..., _BYTE[axis]]) for axis in AXES}
        return buckets | {"shoulder": take(self.shoulder_table, bytes_[..., _BYTE["shoulder"]])}

    def decode(self, buckets: dict[str, Any], xp: Any = np) -> dict[str, Any]:
        """Controller values of buckets as the game reads them, float32 of the same shapes.

        Sticks are -1 to 1 and inside the unit circle, the shoulder 0 to 1, buttons 0/1.
        """
        as_float = (
            np.asarray(buckets["buttons"], np.float32)
            if xp is np
            else xp.cast(buckets["buttons"], "float32")
        )
        values = {"buttons": as_float}
        for stick in (AXES[:2], AXES[2:]):
            pair = buckets[stick[0]] * self.num_axis + buckets[stick[1]]
            read = xp.take(self.sticks.reshape(-1, 2), pair, axis=0)
            values |= {axis: read[..., index] for index, axis in enumerate(stick)}
        return values | {"shoulder": xp.take(self.shoulder_centres, buckets["shoulder"], axis=0)}


@functools.cache
def _button_bits() -> np.ndarray:
    """int32 `[256, 8]`: bits of a button byte."""
    return ((np.arange(256)[:, None] >> np.arange(len(BUTTONS))) & 1).astype(np.int32)


_PLACES = np.arange(len(BUTTONS), dtype=np.uint8)


def to_bytes(values: dict[str, Any]) -> np.ndarray:
    """Stored controller bytes uint8 `[…, ACTION_BYTES]` of controller values.

    The live path's entry to `encode`.

    Args:
      values: numpy arrays `buttons` `[…, 8]` of 0/1; `main_x`… in [-1, 1] and `shoulder` in [0, 1],
        `[…]`.
    """
    actions = np.zeros((*np.shape(values["shoulder"]), ACTION_BYTES), np.uint8)
    # A live frame calls this: np.clip costs three times what minimum and maximum do.
    axes = np.minimum(np.maximum(np.stack([values[axis] for axis in AXES], axis=-1), -1), 1)
    steps = np.rint(axes * np.float32(STICK_STEPS))
    actions[..., _AXIS_BYTES] = steps.astype(np.int8).view(np.uint8)
    shoulder = np.minimum(np.maximum(values["shoulder"], 0), 1)
    actions[..., _BYTE["shoulder"]] = np.rint(shoulder * np.float32(TRIGGER_STEPS))
    bits = np.asarray(values["buttons"]).astype(np.uint8)
    actions[..., _BYTE["buttons"]] = (bits << _PLACES).sum(-1)
    return actions


NEUTRAL_VALUES: dict[str, np.ndarray] = {
    "buttons": np.zeros(len(BUTTONS), np.float32),
    **{axis: np.zeros((), np.float32) for axis in AXES},
    "shoulder": np.zeros((), np.float32),
}
"""The untouched controller."""
