"""Every flag of distilling changes the thing that it names, as `test_flags` shows for training.

The options that a student shares with any run are the very dataclasses of `TrainConfig`, so what is
shown there holds here; the rows below are of the others.
"""

import contextlib
import dataclasses
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from exphil_tf import distill, generate_soft_labels
from exphil_tf.checkpoints.policy_bundle import PolicyInfo, save_policy
from exphil_tf.data import input as data_input
from exphil_tf.data.input import EpochSize
from exphil_tf.data.input_config import InputConfig
from exphil_tf.features.controller import ControllerCodec
from exphil_tf.foundation.config import PRESETS, Loaded, load, to_dict
from exphil_tf.foundation.errors import UserError
from exphil_tf.foundation.options import options
from exphil_tf.training import distillation, soft_label_records
from exphil_tf.training.distill_config import DistillConfig, SoftLabelsConfig
from exphil_tf.training.loop import Outcome
from exphil_tf.training.run_folder import Target
from exphil_tf.training.soft_labels import LABELS, describe_labels, write_manifest
from exphil_tf.training.state import Position
from exphil_tf.training.train_config import TrainConfig
from models.backbones import backbone_config
from models.policy import Policy
from models.policy_config import EmbeddingConfig, PolicyConfig

CODEC = ControllerCodec()
MANIFEST = "0" * 64


@pytest.fixture(scope="module", autouse=True)
def place(tmp_path_factory):
    """Two teachers and two sets of soft labels, in the folder that the tests run in."""
    folder = tmp_path_factory.mktemp("flags")
    small = PolicyConfig(EmbeddingConfig(action_dim=2), backbone_config("mlp", hidden=(4,)))
    for seed, name in enumerate(("one", "two")):
        save_policy(folder / name, Policy(small, seed=seed, name="policy"), PolicyInfo(small))
        identity = distillation.describe_teacher(folder / name)
        labels = describe_labels(
            identity,
            CODEC,
            manifest_sha256=MANIFEST,
            config=InputConfig(window_size=30 + seed),
            passes=1,
            seed=seed,
        )
        with distillation.atomic.publish(folder / f"labels-{name}" / LABELS) as temporary:
            write_manifest(temporary, labels)
    with contextlib.chdir(folder):
        yield folder


def parsed(*flags: str) -> DistillConfig:
    return load(DistillConfig, ["--data", "dataset", *flags], env={}, presets=PRESETS)


def soft_loss(config):
    """The loss of fixed logits."""
    rng = np.random.default_rng(0)
    sizes = CODEC.sizes
    one, two = ({n: tf.constant(rng.normal(size=k)) for n, k in sizes.items()} for _ in range(2))
    answers: Any = SimpleNamespace(logits=lambda batch, inputs: one)
    mix = distillation.soft_loss(answers, config.distillation)
    assert mix is not None
    nothing: Any = None
    return float(mix(tf.constant(1.0), two, batch=nothing, inputs=nothing))


def command(config):
    """What the command would run, and learn from."""
    did: list[Any] = []
    nobody: Any = SimpleNamespace(frames=lambda split: 1)
    with pytest.MonkeyPatch.context() as p:
        p.setattr(distill, "read_run", lambda *a, **k: (Loaded(config), Target(Path("run"), False)))
        p.setattr(distill, "open_dataset", lambda *a: (Path("x"), nobody))
        p.setattr(distill, "check_dataset", lambda *a, **k: [])
        p.setattr(distill.provenance, "manifest_sha256", lambda manifest: MANIFEST)

        def train(config, target, manifest, *, recipe, **kwargs):
            did.append((target.run_dir, config.input, recipe.sources))
            return Outcome("finished", Position(), "", 0.0)

        p.setattr(distill, "train", train)
        p.setattr(distill, "_show", lambda asked, *a: did.append(sorted(asked)))
        distill.main([])
    return did


TABLE = {
    "teacher": (command, "--teacher two", "--teacher one"),
    "soft_labels": (command, "--soft-labels labels-two", "--soft-labels labels-one"),
    "alpha": (soft_loss, "--alpha 0.2", ""),
    "temperature": (soft_loss, "--temperature 3", ""),
    "compare": (command, "--compare", "--teacher one"),
}


