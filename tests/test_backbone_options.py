"""Every option on every backbone: accepted and effective, or refused with a sentence.

What is enumerated are the tables themselves: a backbone or an option that is added is tested.
"""

import pytest
from any_backbone import having
from option_values import other_values, stage

from exphil_tf.foundation.config import PRESETS, dump_yaml, load, load_given, to_dict
from exphil_tf.foundation.errors import UserError
from exphil_tf.foundation.options import options
from exphil_tf.training.train_config import TrainConfig
from models.backbones import BACKBONES, CALLED, backbone_config
from models.policy_config import PolicyConfig

OPTIONS = options(TrainConfig)
OF_BACKBONES = [name for name, o in OPTIONS.items() if o.family is not None and not o.is_choice]
PARTS = ("embedding", "backbone", "head", "quantization")


def parsed(*flags: str) -> TrainConfig:
    return load(TrainConfig, ["--data", "x", *flags], env={}, presets=PRESETS)


def refused(*flags: str) -> str:
    with pytest.raises(UserError) as caught:
        parsed(*flags)
    assert caught.value.exit_code == 2
    return str(caught.value)


BESIDE_A_DATASET = ("data", "datasets_dir")
"""Without effect where `parsed` gives a dataset; `tests/test_flags.py` has them."""


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("name", [name for name in OPTIONS if name not in BESIDE_A_DATASET])
def test_accepted_and_effective_or_refused(backbone, name):
    option = OPTIONS[name]
    base = ["--backbone", backbone, *stage(TrainConfig, option, backbone)]
    if not option.is_of(backbone):
        base = ["--backbone", backbone]
        default = () if option.is_switch else (str(option.default),)
        for attempt in ([option.flag, *default], next(other_values(option, option.default))):
            if attempt[0].startswith("--no-"):
                assert parsed(*base, *attempt) == parsed(*base)  # what is not there is off
                continue
            sentence = refused(*base, *attempt)
            assert f"{option.flag[2:]}: no option of --backbone {backbone}, but of" in sentence or (
                option.default is None and "want" in sentence  # which is no word for it
            )
        return
    before = parsed(*base)
    for attempt in other_values(option, to_dict(before)[name]):
        try:
            after = parsed(*base, *attempt)
        except UserError as error:
            assert "\n" not in str(error)
            continue
        if attempt[-1] == str(to_dict(before)[name]):
            continue
        assert to_dict(after)[name] != to_dict(before)[name], attempt
        if option.path[0] in PARTS:
            assert after.policy() != before.policy(), attempt
        return
    raise AssertionError(f"{option.flag}: no value was accepted")


def test_what_a_backbone_does_not_have_names_those_that_do():
    assert refused("--backbone", "mlp", "--num-layers", "9") == (
        f"--num-layers: no option of --backbone mlp, but of {having('num_layers')}. Leave it out."
    )
    for flags, owners in (
        ("--backbone lstm --conv-size 9", having("conv_size")),
        ("--backbone mlp --truncate-bptt 9", having("truncate_bptt")),
        ("--layer-norm", "mlp"),
        ("--no-temporal --state-size 16", having("state_size")),
    ):
        assert f"but of {owners}." in refused(*flags.split())
    assert "want one width" in refused("--backbone", "mamba", "--hidden", "256,8")


@pytest.mark.parametrize(("word", "name"), CALLED.items())
def test_names_of_the_original_trainer_are_accepted(word, name, tmp_path):
    assert parsed("--backbone", word) == parsed("--backbone", name)
    file = tmp_path / "c.yaml"
    file.write_text(f"backbone: {word}\n")
    assert parsed("--config", str(file)) == parsed("--backbone", name)
    assert to_dict(parsed("--backbone", word))["backbone"] == name


def test_jamba_has_blocks_of_both_kinds():
    for flags in ("--attention-every 3", "--attention-every 1", "--num-layers 1"):
        assert "want 2 <= x <= num_layers" in refused("--backbone", "jamba", *flags.split())


