"""Commands whose first word says what they do, as `runs list`."""

import sys
from collections.abc import Sequence

from exphil_tf.foundation.errors import UserError


def take_form(
    argv: Sequence[str], forms: Sequence[str], *, prog: str, text: str
) -> tuple[str, Sequence[str]] | None:
    """Takes the first word off a command line.

    Args:
      argv: the command line.
      forms: words that it may begin with.
      prog: the command, for errors.
      text: what `--help` in their place prints.

    Returns: the form and what stands behind it; None if help was asked for, and printed.

    Raises: UserError: if it begins with another word, or is empty.
    """
    form = argv[0] if argv else "nothing"
    if form in ("-h", "--help"):
        sys.stdout.write(text)
        return None
    if form not in forms:
        raise UserError(
            f"want one of {', '.join(forms)} first. Received: {form}", f"See `{prog} --help`."
        )
    return form, argv[1:]
