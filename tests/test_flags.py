"""Every flag of the train command changes the resolved options and the thing that it names.

`TABLE` has one row per option: flags that set the stage, the flag itself, and a *probe* that looks
at the thing. The probe's answer must differ with the flag. An option without a row fails the test,
so no flag can be added that does nothing.
"""

import dataclasses
import functools
import io
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from rich.console import Console

from beam_pipelines.cached_dataset import DatasetRequest
from exphil_tf import train
from exphil_tf.checkpoints.policy_bundle import PolicyInfo, save_policy
from exphil_tf.cloud.address import parse
from exphil_tf.data import input as data_input
from exphil_tf.data.sampling import describe
from exphil_tf.features.packing import ACTION_BYTES, ROW_BYTES
from exphil_tf.foundation.config import PRESETS, load, preset_names, to_dict
from exphil_tf.foundation.errors import UserError
from exphil_tf.foundation.options import options
from exphil_tf.preprocessing import rejects
from exphil_tf.records.manifest import load_manifest
from exphil_tf.replays.player_registry import PlayerRegistry
from exphil_tf.replays.players import KnownPlayers
from exphil_tf.training import batch_fit, goodput, losses, run_folder
from exphil_tf.training.compile_cache import kept_compilations
from exphil_tf.training.dataset import Dataset
from exphil_tf.training.devices import parse_devices
from exphil_tf.training.early_stopping import Progress
from exphil_tf.training.horizon import Horizon
from exphil_tf.training.imitation_setup import imitation_setup
from exphil_tf.training.loss_term import StepOutputs
from exphil_tf.training.metric import Metric
from exphil_tf.training.optimizers import build_optimizer
from exphil_tf.training.plan import horizon_of
from exphil_tf.training.player_table import make_player_table
from exphil_tf.training.registry import Registry
from exphil_tf.training.run_folder import RunLocation
from exphil_tf.training.schedules import Schedule
from exphil_tf.training.train_config import TrainConfig, resolve
from exphil_tf.training.updater import Updater
from exphil_tf.training.value_term import make_value_term
from exphil_tf.training.win_fit import WinView
from models.layers.embedding_layout import layout
from models.policy import Policy
from models.policy_inputs import policy_inputs, unroll
from tests import fake_wandb
from tests.tiny_learner import LineLearner, run_in, setup_of

SMALL = ("--hidden", "8", "--head-hidden", "4", "--action-dim", "4")
MLP = (*SMALL, "--backbone", "mlp")
MAMBA = (*SMALL, "--backbone", "mamba", "--num-layers", "1")
JAMBA = (*SMALL, "--backbone", "jamba", "--num-layers", "3", "--num-heads", "2")
ATTENTION = (*SMALL, "--backbone", "sliding_window", "--num-layers", "1", "--num-heads", "2")
BATCH, TIME = 2, 6
DATASET = Path(tempfile.gettempdir()) / f"exphil-flags-{os.getpid()}"
"""A dataset of five small chunks."""


NO_DATASET = "replays-alone"


def parsed(*flags: str) -> TrainConfig:
    data = [] if NO_DATASET in flags else ["--data", "dataset"]
    return load(TrainConfig, [*data, *flags], env={}, presets=PRESETS)


# -- Probes: what the thing that a flag names says -------------------------------------------------


def preprocessing(config):
    """What preprocessing of --replays would be asked for."""
    return to_dict(requested(config).preprocessing(output="x"))


def requested(config):
    """The dataset that the command would open or make."""
    return DatasetRequest(config.data, config.input, config.filters, config.splits, config.variants)


