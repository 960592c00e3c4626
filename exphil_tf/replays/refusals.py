"""Why a replay was refused: a closed set of reason codes and the one exception that carries them.

A reason is for counting (`rejected.jsonl`, the final table), the detail is for reading. Everything
that goes wrong with a file's *content* is a `ReplayError`; anything else escaping from this package
is a bug.
"""

from __future__ import annotations

import enum


class Reason(enum.StrEnum):
    """Reason codes of rejected replays. The values are stable: they are written to disk."""

    NOT_A_FILE = "not_a_file"
    """Not a regular file: a folder, a pipe, a socket, a device, a loop of links, or absent."""
    UNREADABLE = "unreadable"
    """A regular file that the system refused to read."""
    TOO_SMALL = "too_small"
    TOO_BIG = "too_big"
    BAD_ARCHIVE = "bad_archive"
    """A packed replay, an archive, or a member of one, that is damaged, lies about itself or is of
    a kind that is not read."""
    ZIP_BOMB = "zip_bomb"
    """Expands more than any replay does."""
    ENCRYPTED = "encrypted"
    NESTED_ARCHIVE = "nested_archive"
    BAD_MAGIC = "bad_magic"
    """Does not begin as a Slippi container."""
    NESTING = "nesting"
    """Metadata nested deeper than any client writes; native parsers overflow their stack on it."""
    BAD_HEADER = "bad_header"
    """No usable payload table or Game Start event."""
    OLD_VERSION = "old_version"
    """Recorded by a version below 0.2, whose frames lack columns that the features need."""
    PLAYERS = "players"
    """Not exactly two occupied ports."""
    NO_FRAMES = "no_frames"
    """Not one whole frame."""
    FRAME_GAP = "frame_gap"
    """Frame numbers are missing from the middle."""
    OUT_OF_RANGE = "out_of_range"
    """A value that the game cannot produce, most likely damage to the file."""
    PARSER_ERROR = "parser_error"
    PARSER_PANIC = "parser_panic"
    TIMEOUT = "timeout"
    CRASHED = "crashed"
    """The parsing process died."""
    MEMORY = "memory"
    """The parsing process reached its memory limit."""
    INTERNAL = "internal"
    """An exception that this code did not expect: a defect worth reporting."""


class ReplayError(Exception):
    """A replay that cannot become records.

    Attributes:
      reason: The code to count it under.
      detail: One line for a person; holds no player name or path.
    """

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = Reason(reason)
        self.detail = detail

    def __reduce__(self) -> tuple[type[ReplayError], tuple[Reason, str]]:
        """Crosses a process boundary whole (the default would pass the joined message)."""
        return (type(self), (self.reason, self.detail))
