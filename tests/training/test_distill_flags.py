"""Every flag of distilling changes the thing that it names, as `test_flags` shows for training.

The options that a student shares with any run are the very dataclasses of `TrainConfig`, so what is
shown there holds here; the rows below are of the others.
"""

import contextlib
import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from exphil_tf import distill, generate_soft_labels
from exphil_tf.checkpoints.policy_bundle import PolicyInfo, save_policy
from exphil_tf.checkpoints.provenance import manifest_sha256
from exphil_tf.data.input_config import InputConfig
from exphil_tf.features.controller import ControllerCodec
from exphil_tf.foundation import atomic
from exphil_tf.foundation.config import PRESETS, load, to_dict
from exphil_tf.foundation.errors import UserError
from exphil_tf.foundation.options import options
from exphil_tf.records.manifest import MANIFEST, load_manifest, seal
from exphil_tf.training import distillation, soft_label_generation
from exphil_tf.training.distill_config import DistillConfig, SoftLabelsConfig, check_distillation
from exphil_tf.training.loss_term import StepOutputs
from exphil_tf.training.soft_labels import LABELS, describe_labels, read_labels, write_manifest
from exphil_tf.training.teacher_source import TeacherSource
from exphil_tf.training.train_config import TrainConfig
from models.backbones import backbone_config
from models.policy import Policy
from models.policy_config import EmbeddingConfig, PolicyConfig

CODEC = ControllerCodec()


@pytest.fixture(scope="module", autouse=True)
def place(tmp_path_factory, dataset):
    """Two teachers and two sets of soft labels, in the folder that the tests run in."""
    folder = tmp_path_factory.mktemp("flags")
    (folder / "data").symlink_to(dataset)
    small = PolicyConfig(EmbeddingConfig(action_dim=2), backbone_config("mlp", hidden=(4,)))
    for seed, name in enumerate(("one", "two")):
        save_policy(folder / name, Policy(small, seed=seed, name="policy"), PolicyInfo(small))
        identity = distillation.describe_teacher(folder / name)
        labels = describe_labels(
            identity,
            CODEC,
            manifest_sha256=manifest_sha256(load_manifest(dataset)),
            config=InputConfig(window_size=30 + seed),
            passes=1,
            seed=seed,
        )
        with atomic.publish(folder / f"labels-{name}" / LABELS) as temporary:
            write_manifest(temporary, labels)
    with contextlib.chdir(folder):
        yield folder


def parsed(*flags: str) -> DistillConfig:
    return load(DistillConfig, ["--data", "dataset", *flags], env={}, presets=PRESETS)


def loss(config):
    """The loss of fixed logits."""
    rng = np.random.default_rng(0)
    one, two = (
        {n: tf.constant(rng.normal(size=k)) for n, k in CODEC.sizes.items()} for _ in range(2)
    )
    (term,) = distillation.distillation_terms(lambda batch, inputs: one, config.distillation)
    nothing: Any = None
    outputs = StepOutputs(batch=nothing, inputs=nothing, hidden=nothing, logits=two)
    found, sums = term.add(tf.constant(1.0), outputs, training=True)
    assert sums == {}
    return float(found)


def source(config):
    """What the command would learn from, and how it would read the dataset."""
    found = TeacherSource.find(config.distillation)
    config = distill.with_input_of_labels(config, found, {})
    digest = manifest_sha256(load_manifest(Path("data")))
    codec = config.policy().head.codec
    return found.describe(config.input, codec, manifest_sha256=digest), config.input


def check(config):
    """What the command says of options that contradict each other."""
    try:
        return check_distillation(config)
    except UserError as error:
        return str(error)


TABLE = {
    "teacher": (source, "--teacher two", "--teacher one"),
    "soft_labels": (source, "--soft-labels labels-two", "--soft-labels labels-one"),
    "alpha": (loss, "--alpha 0.2", ""),
    "temperature": (loss, "--temperature 3", ""),
    "compare": (check, "--compare", "--teacher one --alpha 0"),
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


def generated(*flags: str):
    """What the command asks the teacher for, and what it writes."""
    config, asked = labels_of(*flags), set()

    def even_odds(teacher_logits_fn, codec, *, jit):
        del teacher_logits_fn

        def stored_logits(batch):
            asked.add((jit, len(batch["name"])))
            return np.zeros((*batch["weight"].shape, sum(codec.sizes.values())), np.float16)

        return stored_logits

    with pytest.MonkeyPatch.context() as p:
        p.setattr(soft_label_generation, "compile_stored_logits", even_odds)
        assert generate_soft_labels.main(list(flags)) == 0
    labels = read_labels(config.output)
    shutil.rmtree(config.output)
    return str(config.output), asked, labels


STAGE = "--teacher one --data data --output made --window-size 30 --batch-size 16 --no-jit"
GENERATION = {
    "teacher": "--teacher two",
    "data": "--data other",
    "output": "--output elsewhere",
    "passes": "--passes 2",
    "batch_size": "--batch-size 32",
    "seed": "--seed 4",
    "jit": "--jit",
}


@pytest.fixture(scope="module")
def undisturbed(place, dataset):
    shutil.copytree(dataset, place / "other")
    values = json.loads((dataset / MANIFEST).read_bytes())
    (place / "other" / MANIFEST).write_bytes(seal(values | {"input_hash": "of other games"}))
    return generated(*STAGE.split())


def test_every_option_of_generation_has_a_row_or_is_one_of_the_input():
    own, shared = options(SoftLabelsConfig), options(TrainConfig)
    read = {
        name
        for name, option in shared.items()
        if option.path[0] in ("input", "filters", "splits", "data") and name != "data"
    }
    assert set(own) - read == {*GENERATION, "overwrite"}
    assert all(own[name].path == shared[name].path for name in read)


@pytest.mark.parametrize("name", [*GENERATION, "window_size"])
def test_flag_of_generation_changes_what_it_names(name, undisturbed):
    flags = GENERATION.get(name, "--window-size 31")
    assert generated(*STAGE.split(), *flags.split()) != undisturbed


def test_overwrite_replaces_others(undisturbed):
    del undisturbed
    stage = [*STAGE.split(), "--output", "held"]
    assert generate_soft_labels.main(stage) == 0
    with pytest.raises(UserError, match="holds soft labels of another seed"):
        generate_soft_labels.main([*stage, "--seed", "9"])
    assert read_labels(Path("held")).seed == 0
    assert generate_soft_labels.main([*stage, "--seed", "9", "--overwrite"]) == 0
    assert read_labels(Path("held")).seed == 9
