"""The page of a game in a headless Chromium, driven as somebody would."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from exphil_tf.agents.game_page import game_page
from exphil_tf.replays.parse import parse
from tests.agents.browser import CHROMIUM, browser
from tests.agents.game_pages import hostile, opinion

COLOURS = ((0xFF, 0x8A, 0x5C), (0x5C, 0xB8, 0xFF))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium"),
]


def driven(page: str, folder: Path, frames: list[int]) -> dict:
    """What the page's driver saw."""
    script = (Path(__file__).parent / "page_in_browser.js").read_text()
    path = folder / "page.html"
    path.write_text(page)
    with browser(path, folder / "profile") as shown:
        seen = shown.run(f"{script}({json.dumps(frames)})")
        # That one is about the driver, which reads pixels.
        others = [c for c in shown.complaints if "willReadFrequently" not in json.dumps(c)]
        assert others == []
    return seen


def test_somebody_looks_at_a_game(real_replay, tmp_path):
    """Keys, scrubbing, play, the policy's worst moments; players are drawn where they were."""
    game = parse(real_replay("items"))
    x, last = game.frames["p.x"], len(game.frames) - 1
    apart = np.flatnonzero(np.abs(x[:, 0] - x[:, 1]) > 20)[::20].tolist()
    seen = driven(game_page(game, opinion(last + 1), title="items"), tmp_path, apart)
    assert seen["walk"] == [0, 1, 11, 10, last, 7, False, True]
    # 60 frames a second of the browser's own clock.
    assert seen["ms"] > 0
    assert abs(seen["played"] - 0.06 * seen["ms"]) <= 1 and seen["faster"] == "2"
    assert len(apart) > 3
    for frame, players in zip(apart, seen["pixels"], strict=True):
        for player, (px, py, pixel) in enumerate(players):
            assert (px, py) == (
                game.frames["p.x"][frame, player],
                game.frames["p.y"][frame, player],
            )
            assert pixel[:3] == list(COLOURS[player]), (frame, player)
    assert seen["visited"][:2] == [40, 90] and abs(seen["middle"] - (last + 1) // 2) <= 1
    assert seen["labelled"] and seen["live"].startswith("frame ")


def test_a_hostile_replay_injects_nothing(real_replay, tmp_path):
    game, text = hostile(parse(real_replay("items")))
    seen = driven(game_page(game, title=text), tmp_path, [])
    assert (seen["injected"], seen["images"], seen["scripts"]) == ("undefined", 0, 3)
    assert seen["title"].startswith(text) and seen["names"].startswith(text)