def rejected(config):
    """What is said of a dataset's damaged replay, and whether a file says it too."""
    printed = io.StringIO()
    log = config.data.rejects.error_log
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        lines = [{"file": "a.slp", "reason": "crashed"}, {"file": "b.slp", "reason": "cpu"}]
        (folder / "rejected.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
        asked = dataclasses.replace(config.data.rejects, error_log=log and folder / log)
        try:
            rejects.report(folder, asked, Console(file=printed))
        except UserError as error:
            printed.write(str(error))
        return printed.getvalue(), log and (folder / log).read_text().splitlines()


def grid(config):
    """How games are cut into unrolls, and with which delays."""
    return config.input.grid(chunk=2048, overlap=256, training=True)


def fake_batch():
    rng = np.random.default_rng(0)
    actions = rng.integers(0, 40, (BATCH, TIME + 1, ACTION_BYTES)).astype(np.uint8)
    return {
        "state": tf.zeros((BATCH, TIME, ROW_BYTES), tf.uint8),
        "actions": tf.constant(actions),
        "weight": tf.ones((BATCH, TIME)),
        "is_resetting": tf.repeat(tf.range(TIME)[None] == 0, BATCH, 0),
        "name": tf.zeros(BATCH, tf.int32),
    }


def network(config):
    """Weights by shape and, as some options have none, the operations of a training unroll."""
    policy = Policy(config.policy(), seed=0)
    inputs = policy_inputs(fake_batch(), policy.config.head.codec)

    def forward():
        with tf.GradientTape() as tape:
            loss = sum(tf.reduce_sum(v) for v in unroll(policy, inputs, training=True).values())
        return tape.gradient(loss, [v.value for v in policy.trainable_variables])

    graph = tf.function(forward, autograph=False).get_concrete_function().graph
    operations = sorted(f"{o.type} {[t.shape for t in o.outputs]}" for o in graph.get_operations())
    return [tuple(v.shape) for v in policy.weights], operations


def shapes(config):
    """Weights by shape."""
    return [tuple(v.shape) for v in Policy(config.policy(), seed=0).weights]


def loss(config):
    """The optimised loss of fixed logits."""
    rng = np.random.default_rng(0)
    sizes = config.policy().head.codec.sizes
    logits = {n: rng.normal(size=(1, 9, k)).astype(np.float32) for n, k in sizes.items()}
    targets = {n: np.ones((1, 9), np.int32) for n in sizes} | {
        "buttons": np.ones((1, 9, 8), np.int32)
    }
    weight = losses.button_weights(config.loss.button_pos_weight, [0.1] * 8)
    found = losses.optimised(logits, targets, config=config.loss, pos_weight=weight)
    return np.round(np.asarray(found), 4).tolist()


def learning_rate(config):
    """The schedule over 40 steps."""
    schedule = Schedule(config.schedule, total_steps=40)
    return [round(float(schedule(step)), 9) for step in range(40)]


def update(config):
    """Weights, averages and state after two updates (and four accumulations) of a kernel."""
    import keras

    variables = [keras.Variable(np.full((2, 2), 0.5, np.float32), name="kernel")]
    optimizer = build_optimizer(config.optimizer, 0.1, variables)
    updater = Updater(variables, optimizer, config.optimizer)
    for scale in (1.0, -2.0):
        gradients = [tf.constant([[3.0, 1.0], [-2.0, 0.5]]) * scale]
        amounts = {"loss": tf.constant(1.0), "weight": tf.constant(1.0)}
        if updater.is_accumulating:
            updater.accumulate(gradients, **amounts)
        else:
            updater.update(gradients, **amounts)
    values = {name: np.round(v.numpy(), 6).tolist() for name, v in updater.state().items()}
    return values, np.round(variables[0].numpy(), 6).tolist()


def stopping(config):
    """What becomes of a sequence of losses."""
    progress, seen, nll = Progress(), [], Metric("nll")
    for step, value in enumerate([3.0, 2.995, 2.994, 2.993, 2.9925, 2.992, 2.9919, 2.5]):
        progress = progress.after(value, step=step, metric=nll, config=config.stopping)
        seen.append((progress.waited, progress.is_over(config.stopping)))
    return seen, config.stopping.save_best


def horizon(config):
    """Length of a run on 1000 unrolls."""
    return horizon_of(1000, run=config.run, accumulation_steps=config.optimizer.accumulation_steps)


def on_devices(config):
    """The devices that a run learns on."""
    return parse_devices(config.run.devices)


def folder(config):
    """The folder that a run would go to."""
    location = run_folder.locate(config.run, prefix="x")
    return location.is_resuming, str(location.run_dir)[:8]


def batches(config):
    """Bytes and weights of the first batches of the small dataset."""
    build = tf.autograph.experimental.do_not_convert(data_input.build)
    data = build(DATASET, config.input, split="train", batch_size=8, seed=3, training=True)
    return [(b["state"].tobytes(), b["weight"].tobytes()) for b in data.take(3).as_numpy_iterator()]


def embedded(config):
    """Where each part of the dense vector lies."""
    return layout(config.policy().embedding)


def told(config):
    """What the first training batches of the small dataset tell besides frames."""
    build = tf.autograph.experimental.do_not_convert(data_input.build)
    source = config.imitation().input
    data = build(DATASET, source, split="train", batch_size=8, seed=3, training=True)
    return [(b["name"].tobytes(), b["return"].tobytes()) for b in data.take(3).as_numpy_iterator()]


def players(config):
    """The policy's player ids for those of the small dataset."""
    table = make_player_table(config, load_manifest(DATASET), RunLocation(Path("x"), False))
    return table.ids


def opened(config):
    """What an imitation run on the small dataset trains with."""
    return imitation_setup(config.imitation(), Dataset(DATASET, load_manifest(DATASET)))


def initial_weights(config):
    """First weights."""
    with opened(config) as setup:
        return [float(np.sum(v.numpy())) for v in setup.learner.policy.trainable_variables]


def started(config):
    """Weights and ranges before the first update, and when ranges freeze."""
    with opened(config) as setup:
        setup.start()
        policy = setup.learner.policy
        return [v.numpy().tolist() for v in policy.weights], setup.learner.options.freeze_step


def valued(config):
    """Sizes of the value head, its errors on frames that all gain alike, and its loss."""
    policy = Policy(config.policy(), seed=0)
    term = make_value_term(config.value, policy, seed=0)
    inputs = policy_inputs(fake_batch(), policy.config.head.codec)
    time = tf.repeat(tf.range(TIME)[None], BATCH, 0)
    percent = tf.cast(time[..., None] * [0, 10], tf.float32)
    inputs = inputs._replace(columns=inputs.columns | {"frame": time, "p.percent": percent})
    hidden = tf.ones((BATCH, TIME, term.head.width))
    outputs = StepOutputs(fake_batch(), inputs, hidden, {})
    loss, sums = term.add(tf.zeros((BATCH, TIME)), outputs, training=True)
    shapes = [tuple(v.shape) for v in term.variables]
    return shapes, loss.numpy().tolist(), {name: float(v) for name, v in sums.items()}


def bundled(config):
    """What is learnt for training alone, and the files of the policy's bundle."""
    with opened(config) as setup, tempfile.TemporaryDirectory() as place:
        setup.export(Path(place) / "policy", {})
        files = sorted(path.name for path in (Path(place) / "policy").iterdir())
        return sorted(setup.learner.variables().training), files


def described(config):
    """What the policy's bundle says of it, by name; of games of which one was won."""
    columns = {"p.stock": np.array([[1, 2]]), "p.percent": np.zeros((1, 2))}
    won = [WinView(0, columns, won=True)]
    with (
        opened(config) as setup,
        tempfile.TemporaryDirectory() as place,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr("exphil_tf.training.imitation_setup.win_views", lambda *_, **__: won)
        setup.export(Path(place) / "policy", {})
        return sorted(json.loads((Path(place) / "policy" / "config.json").read_bytes()))


def compiled(config):
    """Whether the step is compiled with XLA."""
    with opened(config) as setup:
        return setup.learner.options.jit


def precision(config):
    """The arithmetic of layers."""
    with opened(config) as setup:
        return setup.learner.policy.backbone.compute_dtype


def kernels(config):
    """Whether deterministic kernels are asked for."""
    asked: list[str] = []
    with pytest.MonkeyPatch.context() as p:
        enable = "enable_op_determinism"
        p.setattr(tf.config.experimental, enable, lambda: asked.append(enable))
        with opened(config):
            return asked


def kept(config):
    """What the run of a tiny learner leaves behind: checkpoints, lines of log and console."""
    printed = io.StringIO()
    with tempfile.TemporaryDirectory() as place:
        run = run_in(place, run=config.run, resume=False)
        console = Console(file=printed, width=200)
        run.train(lambda: setup_of(LineLearner(), horizon=Horizon(4.0, 32)), console)
        lines = (run.location.run_dir / "log.jsonl").read_text().splitlines()
        events = [json.loads(line) for line in lines]
        return (
            sorted(path.name for path in run.location.run_dir.glob("checkpoints/step-*")),
            [(event["event"], event["step"]) for event in events],
            len(printed.getvalue().splitlines()),
        )


def traced(config):
    """Whether a run leaves a trace of its updates, and tells where the time went."""
    printed = io.StringIO()
    with tempfile.TemporaryDirectory() as place:
        run = run_in(place, run=config.run, resume=False)
        run.train(lambda: setup_of(LineLearner()), Console(file=printed, width=200))
        found = list(Path(place).rglob("*.xplane.pb"))
        return bool(found), "Where the time went" in printed.getvalue()


def sent_to_wandb(config):
    """The project that a tiny learner's run is sent to, and the name that it was given there."""
    sent: list[dict] = []
    with pytest.MonkeyPatch.context() as p, tempfile.TemporaryDirectory() as place:
        p.setenv("PYTHONPATH", fake_wandb.install(Path(place)))
        p.setenv("WANDB_MODE", "offline")
        run_in(place, run=config.run, resume=False).train(lambda: setup_of(LineLearner()))
        for path in Path(place).rglob("offline.jsonl"):
            sent += [json.loads(line) for line in path.read_text().splitlines()[:1]]
    return [(one["project"], one["name"] if one["name"] != one["id"] else None) for one in sent]


def command(config):
    """Whether the command trains, and what it says to a folder that holds a run."""
    with tempfile.TemporaryDirectory() as place:
        run_dir = Path(place) / "run"
        flags = [*MLP, "--data", str(DATASET), "--run-dir", str(run_dir), "--max-steps", "1"]
        flags += ["--no-jit", "--no-deterministic", "--batch-size", "4", "--verbosity", "0"]
        if config.run.dry_run:
            train.main([*flags, "--dry-run"])
            return run_dir.exists()
        train.main(flags)
        try:
            train.main([*flags, *["--overwrite"] * config.run.overwrite])
        except UserError as error:
            return str(error)
        return run_dir.exists()


def backed_up(config):
    """Where the run goes that was there before."""
    with tempfile.TemporaryDirectory() as place:
        run_in(place, run=config.run, resume=False).train(lambda: setup_of(LineLearner()))
        made = run_folder.claim(
            RunLocation(Path(place), is_resuming=False), overwrite=True,
            backup_count=config.run.backup_count,
        )  # fmt: skip
        shutil.rmtree(made or place, ignore_errors=True)
        return made is None


def registered(config):
    """Names of the policies that a run's end leaves in the registry."""
    with tempfile.TemporaryDirectory() as place:
        run_dir = Path(place) / "mine"
        (run_dir / "policy").mkdir(parents=True)
        (run_dir / "policy/weights.safetensors").write_bytes(b"w")
        facts = {"config": to_dict(config), "results": {"steps": 3, "best_nll": 1.5}}
        run_in(run_dir, run=config.run)._register(facts)
        return [(one.name, one.metrics) for one in Registry(Path(place)).entries()]


def fitted(config):
    """The batch size, were each unroll to take 1 MiB beside the 100 of the process."""

    def trial(asked, dataset):
        size = asked.run.batch_size
        return batch_fit.Trial(size, 100 << 20, size << 20)

    with pytest.MonkeyPatch.context() as p:
        p.setattr(batch_fit, "_in_a_process", trial)
        p.setattr(batch_fit, "_gpu_bytes", lambda: 1 << 30)
        dataset = Dataset(DATASET, load_manifest(DATASET))
        return batch_fit.with_batch_size(config, dataset, is_resuming=False)[0].run.batch_size


def compiler_flags(config):
    """Whether TensorFlow is told to keep what it compiles."""
    environ = {}
    with tempfile.TemporaryDirectory() as place, pytest.MonkeyPatch.context() as p:
        p.setenv("XDG_CACHE_HOME", place)
        with kept_compilations(environ, is_wanted=config.run.keeps_compilations):
            return list(environ)


def comparing(config):
    """Whether a byte that changed behind the manifest's back is found."""
    with tempfile.TemporaryDirectory() as place:
        copy = Path(shutil.copytree(DATASET, Path(place) / "copy"))
        shard = next(copy.glob("train-original-*"))
        data = bytearray(shard.read_bytes())
        data[len(data) // 2] ^= 1
        shard.write_bytes(data)
        there = dataclasses.replace(config.data, data=str(copy))
        request = requested(dataclasses.replace(config, data=there))
        try:
            request.open(Console(quiet=True), environ={}, dry_run=False)
        except UserError:
            return "found"
        return "not found"


class Row(NamedTuple):
    probe: Any
    flags: tuple[str, ...]
    stage: tuple[str, ...] = ()


def row(probe, flags, stage=()):
    return Row(
        probe, tuple(flags.split()), tuple(stage.split() if isinstance(stage, str) else stage)
    )


STYLES = "--learn-player-styles"
RETURNS = "--condition-on-return"
AUGMENT = "--augment --augment-from variants"
SEEDED = (*MLP, "--seed", "1", "--batch-size", "4", "--window-size", "30")
RANGES = (*SEEDED, "--qat", "--qat-activations", "moving_average")
TABLE: dict[str, Row] = {
    # Data.
    "replays": row(preprocessing, "--replays a b"),
    "data": row(lambda c: c.data.data, "--data elsewhere"),
    "verify_data": row(comparing, "--verify-data sizes", "--data d"),
    "datasets_dir": row(
        lambda c: c.data.datasets_dir, "--datasets-dir elsewhere", ("--replays", NO_DATASET)
    ),
    "max_files": row(preprocessing, "--max-files 5", "--replays a"),
    "num_noisy_variants": row(
        preprocessing, "--num-noisy-variants 3", "--replays a --augment --augment-from variants"
    ),
    "fail_fast": row(rejected, "--fail-fast"),
    "show_errors": row(rejected, "--no-show-errors"),
    "error_log": row(rejected, "--error-log errors.txt"),
    "show_quality_stats": row(rejected, "--show-quality-stats"),
    "characters": row(preprocessing, "--characters fox falco", "--replays a"),
    "stages": row(preprocessing, "--stages battlefield", "--replays a"),
    "train_character": row(preprocessing, "--train-character mewtwo", "--replays a"),
    "player_port": row(preprocessing, "--player-port 2", "--replays a"),
    "dual_port": row(preprocessing, "--no-dual-port", "--replays a"),
    "include_cpus": row(preprocessing, "--include-cpus", "--replays a"),
    "min_frames": row(preprocessing, "--min-frames 60", "--replays a"),
    "max_frames": row(preprocessing, "--max-frames 6000", "--replays a"),
    "min_version": row(preprocessing, "--min-version 3.0", "--replays a"),
    "min_quality": row(preprocessing, "--min-quality 50", "--replays a"),
    "skip_duplicates": row(preprocessing, "--no-skip-duplicates", "--replays a"),
    "val_split": row(preprocessing, "--val-split 0.3", "--replays a"),
    "test_split": row(preprocessing, "--test-split 0.3", "--replays a"),
    "split_salt": row(preprocessing, "--split-salt other", "--replays a"),
    # Input: what is drawn is tested in tests/data; here that the options get there.
    "window_size": row(grid, "--window-size 90"),
    "carry_state": row(batches, "--carry-state"),
    "cursors_per_row": row(batches, "--cursors-per-row 1", "--carry-state"),
    "stride": row(grid, "--stride 7"),
    "burn_in": row(grid, "--burn-in 10"),
    "loss_frames": row(grid, "--loss-frames last"),
    "frame_delay": row(grid, "--frame-delay 3"),
    "frame_delay_augment": row(grid, "--frame-delay-augment"),
    "frame_delay_min": row(grid, "--frame-delay-min 2", "--frame-delay-augment"),
    "frame_delay_max": row(grid, "--frame-delay-max 9", "--frame-delay-augment"),
    "online_robust": row(grid, "--online-robust"),
    "augment": row(batches, "--augment"),
    "mirror_prob": row(batches, "--mirror-prob 0", "--augment"),
    "noise_prob": row(batches, "--noise-prob 1", "--augment"),
    "noise_scale": row(batches, "--noise-scale 5", "--augment --noise-prob 1"),
    "augment_from": row(preprocessing, "--augment-from variants", "--replays a --augment"),
    "balance_characters": row(batches, "--balance-characters"),
    "block_records": row(batches, "--block-records 2"),
    "shuffle_records": row(batches, "--shuffle-records 2", "--block-records 2"),
    "shuffle_files": row(lambda c: c.input.shuffle_files, "--shuffle-files 1"),
    # Network.
    "temporal": row(lambda c: resolve(c)[0].policy(), "--no-temporal"),
    "kmeans_centers": row(lambda c: c.policy().head.codec, "--kmeans-centers KMEANS"),
    "stage_mode": row(shapes, "--stage-mode learned", MLP),
    "action_mode": row(
        shapes, "--action-mode one_hot", "--backbone mlp --hidden 8 --head-hidden 4"
    ),
    "character_mode": row(shapes, "--character-mode one_hot", MLP),
    "nana_mode": row(shapes, "--nana-mode enhanced", MLP),
    "jumps_normalized": row(shapes, "--no-jumps-normalized", MLP),
    "num_player_names": row(shapes, "--num-player-names 8", (*MLP, "--learn-player-styles")),
    "learn_player_styles": row(shapes, "--learn-player-styles", MLP),
    "with_projectiles": row(shapes, "--no-with-projectiles", MLP),
    "with_items": row(shapes, "--with-items", MLP),
    "with_prev_action": row(shapes, "--no-with-prev-action", MLP),
    "with_stage_state": row(shapes, "--no-with-stage-state", MLP),
    "qat": row(network, "--qat", MLP),
    "qat_activations": row(shapes, "--qat-activations moving_average", (*MLP, "--qat")),
    "quantize_embeddings": row(network, "--no-quantize-embeddings", (*MLP, "--qat")),
    "init_from": row(started, "--init-from BUNDLE", SEEDED),
    "calibration_batches": row(started, "--calibration-batches 3", RANGES),
    "freeze_ranges": row(started, "--freeze-ranges 0.25", RANGES),
    "action_dim": row(shapes, "--action-dim 6", MLP),
    "character_dim": row(shapes, "--character-dim 6", MLP),
    "stage_dim": row(shapes, "--stage-dim 6", (*MLP, "--stage-mode", "learned")),
    "item_type_dim": row(shapes, "--item-type-dim 3", MLP),
    "backbone": row(shapes, "--backbone lstm", MLP),
    "hidden": row(shapes, "--hidden 6 4", MLP),
    "num_layers": row(shapes, "--num-layers 2", MAMBA),
    "state_size": row(shapes, "--state-size 5", MAMBA),
    "expand_factor": row(shapes, "--expand-factor 3", MAMBA),
    "conv_size": row(shapes, "--conv-size 3", MAMBA),
    "mamba_heads": row(shapes, "--mamba-heads 4", (*SMALL, "--backbone", "mamba2")),
    "attention_every": row(shapes, "--attention-every 3", JAMBA),
    "num_heads": row(network, "--num-heads 4", ATTENTION),
    "qk_layernorm": row(network, "--no-qk-layernorm", ATTENTION),
    "chunked_attention": row(network, "--chunked-attention --chunk-size 2", ATTENTION),
    "chunk_size": row(network, "--chunk-size 3", (*ATTENTION, "--chunked-attention")),
    "gradient_checkpoint": row(network, "--gradient-checkpoint", MAMBA),
    "checkpoint_every": row(
        network,
        "--checkpoint-every 2",
        (*SMALL, "--backbone", "mamba", "--num-layers", "2", "--gradient-checkpoint"),
    ),
    "memory_efficient_attention": row(
        network,
        "--memory-efficient-attention",
        (*ATTENTION, "--chunked-attention", "--chunk-size", "2"),
    ),
    "dropout": row(network, "--dropout 0.5", MLP),
    "layer_norm": row(network, "--layer-norm", MLP),
    "residual": row(network, "--residual", MLP),
    "truncate_bptt": row(network, "--truncate-bptt 2", MAMBA),
    "head": row(shapes, "--head independent", MLP),
    "axis_buckets": row(shapes, "--axis-buckets 33", MLP),
    "shoulder_buckets": row(shapes, "--shoulder-buckets 4", MLP),
    "head_hidden": row(shapes, "--head-hidden 6", MLP),
    "prev_action_buckets": row(shapes, "--no-prev-action-buckets", MLP),
    # Optimisation.
    "lr": row(learning_rate, "--lr 0.5"),
    "lr_schedule": row(learning_rate, "--lr-schedule linear"),
    "warmup_steps": row(learning_rate, "--warmup-steps 5"),
    "warmup_share": row(learning_rate, "--warmup-share 0.5"),
    "decay_steps": row(learning_rate, "--decay-steps 20", "--lr-schedule linear"),
    "restart_period": row(learning_rate, "--restart-period 9", "--lr-schedule cosine_restarts"),
    "restart_mult": row(
        learning_rate, "--restart-mult 3", "--lr-schedule cosine_restarts --restart-period 9"
    ),
    "optimizer": row(update, "--optimizer sgd"),
    "weight_decay": row(update, "--weight-decay 0.5", "--optimizer adamw"),
    "max_grad_norm": row(update, "--max-grad-norm 0.1", "--optimizer sgd"),
    "accumulation_steps": row(update, "--accumulation-steps 2"),
    "ema": row(update, "--no-ema"),
    "ema_decay": row(update, "--ema-decay 0.01"),
    "early_stopping": row(stopping, "--early-stopping"),
    "patience": row(stopping, "--patience 2", "--early-stopping"),
    "min_delta": row(stopping, "--min-delta 0.001", "--early-stopping"),
    "save_best": row(stopping, "--no-save-best"),
    "label_smoothing": row(loss, "--label-smoothing 0.1"),
    "focal_loss": row(loss, "--focal-loss"),
    "focal_gamma": row(loss, "--focal-gamma 1", "--focal-loss"),
    "button_pos_weight": row(loss, "--button-pos-weight auto"),
    # What it is told.
    "condition_on_delay": row(embedded, "--condition-on-delay"),
    "condition_on_return": row(embedded, RETURNS),
    "return_edges": row(embedded, "--return-edges -5 0 5", RETURNS),
    "return_half_life": row(told, "--return-half-life 5", RETURNS),
    "condition_dropout": row(told, "--condition-dropout 0.9", RETURNS),
    "player_registry": row(players, "--player-registry REGISTRY", STYLES),
    "min_player_games": row(players, "--min-player-games 99", STYLES),
    # Values.
    "win_probability": row(described, "--win-probability", SEEDED),
    "value_head": row(bundled, "--value-head", SEEDED),
    "value_hidden": row(valued, "--value-hidden 5 3", (*SEEDED, "--value-head")),
    "value_half_life": row(valued, "--value-half-life 60", (*SEEDED, "--value-head")),
    "value_weight": row(valued, "--value-weight 0.5", (*SEEDED, "--value-head")),
    "value_in_bundle": row(bundled, "--value-in-bundle", (*SEEDED, "--value-head")),
    # The run.
    "epochs": row(horizon, "--epochs 3"),
    "min_steps": row(horizon, "--min-steps 5000"),
    "max_steps": row(horizon, "--max-steps 3"),
    "validate_every_steps": row(horizon, "--validate-every-steps 7"),
    "batch_size": row(horizon, "--batch-size 5"),
    "auto_batch_size": row(fitted, "--auto-batch-size"),
    "auto_batch_max": row(fitted, "--auto-batch-max 3", "--auto-batch-size"),
    "memory_budget_mb": row(fitted, "--memory-budget-mb 120", "--auto-batch-size"),
    "devices": row(on_devices, "--devices CPU:0,CPU:1"),
    "seed": row(initial_weights, "--seed 2", SEEDED),
    "name": row(folder, "--name other"),
    "run_dir": row(folder, "--run-dir elsewhere/x"),
    "runs_dir": row(folder, "--runs-dir elsewhere"),
    "resume": row(folder, "--resume auto", "--name x"),
    "dry_run": row(command, "--dry-run"),
    "overwrite": row(command, "--overwrite"),
    "backup_count": row(backed_up, "--backup-count 0", ("--overwrite",)),
    "register": row(registered, "--no-register"),
    "keep_last": row(kept, "--keep-last 5", SEEDED),
    "keep_best": row(kept, "--keep-best 7", SEEDED),
    "save_every": row(kept, "--save-every 7", SEEDED),
    "save_every_steps": row(kept, "--save-every-steps 3", SEEDED),
    "save_every_batches": row(
        lambda config: kept(resolve(config)[0]),
        "--save-every-batches 6",
        (*SEEDED, "--accumulation-steps", "2"),
    ),
    "save_every_minutes": row(kept, "--save-every-minutes 1e-9", SEEDED),
    "verbosity": row(kept, "--verbosity 2", SEEDED),
    "profile": row(traced, "--profile", SEEDED),
    "log_interval": row(kept, "--log-interval 7", SEEDED),
    "wandb": row(sent_to_wandb, "--wandb", SEEDED),
    "wandb_project": row(sent_to_wandb, "--wandb-project mine", (*SEEDED, "--wandb")),
    "sync": row(lambda c: c.cloud.sync and parse(c.cloud.sync), "--sync s3:bucket/runs"),
    "max_hours": row(lambda c: c.cloud.budget_s, "--max-hours 2"),
    "max_cost": row(lambda c: c.cloud.budget_s, "--max-cost 2", "--price 1"),
    "price": row(lambda c: goodput.sentence({}, price=c.cloud.price), "--price 2"),
    "on_exit": row(lambda c: c.cloud.exit_words, "--on-exit true"),
    "stop_pod": row(lambda c: c.cloud.ends_machine, "--stop-pod vast"),
    "wandb_name": row(sent_to_wandb, "--wandb-name mine", (*SEEDED, "--wandb")),
    "precision": row(precision, "--precision bf16", SEEDED),
    "jit": row(compiled, "--no-jit", SEEDED),
    "compile_cache": row(compiler_flags, "--no-compile-cache"),
    "deterministic": row(kernels, "--no-deterministic", SEEDED),
}


@pytest.fixture(scope="module", autouse=True)
def _dataset(tmp_path_factory):
    from exphil_tf import preprocess, samples

    made = tmp_path_factory.mktemp("flags")
    length = ["--min-seconds", "9", "--max-seconds", "10", "--games", "3", "--seed", "1"]
    samples.main(["--output", str(made / "replays"), *length])
    place = ["--replays", str(made / "replays"), "--output", str(DATASET)]
    small = ["--chunk-frames", "256", "--min-frames", "100", "--workers", "1"]
    preprocess.main([*place, *small, "--variants", "original"])
    assert len(describe(DATASET, "train").characters) > 1
    yield
    shutil.rmtree(DATASET)


def test_every_option_has_a_row():
    assert sorted(TABLE) == sorted(options(TrainConfig))


SLOW = ("overwrite", "dry_run", "checkpoint_every", "memory_efficient_attention")
"""Rows that train by the command, or trace large graphs, of what other tests ask as well."""


@pytest.mark.parametrize("name", TABLE)
def test_flag_changes_the_option(name, tmp_path):
    changed = with_files(TABLE[name], tmp_path)
    before, after = (to_dict(parsed(*flags)) for flags in changed)
    assert before[name] != after[name]
    also = {"chunked_attention": {"chunk_size"}, "temporal": {"backbone"}}.get(name, set())
    shared = before.keys() & after.keys()  # another backbone has other options besides
    assert {n for n in shared if before[n] != after[n]} == {name} | also
    assert before.keys() == after.keys() or "backbone" in {name, *also}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in TABLE],
)
def test_flag_changes_what_it_names(name, tmp_path):
    probe, *_ = TABLE[name]
    stage, flags = with_files(TABLE[name], tmp_path)
    without = ("--replays", "other") if name == "replays" else stage
    assert answer(probe, without) != probe(parsed(*flags))


@functools.cache
def answer(probe, flags):
    """Of a probe without the option, which several have in common."""
    return probe(parsed(*flags))


def with_files(of, tmp_path):
    """Flags without and with the option, its file made."""
    centres = tmp_path / "centres.json"
    centres.write_text(json.dumps({"axis_centres": [-1.0, -0.4, 0.0, 0.4, 1.0]}))
    bundle = tmp_path / "bundle"
    if "BUNDLE" in of.flags:
        policy = Policy(parsed(*of.stage).policy(), seed=9, name="policy")
        save_policy(bundle, policy, PolicyInfo(policy.config))
    registry = tmp_path / "players.json"
    PlayerRegistry(KnownPlayers({"ab" * 8: 5}, "public")).save(registry)
    made = {"KMEANS": str(centres), "BUNDLE": str(bundle), "REGISTRY": str(registry)}
    return of.stage, (*of.stage, *(made.get(word, word) for word in of.flags))


@pytest.mark.parametrize("name", preset_names())
def test_preset_builds_its_network_and_input(name):
    config, _ = resolve(parsed("--preset", name))
    policy = Policy(config.policy(), seed=0)
    assert policy.num_parameters > 10_000
    assert grid(config).window == config.input.window_size
    assert horizon_of(10**6, run=config.run, accumulation_steps=1).total_steps > (
        699 if name == "quick" else 1000
    )
    Schedule(config.schedule, total_steps=10**5)
    if config.filters.train_character is not None:
        on_replays = load(TrainConfig, ["--preset", name, "--replays", "x"], presets=PRESETS)
        assert preprocessing(on_replays)["train_character"] == name


def test_what_no_training_game_recorded_is_part_of_the_policy():
    config = parsed(*MLP, "--seed", "3")
    for bits in (0, 96):
        assert config.imitation(bits).policy.embedding.unrecorded == bits
