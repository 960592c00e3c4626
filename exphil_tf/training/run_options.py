"""Options of a command that trains: its arguments, over those of the run that it goes on with.

Free of TensorFlow.
"""

import dataclasses
import secrets
from collections.abc import Callable
from pathlib import Path

from exphil_tf.foundation.config import Saved
from exphil_tf.foundation.errors import UserError
from exphil_tf.foundation.options import options
from exphil_tf.process.exit_codes import EXIT_INCOMPATIBLE, EXIT_NO_INPUT
from exphil_tf.training import run_folder
from exphil_tf.training.run_config import MAX_SEED
from exphil_tf.training.run_folder import RunLocation
from exphil_tf.training.train_config import Config


def find_run(parse: Callable[[Saved | None], Config]) -> tuple[Config, RunLocation]:
    """The options, and the run's folder.

    A run that goes on takes the options it was started with, under those of the arguments.

    Args:
      parse: makes a configuration of the command's arguments and of the options of an earlier run.

    Raises: UserError: if any option is wrong.
    """
    config = parse(None)
    prefix = config.backbone.backbone
    if config.filters.train_character is not None:
        prefix = f"{config.filters.train_character.replace(' ', '')}_{prefix}"
    target = run_folder.locate(config.run, prefix=prefix)
    if target.saved_yaml is not None:
        saved, foreign = run_folder.saved_options(target.run_dir, known=options(type(config)))
        config = parse(saved)
        if foreign:
            raise UserError(
                f"--resume: {target.run_dir} was started by another command or release (options: "
                f"{', '.join(foreign)})",
                f"Go on with it by the one that its {run_folder.CONFIG_JSON} names.",
                exit_code=EXIT_INCOMPATIBLE,
            )
    elif config.fine_tune.init_from is not None:
        config = _inherited(config, parse)
    return config, target


OWN_RUN = ("epochs", "max_steps", "seed", "name", "run_dir", *run_folder.RUN_CONTROL)
OWN_SCHEDULE = ("lr", "warmup_steps", "decay_steps")
"""Options that a run does not take over from the one whose weights it starts from."""


def _inherited(config: Config, parse: Callable[[Saved | None], Config]) -> Config:
    """The options of the run that `init_from` names, under those of the arguments.

    Raises: UserError: if there is no policy in it.
    """
    bundle = run_folder.find_bundle(Path(config.fine_tune.init_from or ""))
    saved = run_folder.options_of_bundle(bundle, known=options(type(config)))
    if saved is None:
        return config  # made elsewhere: its network must be given, and is checked
    base = parse(saved._replace(firm=frozenset()))  # this run is another: all may be changed
    own = {name: getattr(config.run, name) for name in OWN_RUN}
    schedule = {name: getattr(config.schedule, name) for name in OWN_SCHEDULE}
    has_data = config.data.data is not None or config.data.replays
    if not has_data:
        _check_inherited_data(config, base)
    return dataclasses.replace(
        base,
        data=config.data if has_data else base.data,
        fine_tune=config.fine_tune,
        run=dataclasses.replace(base.run, **own),
        schedule=dataclasses.replace(base.schedule, **schedule),
    )


def _check_inherited_data(config: Config, base: Config) -> None:
    """Refuses data of another run that is not here, under the option that was given."""
    places = [base.data.data] if base.data.data else base.data.replays
    missing = [place for place in places if "://" not in place and not Path(place).exists()]
    if missing or not places:
        what = f"{missing[0]} is not here" if missing else "it does not say which"
        raise UserError(
            f"--init-from {config.fine_tune.init_from}: wants the data of its run, and {what}",
            "Give some: --data DATASET or --replays DIR.",
            exit_code=EXIT_NO_INPUT,
        )


def with_seed(config: Config) -> Config:
    """The configuration with a seed, drawn if none was given."""
    if config.run.seed is not None:
        return config
    seeded = dataclasses.replace(config.run, seed=secrets.randbelow(MAX_SEED))
    return dataclasses.replace(config, run=seeded)
