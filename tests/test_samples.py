"""Sample replays: real files that take the real path, the same for a seed, worth learning from."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from exphil_tf import samples
from exphil_tf.features.controller import AXES, ControllerCodec
from exphil_tf.features.packing import action_order, pack
from exphil_tf.features.schema import SCHEMA
from exphil_tf.foundation.errors import UserError
from exphil_tf.melee.types import Game
from exphil_tf.replays import duplicates, filters, quality, sources, splits
from exphil_tf.replays.parse import Route, read_replay
from exphil_tf.sim.sample_games import SampleConfig, make_games

GAMES = 6
ARGUMENTS = ["--games", str(GAMES), "--seed", "5", "--min-seconds", "20", "--max-seconds", "24"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    assert samples.main(["--output", str(folder), *ARGUMENTS]) == 0
    return folder


@pytest.fixture(scope="module")
def games(folder: Path) -> list[Game]:
    return [read_replay(path).game for path in sorted(folder.glob("*.slp"))]


def digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


def test_files_read_strictly_and_exactly(folder, games):
    made = make_games(SampleConfig(games=GAMES, seed=5, min_seconds=20, max_seconds=24))
    assert len(games) == len(made) == GAMES
    for path, read, wanted in zip(sorted(folder.glob("*.slp")), games, made, strict=True):
        assert read_replay(path).route is Route.STRICT
        assert not SCHEMA.check(wanted.frames)
        for name in SCHEMA.names:
            np.testing.assert_array_equal(read.frames[name], wanted.frames[name], err_msg=name)
        assert read.info.players == wanted.info.players
        assert read.info.match_id == wanted.info.match_id


def test_libmelee_reads_them(folder):
    melee = pytest.importorskip("melee")
    path = min(folder.glob("*.slp"), key=lambda one: one.stat().st_size)
    game = read_replay(path).game
    console = melee.Console(path=str(path), is_dolphin=False)
    assert console.connect()
    for index in range(400):
        state = console.step()
        assert state.frame == game.frames["frame"][index]
        for player in (0, 1):
            assert state.players[player + 1].position.x == game.frames["p.x"][index, player]
            assert state.players[player + 1].action.value == game.frames["p.action"][index, player]


def test_a_seed_gives_the_same_bytes_and_another_seed_others(folder, tmp_path):
    samples.main(["--output", str(tmp_path / "a"), *ARGUMENTS])
    assert digests(tmp_path / "a") == digests(folder)
    samples.main(
        [
            "--output",
            str(tmp_path / "b"),
            "--games",
            "2",
            "--seed",
            "6",
            "--min-seconds",
            "2",
            "--max-seconds",
            "3",
        ]
    )
    assert not set(digests(tmp_path / "b").values()) & set(digests(folder).values())


def test_games_vary_and_pass_every_filter(folder, games):
    assert {game.info.stage for game in games} == {2, 3, 8, 28, 31, 32}
    characters = {player.character for game in games for player in game.info.players}
    assert len(characters) >= 4
    config = filters.FilterConfig()
    assert all(filters.select(game, config).perspectives == 3 for game in games)
    scores = [quality.assess(game) for game in games]
    assert min(score.score for score in scores) >= 40
    identities = [duplicates.identity(game.info, "") for game in games]
    assert len(set(identities)) == GAMES
    assert len(set(splits.assign(identities, splits.SplitConfig()).values())) == 2
    assert len(sources.find([folder]).sources) == GAMES


def test_lengths_are_those_asked_for(tmp_path):
    config = SampleConfig(games=5, seed=1, min_seconds=3, max_seconds=5)
    for game in make_games(config):
        assert 3 * 60 + 123 <= len(game.frames) <= 5 * 60 + 123


@pytest.fixture(scope="module")
def many() -> list[Game]:
    """Enough games for shares of what is rare."""
    return make_games(SampleConfig(games=24, seed=5, min_seconds=20, max_seconds=24))


def controller_buckets(games: list[Game]) -> dict[str, list[np.ndarray]]:
    """Per component, the buckets of every perspective from GO on, buttons as one number."""
    codec = ControllerCodec()
    found: dict[str, list[np.ndarray]] = {name: [] for name in (*AXES, "shoulder", "buttons")}
    for game in games:
        rows = pack(game.frames)[85:]
        for player in (0, 1):
            buckets = codec.encode(rows[:, action_order(player)])
            buckets["buttons"] = buckets["buttons"] @ (2 ** np.arange(8))
            for name, column in buckets.items():
                found[name].append(column)
    return found


def test_every_component_moves_but_mostly_rests(many):
    for name, columns in controller_buckets(many).items():
        changes = np.concatenate([np.diff(column) != 0 for column in columns]).mean()
        assert 0.0005 < changes < 0.2, name
    pressed = np.concatenate([game.frames["c.buttons"].ravel() for game in many])
    for bit, button in enumerate("ABXYZLR"):
        assert (pressed >> bit & 1).mean() > 0.001, button


def test_inputs_follow_from_the_state(many):
    """The state tells the stick better than its frequencies, and changes better than chance.

    A table over (mood-free) things that a player sees, fitted on some games and read on others:
    side of the opponent, own facing, own action, closeness. A network sees far more.
    """
    codec = ControllerCodec()
    counts: dict[tuple, np.ndarray] = {}
    total = np.ones(codec.num_axis)
    loss_table, loss_marginal, frames = 0.0, 0.0, 0
    for fitting in (True, False):
        for game in many[::2] if fitting else many[1::2]:
            rows, columns = pack(game.frames), game.frames
            for own in (0, 1):
                x = codec.encode(rows[85:, action_order(own)])["main_x"]
                ahead = columns["p.x"][84:-1, 1 - own] - columns["p.x"][84:-1, own]
                keys = zip(
                    ahead > 0, columns["p.facing"][84:-1, own], columns["p.action"][84:-1, own],
                    np.digitize(np.abs(ahead), [14, 25, 45]), strict=True,
                )  # fmt: skip
                for key, bucket in zip(keys, x, strict=True):
                    table = counts.setdefault(tuple(map(int, key)), np.zeros(codec.num_axis))
                    if fitting:
                        table[bucket] += 1
                        total[bucket] += 1
                    else:
                        marginal = total / total.sum()
                        smooth = (table + 2 * marginal) / (table.sum() + 2)
                        loss_table -= np.log(smooth[bucket])
                        loss_marginal -= np.log(marginal[bucket])
                        frames += 1
    assert frames > 5000
    assert loss_table < 0.85 * loss_marginal


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "output"),
        (["--output", "x", "--games", "0"], "games"),
        (["--output", "x", "--min-seconds", "9", "--max-seconds", "8"], "min_seconds"),
        (["--output", "x", "--gmaes", "3"], "games"),
    ],
)
def test_bad_options_are_refused_in_a_sentence(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message) as error:
        samples.main(arguments)
    assert error.value.exit_code == 2 and not list(tmp_path.iterdir())
