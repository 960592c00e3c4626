"""All commands under one name: `exphil COMMAND …` is `python -m exphil_tf.COMMAND …`.

Scripts of the original trainer are understood too (`exphil train_from_replays`). `exphil completion
bash` (or zsh) prints what a shell needs to complete commands and their options.
"""

from __future__ import annotations

import ast
import difflib
import re
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from exphil_tf.foundation.errors import UserError, remark, run
from exphil_tf.foundation.former_commands import FORMER_COMMANDS
from exphil_tf.process import output, signals

PROG = "exphil"
_PACKAGE = Path(__file__).resolve().parent
_COMPLETION = "completion"
_SHELLS = ("bash", "zsh")
_MARK = '\nif __name__ == "__main__":\n'
_SCRIPT = """\
# Completion of exphil for {name}: add `eval "$(exphil completion {name})"` to ~/.{name}rc.
{begin}_exphil() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" words
  if [ "$COMP_CWORD" -eq 1 ]; then
    words="{commands}"
  else
    case "${{COMP_WORDS[1]}}" in
{cases}
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$word"))
  if [ "${{#COMPREPLY[@]}}" -eq 0 ]; then COMPREPLY=($(compgen -f -- "$word")); fi
}}
complete -o filenames -F _exphil exphil
"""


def main() -> None:
    """Runs the command that the first argument names, as if it were a program of its own."""
    words = sys.argv[1:]
    meant = resolve(words[0]) if words else ()
    if not meant:
        run(_own, words, is_product=True)
    sys.argv[1:] = [*meant[1:], *words[1:]]
    runpy.run_module(f"exphil_tf.{meant[0]}", run_name="__main__", alter_sys=True)


def commands() -> dict[str, str]:
    """Every command with the first sentence about it, by name."""
    found: dict[str, str] = {}
    packages = {path.parent.name: path for path in _PACKAGE.glob("*/__main__.py")}
    modules = {path.stem: path for path in _PACKAGE.glob("[!_]*.py")}
    for name, path in sorted((packages | modules).items()):
        text = path.read_text(encoding="utf-8")
        if _MARK in text:
            said = (ast.get_docstring(ast.parse(text)) or "").split("\n\n")[0]
            found[name] = _sentence(" ".join(said.split()))
    return found


def _sentence(text: str) -> str:
    """The purpose, without how the command is called."""
    return re.split(r": `python -m|, by `python -m| `python -m", text)[0].rstrip(".: ") + "."


def resolve(word: str) -> tuple[str, ...]:
    """The command that a first argument names, with the words that a former one needs to be it.

    Empty if it names none.
    """
    name, known = _bare(word), commands()
    if name in known:
        return (name,)
    row = FORMER_COMMANDS.get(name)
    if row is None or not row.words or row.words[0] not in known:
        return ()
    if row.note:
        remark(f"{word}: {row.note}")
    return row.words


def _bare(word: str) -> str:
    name = re.sub(r"\.(exs|sh|py)$", "", word.rpartition("/")[2])
    return name.removeprefix("exphil.").replace("-", "_")


def _own(words: Sequence[str]) -> int:
    """What there is without a command: the list of them, completion, and what is wrong."""
    if not words or words[0] in ("-h", "--help", "help"):
        _show_commands()
        return 0
    if words[0] == _COMPLETION:
        if len(words) != 2 or words[1] not in _SHELLS:
            raise UserError(f"{_COMPLETION}: want bash or zsh", f"{PROG} {_COMPLETION} bash")
        sys.stdout.write(completion(words[1]))
        return 0
    raise _unknown(words[0])


def _show_commands() -> None:
    known = commands()
    width = max(map(len, known))
    lines = [f"  {name.ljust(width)}  {said}" for name, said in known.items()]
    sys.stdout.write(
        f"usage: {PROG} COMMAND [OPTIONS]\n\n"
        + "\n".join(lines)
        + f"\n\n{PROG} COMMAND --help lists its options; {PROG} {_COMPLETION} bash|zsh completes "
        "them.\n"
    )


def _unknown(word: str) -> UserError:
    name = _bare(word)
    row = FORMER_COMMANDS.get(name)
    if row is not None:
        what = row.note or f"its successor, {row.words[0]}, is not in this release"
        return UserError(f"{word}: {what}")
    close = difflib.get_close_matches(name, [*commands(), *FORMER_COMMANDS], n=1)
    hint = f"Did you mean {close[0]}?" if close else f"`{PROG}` alone lists them."
    return UserError(f"{word}: no such command", hint)


def completion(shell: str) -> str:
    """The script that completes commands and flags in a shell."""
    cases = [
        f'      {name}) words="{" ".join(_flags(name))}" ;;' for name in commands() if _flags(name)
    ]
    begin = "autoload -U +X bashcompinit && bashcompinit\n" if shell == "zsh" else ""
    known = " ".join([*commands(), _COMPLETION])
    return _SCRIPT.format(name=shell, begin=begin, commands=known, cases="\n".join(cases))


def _flags(name: str) -> list[str]:
    """Flags of a command, of all its forms."""
    from exphil_tf.docs import help_forms, help_of

    text = "".join(help_of(name, *form) for form in ((), *((one,) for one in help_forms(name))))
    return sorted(set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", text)))


def script() -> None:
    """The console script: signals get their line and exit code from here on."""
    output.open_standard_descriptors()
    signals.install()
    main()


if __name__ == "__main__":
    main()
