"""Exports a trained policy as a folder that numpy and ONNX Runtime play, one call per frame.

    python -m exphil_tf.export RUN --output BUNDLE [--precision int8-qat]
    python -m exphil_tf.export info BUNDLE
    python -m exphil_tf.export umi BUNDLE --output bot.zip

The graph takes raw game values, the previous controller, memory and random numbers, and gives the
next controller and memory. Integer precisions are proven on ONNX Runtime's own optimised graph
before anything is written, and the export is played against the trained network on held-out games.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import tyro
from rich.console import Console

from exphil_tf.checkpoints.provenance import data_of
from exphil_tf.exporting.precisions import Precision
from exphil_tf.foundation.config import load
from exphil_tf.foundation.errors import UserError, run
from exphil_tf.foundation.kinds import Kind
from exphil_tf.foundation.tensorflow_import import quiet_import
from exphil_tf.melee.enums import character_from_name
from exphil_tf.process.console import command, make_console
from exphil_tf.process.exit_codes import EXIT_INTERNAL
from exphil_tf.records.manifest import MANIFEST, load_manifest
from exphil_tf.replays.players import key_of
from exphil_tf.training.run_folder import find_bundle

if TYPE_CHECKING:
    from exphil_tf.checkpoints.policy_bundle import PolicyInfo
    from exphil_tf.evaluation.parity_report import ParityReport
    from exphil_tf.exporting.convert import Converted
    from exphil_tf.inference.bundle import Bundle
    from models.policy import Policy

PROG = "python -m exphil_tf.export"
HELP_FORMS = ("info", "umi")
"""First words of the forms that have a `--help` of their own."""


@dataclass(frozen=True)
class ExportConfig:
    """Exports a trained policy for ONNX Runtime; `info BUNDLE` describes an exported one."""

    KIND: ClassVar = Kind.RESULT

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of a run, or of a policy bundle (a run's policy/)."""
    output: Path
    """Folder to write; an export that stands there is replaced."""
    precision: Precision = "float32"
    """int8-qat needs a run trained with --qat. int8-static takes ranges from games of --data,
    int8-dynamic is ONNX Runtime's own quantization, both of a policy trained in float."""
    form: Literal["step", "window"] = "step"
    """One frame with memory, or a window of frames from a game's start (to compare with)."""
    frame_delay: int | None = None
    """Frames between a state and the input that answers it, which the export is played with unless
    it is told otherwise; none means what the policy was made for."""
    player_style: str | None = None
    """Whose style it plays unless told otherwise: connect code, netplay name, tag or pseudonym."""
    desired_return: float | None = None
    """Return of the coming second that it is asked for unless told otherwise, in percent: dealt
    minus taken, a stock being 100."""
    batch_size: int = 0
    """Rows of every call; 0 leaves it open."""
    data: Path | None = None
    """Dataset for ranges (int8-static) and parity; none means the one it was trained on, if it is
    still there."""
    split: Literal["validation", "test", "train"] = "validation"
    """Games that parity is measured on."""
    parity_frames: int = 20_000
    """Frames that parity is measured on, rounded up to whole games; 0 leaves it out."""
    calibration_frames: int = 20_000
    """Frames of the train split that int8-static takes its ranges from."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the option that is out of range."""
        for name, low in (("batch_size", 0), ("parity_frames", 0), ("calibration_frames", 1)):
            if getattr(self, name) < low:
                raise ValueError(f"{name}: want at least {low}. Received: {getattr(self, name)}")


@dataclass(frozen=True)
class InfoConfig:
    """Describes an exported policy: inputs, outputs, operators, bytes, origin, how to run it."""

    KIND: ClassVar = Kind.RESULT

    bundle: Annotated[Path, tyro.conf.Positional]
    """Folder of an exported policy."""


