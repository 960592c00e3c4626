"""From where ledges are caught, and out of which special moves, as recorded games show.

In the game a box in front of a character must reach the ledge's corner. Here its four sides are
those that tell frames on which somebody caught a ledge best from those on which they fell past it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from exphil_tf.sim import actions as act
from exphil_tf.sim.recorded import Recorded
from exphil_tf.sim.rules.choices import LEDGE_WAIT_FRAMES
from exphil_tf.sim.rules.controls import DROP
from exphil_tf.sim.stage_lines import STAGES, stage_table

Row = dict[str, Any]
_SIDES = ("near", "far", "low", "high")
_WINDOW, _MIN_CATCHES, _ROUNDS = (-4.0, 20.0, -30.0, 6.0), 8, 3
_PASSES = 0.5
"""Share of frames inside the box on which a special move must catch to count as one that may."""


def catches(games: Iterable[Recorded]) -> tuple[list[Row], list[Row]]:
    """Rows of `catch.csv`, boxes by character, and of `hangs.csv`, special moves that may catch."""
    parts: dict[int, list[np.ndarray]] = {}
    for game in games:
        for player in (0, 1):
            if not game.held_out[player]:
                for who, frames in _frames(game, player):
                    parts.setdefault(who, []).append(frames)
    boxes: list[Row] = []
    hangs: list[Row] = []
    for who, found in sorted(parts.items()):
        place, action, caught = _split(np.concatenate(found))
        common = action < act.SPECIAL_FIRST
        count = int(caught[common].sum())
        if count < _MIN_CATCHES:
            continue
        box, share = _box(place[common], caught[common])
        boxes.append({"character": who, **dict(zip(_SIDES, box.round(2).tolist(), strict=True)),
                      "count": count, "share": round(share, 3)})  # fmt: skip
        hangs += _hangs(who, _inside(place, box), action=action, caught=caught)
    return boxes, hangs


def _split(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return frames[:, :2], frames[:, 2].astype(int), frames[:, 3] != 0


def _hangs(who: int, inside: np.ndarray, *, action: np.ndarray, caught: np.ndarray) -> list[Row]:
    rows: list[Row] = []
    for one in np.unique(action[caught & (action >= act.SPECIAL_FIRST)]).tolist():
        here = action == one
        held, passed = int((here & caught).sum()), int((here & inside & ~caught).sum())
        if held >= _PASSES * (held + passed):
            rows.append({"character": who, "action": one, "caught": held, "passed": passed})
    return rows


def _frames(game: Recorded, player: int) -> Iterable[tuple[int, np.ndarray]]:
    """Character → out, up, action and whether it caught: of frames that come down at a ledge."""
    stage = stage_table()[STAGES.index(game.stage)]  # pyright: ignore[reportArgumentType]
    action, x, y = (game[name][:, player] for name in ("action", "x", "y"))
    caught = (action[1:] == act.LEDGE_CATCH) & (action[:-1] != act.LEDGE_CATCH)
    # A catch stops the fall: what the step would have been follows from the frame before.
    vx, vy = game["speed_air_x_self"][:, player], game["speed_y_self"][:, player]
    step_x, step_y = (np.where(caught, one[:-1], one[1:]) for one in (vx, vy))
    side = np.sign(x[:-1])
    facing = game["facing"][:-1, player].astype(float) * 2 - 1
    falls = (game["on_ground"][:-1, player] == 0) & (game["hitlag"][:-1, player] == 0)
    falls &= ((action[:-1] >= act.JUMP_F) & (action[:-1] <= act.SPECIAL_FALL_B)) | (
        action[:-1] >= act.SPECIAL_FIRST
    )
    falls &= (step_y <= 0) & (facing * side < 0) & (game["main_y"][1:, player] > DROP)
    falls &= (
        (game["speed_x_attack"][1:, player] == 0) & ~_lately(action)[:-1] & ~_taken(game, player)
    )
    falls &= caught | (action[1:] == action[:-1])
    place = np.stack([side * (x[:-1] + step_x) - stage["edge"], y[:-1] + step_y - stage["ledge_y"],
                      action[:-1], caught], 1)  # fmt: skip
    left, right, low, high = _WINDOW
    falls &= (
        (place[:, 0] > left) & (place[:, 0] < right) & (place[:, 1] > low) & (place[:, 1] < high)
    )
    who = game["character"][:-1, player]
    return [(int(one), place[falls & (who == one)]) for one in np.unique(who[falls])]


def _lately(action: np.ndarray) -> np.ndarray:
    """Whether a ledge was held within the frames in which none can be caught again."""
    rows = np.arange(len(action))
    on = (action >= act.LEDGE_CATCH) & (action <= act.LEDGE_JUMP_2)
    last = np.maximum.accumulate(np.where(on, rows, -1000))
    return rows - last <= LEDGE_WAIT_FRAMES + 2


def _taken(game: Recorded, player: int) -> np.ndarray:
    other = game["action"][:-1, 1 - player]
    return (other >= act.LEDGE_CATCH) & (other <= act.LEDGE_JUMP_2)


def _inside(place: np.ndarray, box: np.ndarray) -> np.ndarray:
    near, far, low, high = box
    out, up = place[:, 0], place[:, 1]
    return (near <= out) & (out <= far) & (low <= up) & (up <= high)


def _box(place: np.ndarray, caught: np.ndarray) -> tuple[np.ndarray, float]:
    """The box that is right on most frames, and the share of catches in it."""
    near, low = np.percentile(place[caught], 2, axis=0)
    far, high = np.percentile(place[caught], 98, axis=0)
    box = np.array([near, far, low, high])
    for _ in range(_ROUNDS):
        for at in range(4):
            trials = box[at] + np.arange(-4, 4.01, 0.25)
            right = []
            for trial in trials:
                box[at] = trial
                right.append(int((_inside(place, box) == caught).sum()))
            best = np.flatnonzero(np.array(right) == max(right))
            box[at] = trials[best[len(best) // 2]]
    return box, float(_inside(place, box)[caught].mean())
