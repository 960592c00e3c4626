"""What a policy may be told besides the frames: by the data while it learns, in play by the player.

A *condition* is a small id beside the schema's columns: whose style to play, how late inputs take
effect, how much to gain in the coming second. It is an id column of the embedding and of an export
(`ids`), so all are fed, stored, set and checked alike; the table below is all that differs.
Embedding, input graph, bundles, stepper and commands go by it.

Each is a look-up in a table of constants, or a one-hot: it costs a frame nothing but a row of the
first matrix, whether it holds for a game (style, delay) or may change within (return).
"""

from typing import NamedTuple

NAME, DELAY, RETURN = "name", "delay", "return"


class Condition(NamedTuple):
    """One thing that a policy may be told."""

    doc: str
    """What the ids mean, as bundles document them."""
    option: str
    """Name of the option that sets it where a policy is evaluated, exported or played."""
    may_lack: bool
    """Whether 0 means that nothing is told, which training hides it for now and then."""


CONDITIONS: dict[str, Condition] = {
    NAME: Condition("registry id of the player; 0 nobody", "player_style", may_lack=True),
    DELAY: Condition(
        "frames between a state and the input that answers it, beyond 1",
        "frame_delay",
        may_lack=False,
    ),
    RETURN: Condition(
        "level of the return wanted of the coming second, from 1; 0 none in particular",
        "desired_return",
        may_lack=True,
    ),
}
"""By column, in the order that layouts have them in."""
