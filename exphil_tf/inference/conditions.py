"""What one policy can be told, in the words of whoever plays it: delay, player style, return.

The options that set conditions mean the same wherever a policy is evaluated, exported or played;
here they become the ids that its graph reads (`features.conditions`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from exphil_tf.features.conditions import CONDITIONS, DELAY, NAME, RETURN
from exphil_tf.features.delay import Delay
from exphil_tf.foundation.errors import UserError
from exphil_tf.replays.players import PUBLIC_KEY, KnownPlayers
from exphil_tf.rewards.coming_second import STOCK_PERCENT, ReturnLevels

_KEYS = {"default", "least", "most"}


@dataclass(frozen=True)
class Span:
    """Which ids a condition takes."""

    default: int
    """Where nothing is said; 0 tells nothing, but of a delay."""
    least: int
    most: int

    def __post_init__(self) -> None:
        """Raises ValueError if these are no ids, or the default is none of them."""
        numbers = (self.least, self.default, self.most)
        if (
            not all(type(n) is int for n in numbers)
            or not 0 <= numbers[0] <= numbers[1] <= numbers[2]
        ):
            raise ValueError(f"want 0 <= least <= default <= most. Received: {numbers!r:.80}")


@dataclass(frozen=True)
class Conditions:
    """What a policy can be told."""

    delay: Delay
    """The delay to play with, and those of training."""
    spans: Mapping[str, Span] = field(default_factory=dict[str, Span])
    """By column, of the conditions that its network reads."""
    players: KnownPlayers | None = None
    """Whose styles it learnt."""
    returns: ReturnLevels | None = None
    """Levels of the return that it tells apart."""

    def __post_init__(self) -> None:
        """Raises ValueError if levels and ids of the return do not agree."""
        levels = self.spans[RETURN].most if RETURN in self.spans else None
        if levels != (self.returns and self.returns.count):
            raise ValueError(f"conditions.return: want ids for its levels. Received: {levels}")

    def defaults(self) -> dict[str, int]:
        """Ids where nothing is said, by column."""
        return {name: span.default for name, span in self.spans.items()}

    def ids(
        self,
        *,
        frame_delay: int | None = None,
        player_style: str | None = None,
        desired_return: float | None = None,
        key: str = PUBLIC_KEY,
    ) -> dict[str, int]:
        """Ids of what is said; None says nothing.

        Args:
          frame_delay: frames between a state and the input that answers it, beyond 1.
          player_style: connect code, netplay name, tag or pseudonym.
          desired_return: percent to deal more than to take in the coming second, a stock being 100.
          key: of the pseudonyms (`replays.players.key_of`).

        Returns: by column. A delay that the policy was trained for but is not told has none.

        Raises: UserError: if the policy cannot be told that.
        """
        told: dict[str, int] = {}
        if frame_delay is not None:
            self._check_delay(frame_delay)
            told |= {DELAY: frame_delay} if DELAY in self.spans else {}
        if player_style is not None:
            told[NAME] = self._player(player_style, key)
        if desired_return is not None:
            told[RETURN] = self._level(desired_return)
        return told

    def _check_delay(self, frames: int) -> None:
        low, high = self.delay.trained_min, self.delay.trained_max
        if not low <= frames <= high:
            want = f"{low} frames" if low == high else f"{low} to {high} frames"
            raise UserError(
                f"--frame-delay: this policy was trained for {want}. Received: {frames}",
                "Train one for it (--frame-delay), or for all at once (--online-robust).",
            )

    def _player(self, text: str, key: str) -> int:
        if NAME not in self.spans or self.players is None:
            raise UserError(
                f"--player-style: this policy learnt no player styles. Received: {text:.60}",
                "Train one with --learn-player-styles.",
            )
        try:
            return self.players.id_of(text, key)
        except ValueError as error:
            raise UserError(f"--player-style: {error}", "See --player-registry.") from error

    def _level(self, percent: float) -> int:
        if self.returns is None:
            raise UserError(
                f"--desired-return: this policy cannot be asked for one. Received: {percent:g}",
                "Train one with --condition-on-return.",
            )
        if not abs(percent) <= 10 * STOCK_PERCENT:
            raise UserError(
                f"--desired-return: want percent, a stock being 100. Received: {percent:g}",
                "Ask for -20 to 20.",
            )
        return self.returns.level_of(percent)

    def with_defaults(self, told: Mapping[str, int]) -> dict[str, Any]:
        """As `config.json` of a bundle holds it, with these ids as defaults."""
        found: dict[str, Any] = {}
        for name, span in self.spans.items():
            found[name] = {
                "default": told.get(name, span.default),
                "least": span.least,
                "most": span.most,
            }
        if self.returns is not None:
            found[RETURN] |= {
                "edges": list(self.returns.edges),
                "half_life_frames": self.returns.half_life_frames,
            }
        return found

    @classmethod
    def from_dict(
        cls, values: Mapping[str, Any], *, delay: Delay, players: KnownPlayers | None
    ) -> Conditions:
        """The inverse of `with_defaults`.

        Raises: ValueError, TypeError, KeyError: if the values are of another shape.
        """
        unknown = sorted(values.keys() - CONDITIONS.keys())
        if unknown:
            raise ValueError(f"conditions: unknown {unknown!r:.80}")
        spans, returns = {}, None
        for name, own in values.items():
            known = _KEYS | ({"edges", "half_life_frames"} if name == RETURN else set())
            if own.keys() != known:
                raise ValueError(
                    f"conditions.{name}: want {sorted(known)}. Received: {sorted(own)}"
                )
            spans[name] = Span(own["default"], own["least"], own["most"])
        if RETURN in values:
            own = values[RETURN]
            edges = tuple(float(edge) for edge in own["edges"])
            returns = ReturnLevels(edges, float(own["half_life_frames"]))
        return cls(delay, spans, players, returns)
