"""Games and opinions to be shown on a page."""

from __future__ import annotations

import dataclasses

import numpy as np

from exphil_tf.agents.game_judgement import Judgement
from exphil_tf.features.controller import ControllerCodec
from exphil_tf.melee.types import Game

HOSTILE = '</script><script>var injected = 1</script><img src=x onerror="injected=1">'


def opinion(frames: int) -> Judgement:
    """A policy's opinion whose figures can be foretold."""
    rng, sizes = np.random.default_rng(0), ControllerCodec().sizes
    nats = np.ones((frames, 2), np.float32)
    nats[40, 1], nats[90, 0] = 9.0, 7.0
    targets = rng.integers(0, 2, (frames, 2, 13)).astype(np.int32)
    chances = rng.random((frames, 2, sum(sizes.values())), np.float32)
    values = ControllerCodec().bucket_values()
    return Judgement(2, chances, targets, nats, sizes, values)


def hostile(game: Game) -> tuple[Game, str]:
    """A game whose players' names, tags and codes are a script, and the script."""
    players = tuple(
        dataclasses.replace(player, name=HOSTILE, tag=HOSTILE, code=HOSTILE)
        for player in game.info.players
    )
    return dataclasses.replace(game, info=dataclasses.replace(game.info, players=players)), HOSTILE
