"""What `notebooks/evaluation_dashboard.ipynb` calls: policies to look into, step by step.

Whatever is returned shows itself in a notebook, and as text elsewhere. The notebook itself computes
nothing, so it stays true without being run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from exphil_tf.evaluation import comparison, figures
from exphil_tf.evaluation.compared_policy import ComparedPolicy, named_apart, open_compared
from exphil_tf.evaluation.episodes import Perspective, perspectives_of, sample_of
from exphil_tf.evaluation.evaluation_config import FramesConfig, Split
from exphil_tf.evaluation.metrics import Accumulator
from exphil_tf.evaluation.policy_comparison import Compared, compare
from exphil_tf.evaluation.side_by_side import Reading, answers
from exphil_tf.features.controller import COMPONENTS
from exphil_tf.foundation.errors import UserError
from exphil_tf.melee.enums import BUTTONS, character_name
from exphil_tf.melee.types import Game
from exphil_tf.process.exit_codes import EXIT_NO_INPUT

if TYPE_CHECKING:
    from exphil_tf.evaluation.policy_runners import Runner

_PLACES = ("runs/*", "quickstart/run-*")
_STEPS = 100
_CSS = Path(__file__).with_name("page_style.css")


@dataclass(frozen=True)
class Drawn:
    """A figure that shows itself in a notebook, light or dark as the reader has it."""

    svg: str

    def _repr_html_(self) -> str:
        # The colours alone: the page's other rules would change the notebook around it.
        colours = _CSS.read_text(encoding="utf-8").partition("\n* {")[0]
        return f'<style>{colours}</style><div style="background: var(--paper)">{self.svg}</div>'


def load_policies(folders: Sequence[str | Path] = ()) -> list[ComparedPolicy]:
    """Opens policies: of runs, or exported ones.

    Args:
      folders: none for the run in `runs/` or `quickstart/` that is the newest.

    Raises: UserError: if there is none (66), or it is damaged.
    """
    paths = [Path(folder) for folder in folders] or [newest_run()]
    found = [open_compared(path, jit=False) for path in paths]
    names = named_apart(found, paths)
    return [replace(policy, name=name) for policy, name in zip(found, names, strict=True)]


def newest_run(places: Iterable[str] = _PLACES) -> Path:
    """The run whose policy is the newest.

    Raises: UserError: (66) if there is none.
    """
    found = [path for place in places for path in Path().glob(f"{place}/policy/config.json")]
    if not found:
        raise UserError(
            "no run here has a policy yet",
            "Train one (python -m exphil_tf.quickstart makes one in minutes), or name a folder.",
            exit_code=EXIT_NO_INPUT,
        )
    return max(found, key=lambda path: path.stat().st_mtime).parents[1]


def configurations(policies: Sequence[ComparedPolicy]) -> Table:
    """What each policy is, a column each."""
    table = _table("", *(policy.name for policy in policies))
    for key in dict.fromkeys(key for policy in policies for key in policy.facts):
        table.add_row(key.replace("_", " "), *(str(p.facts.get(key, "")) for p in policies))
    delays = ((p.conditions.delay.trained_min, p.conditions.delay.trained_max) for p in policies)
    table.add_row("trained delay", *(f"{low} to {high}" for low, high in delays))
    told = (", ".join(policy.conditions.spans) or "nothing" for policy in policies)
    table.add_row("can be told", *told)
    return table


def architecture(policy: ComparedPolicy) -> Table:
    """Each part of the network with the shapes of its arrays and how many numbers they hold."""
    table = _table("part", "arrays", "numbers", right=2)
    parts: dict[str, list[tuple[int, ...]]] = {}
    for name, shape in policy.weights().items():
        parts.setdefault(name.rpartition("/")[0] or name, []).append(shape)
    total = 0
    for part, shapes in parts.items():
        size = sum(int(np.prod(shape, dtype=int)) for shape in shapes)
        total += size
        table.add_row(part, ", ".join("×".join(map(str, s)) or "1" for s in shapes), f"{size:,}")
    table.add_section()
    table.add_row("all", "", f"{total:,}")
    return table


def inference(policy: ComparedPolicy, games: Sequence[Game], *, every: int = 120) -> Table:
    """What a policy would most likely hold on sample states, and what was held, of both players.

    Args:
      policy: the policy.
      games: recorded or made up.
      every: frames between two states.
    """
    sticks = ("main stick", "C-stick", "shoulder")
    names = ("frame", "character", "would hold", *sticks, "was held", *sticks, "surprise")
    table = _table(*names, right=1, gap=0)  # a notebook shows 115 columns
    runner = policy.make_runner()
    for view in perspectives_of(games):
        for state in _answered(policy, view, runner):
            if state.frame % every == 0:
                words = (*_in_words(state.likeliest), *_in_words(state.held))
                table.add_row(str(state.frame), state.character, *words, f"{state.nats:.2f} nats")
    return table


def compare_with_replays(
    policies: Sequence[str | Path],
    data: str | Path,
    *,
    split: Split = "validation",
    frames: int = 0,
) -> Compared:
    """Measures policies on a dataset's games, side by side; see `charts` for what to look at.

    Args:
      policies: folders; none for the newest run.
      data: folder of a dataset.
      split: whose games.
      frames: about how many; 0 for all.
    """
    paths = [Path(folder) for folder in policies] or [newest_run()]
    config = FramesConfig(split=split, limit_frames=frames, jit=not frames)
    return compare(paths, Path(data), config, console=Console(quiet=True))


def accuracy(done: Compared) -> Table:
    """How often each policy's likeliest choice is the human's, per component, and the baselines."""
    table = _table("accuracy", *(name.replace("_", " ") for name in COMPONENTS), "score", right=7)
    for name, one in done.found.everything.items():
        shares = (f"{100 * one.metrics.components[part].accuracy:.1f} %" for part in COMPONENTS)
        table.add_row(name, *shares, f"{one.metrics.score:.3f}")
    return table


def likelihoods(done: Compared) -> Table:
    """Nats per frame of each policy and baseline."""
    return comparison.table(done.found.everything)


def charts(done: Compared) -> dict[str, Drawn]:
    """Charts of buttons, sticks, confidence and training, by title."""
    found, drawn = done.found, {"Nats per frame": figures.side_by_side_bars(done.found.everything)}
    for name, one in found.policies.items():
        drawn[f"Press rates: {name}"] = figures.press_rates(one.metrics)
        drawn[f"Confidence and outcome: {name}"] = figures.calibration(one.metrics)
    drawn["Stick positions"] = figures.axis_use(found.policies)
    drawn["Training"] = figures.curves_side_by_side(done.curves)
    # Several figures of one kind share a page here, so their identifiers must differ.
    apart = {title: _renamed(svg, str(place)) for place, (title, svg) in enumerate(drawn.items())}
    return {title: Drawn(svg) for title, svg in apart.items() if svg}


def _renamed(svg: str, suffix: str) -> str:
    svg = re.sub(r'id="([^"]+)"', rf'id="\1-{suffix}"', svg)
    return re.sub(r'(url\(#|href="#)([^)"]+)', rf"\1\2-{suffix}", svg)


class _State(NamedTuple):
    """One frame, and the answer to it."""

    frame: int
    character: str
    likeliest: dict[str, np.ndarray]
    """Values of the policy's likeliest controller, by component."""
    held: dict[str, np.ndarray]
    nats: float


