"""Batches against a naive reading of the games: windows, targets, weights, order, resumption."""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
import tensorflow as tf

from exphil_tf.data import input as data_input
from exphil_tf.data.epoch_size import epoch_size
from exphil_tf.data.input_config import InputConfig
from exphil_tf.data.sampling import check_variants
from exphil_tf.features.packing import action_order, mirror_planes, pack, unpack
from exphil_tf.features.schema import SCHEMA, SPOILED
from exphil_tf.foundation.errors import UserError
from exphil_tf.records.example import read_example, write_example
from exphil_tf.records.shards import frame, read_records
from tests.data.conftest import (
    CHUNK,
    FOX,
    OVERLAP,
    Games,
    make_game,
    player_id,
    write_games,
)

GO = 84
BATCH = 16
SMALL = {"block_records": 4, "shuffle_records": 8, "shuffle_files": 2}


def arrays(dataset: tf.data.Dataset, count: int | None = None) -> Iterator[dict[str, np.ndarray]]:
    return itertools.islice(dataset.as_numpy_iterator(), count)


def one_epoch(config: InputConfig, games: Games, *, training: bool, seed: int = 5) -> list[dict]:
    """Unrolls of the first epoch, one dict each; padding of the last batch removed."""
    size = epoch_size(
        games.folder, config, split="train", batch_size=BATCH, seed=seed, training=training
    )
    dataset = data_input.build(
        games.folder, config, split="train", batch_size=BATCH, seed=seed, training=training
    )
    batches = list(arrays(dataset, size.steps if training else None))
    assert len(batches) == size.steps
    unrolls = split_batches(batches)
    assert training or not any(u["weight"].any() for u in unrolls[size.unrolls :])
    return unrolls[: size.unrolls]


def split_batches(batches: list[dict]) -> list[dict]:
    """Unrolls of batches, their states unpacked by numpy as `columns`."""
    whole = {k: np.concatenate([batch[k] for batch in batches]) for k in batches[0]}
    state = whole["state"]
    columns = unpack(state.reshape(-1, state.shape[-1])).columns
    columns = {k: v.reshape(*state.shape[:2], *v.shape[1:]) for k, v in columns.items()}
    return [
        {k: v[i] for k, v in whole.items()} | {"columns": {k: v[i] for k, v in columns.items()}}
        for i in range(len(state))
    ]


def spelled_row(action: np.ndarray) -> np.ndarray:
    """The row that a controller of `make_game` spells."""
    main = action[..., :2].view(np.int8).astype(int) + 80
    return main[..., 0] + 160 * main[..., 1]


def check_unroll(unroll: dict, games: Games, labels: Counter) -> None:
    """Every labelled frame: right columns, right target, right previous action."""
    game, player = divmod(int(unroll["name"]) - 1, 2)
    truth, length = games.rows(game, player), len(games.frames[game])
    columns = unroll["columns"]
    row, delay = columns["frame"] + 123, int(unroll["delay"])
    labelled = np.flatnonzero(unroll["weight"] > 0)
    present = slice(0, min(len(row), length - int(row[0])))
    assert (np.diff(row[present]) == 1).all()
    for name, values in columns.items():
        np.testing.assert_array_equal(values[present], truth[name][row[present]], err_msg=name)
    target, previous = unroll["actions"][1:][labelled], unroll["actions"][:-1][labelled]
    np.testing.assert_array_equal(spelled_row(target), row[labelled] + 1 + delay)
    np.testing.assert_array_equal(spelled_row(previous), row[labelled] + delay)
    assert (target[:, 4] == 140 * player).all()
    assert (row[labelled] + 1 + delay >= GO).all()
    assert unroll["is_resetting"].tolist() == [True] + [False] * (len(row) - 1)
    labels.update((game, player, int(r)) for r in row[labelled])