@dataclass(frozen=True)
class UmiConfig:
    """Packs an exported policy as a bot for the live championship (UMI)."""

    KIND: ClassVar = Kind.RESULT

    bundle: Annotated[Path, tyro.conf.Positional]
    """Folder of an exported policy, of any number of rows."""
    output: Path
    """Zip to write: entry point, requirements, policy, and the modules that it needs."""
    name: str = "exphil-tf"
    """Of the bot."""
    characters: tuple[str, ...] = ()
    """That it plays, or ALL; none means that they are chosen at upload."""
    frame_delay: int | None = None
    """Input delay that it plays at; none means that it is chosen at upload."""
    temperature: float = 1.0
    """Of sampling; 0 takes the likeliest."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the option that is out of range."""
        if not self.name.isprintable() or not 1 <= len(self.name) <= 64:
            raise ValueError(f"name: want 1 to 64 characters. Received: {self.name!r:.80}")
        if not self.temperature >= 0:
            raise ValueError(f"temperature: want at least 0. Received: {self.temperature:g}")
        for name in self.characters:
            if name != "ALL":
                character_from_name(name)


def main(argv: Sequence[str]) -> int:
    """Exports, describes an export, or packs one as a bot."""
    console = make_console()
    if argv and argv[0] == "umi":
        return _umi(load(UmiConfig, argv[1:], prog=f"{PROG} umi"), console)
    if argv and argv[0] == "info":
        return _info(load(InfoConfig, argv[1:], prog=f"{PROG} info"), console)
    config = load(ExportConfig, argv, prog=PROG)
    source = find_bundle(config.run)
    from exphil_tf.inference.bundle import require_room  # imports ONNX Runtime

    require_room(config.output)
    with quiet_import():
        from exphil_tf.checkpoints.policy_bundle import load_policy
        from exphil_tf.exporting import convert  # noqa: F401 - imports TensorFlow and tf2onnx

    policy, info = load_policy(source)
    info, told = _with_defaults(config, info)
    bundle, report = _export(config, console, policy=policy, info=info, source=source, told=told)
    console.print(f"wrote {bundle.folder}", markup=False)
    if report is not None and not report.is_met:
        console.print("note: not all that was asked of it holds; see above", markup=False)
    return 0


def _info(config: InfoConfig, console: Console) -> int:
    from exphil_tf.exporting import describe
    from exphil_tf.inference.bundle import open_bundle

    describe.show(console, open_bundle(config.bundle))
    return 0


def _umi(config: UmiConfig, console: Console) -> int:
    from exphil_tf.agents.umi_zip import BotFacts, write_bot

    names = config.characters
    characters = names and ("ALL" if "ALL" in names else tuple(map(_arena_name, names)))
    facts = BotFacts(config.name, characters or None, config.frame_delay, config.temperature)
    files = write_bot(config.bundle, config.output, facts)
    console.print(f"wrote {config.output} ({len(files)} files)", markup=False)
    return 0


def _arena_name(text: str) -> str:
    return character_from_name(text).name


def _with_defaults(config: ExportConfig, info: PolicyInfo) -> tuple[PolicyInfo, dict[str, int]]:
    """The policy at the delay that was asked for, and the ids that it is told by default.

    Raises: UserError: if it cannot be told that.
    """
    from exphil_tf.evaluation.policy_conditions import conditions_of

    told = conditions_of(info).ids(
        frame_delay=config.frame_delay,
        player_style=config.player_style,
        desired_return=config.desired_return,
        key=key_of(os.environ),
    )
    if config.frame_delay is not None:
        info = replace(info, delay=replace(info.delay, frames=config.frame_delay))
    return info, told


def _export(
    config: ExportConfig,
    console: Console,
    *,
    policy: Policy,
    info: PolicyInfo,
    source: Path,
    told: Mapping[str, int],
) -> tuple[Bundle, ParityReport | None]:
    """Lowers, proves, compares and writes."""
    from exphil_tf.evaluation import parity_report
    from exphil_tf.exporting import publishing

    data = _dataset(config, info)
    network = _network(config, console, policy=policy, info=info, data=data)
    bundle = _bundle(config, console, network=network, info=info, source=source, told=told)
    report = None
    if config.form == "step" and config.parity_frames and data is not None:
        with console.status("playing held-out games"):
            report = _parity(config, bundle, policy=policy, network=network, data=data, info=info)
        parity_report.show(console, report)
    else:
        console.print(f"note: parity not measured ({_no_parity(config, data)})", markup=False)
    publishing.publish(bundle, report.to_dict() if report is not None else {"forms": {}})
    return bundle, report