def _answered(policy: ComparedPolicy, view: Perspective, runner: Runner) -> Iterator[_State]:
    codec, sums = policy.codec, Accumulator(policy.codec.sizes)
    stops = np.cumsum(list(codec.sizes.values()))[:-1]
    reading = Reading(rows=1, steps=_STEPS)
    for batch, span, logits in answers(policy, [view], runner=runner, reading=reading):
        sample = sample_of(batch, codec, span)
        parts = dict(zip(codec.sizes, np.split(logits, stops, axis=-1), strict=True))
        picked = sample.pick(parts)
        nats = sums.add(picked, sample).sum(0)
        likeliest = {name: part.argmax(-1) for name, part in picked.items()}
        likeliest["buttons"] = (picked["buttons"] > 0).astype(np.int64)
        would, held = codec.decode(likeliest), codec.decode(sample.targets)
        frames = batch.columns["frame"][:, span][sample.counted]
        for place, frame in enumerate(frames.tolist()):
            character = character_name(int(sample.characters[place]))
            one, other = ({n: v[place] for n, v in each.items()} for each in (would, held))
            yield _State(frame, character, one, other, float(nats[place]))


def _in_words(controller: Mapping[str, np.ndarray]) -> tuple[str, str, str, str]:
    """Buttons, both sticks, shoulder."""
    buttons = [BUTTONS[place] for place in np.flatnonzero(controller["buttons"])]
    main, c = (f"{controller[f'{s}_x']:+.2f} {controller[f'{s}_y']:+.2f}" for s in ("main", "c"))
    return " ".join(buttons) or "–", main, c, f"{controller['shoulder']:.2f}"


def _table(*names: str, right: int = 0, gap: int = 1) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, gap, 0, 0), show_edge=False)
    for place, name in enumerate(names):
        is_right = place >= len(names) - right
        table.add_column(name, justify="right" if is_right else "left")
    return table