def valid_rows(games: Games, delay: int, *, spoiled: bool = False) -> set[tuple[int, int, int]]:
    """Rows that give a label; those of spoiled states or targets only if asked for."""
    return {
        (game, player, row)
        for game, frames in enumerate(games.frames)
        for player in range(2)
        if games.perspectives[game] >> player & 1
        for row in range(len(frames))
        if GO <= row + 1 + delay < len(frames)
        if spoiled or not (frames["absent"][[row, row + 1 + delay]] & SPOILED).any()
    }


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize(
    "options",
    [
        {"window_size": 20},
        {"window_size": 20, "frame_delay": 18},
        {"window_size": 24, "burn_in": 7, "frame_delay": 3},
        {"window_size": 2},
        {"window_size": 16, "frame_delay": 24},
        # Longer than the overlap: every chunk is cut by itself.
        {"window_size": 64},
        {"window_size": 50, "frame_delay": 18},
        {"window_size": 48, "burn_in": 11, "frame_delay": 28},
    ],
    ids=lambda options: "-".join(f"{name[:6]}{value}" for name, value in options.items()),
)
def test_every_valid_frame_is_labelled_once_an_epoch(games, options, training):
    config = InputConfig(**SMALL, **options)
    labels: Counter = Counter()
    for unroll in one_epoch(config, games, training=training):
        check_unroll(unroll, games, labels)
    assert set(labels) == valid_rows(games, config.frame_delay)
    assert set(labels.values()) == {1}
    size = epoch_size(
        games.folder, config, split="train", batch_size=BATCH, seed=5, training=training
    )
    assert size.labelled_frames == len(valid_rows(games, config.frame_delay, spoiled=True))
    assert size.labelled_frames > len(labels)


def test_random_delays_keep_their_range_and_label_every_frame_once(games):
    config = InputConfig(window_size=15, online_robust=True, **SMALL)
    labels: Counter = Counter()
    unrolls = one_epoch(config, games, training=True)
    for unroll in unrolls:
        check_unroll(unroll, games, labels)
    delays = {int(unroll["delay"]) for unroll in unrolls}
    assert delays <= set(range(19)) and len(delays) > 12
    assert set(labels.values()) == {1}
    valid_for_all = set.intersection(*(valid_rows(games, delay) for delay in range(19)))
    assert len(valid_for_all) > 500
    assert valid_for_all <= set(labels)
    assert set(labels) <= set().union(*(valid_rows(games, delay) for delay in range(19)))
    for unroll in one_epoch(config, games, training=False):
        assert unroll["delay"] == 0


def test_last_frame_loss_labels_the_end_of_every_window(make_games):
    games = make_games([90, 200])
    config = InputConfig(window_size=12, loss_frames="last", frame_delay=2, **SMALL)
    labels: Counter = Counter()
    for unroll in one_epoch(config, games, training=True):
        assert unroll["weight"][:-1].tolist() == [0.0] * 11 and unroll["weight"][-1] in (0, 1)
        check_unroll(unroll, games, labels)
    assert set(labels) == valid_rows(games, 2)
    assert set(labels.values()) == {1}


def test_stride_one_sees_every_window(make_games):
    games = make_games([90, 200])
    config = InputConfig(window_size=10, stride=1, **SMALL)
    labels: Counter = Counter()
    for unroll in one_epoch(config, games, training=True):
        check_unroll(unroll, games, labels)
    assert set(labels) == valid_rows(games, 0)
    inner = [n for (game, _, row), n in labels.items() if game == 1 and 93 <= row < 190]
    assert set(inner) == {10}