def _network(
    config: ExportConfig, console: Console, *, policy: Policy, info: PolicyInfo, data: Path | None
) -> Policy:
    """The network that the graph is traced from: quantized for int8-qat and int8-static.

    Raises: UserError: if the run cannot give the precision.
    """
    from exphil_tf.checkpoints.policy_bundle import requantized
    from models.policy_config import QuantizationConfig

    is_quantized = policy.config.quantization.qat
    if config.precision == "int8-qat":
        if not is_quantized:
            train = command("python -m exphil_tf.train --qat --init-from", config.run)
            raise UserError(
                f"{config.run}: int8-qat needs a run trained with --qat",
                f"Fine-tune it: {train} Or, without training, choose --precision int8-static.",
            )
        return policy
    plain = requantized(policy, QuantizationConfig()) if is_quantized else policy
    if config.precision != "int8-static":
        return plain
    if data is None:
        raise UserError(
            "int8-static takes its ranges from games, and the run's dataset is not there",
            "Give a dataset: --data DATASET.",
        )
    from exphil_tf.exporting.games import calibrated, calibration_games

    with console.status("observing activations"):
        games = calibration_games(data, info, frames=config.calibration_frames)
        return calibrated(plain, games)


def _bundle(
    config: ExportConfig,
    console: Console,
    *,
    network: Policy,
    info: PolicyInfo,
    source: Path,
    told: Mapping[str, int],
) -> Bundle:
    """The graph at the chosen precision, with its configuration, in memory.

    Raises: UserError: if ONNX Runtime would compute a product in float (70), or a window has a
      loop.
    """
    from exphil_tf.exporting import convert, publishing
    from exphil_tf.exporting.onnx.graph import NestedGraphError
    from exphil_tf.exporting.onnx.int8 import NotOnGrid
    from exphil_tf.exporting.verify_int8 import NotInteger

    try:
        with console.status("tracing"):
            converted = convert.convert_policy(
                network,
                config.precision,
                batch_size=config.batch_size or None,
                frames=info.window_size if config.form == "window" else 0,
            )
    except NestedGraphError as error:
        backbone = network.config.backbone.backbone
        raise UserError(
            f"--form window: {backbone} loops over frames, which is not exported ({error})",
            "Export a step: --form step.",
        ) from error
    except (NotOnGrid, NotInteger) as error:
        raise UserError(
            f"{config.precision}: {error}",
            "Nothing was written; please report it.",
            exit_code=EXIT_INTERNAL,
        ) from error
    bundle = publishing.assemble(
        config.output,
        converted,
        policy=network,
        info=info,
        precision=config.precision,
        batch_size=config.batch_size or None,
        provenance=publishing.describe_source(source, info),
        told=told,
    )
    console.print(_line(converted, len(bundle.model)), markup=False)
    return bundle


def _parity(
    config: ExportConfig,
    bundle: Bundle,
    *,
    policy: Policy,
    network: Policy,
    data: Path,
    info: PolicyInfo,
) -> ParityReport:
    from exphil_tf.exporting.games import check_parity, parity_games

    games = parity_games(data, info, split=config.split, frames=config.parity_frames)
    return check_parity(policy, bundle, games, network=network)


def _dataset(config: ExportConfig, info: PolicyInfo) -> Path | None:
    """The dataset to look at: the one given, or that of the training if it still lies there.

    Raises: ManifestError: if there is no sound one where one was given.
    """
    if config.data is not None:
        load_manifest(config.data)
        return config.data
    folder = data_of(info.provenance).get("folder")
    if not isinstance(folder, str) or not (Path(folder) / MANIFEST).is_file():
        return None
    return Path(folder)


def _no_parity(config: ExportConfig, data: Path | None) -> str:
    if config.form == "window":
        return "a window has no memory to carry"
    return "no dataset; give --data" if data is None else "--parity-frames 0"


def _line(converted: Converted, size: int) -> str:
    """Nodes before and after, and what was proven."""
    nodes = len(converted.model.graph.node)
    text = f"{converted.traced_nodes} nodes traced, {nodes} left, {size:,} bytes"
    if converted.runtime_graph is None:
        return text
    products = ", ".join(
        f"{count} {name}" for name, count in converted.runtime_graph.integer.items()
    )
    return f"{text}; integer products in ONNX Runtime's graph and in a profiled run: {products}"


if __name__ == "__main__":
    run(main, sys.argv[1:], is_product=True)
