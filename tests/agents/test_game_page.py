"""The page of a game: its own script, run by node with a document that notes what is drawn."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from exphil_tf import view
from exphil_tf.agents.game_judgement import judge, worst_moments
from exphil_tf.agents.game_page import game_page
from exphil_tf.agents.policy_source import of_bundle, open_policy
from exphil_tf.foundation.errors import UserError
from exphil_tf.inference.bundle import open_bundle
from exphil_tf.replays.parse import parse
from tests.agents.game_pages import hostile, opinion

NODE = shutil.which("node")


def looked_at(page: str, folder: Path, **asked) -> dict:
    if NODE is None:
        pytest.skip("no node")
    path = folder / "page.html"
    path.write_text(page)
    script = Path(__file__).parent / "page_in_node.js"
    done = subprocess.run(
        [NODE, str(script), str(path), json.dumps({"frames": [], "columns": [], **asked})],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


def test_the_page_shows_the_columns_and_answers_keys(real_replay, tmp_path):
    game = parse(real_replay("items"))
    frames, columns = [0, 7, 50, 155], ["frame", "p.x", "p.y", "p.percent", "p.action", "i.x"]
    page = game_page(game, opinion(len(game.frames)), title="items")
    found = looked_at(page, tmp_path, frames=frames, columns=columns)
    for frame, values in zip(frames, found["values"], strict=True):
        for name in columns:
            want = np.atleast_1d(game.frames[name][frame]).astype(np.float64)
            np.testing.assert_array_equal(np.float64(values[name]), want, err_msg=name)
    last = len(game.frames) - 1
    # Right, Shift right, left, Home, End, scrub to 7; 0.4 s of play are 24 frames.
    assert found["walk"] == [6, 16, 15, 0, last, 7, 31, True, False]
    # The first player's capsule stands where the game has it: its lower arc is centred above.
    (x, y, scale), arc = found["place"], found["arcs"][0]
    np.testing.assert_allclose(arc[:3], [x, y - 3 * scale, 3 * scale], rtol=1e-9)
    assert found["calls"] > 100 and "One against Two" in found["title"]
    assert found["worst"][:2] == ["frame -83: 9.0 nats, Two", "frame -33: 7.0 nats, One"]
    assert re.search(r"One · falco\n\d+\.\d %   stocks \d", found["hud"])


def test_a_hostile_name_stays_a_name(real_replay, tmp_path):
    game, text = hostile(parse(real_replay("items")))
    page = game_page(game, title=text)

    class Scripts(HTMLParser):
        count = images = 0

        def handle_starttag(self, tag, attrs):
            self.count += tag == "script"
            self.images += tag == "img"

    parser = Scripts()
    parser.feed(page)
    assert (parser.count, parser.images) == (3, 0)
    found = looked_at(page, tmp_path)
    assert found["global"] == "undefined" and found["title"].startswith(text)


def test_the_page_needs_nothing_else(real_replay):
    page = game_page(parse(real_replay("nana")))
    assert "default-src 'none'" in page
    assert not re.search(r"https?://|src=|@import|url\(", page.partition('id="blob"')[0])
    assert len(page) < 200_000


def test_a_policy_is_surprised_by_what_it_finds_unlikely(exported, real_replay):
    """Nats are those of the probabilities shown, of the action of frame f + 1 + delay."""
    game = parse(real_replay("nana"))
    judged = judge(of_bundle(open_bundle(exported)), game)
    frames = len(game.frames)
    assert judged.nats.shape == (frames, 2) and (judged.nats[:-1] > 0).all()
    assert not judged.nats[-1].any(), "nothing follows the last frame"
    chances, targets = judged.probabilities[:-1].astype(np.float64), judged.targets[:-1]
    start, taken, held = 8, chances[..., :8], targets[..., :8]
    want = -np.log(np.where(held, taken, 1 - taken)).sum(-1)
    for place, size in enumerate(list(judged.sizes.values())[1:], start=8):
        part = chances[..., start : start + size]
        np.testing.assert_allclose(part.sum(-1), 1, atol=1e-5)
        want -= np.log(np.take_along_axis(part, targets[..., place, None], -1)[..., 0])
        start += size
    np.testing.assert_allclose(judged.nats[:-1], want, rtol=1e-3)
    buttons = game.frames["c.buttons"]
    np.testing.assert_array_equal(held[:, 1, 0], buttons[1:, 1] & 1)


def test_worst_moments_keep_apart():
    nats = np.zeros((300, 2), np.float32)
    nats[100:110, 0] = np.arange(10)
    nats[105, 1], nats[250, 0] = 5.0, 1.0
    assert worst_moments(nats, count=3) == [(109, 0), (105, 1), (250, 0)]


def test_the_command_writes_a_page(exported, real_replay, tmp_path, capsys):
    output = tmp_path / "page.html"
    flags = [str(real_replay("nana")), "--output", str(output), "--policy", str(exported)]
    assert view.main(flags) == 0 and "wrote" in capsys.readouterr().out
    assert '"policy":{"delay":0' in output.read_text()
    with pytest.raises(UserError, match="no such file") as error:
        view.main([str(tmp_path / "none.slp")])
    assert error.value.exit_code == 66
    with pytest.raises(UserError, match="trained for 0 frames. Received: 5"):
        view.main([*flags, "--frame-delay", "5"])
    with pytest.raises(UserError, match="want an exported policy.*neither") as error:
        open_policy(tmp_path)
    assert error.value.exit_code == 66
