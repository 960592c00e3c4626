from types import SimpleNamespace

import pytest

from exphil_tf.foundation.config import PRESETS, dump_yaml, load, load_given, to_dict
from exphil_tf.foundation.errors import UserError
from exphil_tf.training.train_config import TrainConfig, check_dataset, resolve
from models.backbones import backbone_config


def parsed(*flags):
    return load(TrainConfig, ["--data", "x", *flags], env={}, presets=PRESETS)


def notes(*flags):
    return resolve(parsed(*flags))[1]


def test_defaults_say_nothing():
    assert notes() == []


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        (("--window-size", "121"), "window_size 121 is above 120"),
        (("--window-size", "20"), "window_size 20 is short"),
        (("--early-stopping", "--val-split", "0"), "early_stopping goes by the training loss"),
        (("--label-smoothing", ".1", "--button-pos-weight", "auto"), "leaves out the buttons"),
        (("--frame-delay", "20", "--online-robust"), "outside the trained delays 0 to 18"),
    ],
)
def test_what_may_not_be_meant_is_said(flags, part):
    (note,) = notes(*flags)
    assert part in note


def test_no_temporal_means_mlp():
    config, said = resolve(parsed("--no-temporal"))
    assert config.policy().backbone.backbone == "mlp"
    assert said == ["no-temporal: the backbone is mlp"]
    # Whatever backbone is named, and without what only a policy with memory has.
    file = parsed("--preset", "production", "--backbone", "lstm", "--no-temporal")
    assert file.policy().backbone == backbone_config("mlp", hidden=(384, 384))
    with pytest.raises(UserError, match=r"--num-layers: no option of --backbone mlp, but of lstm"):
        parsed("--no-temporal", "--num-layers", "3")
    (said,) = notes("--temporal", "--backbone", "mlp")
    assert said.startswith("temporal: mlp has no memory")


def test_data_or_replays():
    with pytest.raises(UserError, match="Received: both"):
        notes("--replays", "a")
    with pytest.raises(UserError, match=r"Received: neither\. .*exphil_tf\.samples"):
        resolve(load(TrainConfig, [], env={}))


def test_window_is_the_attention_window_too():
    attention = parsed("--backbone", "sliding_window", "--window-size", "77").policy().backbone
    assert attention == backbone_config("sliding_window", window_size=77)
    assert parsed("--window-size", "77").policy().backbone == backbone_config()


@pytest.mark.parametrize(
    "text", ["{}", "[1, 2", '{"axis_centres": [0.5, 0.1]}', '{"axis_centres": 3}']
)
def test_wrong_centres_are_refused(tmp_path, text):
    path = tmp_path / "c.json"
    with pytest.raises(UserError, match="no such file") as caught:
        parsed("--kmeans-centers", str(path)).policy()
    assert caught.value.exit_code == 66
    path.write_text(text)
    with pytest.raises(UserError, match="want JSON with a list") as caught:
        parsed("--kmeans-centers", str(path)).policy()
    assert caught.value.exit_code == 65


def manifest(**config):
    plain = to_dict(TrainConfig())
    names = ("train_character", "val_split", "max_files", "player_port", "min_frames")
    made = {**{name: plain[name] for name in names}, **config}
    return SimpleNamespace(config=made, frames=lambda split: 9)


def checked(made, *flags, data=("--data", "x"), env=None):
    loaded = load_given(TrainConfig, [*data, *flags], env=env or {}, presets=PRESETS)
    return check_dataset(loaded.config, made, given=loaded.given)


def test_a_dataset_of_other_players_is_refused():
    message = (
        r"preset mewtwo:\d+: train-character: this dataset was made with None\. Received: 'mew"
    )
    with pytest.raises(UserError, match=message):
        checked(manifest(), "--preset", "mewtwo")
    (note,) = checked(manifest(train_character="mewtwo"), "--preset", "mewtwo")
    assert note == "--val-split 0.15 has no effect: this dataset was made with 0.1"


def test_a_dataset_made_of_the_replays_is_not_asked():
    assert checked(manifest(), "--preset", "mewtwo", data=("--replays", "a")) == []


@pytest.mark.parametrize("data", [["--replays", "a"], ["--data", "x"]])
def test_a_dataset_without_validation_games_is_told(data):
    made = manifest()
    made.frames = lambda split: 0
    (note,) = checked(made, data=data)
    assert "no validation games" in note


@pytest.mark.parametrize("value", ["600", "700"])
def test_what_was_asked_for_is_compared_even_if_it_is_the_default(value, tmp_path):
    made = manifest(min_frames=300)
    assert TrainConfig().filters.min_frames == 600
    assert checked(made) == []
    assert checked(made, "--min-frames", "300") == []
    for given in ({"data": ("--data", "x", "--min-frames", value)}, {"env": variable(value)}):
        with pytest.raises(UserError, match=rf"made with 300\. Received: {value}"):
            checked(made, **given)
    # The dump of a run on that dataset names every option and repeats it.
    path = tmp_path / "config.yaml"
    path.write_text(dump_yaml(parsed()))
    assert checked(made, "--config", str(path)) == []


def variable(value):
    return {"EXPHIL_MIN_FRAMES": value}


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (
            "--lr-schedule constant --decay-steps 9",
            "--decay-steps: has no effect without --lr-schedule linear or cosine",
        ),
        (
            "--optimizer adam --weight-decay 1e-5",
            "--weight-decay: has no effect without --optimizer adamw or radam or muon or lamb",
        ),
        ("--qat-activations dynamic", "--qat-activations: has no effect without --qat"),
        ("--quantize-embeddings", "--quantize-embeddings: has no effect without --qat"),
        (
            "--qat --freeze-ranges 0.5",
            "--freeze-ranges: has no effect without --qat-activations moving_average",
        ),
        ("--no-ema --ema-decay 0.9", "--ema-decay: has no effect without --ema"),
        (
            "--axis-buckets 17 --kmeans-centers x",
            "--axis-buckets: has no effect without --kmeans-centers none",
        ),
        (
            "--backbone sliding_window --chunk-size 8",
            "--chunk-size: has no effect without --chunked-attention or "
            "--memory-efficient-attention",
        ),
    ],
)
def test_an_option_without_effect_is_refused(flags, sentence):
    with pytest.raises(UserError) as caught:
        parsed(*flags.split())
    assert str(caught.value) == f"{sentence}. Leave it out."


def test_an_option_without_effect_of_a_lower_source_is_dropped():
    plain = TrainConfig()
    got = parsed("--preset", "production", "--no-ema", "--no-early-stopping")
    assert got.stopping.patience == plain.stopping.patience
    assert got.optimizer.ema_decay == plain.optimizer.ema_decay
    # What a preset sets stays if a flag brings the other half of it.
    assert parsed("--preset", "production", "--ema").optimizer.ema_decay == 0.999


@pytest.mark.parametrize(
    ("flags", "carries"),
    [
        ("", True),
        ("--backbone mlp", False),
        ("--burn-in 10", False),
        ("--stride 20", False),
        ("--loss-frames last", False),
        ("--devices CPU:0,CPU:1", False),
        ("--no-carry-state", False),
        ("--backbone sliding_window --carry-state", True),
    ],
)
def test_memory_is_carried_wherever_it_can_be(flags, carries):
    config, _ = resolve(parsed(*flags.split()))
    assert config.input.carry_state is carries
