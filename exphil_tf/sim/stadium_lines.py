"""Pokémon Stadium's other forms as lines to stand on, each with its id in replays.

Corners are published (blasphemetheus/exphil, read off the game's files); recorded players stand on
59 of the 64 lines, within 0.003 units. Ground and platforms of the first form are away in all of
them, the outer ground with both ledges stays. Water's windmill is not there.
"""

from __future__ import annotations

from typing import NamedTuple

Corners = tuple[tuple[float, float], ...]


class Chain(NamedTuple):
    """Lines that join, from left to right."""

    ids: tuple[int, ...]
    corners: Corners
    soft: tuple[int, ...] = ()
    """Those that can be dropped through."""


FIRST, FIRE, GRASS, ROCK, WATER = range(5)
KINDS = (5, 3, 4, 6, 9)
"""What replays call each form (libmelee `StadiumTransformationType`)."""
FORMS: dict[int, tuple[Chain, ...]] = {
    FIRE: (
        Chain((0, 1), ((-70.0081, 0), (-65.0081, 2.5), (-48, 2.5))),
        Chain(
            (17, 2, 18),
            ((-78, 37.75), (-62.25, 37.75), (-54.25, 37.75), (-48, 37.75)),
            soft=(17, 18),
        ),
        Chain((3, 4, 5), ((-49.5, 26.5), (-40.5, 23.5), (-37.5, 20.5), (-36, 20.5))),
        Chain((6,), ((-33, 50), (-24, 50))),
        Chain(
            (7, 8, 9, 10, 12, 13, 14, 15, 16),
            ((-21, 2.5), (-20, 2.5), (-10, -4), (5, -4), (12.25, 4.5), (51.75, 4.5), (54.25, 4.5),
             (56.75, 2.5), (67.375, 2.5), (74, -0.75)),
        ),
        Chain((11,), ((7.75, 26.002), (53.75, 26.0041)), soft=(11,)),
    ),
    GRASS: (
        Chain(
            (19, 20, 22, 23, 25, 26, 27, 28, 33),
            ((-76.5313, -0.75), (-70.0625, 2.5), (-25, 2.5), (-20, -1), (-10, -1), (-7.5, 0),
             (20, 0), (25, 5), (70, 5), (76.5, -1.5)),
        ),
        Chain((21,), ((-33.75, 53), (-3.75, 53)), soft=(21,)),
        Chain((24,), ((-15.75, 29.25), (14.25, 29.25)), soft=(24,)),
        Chain(
            (29, 30, 31, 32),
            ((32.75, 26), (34.75, 30), (42, 31), (49.25, 30), (51.25, 26)),
            soft=(29, 30, 31, 32),
        ),
    ),
    ROCK: (
        Chain((37,), ((-74.75, 69), (-67.75, 69))),
        Chain((38, 39, 40), ((-67.75, 75), (-56, 75), (-46.75, 72), (-42, 69))),
        Chain((41,), ((-35.5, 52.5), (-19.75, 52.5)), soft=(41,)),
        Chain((42,), ((-31.5, 21), (-15, 21)), soft=(42,)),
        Chain((43, 44), ((-28, 1.5), (-25.25, 0), (-5, 0))),
        Chain((45,), ((-4, 42.75), (21.25, 49.5)), soft=(45,)),
        Chain((46, 48), ((-3.75, 27.75), (-1.25, 27.75), (22.5, 27.75)), soft=(48,)),
        Chain((47, 49, 50), ((-1.25, 21.5), (19.25, 0), (56, 0), (77.25, -2.25))),
    ),
    WATER: (
        Chain(
            (55, 56, 57, 58, 59, 61, 62, 63, 64, 66, 67, 68, 69, 70),
            ((-70, 0), (-67.5, 0), (-52.75, 5), (-21.75, 5), (-5.5, -4.5), (16.75, -4.5),
             (17.75, -3.5), (22.25, -3.5), (23.25, -4.5), (51.75, -4.5), (52.75, -3.5),
             (57.25, -3.5), (58.25, -4.5), (65, -4.5), (70, 0)),
        ),
        Chain((60,), ((7.5, 20), (32.5, 20)), soft=(60,)),
        Chain((65,), ((42.5, 35), (67.5, 35)), soft=(65,)),
    ),
}  # fmt: skip
ROCK_LEDGE = (-74.75, 69.0)
"""The only ledge of a form, besides those of the outer ground."""
SIDES: dict[int, tuple[Corners, ...]] = {
    FIRE: (
        ((-54.25, 37.75), (-52.5, 29.5), (-49.5, 26.5)),
        ((-24, 50), (-24, 5.5), (-21, 2.5)),
        ((-48, 2.5), (-45, 5.5), (-45, 8.5), (-46.5, 11.5), (-49.5, 14.5), (-57, 19), (-60, 23.5),
         (-62.25, 37.75)),
        ((-36, 20.5), (-33, 26.5), (-33, 50)),
    ),
    ROCK: (
        ((-42, 69), (-32.75, 48), (-32.75, 28.5), (-28, 16.5), (-28, 1.5)),
        ((-1.25, 27.75), (-1.25, 21.5)),
        ((-74.5, -2), (-77.25, 18), (-74.75, 24), (-74.75, 69)),
        ((-67.75, 69), (-67.75, 75)),
        ((-5, 0), (-3.75, 12.75), (-3.75, 27.75)),
    ),
}  # fmt: skip
"""Sides that keep bodies out, published alike: downwards on a right side, upwards on a left one."""
PIT_SIDES: tuple[Corners, ...] = (((-70, 0), (-70, -5)), ((70, -5), (70, 0)))
"""Those of the outer ground, while the first form's is away."""