def test_every_epoch_is_whole_and_cuts_games_elsewhere(games):
    config = InputConfig(window_size=20, **SMALL)

    def size(epoch: int) -> int:
        return epoch_size(
            games.folder, config, split="train", batch_size=BATCH, seed=3, training=True,
            epoch=epoch,
        ).unrolls  # fmt: skip

    sizes = [size(epoch) for epoch in range(3)]
    dataset = data_input.build(
        games.folder, config, split="train", batch_size=BATCH, seed=3, training=True
    )
    batches = list(arrays(dataset, -(-sum(sizes) // BATCH)))
    unrolls = split_batches(batches)
    starts, stop = [], 0
    for epoch_unrolls in sizes:
        labels: Counter = Counter()
        epoch = unrolls[stop : stop + epoch_unrolls]
        stop += epoch_unrolls
        for unroll in epoch:
            check_unroll(unroll, games, labels)
        assert set(labels) == valid_rows(games, 0) and set(labels.values()) == {1}
        starts.append({unroll["state"].tobytes() for unroll in epoch})
    assert not starts[0] & starts[1] and not starts[1] & starts[2]


def test_same_seed_same_batches_other_seed_other_order(games):
    config = InputConfig(window_size=20, augment=True, online_robust=True, **SMALL)

    def batches(seed: int) -> list[dict]:
        tf.random.set_seed(np.random.randint(1000))  # noqa: NPY002 - must have no influence
        return list(
            arrays(
                data_input.build(
                    games.folder, config, split="train", batch_size=BATCH, seed=seed, training=True
                ),
                20,
            )
        )

    one, two, other = batches(1), batches(1), batches(2)
    assert all((a[k] == b[k]).all() for a, b in zip(one, two, strict=True) for k in a)
    assert not all((a["state"] == b["state"]).all() for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(
    ("at", "augment_from"),
    [
        (7, "live"),
        (23, "variants"),
        *(
            pytest.param(*others, marks=pytest.mark.slow)
            for others in ((1, "live"), (23, "live"), (1, "variants"), (7, "variants"))
        ),
    ],
)
def test_iterator_resumes_bit_for_bit(games, tmp_path, at, augment_from):
    config = InputConfig(
        window_size=20, augment=True, augment_from=augment_from, online_robust=True, **SMALL
    )

    def iterator():
        return iter(
            data_input.build(
                games.folder, config, split="train", batch_size=BATCH, seed=1, training=True
            )
        )

    first = iterator()
    for _ in range(at):
        next(first)
    path = tf.train.Checkpoint(iterator=first).save(str(tmp_path / "at"))
    expected = [next(first) for _ in range(40)]
    second = iterator()
    tf.train.Checkpoint(iterator=second).restore(path).assert_consumed()
    for batch in expected:
        resumed = next(second)
        assert all((batch[k].numpy() == resumed[k].numpy()).all() for k in batch)


def test_shuffling_mixes_games_and_order(games):
    config = InputConfig(window_size=5, block_records=16, shuffle_records=32)
    dataset = data_input.build(
        games.folder, config, split="train", batch_size=64, seed=1, training=True
    )
    batch = next(arrays(dataset))
    assert len(set(batch["name"].tolist())) >= 5
    frame = unpack(batch["state"][:, 0])["frame"]
    assert (np.diff(frame) > 0).mean() < 0.7


def test_balanced_weights_follow_the_own_character_frame_by_frame(games):
    config = InputConfig(window_size=20, balance_characters=True, **SMALL)
    mixed = 0
    for unroll in one_epoch(config, games, training=True):
        # The manifest counts fox 3 times as often as falco: 1/1.5 and 1/0.5.
        own = unroll["columns"]["p.character"][:, 0]
        want = np.where(own == FOX, np.float32(2 / 3), np.float32(2))
        labelled = unroll["weight"] > 0
        np.testing.assert_allclose(unroll["weight"][labelled], want[labelled], rtol=1e-6)
        mixed += len(set(own[labelled].tolist())) == 2
    assert mixed > 10
    for unroll in one_epoch(config, games, training=False):
        assert set(np.unique(unroll["weight"])) <= {np.float32(0), np.float32(1)}


# -- Augmentation --------------------------------------------------------------------------------


def reference_unroll(
    unroll: dict, games: Games, *, mirrored: bool
) -> tuple[np.ndarray, np.ndarray]:
    """State and actions bytes of an unroll, from packed whole games."""
    game, player = divmod(int(unroll["name"]) - 1, 2)
    frames = games.frames[game].__class__(games.rows(game, player))
    rows = pack(frames)
    rows = mirror_planes(rows.T).T if mirrored else rows
    frame = unroll["columns"]["frame"]
    start, time = int(frame[0]) + 123, np.arange(len(frame) + 1)
    last = len(rows) - 1
    actions = rows[np.minimum(start + int(unroll["delay"]) + time, last)][:, action_order(0)]
    return rows[np.minimum(start + time[:-1], last)], actions


def test_mirrored_unrolls_equal_the_mirrored_game_labels_included(games):
    config = InputConfig(
        window_size=20, augment=True, mirror_prob=0.5, noise_prob=0.0, frame_delay=4, **SMALL
    )
    seen = Counter()
    for unroll in one_epoch(config, games, training=True):
        plain, mirrored = (reference_unroll(unroll, games, mirrored=m) for m in (False, True))
        is_mirrored = (unroll["state"] == mirrored[0]).all()
        want = mirrored if is_mirrored else plain
        seen[bool(is_mirrored)] += 1
        # Rows behind the overlap repeat the record's last one; they are not labelled.
        keep = unroll["weight"] > 0
        np.testing.assert_array_equal(unroll["state"][keep], want[0][keep])
        np.testing.assert_array_equal(unroll["actions"][1:][keep], want[1][1:][keep])
        np.testing.assert_array_equal(unroll["actions"][:-1][keep], want[1][:-1][keep])
    assert 0.3 < seen[True] / seen.total() < 0.7


def test_noise_touches_positions_speeds_and_percent_only(games):
    sigma = 0.5
    config = InputConfig(
        window_size=20, augment=True, mirror_prob=0.0, noise_prob=0.4, noise_scale=sigma, **SMALL
    )
    shifts: dict[str, list[np.ndarray]] = {}
    noisy = 0
    unrolls = one_epoch(config, games, training=True)
    for unroll in unrolls:
        rows, actions = reference_unroll(unroll, games, mirrored=False)
        got, want = unroll["columns"], unpack(rows)
        keep = unroll["weight"] > 0
        np.testing.assert_array_equal(unroll["actions"][1:][keep], actions[1:][keep])
        is_noisy = (got["p.x"][keep] != want["p.x"][keep]).any()
        noisy += bool(is_noisy)
        for field in SCHEMA.fields:
            one, two = got[field.name][keep], want[field.name][keep]
            recorded = got["absent"][keep] & SCHEMA.absent_bit(field) == 0
            np.testing.assert_array_equal(one[~recorded], two[~recorded], err_msg=field.name)
            one, two = one[recorded], two[recorded]
            if not field.noise:
                np.testing.assert_array_equal(one, two, err_msg=field.name)
            elif is_noisy:
                shifts.setdefault(field.name, []).append((one - two).ravel())
            if field.name == "p.percent":
                assert (one >= 0).all()
    assert 0.25 < noisy / len(unrolls) < 0.55
    for field in SCHEMA.fields:
        if field.noise and field.name != "p.percent":
            values = np.concatenate(shifts[field.name])
            assert abs(values.mean()) < 5 * sigma / len(values) ** 0.5
            assert values.std() == pytest.approx(sigma * field.noise, rel=0.1)
    assert set(shifts) == {field.name for field in SCHEMA.fields if field.noise}
    percent = np.concatenate(shifts["p.percent"])
    assert np.percentile(np.abs(percent), 68.3) == pytest.approx(10 * sigma, rel=0.15)


def test_evaluation_is_never_augmented(games):
    plain = InputConfig(window_size=20, **SMALL)
    loud = dataclasses.replace(
        plain, augment=True, mirror_prob=1.0, noise_prob=1.0, frame_delay_augment=True
    )
    datasets = (
        data_input.build(
            games.folder, config, split="train", batch_size=BATCH, seed=1, training=False
        )
        for config in (plain, loud)
    )
    for one, two in zip(*map(arrays, datasets), strict=True):
        assert all((one[k] == two[k]).all() for k in two)


@pytest.mark.parametrize(
    ("mirror_prob", "noise_prob", "want"),
    [(0.0, 0.0, "original"), (1.0, 0.0, "mirrored"), (0.0, 1.0, "noisy_1"), (1.0, 1.0, "noisy_1")],
)
def test_variants_are_read_instead_of_computed(games, mirror_prob, noise_prob, want):
    config = InputConfig(
        window_size=20, augment=True, augment_from="variants", mirror_prob=mirror_prob,
        noise_prob=noise_prob, **SMALL,
    )  # fmt: skip
    chosen = one_epoch(config, games, training=True)
    plain = dataclasses.replace(config, augment=False)
    source = games.source([want])._replace(shards={"original": games.source([want]).shards[want]})
    dataset = data_input.from_source(plain, source, batch_size=BATCH, seed=5, training=True)
    expected = [
        {k: v[i] for k, v in b.items()}
        for b in arrays(dataset, -(-len(chosen) // BATCH))
        for i in range(BATCH)
    ]
    for one, two in zip(chosen, expected, strict=False):
        assert all((one[k] == two[k]).all() for k in two)


def test_variants_are_mixed_by_their_probabilities(games):
    config = InputConfig(
        window_size=20, augment=True, augment_from="variants", mirror_prob=0.5, noise_prob=0.4,
        **SMALL,
    )  # fmt: skip
    seen = Counter()
    dataset = data_input.build(
        games.folder, config, split="train", batch_size=BATCH, seed=1, training=True
    )
    for unroll in split_batches(list(arrays(dataset, 60))):
        keep = unroll["weight"] > 0
        rows = {m: reference_unroll(unroll, games, mirrored=m)[0][keep] for m in (False, True)}
        is_variant = [(unroll["state"][keep] == rows[m]).all() for m in (False, True)]
        seen["original" if is_variant[0] else "mirrored" if is_variant[1] else "noisy"] += 1
    shares = {name: count / seen.total() for name, count in seen.items()}
    assert shares == pytest.approx({"noisy": 0.4, "mirrored": 0.3, "original": 0.3}, abs=0.08)


# -- Errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"window_size": 0}, "window_size: want at least 1"),
        ({"burn_in": 80}, "burn_in: want 0 to 79"),
        ({"frame_delay": 61}, "frame_delay: want 0 to 60"),
        ({"frame_delay_min": 19}, "frame_delay_min: want 0 to 18"),
        ({"mirror_prob": 1.5}, "mirror_prob: want 0 to 1"),
        ({"noise_scale": -1.0}, "noise_scale: want at least 0"),
        ({"stride": 0}, "stride: want at least 1"),
        ({"block_records": 0}, "block_records: want at least 1"),
    ],
)
def test_values_out_of_range_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        InputConfig(**options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"window_size": 65}, "--chunk-frames 65"),
        ({"window_size": 60, "frame_delay": 45}, "--overlap-frames 46"),
        ({"window_size": 60, "burn_in": 30, "frame_delay": 20}, "--overlap-frames 51"),
    ],
)
def test_short_chunks_name_the_preprocessing_flag(games, options, words):
    with pytest.raises(UserError, match=words):
        one_epoch(InputConfig(**options), games, training=True)


def test_missing_split_shard_or_variant_tell_the_next_step(make_games):
    games = make_games([100, 200, 300])
    build = data_input.build
    arguments = {"batch_size": 4, "seed": 0, "training": True}
    with pytest.raises(UserError, match="no games in split 'validation'"):
        build(games.folder, InputConfig(), split="validation", **arguments)
    variants = InputConfig(window_size=20, augment=True, augment_from="variants")
    for kind, words in (("noisy", "--num-noisy-variants"), ("mirrored", "--variants")):
        with pytest.raises(UserError, match=words):
            other = {"noisy": "mirrored", "mirrored": "noisy_1"}[kind]
            check_variants(variants, games.source(["original", other]))
    next(games.folder.glob("train-original-00001*")).unlink()
    with pytest.raises(UserError, match=r"train-original-00001-of-00003.*missing"):
        build(games.folder, InputConfig(window_size=20), split="train", **arguments)


@pytest.mark.parametrize("damage", ["body", "length", "cut"])
def test_a_damaged_shard_stops_the_run_and_is_named(make_games, damage):
    games = make_games([300, 300, 300])
    path = sorted(games.folder.glob("train-original-*"))[1]
    data = bytearray(path.read_bytes())
    if damage == "cut":
        data = data[: len(data) // 2]
    else:
        data[3 if damage == "length" else 500] ^= 0x10
    path.write_bytes(data)
    config = InputConfig(window_size=20)
    dataset = data_input.build(
        games.folder, config, split="train", batch_size=4, seed=0, training=True
    )
    with (
        pytest.raises(UserError, match=rf"{path.name}.*exphil_tf\.verify") as error,
        data_input.named_shard_errors(games.folder, split="train"),
    ):
        list(arrays(dataset, 1000))
    assert error.value.exit_code == 65


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", (0,)), ("n", (CHUNK + OVERLAP + 1,)), ("perspectives", (0,)), ("perspectives", (4,)),
        ("player_ids", (-1, 0)), ("player_ids", (0, 1 << 20)), ("characters", (300, 0)),
        ("start", (7,)), ("start", (-CHUNK,)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("training", [True, False])
def test_a_record_out_of_bounds_stops_the_run_and_is_named(make_games, name, value, training):
    games = make_games([100, 100, 100])
    path = sorted(games.folder.glob("train-original-*"))[1]
    first, *rest = read_records(path)
    changed = write_example({**read_example(first), name: value})
    path.write_bytes(b"".join(map(frame, [changed, *rest])))
    dataset = data_input.build(
        games.folder,
        InputConfig(window_size=20),
        split="train",
        batch_size=4,
        seed=0,
        training=training,
    )
    with (
        pytest.raises(UserError, match=rf"{path.name}: record 0: {name}: want") as error,
        data_input.named_shard_errors(games.folder, split="train"),
    ):
        list(arrays(dataset, 1000))
    assert error.value.exit_code == 65


def test_labels_agree_with_the_spelled_controllers():
    """The reference itself: what `make_game` spells is what `spelled_row` reads."""
    rows = pack(make_game(0, 400))
    for player in range(2):
        assert spelled_row(rows[:, action_order(player)]).tolist() == list(range(400))
    assert player_id(3, 1) == 8 and callable(write_games)
