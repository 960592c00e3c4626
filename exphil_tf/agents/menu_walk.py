"""From Dolphin's menus into a match: characters, computers and the stage are chosen by our pads.

libmelee's helper walks, one per pad of ours; the seat that is ready last lets the match start.
"""

# pyright: reportMissingTypeStubs=false
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import melee

from exphil_tf.melee.enums import STAGE_TO_LIBMELEE, Character, Stage


class Choice(Protocol):
    """What is chosen at a port; all of it may change between matches."""

    port: int
    """1 to 4."""
    character: Character
    cpu_level: int
    """Of a computer, 1 to 9; 0 where a pad plays."""


class MenuWalk:
    """Presses what leads to a match.

    Args:
      controllers: `melee.Controller` by port: those of the choices.
      choices: ours; the first one's pad starts the match.
      stage: to play on.
      connect_code: Slippi Direct: whom to play; empty for a match of this Dolphin alone.
    """

    def __init__(
        self,
        controllers: Mapping[int, Any],
        choices: Sequence[Choice],
        stage: Stage,
        *,
        connect_code: str = "",
    ):
        self._controllers, self._choices = controllers, choices
        self._stage, self._code = melee.Stage(STAGE_TO_LIBMELEE[stage]), connect_code or None
        self._helpers = {port: melee.MenuHelper() for port in controllers}

    def step(self, state: Any) -> None:
        """Answers a state of a menu: holds what is to be pressed from the next flush on."""
        for port, helper in self._helpers.items():
            choice = next(one for one in self._choices if one.port == port)
            helper.menu_helper_simple(
                state,
                self._controllers[port],
                melee.Character(int(choice.character)),
                self._stage,
                connect_code=self._code,
                cpu_level=choice.cpu_level,
                # The helper starts once its own seat is ready; it has to wait for the other.
                autostart=choice is self._choices[0] and self._all_chosen(state),
            )

    def _all_chosen(self, state: Any) -> bool:
        if state.menu_state is not melee.Menu.CHARACTER_SELECT:
            return True
        return all(_is_chosen(one, state.players[one.port]) for one in self._choices)


def _is_chosen(choice: Choice, shown: Any) -> bool:
    """Whether the character select screen shows what is to be chosen."""
    # Sheik is chosen as Zelda, and by holding A while the stage loads.
    sheik = choice.character is Character.SHEIK
    character = Character.ZELDA if sheik else choice.character
    is_cpu = shown.controller_status is melee.enums.ControllerStatus.CONTROLLER_CPU
    return (
        shown.character.value == int(character)
        and is_cpu == (choice.cpu_level > 0)
        and (
            not is_cpu or (shown.cpu_level == choice.cpu_level and not shown.is_holding_cpu_slider)
        )
    )
