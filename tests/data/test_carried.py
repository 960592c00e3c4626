"""Rows that walk through games, against a naive reading of the games: order, labels, resumption."""

import itertools
from collections import Counter
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from exphil_tf.data import input as data_input
from exphil_tf.data.epoch_size import epoch_size
from exphil_tf.data.input_config import InputConfig
from exphil_tf.features.packing import mirror_planes, pack, unpack
from exphil_tf.foundation.errors import UserError
from exphil_tf.records.example import read_example, write_example
from exphil_tf.records.shards import frame, read_records
from tests.data.conftest import Games
from tests.data.test_input import GO, SMALL, spelled_row, valid_rows

WINDOW = 15


class Visit(NamedTuple):
    """One unroll of a row."""

    step: int
    row: int
    view: int
    """Number of game and player."""
    frames: np.ndarray
    """Rows of the game, up to where they repeat."""
    labelled: np.ndarray
    """Rows with a loss weight."""
    begins: bool
    delay: int
    is_mirrored: bool


def batches(games: Games, *, training: bool, count=None, batch_size=4, seed=5, **options):
    dataset = data_input.build(
        games.folder,
        InputConfig(
            window_size=WINDOW, carry_state=True, **{**SMALL, "cursors_per_row": 1, **options}
        ),
        split="train",
        batch_size=batch_size,
        seed=seed,
        training=training,
    )
    return itertools.islice(dataset.as_numpy_iterator(), count)


def visits(games: Games, found, *, delays=(0,)) -> list[Visit]:
    """Every unroll that is one, each frame of it held against the game's own."""
    seen = []
    for step, batch in enumerate(found):
        assert not batch["is_resetting"][:, 1:].any()
        for row in range(len(batch["name"])):
            if batch["name"][row]:
                unroll = {name: values[row] for name, values in batch.items()}
                seen.append(checked(games, step, row, unroll))
                assert seen[-1].delay in delays
            else:  # its cursor has nothing left to walk through
                assert not batch["weight"][row].any()
    return seen


def checked(games: Games, step: int, row: int, unroll: dict) -> Visit:
    view, delay = int(unroll["name"]), int(unroll["delay"])
    game, player = divmod(view - 1, 2)
    columns = unpack(unroll["state"])
    frames = columns["frame"] + 123
    frames = frames[: min(WINDOW, len(games.frames[game]) - frames[0])]
    truth = pack(games.frames[game].__class__(games.rows(game, player)))[frames]
    mirrored = mirror_planes(truth.T).T
    is_mirrored = not (unroll["state"][: len(frames)] == truth).all()
    np.testing.assert_array_equal(
        unroll["state"][: len(frames)], mirrored if is_mirrored else truth
    )
    labelled = np.flatnonzero(unroll["weight"] > 0)
    if not is_mirrored:
        for at, shift in ((labelled + 1, 1), (labelled, 0)):
            np.testing.assert_array_equal(
                spelled_row(unroll["actions"][at]), frames[labelled] + shift + delay
            )
    assert (frames[labelled] + 1 + delay >= GO).all()
    begins = bool(unroll["is_resetting"][0])
    assert begins == (frames[0] == 0)
    return Visit(step, row, view, frames, frames[labelled], begins, delay, is_mirrored)


def walks(seen: list[Visit]) -> list[list[Visit]]:
    """Visits of a row that follow one another in one game, in the order of their first step."""
    found: list[list[Visit]] = []
    for row in sorted({visit.row for visit in seen}):
        own = [visit for visit in seen if visit.row == row]
        for visit in own:
            last = None if visit is own[0] or visit.begins else found[-1][-1]
            if last is None:
                found.append([visit])
                continue
            assert (visit.view, visit.step) == (last.view, last.step + 1)
            assert visit.frames[0] == last.frames[-1] + 1
            assert (visit.delay, visit.is_mirrored) == (last.delay, last.is_mirrored)
            found[-1].append(visit)
    return sorted(found, key=lambda walk: (walk[0].step, walk[0].row))


