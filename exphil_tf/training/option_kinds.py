"""Which options of training are a run's own, may change, or make another run: by their kind."""

import functools
from collections.abc import Mapping
from typing import Any

from exphil_tf.foundation.kinds import Kind
from exphil_tf.foundation.options import Option, options
from exphil_tf.training.distill_config import DistillConfig


@functools.cache
def _options() -> dict[str, Option]:
    """By name, of every command that trains: distilling has every option of training."""
    return options(DistillConfig)


def kind_of(name: str) -> Kind:
    """The kind of an option of any command that trains.

    Args:
      name: of the option, as a field or as a key of YAML; one that no command has counts as
        changing the weights.
    """
    option = _options().get(name.replace("-", "_"))
    return (option and option.kind) or Kind.TRAINING


def differing_options(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Names of options that make a run that goes on another run, sorted.

    What only the older options name decided nothing: it is of a backbone that was not chosen.

    Args:
      before: what the run was started with, by name.
      now: what it would go on with.
    """
    return sorted(
        name
        for name in now
        if not kind_of(name).may_change and _before(name, before, now) != now[name]
    )


def _before(name: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> Any:
    """The value that a run was started with, also of an option that there was not yet."""
    option = _options().get(name)
    if name in before or option is None or option.before is None:
        return before.get(name)
    conditions = option.only_with.items()
    is_effective = not conditions or any(now.get(other) in values for other, values in conditions)
    return option.before if is_effective else now[name]
