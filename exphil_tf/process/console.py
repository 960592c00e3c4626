"""How commands print: paths and sentences as they are, commands as a shell takes them."""

from __future__ import annotations

import shlex

from rich.console import Console


def make_console(*, width: int | None = None, soft_wrap: bool = True) -> Console:
    """A console that shows text as it is: `[a]` and `:b:` in a path are no markup."""
    return Console(highlight=False, soft_wrap=soft_wrap, markup=False, emoji=False, width=width)


def command(prog: str, *words: object) -> str:
    """A command to copy: arguments are quoted where a shell would take them apart.

    Args:
      prog: such as `python -m exphil_tf.train`.
      *words: its arguments.
    """
    return f"{prog} {shlex.join(map(str, words))}"
