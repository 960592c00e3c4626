"""What became of the scripts, modules and tasks of the original trainer."""

from __future__ import annotations

from typing import NamedTuple


class FormerCommand(NamedTuple):
    """What a script of the original is here."""

    words: tuple[str, ...] = ()
    """The command, with the words that it needs to do the same; none if there is no such thing."""
    note: str = ""
    """What is different."""


FORMER_COMMANDS: dict[str, FormerCommand] = {
    "train_from_replays": FormerCommand(("train",)),
    "gpu_train": FormerCommand(("train",)),
    "eval_model": FormerCommand(("evaluate",)),
    "generate_soft_labels": FormerCommand(("generate_soft_labels",)),
    "train_distillation": FormerCommand(("distill",)),
    "export_onnx": FormerCommand(("export",), "writes a folder with the graph in it"),
    "export_numpy": FormerCommand(("export",), "the folder's weights.safetensors opens in numpy"),
    "quantize_onnx": FormerCommand(
        (), "a policy is quantized as it is exported: python -m exphil_tf.export RUN --output "
        "BUNDLE --precision int8-qat, int8-static or int8-dynamic",
    ),
    "convert_to_onnx": FormerCommand(
        (), "a policy is exported without a detour: python -m exphil_tf.export RUN --output BUNDLE"
    ),
    "train_kmeans": FormerCommand(("kmeans",)),
    "find_lr": FormerCommand(("find_lr",)),
    "scan_replays": FormerCommand(("scan",)),
    "validate_replays": FormerCommand(("scan", "--list")),
    "parse_replays": FormerCommand(("preprocess",)),
    "replay_converter": FormerCommand(("preprocess",)),
    "download_replays": FormerCommand(
        (), "nothing is downloaded: others' replays have licences and people's names in them; play "
        "some with Slippi, or make sample games: python -m exphil_tf.samples",
    ),
    "benchmark_architectures": FormerCommand(("benchmark", "architectures")),
    "gpu_benchmark": FormerCommand(("benchmark", "architectures")),
    "play_dolphin": FormerCommand(("play",)),
    "play_dolphin_async": FormerCommand(("play", "--async")),
    "melee_bridge": FormerCommand((), "the game is spoken to by python -m exphil_tf.play"),
    "train_ppo": FormerCommand(("ppo",)),
    "train_self_play": FormerCommand(("self_play",)),
    "registry": FormerCommand(("registry",)),
    "monitor": FormerCommand(("runs", "watch")),
    "fetch_replays": FormerCommand((), "it is scripts/fetch_replays.sh: python -m exphil_tf.sync "
        "down b2:BUCKET replays"),
    "auto_sync_checkpoints": FormerCommand((), "it is scripts/auto_sync_checkpoints.sh; a run "
        "copies itself: python -m exphil_tf.train --sync b2:BUCKET/checkpoints"),
    "setup_workspace": FormerCommand((), "it is scripts/setup_workspace.sh"),
    "runpod_entrypoint": FormerCommand((), "it is scripts/runpod_entrypoint.sh"),
    "setup": FormerCommand(("setup",)),
}  # fmt: skip
"""By name, without folder, suffix and `exphil.`."""
