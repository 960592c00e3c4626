"""Which options of training are a run's own, may change, or make another run: by their kind."""

import functools
from collections.abc import Mapping
from typing import Any

from exphil_tf.foundation.kinds import Kind
from exphil_tf.foundation.options import Option, options
from exphil_tf.training.distill_config import DistillConfig
from exphil_tf.training.league_config import LeagueConfig
from exphil_tf.training.ppo_config import PpoConfig, SelfPlayConfig


@functools.cache
def _known() -> Mapping[str, Option]:
    """By name, of every command that trains: distilling has every option of training."""
    played = {**options(LeagueConfig), **options(SelfPlayConfig), **options(PpoConfig)}
    return {**played, **options(DistillConfig)}


def kind_of(name: str) -> Kind:
    """The kind of an option of any command that trains.

    Args:
      name: of the option, as a field or as a key of YAML; one that no command has counts as
        changing the weights.
    """
    option = _known().get(name.replace("-", "_"))
    return (option and option.kind) or Kind.TRAINING


def former_values() -> dict[str, Any]:
    """By name, of options whose default is not what runs had before there was the option."""
    return {n: o.former for n, o in _known().items() if o.former is not None}


def differing_options(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Names of options that make a run that goes on another run, sorted.

    What only the older options name decided nothing: it is of a backbone that was not chosen. What
    they lack is younger than the run, and was as it is by default, or as its `former` says.

    Args:
      before: what the run was started with, by name.
      now: what it would go on with.
    """
    return sorted(
        name
        for name in now
        if not kind_of(name).may_change and _started_with(name, before, now) != now[name]
    )


def _started_with(name: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> Any:
    """The value that a run was started with, also of an option that there was not yet."""
    option = _known().get(name)
    if name in before or option is None:
        return before.get(name)
    conditions = option.only_with.items()
    if conditions and not any(now.get(other) in values for other, values in conditions):
        return now[name]
    value = option.default if option.former is None else option.former
    return list(value) if isinstance(value, tuple) else value