WITHOUT_EFFECT = {
    "kmeans_centers": ["--kmeans-centers", "some-file"],
    "action_mode": ["--action-mode", "one_hot"],
    "character_mode": ["--character-mode", "one_hot"],
    "warmup_steps": ["--warmup-steps", "5"],
    "carry_state": ["--carry-state"],
    "cursors_per_row": ["--no-carry-state"],
    "lr_schedule": ["--lr-schedule", "constant"],
    "optimizer": ["--optimizer", "adam"],
    "ema": ["--no-ema"],
    "with_projectiles": ["--no-with-projectiles"],
    "with_prev_action": ["--no-with-prev-action"],
    "jit": ["--no-jit"],
    "run_dir": ["--run-dir", "runs/a"],
    "data": ["--data", "x"],
}
"""How to set what other options go with by default (or what one goes with) to something else."""


@pytest.mark.parametrize("name", [name for name, o in OPTIONS.items() if o.only_with])
def test_an_option_without_effect_is_refused_even_at_its_default(name):
    option = OPTIONS[name]
    base = ["--backbone", option.family.having(name)[0]] if option.family else []
    for other, effective in option.only_with.items():
        if OPTIONS[other].default in effective:
            base += WITHOUT_EFFECT.get(name) or WITHOUT_EFFECT[other]
    values = option.default if isinstance(option.default, tuple) else (option.default,)
    value = [option.flag, *([] if option.is_switch else map(str, values))]
    sentence = refused(*base, *value)
    if option.default is not None:
        assert f"{option.flag}: has no effect without --" in sentence


def test_lower_sources_yield_to_the_choice(tmp_path):
    of_preset = parsed("--preset", "production", "--backbone", "lstm")
    assert of_preset.backbone == backbone_config("lstm", hidden=(384, 384), num_layers=3)
    file = tmp_path / "c.yaml"
    file.write_text("state-size: 5\nhidden: [8]\n")
    env = {"EXPHIL_STATE_SIZE": "6", "EXPHIL_NUM_LAYERS": "1"}
    argv = ["--data", "x", "--config", str(file)]
    loaded = load_given(TrainConfig, [*argv, "--backbone", "lstm"], env=env)
    assert loaded.config.backbone == backbone_config("lstm", hidden=(8,), num_layers=1)
    assert loaded.given.keys() == {"data", "backbone", "hidden", "num_layers"}
    # Of the same source, or above it, they were meant for it.
    file.write_text("backbone: lstm\nstate-size: 5\n")
    assert f"{file}:2: state-size: no option of --backbone lstm" in refused("--config", str(file))
    env = {"EXPHIL_BACKBONE": "lstm", "EXPHIL_STATE_SIZE": "6"}
    # A variable is set for many commands.
    assert load(TrainConfig, ["--data", "x"], env=env).backbone == backbone_config("lstm")


@pytest.mark.parametrize("backbone", BACKBONES)
def test_what_is_written_of_a_run_has_its_own_options_alone_and_repeats_it(backbone, tmp_path):
    config = parsed("--backbone", backbone, "--hidden", "16", "--dropout", "0.3")
    own = {name for name in OF_BACKBONES if OPTIONS[name].is_of(backbone)}
    assert to_dict(config).keys() & set(OF_BACKBONES) == own
    path = tmp_path / "config.yaml"
    path.write_text(dump_yaml(config))
    assert parsed("--config", str(path)) == config
    # As releases before wrote it: with the options of every backbone, at their default.
    others = {name.replace("_", "-") for name in OF_BACKBONES if name not in own}
    lines = dump_yaml(parsed("--backbone", "mlp")) + "".join(
        dump_yaml(parsed("--backbone", name)) for name in BACKBONES
    )
    more = {line for line in lines.splitlines() if line.split(":")[0] in others}
    assert more
    path.write_text(dump_yaml(config) + "\n".join(more) + "\n")
    assert parsed("--config", str(path)) == config


@pytest.mark.parametrize("backbone", BACKBONES)
def test_training_builds_the_network_that_is_named(backbone):
    assert parsed("--backbone", backbone).policy() == PolicyConfig(
        backbone=backbone_config(backbone)
    )
