"""What a search for replays gives: sources to be read later, and refusals.

A *source* is one replay that somebody can read later, anywhere: a path, or a path to an archive and
where in it a member lies. It is small and JSON-able, so a million of them travel through a pipeline
while the bytes stay on disk.
"""

from __future__ import annotations

from typing import NamedTuple

from exphil_tf.replays.refusals import Reason

IN_TAR = -1
"""`Source.method` of a member of a plain tar, which has neither a method nor a checksum."""


class Source(NamedTuple):
    """One replay to be read.

    Attributes:
      path: of the file, or of the archive that holds it.
      name: of the archive's member, as the archive has it; empty for a file. A label only.
      size: declared bytes, of the file or of the member when out of the archive.
      offset: of the member in the archive: of its local header in a zip, of its bytes in a tar.
      packed: compressed bytes of the member; 0 for a file.
      method: zip compression method, 0 stored, 8 deflated…, or `IN_TAR`.
      crc: CRC-32 of the member; 0 in a tar.
      copy: the file in which `offset` lies, if it isn't the archive (see `tar_copies`).
    """

    path: str
    name: str = ""
    size: int = 0
    offset: int = 0
    packed: int = 0
    method: int = 0
    crc: int = 0
    copy: str = ""

    @property
    def label(self) -> str:
        """What to call it in a message: `path`, or `archive.zip!member.slp`."""
        return f"{self.path}!{self.name}" if self.name else self.path


class Refused(NamedTuple):
    """Something that looked like replays but cannot be read."""

    label: str
    reason: Reason
    detail: str


class Found(NamedTuple):
    """What a collection holds, in the order of paths, then of names inside an archive."""

    sources: list[Source]
    refused: list[Refused]