def test_every_option_has_a_row_or_is_one_of_training():
    own, shared = options(DistillConfig), options(TrainConfig)
    assert set(own) - set(shared) == set(TABLE)
    for name, option in shared.items():
        assert own[name].path == option.path
    hints = {f.name: f.type for f in dataclasses.fields(TrainConfig)}
    changed = {f.name for f in dataclasses.fields(DistillConfig) if f.type != hints.get(f.name)}
    assert changed == {"distillation"}
    changed = {name for name, option in shared.items() if own[name].default != option.default}
    assert changed == {"backbone", "hidden"}


@pytest.mark.parametrize("name", TABLE)
def test_flag_changes_what_it_names(name):
    probe, flags, stage = TABLE[name]
    before, after = parsed(*stage.split()), parsed(*stage.split(), *flags.split())
    assert {n for n in to_dict(before) if to_dict(before)[n] != to_dict(after)[n]} == {name}
    assert probe(before) == probe(before) != probe(after)


def test_a_student_is_small_unless_told_otherwise():
    assert parsed().policy().backbone == backbone_config("mlp", hidden=(64, 64))
    told = parsed("--student-backbone", "lstm", "--num-layers", "1").policy().backbone
    assert told == backbone_config("lstm", hidden=(64, 64), num_layers=1)
    told = parsed("--student-backbone", "lstm", "--student-hidden", "32").policy().backbone
    assert told.hidden == (32,)


# -- generate_soft_labels --------------------------------------------------------------------------


def labels_of(*flags: str) -> SoftLabelsConfig:
    return load(SoftLabelsConfig, list(flags), env={})


def generation(config):
    """What would be read, asked and written."""
    seen: list[Any] = []
    with pytest.MonkeyPatch.context() as p:

        def build(manifest, inputs, **asked):
            seen.append((inputs, asked))

        def write(folder, batches, ask, *, count, on_unrolls):
            seen.append((folder.parent, count))
            return ()

        p.setattr(data_input, "build", build)
        size = EpochSize(5, 50, 2)
        p.setattr(data_input, "epoch_size", lambda *a, **k: size)
        p.setattr(soft_label_records, "ask_fn", lambda *a, jit: seen.append(jit))
        p.setattr(soft_label_records, "write_records", write)
        p.setattr(generate_soft_labels, "open_dataset", lambda *a: (None, SimpleNamespace()))
        p.setattr(generate_soft_labels.provenance, "manifest_sha256", lambda manifest: MANIFEST)
        p.setattr(distillation, "load_teacher", lambda bundle: seen.append(bundle) or teacher)
        teacher = SimpleNamespace(info=PolicyInfo(PolicyConfig()), identity={})
        p.setattr(generate_soft_labels, "load", lambda *a, **k: config)
        try:
            generate_soft_labels.main([])
        except UserError as error:
            seen.append(str(error))
    return seen


STAGE = "--teacher one --data d --output made"
GENERATION = {
    "teacher": "--teacher two",
    "data": "--data e",
    "output": "--output other",
    "passes": "--passes 2",
    "batch_size": "--batch-size 3",
    "seed": "--seed 4",
    "jit": "--no-jit",
}


def test_every_option_of_generation_has_a_row_or_is_one_of_the_input():
    own, shared = options(SoftLabelsConfig), options(TrainConfig)
    read = {name for name, option in shared.items() if option.path[0] == "input"}
    assert set(own) - read == {*GENERATION, "overwrite"}
    assert all(own[name].path == shared[name].path for name in read)


@pytest.mark.parametrize("name", [*GENERATION, "window_size"])
def test_flag_of_generation_changes_what_it_names(name, tmp_path):
    flags = GENERATION.get(name, "--window-size 31")
    with contextlib.chdir(tmp_path):
        for teacher in ("one", "two"):
            (tmp_path / teacher).mkdir()
            for file in ("config.json", "weights.safetensors"):
                (tmp_path / teacher / file).touch()
        asked = [labels_of(*STAGE.split(), *words) for words in ([], [], flags.split())]
        found = []
        for config in asked:
            found.append(generation(config))
            shutil.rmtree(config.output)
    assert found[0] == found[1] != found[2]


def test_overwrite_replaces_others():
    asked = [*STAGE.split(), "--seed", "9"]
    generation(labels_of(*STAGE.split()))
    assert "holds soft labels of another seed" in generation(labels_of(*asked))[-1]
    (folder, count) = generation(labels_of(*asked, "--overwrite"))[-1]
    assert (folder, count) == (Path("made"), 5)