def num_unrolls(games: Games, delay: int = 0) -> dict[int, int]:
    """Unrolls of each view that has a label."""
    labels = valid_rows(games, delay, spoiled=True)
    views = {2 * game + player + 1 for game, player, _ in labels}
    lengths = {view: len(games.frames[(view - 1) // 2]) for view in views}
    return {view: -(-(length - 1 - delay) // WINDOW) for view, length in lengths.items()}


@pytest.mark.parametrize("delay", [0, 7])
@pytest.mark.parametrize("batch_size", [4, 40])
def test_a_pass_walks_through_every_game_once_from_its_first_frame(games, delay, batch_size):
    options = {"batch_size": batch_size, "frame_delay": delay}
    seen = visits(games, batches(games, training=False, **options), delays=[delay])
    labels = Counter((v.view - 1, int(row)) for v in seen for row in v.labelled)
    want = {(2 * g + p, row) for g, p, row in valid_rows(games, delay)}
    assert set(labels) == want and set(labels.values()) == {1}
    found = walks(seen)
    assert all(walk[0].begins for walk in found)
    assert {walk[0].view: len(walk) for walk in found} == num_unrolls(games, delay)
    assert len(found) == len(num_unrolls(games, delay))


def test_epochs_deal_every_view_once_to_the_cursor_that_is_free_first(games):
    sizes, cursors = num_unrolls(games), 4
    steps = 3 * sum(sizes.values()) // cursors
    # One window of games an epoch: what the first walks leave out comes behind all other views.
    seen = visits(games, batches(games, training=True, count=steps, shuffle_records=512))
    assert len(seen) == steps * cursors  # no row ever waits
    found = walks(seen)
    first, later = found[:cursors], found[cursors:]
    # The first walks begin anywhere; what they leave out is walked through by itself.
    ended = [walk for walk in later if walk[-1].step < steps - 1]
    heads = [walk for walk in ended if len(walk) < sizes[walk[0].view]]
    assert len({int(walk[0].frames[0]) for walk in first}) > 2
    for walk in first:
        (head,) = (h for h in heads if h[0].view == walk[0].view) if not walk[0].begins else ([],)
        assert len(head) + len(walk) == sizes[walk[0].view]
    whole = [walk for walk in found if walk not in heads]
    for epoch in range(2):
        dealt = whole[epoch * len(sizes) : (epoch + 1) * len(sizes)]
        assert {walk[0].view for walk in dealt} == set(sizes)
    one, two = (
        [walk[0].view for walk in whole[e * len(sizes) : (e + 1) * len(sizes)]] for e in (0, 1)
    )
    assert one != two
    size = epoch_size(
        games.folder, InputConfig(window_size=WINDOW, carry_state=True), split="train",
        batch_size=cursors, seed=0, training=True,
    )  # fmt: skip
    assert size.unrolls == sum(sizes.values())
    assert size.labelled_frames == len(valid_rows(games, 0, spoiled=True))


def test_delay_and_mirror_are_drawn_for_a_whole_walk(games):
    drawn = {"augment": True, "noise_prob": 0.0, "online_robust": True}
    found = walks(
        visits(games, batches(games, training=True, count=150, **drawn), delays=range(19))
    )
    assert len({walk[0].delay for walk in found}) > 5
    assert {walk[0].is_mirrored for walk in found} == {False, True}
    other = walks(visits(games, batches(games, training=True, count=9, seed=6)))
    assert [w[0].view for w in other[:4]] != [w[0].view for w in found[:4]]


def test_games_take_turns_in_a_row(games):
    """Batches of two turns are those of twice the rows, cut in two."""
    options = {"training": True, "augment": True, "noise_prob": 0.0}
    wide = batches(games, count=20, batch_size=8, **options)
    narrow = batches(games, count=40, batch_size=4, cursors_per_row=2, **options)
    for one, two, whole in zip(narrow, narrow, wide, strict=True):
        for name, value in whole.items():
            np.testing.assert_array_equal(np.concatenate([one[name], two[name]]), value)


@pytest.mark.parametrize("augment_from", ["live", pytest.param("variants", marks=pytest.mark.slow)])
def test_iterator_resumes_bit_for_bit(games, tmp_path, augment_from):
    config = InputConfig(
        window_size=WINDOW, carry_state=True, augment=True, augment_from=augment_from,
        online_robust=True, **SMALL,
    )  # fmt: skip

    def iterator():
        arguments = {"split": "train", "batch_size": 4, "seed": 1, "training": True}
        return iter(data_input.build(games.folder, config, **arguments))

    first = iterator()
    for _ in range(23):
        next(first)
    path = tf.train.Checkpoint(iterator=first).save(str(tmp_path / "at"))
    expected = [next(first) for _ in range(60)]
    second = iterator()
    tf.train.Checkpoint(iterator=second).restore(path).assert_consumed()
    for batch in expected:
        resumed = next(second)
        assert all((batch[k].numpy() == resumed[k].numpy()).all() for k in batch)


def test_what_does_not_fit_is_refused(games):
    with pytest.raises(UserError, match=r"--overlap-frames 45 or more"):
        next(batches(games, training=True, frame_delay=30))
    with pytest.raises(ValueError, match="carry_state: want no stride, burn_in"):
        InputConfig(carry_state=True, burn_in=5)


def test_a_record_out_of_bounds_is_named(make_games):
    games = make_games([300, 300, 300])
    path = sorted(games.folder.glob("train-original-*"))[1]
    first, *rest = read_records(path)
    changed = write_example({**read_example(first), "characters": (300, 0)})
    path.write_bytes(b"".join(map(frame, [changed, *rest])))
    with (
        pytest.raises(UserError, match=rf"{path.name}: record 0: characters: want"),
        data_input.named_shard_errors(games.folder, split="train"),
    ):
        list(batches(games, training=False))
