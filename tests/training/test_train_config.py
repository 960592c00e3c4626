import dataclasses
from types import SimpleNamespace

import pytest

from exphil_tf.foundation.config import PRESETS, load, to_dict
from exphil_tf.foundation.errors import UserError
from exphil_tf.training.train_config import TrainConfig, check_dataset, resolve


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
        (("--backbone", "mlp", "--truncate-bptt", "9"), "truncate_bptt has no effect"),
        (("--layer-norm",), "layer_norm has no effect"),
        (("--residual",), "residual has no effect"),
        (("--early-stopping", "--val-split", "0"), "early_stopping goes by the training loss"),
        (("--label-smoothing", ".1", "--button-pos-weight", "auto"), "leaves out the buttons"),
        (("--frame-delay", "20", "--online-robust"), "outside the trained delays 0 to 18"),
        (("--decay-steps", "9"), "decay_steps has no effect on the constant schedule"),
        (("--weight-decay", "0.1"), "weight_decay has no effect on adam"),
    ],
)
def test_what_has_no_effect_is_said(flags, part):
    (note,) = notes(*flags)
    assert part in note


def test_no_temporal_means_mlp():
    config, said = resolve(parsed("--no-temporal"))
    assert config.policy().backbone.backbone == "mlp"
    assert said == ["no-temporal: the backbone is mlp, not mamba"]
    with pytest.raises(UserError, match="an mlp has no memory"):
        notes("--temporal", "--backbone", "mlp")


def test_data_or_replays():
    with pytest.raises(UserError, match="Received: both"):
        notes("--replays", "a")
    with pytest.raises(UserError, match=r"Received: neither\. .*exphil_tf\.samples"):
        resolve(load(TrainConfig, [], env={}))


def test_window_is_the_attention_window_too():
    assert parsed("--window-size", "77").policy().backbone.window_size == 77


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
    names = ("train_character", "val_split", "max_files", "player_port")
    made = {**{name: plain[name] for name in names}, **config}
    return SimpleNamespace(config=made, frames=lambda split: 9)


def test_a_dataset_of_other_players_is_refused():
    config = parsed("--preset", "mewtwo")
    with pytest.raises(UserError, match=r"--train-character: this dataset was made with None"):
        check_dataset(config, manifest())  # type: ignore[arg-type]
    made = manifest(train_character="mewtwo")
    (note,) = check_dataset(config, made)  # type: ignore[arg-type]
    assert note == "--val-split 0.15 has no effect: this dataset was made with 0.1"


def test_a_dataset_made_of_the_replays_is_not_asked():
    config = parsed("--preset", "mewtwo")
    config = dataclasses.replace(config, data=load(TrainConfig, ["--replays", "a"]).data)
    assert check_dataset(config, manifest()) == []  # type: ignore[arg-type]


@pytest.mark.parametrize("data", [["--replays", "a"], ["--data", "x"]])
def test_a_dataset_without_validation_games_is_told(data):
    made = manifest()
    made.frames = lambda split: 0
    (note,) = check_dataset(load(TrainConfig, data), made)  # type: ignore[arg-type]
    assert "no validation games" in note
