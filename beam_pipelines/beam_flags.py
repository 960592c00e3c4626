"""Beam's own flags: which of ours are left to it, and which runner a job runs on.

FnApiRunner is named explicitly because Beam's default tries to download another runner first.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import re
from collections.abc import Iterator, Sequence

from apache_beam.options.pipeline_options import (
    DirectOptions,
    PipelineOptions,
    SetupOptions,
    StandardOptions,
)
from apache_beam.options.pipeline_options_validator import PipelineOptionsValidator
from apache_beam.runners.runner import PipelineRunner, create_runner

from exphil_tf.foundation.errors import UserError
from exphil_tf.process.exit_codes import EXIT_IO, EXIT_USAGE

DEFAULT_RUNNER = "FnApiRunner"
_DASK_RUNNER = "apache_beam.runners.dask.dask_runner.DaskRunner"
_OPTION = re.compile(r"(option): (\w+)")
_LOCAL_RUNNERS = ("FnApiRunner", "DirectRunner", "SwitchingDirectRunner", "BundleBasedDirectRunner")


def pipeline_options(flags: Sequence[str]) -> PipelineOptions:
    """Options of the given flags, with our default runner.

    Raises:
      UserError: if Beam doesn't know a flag or refuses a value.
    """
    require_known(flags)
    options = PipelineOptions(list(flags))
    standard = options.view_as(StandardOptions)
    if standard.runner in (None, "DirectRunner"):
        standard.runner = DEFAULT_RUNNER
    if _names_dask(flags):
        standard.runner = _DASK_RUNNER
        dask = options.view_as(_dask_options())
        if dask.npartitions is None and dask.partition_size is None:
            dask.partition_size = 1  # an element is a batch of files
    try:
        runner = create_runner(standard.runner)
    except (ValueError, ImportError) as error:
        raise UserError(f"--runner: {str(error).partition(' Valid')[0]}", "See --help.") from error
    _check_values(options, runner)
    options.view_as(SetupOptions).save_main_session = False
    return options


def _check_values(options: PipelineOptions, runner: PipelineRunner) -> None:
    """Refuses what Beam itself would refuse, but only when the job starts, and not as a sentence.

    Raises:
      UserError: names the option.
    """
    workers = options.view_as(DirectOptions).direct_num_workers
    if workers < 0:
        raise UserError(f"--direct_num_workers: want 0 (all cores) or more. Received: {workers}")
    found = PipelineOptionsValidator(options, runner).validate()
    if found:
        named = [_OPTION.sub(r"\1: --\2", text).rstrip(". ") for text in found]
        raise UserError(f"--runner={type(runner).__name__}: {'; '.join(named)}", "See --help.")


@contextlib.contextmanager
def naming_runner(options: PipelineOptions) -> Iterator[None]:
    """Within, what a runner lacks to start a job is a sentence about the runner.

    Raises:
      UserError: if it cannot be reached, fetched or used with these options.
    """
    try:
        yield
    except (NotImplementedError, ImportError) as error:
        raise _runner_error(options, error, exit_code=EXIT_USAGE) from error
    except Exception as error:
        module = type(error).__module__
        if str(error).startswith("Unable to fetch") or module.startswith(("google.", "grpc")):
            raise _runner_error(options, error, exit_code=EXIT_IO) from error
        raise


def _runner_error(options: PipelineOptions, error: Exception, *, exit_code: int) -> UserError:
    runner = options.view_as(StandardOptions).runner
    reason = f"{' '.join(str(error).split()):.300}"
    return UserError(f"--runner={runner}: {reason}", "See --help.", exit_code=exit_code)


def known_flags() -> list[str]:
    """Every flag of every option class of Beam."""
    return sorted(flag for flag in _parser()._option_string_actions if flag.startswith("--"))


def _names_dask(flags: Sequence[str]) -> bool:
    return any(flag.endswith("DaskRunner") for flag in flags)


def _dask_options() -> type[PipelineOptions]:
    """Dask's option class, whose flags Beam knows once it is imported."""
    try:
        import distributed  # noqa: F401
        from apache_beam.runners.dask.dask_runner import DaskOptions
    except ImportError as error:
        raise UserError("--runner: Dask isn't installed", "pip install exphil-tf[dask].") from error
    return DaskOptions


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        raise ValueError(f"Beam: {message}")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(add_help=False, allow_abbrev=False, conflict_handler="resolve")
    for options in PipelineOptions.__subclasses__():
        options._add_argparse_args(parser)  # type: ignore[attr-defined]
    return parser


def require_known(flags: Sequence[str], *, own_flags: Sequence[str] = ()) -> None:
    """Refuses flags that Beam doesn't know.

    Args:
      flags: what a command's own parser left over.
      own_flags: flags of that command, for the hint on a misspelt one.

    Raises:
      UserError: names the flag and the nearest known one.
    """
    if _names_dask(flags):
        _dask_options()
    try:
        _, unknown = _parser().parse_known_args(list(flags))
    except ValueError as error:
        raise UserError(str(error), "See --help.") from error
    if not unknown:
        return
    name = unknown[0].partition("=")[0]
    near = difflib.get_close_matches(name, [*own_flags, *known_flags()], n=1)
    hint = f"Did you mean {near[0]}? " if near else ""
    raise UserError(f"{name}: neither an option of this command nor of Beam", f"{hint}See --help.")


def is_local(options: PipelineOptions) -> bool:
    """Whether the job runs in this machine's processes under Beam's own runner."""
    return options.view_as(StandardOptions).runner in _LOCAL_RUNNERS


def beam_workers(options: PipelineOptions) -> int:
    """Beam workers that share this machine's cores."""
    direct = options.view_as(DirectOptions)
    if not is_local(options) or direct.direct_running_mode == "in_memory":
        return 1
    return max(1, direct.direct_num_workers)
