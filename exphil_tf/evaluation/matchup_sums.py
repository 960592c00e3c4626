"""Running sums by matchup: own character, opponent's character, stage."""

import numpy as np

from exphil_tf.evaluation.results import MatchupMetrics, overall_score
from exphil_tf.features.controller import COMPONENTS
from exphil_tf.melee.enums import character_name, stage_name

UNKNOWN = -1
"""Id of an opponent or stage that nobody told."""
_IDS = 256


class MatchupSums:
    """Collects frames and gives a row per matchup."""

    def __init__(self) -> None:
        # Key → frames, weight, then NLL and accuracy of each component.
        self._sums: dict[int, np.ndarray] = {}

    def add(
        self, who: np.ndarray, weights: np.ndarray, *, nll: np.ndarray, accuracy: np.ndarray
    ) -> None:
        """Adds frames.

        Args:
          who: integers `[3, frames]`: own character, opponent's, stage; frames of which something
            is `UNKNOWN` are left out.
          weights: float64 `[frames]`.
          nll: float64 `[components, frames]`.
          accuracy: likewise.
        """
        known = (who != UNKNOWN).all(0)
        if not known.any():
            return
        keys, place = np.unique((who[0] * _IDS + who[1])[known] * _IDS + who[2][known],
                                return_inverse=True)  # fmt: skip
        weight = weights[known]
        rows = [np.ones_like(weight), weight, *(nll[:, known] * weight)]
        rows += list(accuracy[:, known] * weight)
        sums = np.stack([np.bincount(place, row, len(keys)) for row in rows], 1)
        for key, row in zip(keys.tolist(), sums, strict=True):
            self._sums[key] = self._sums.get(key, 0.0) + row

    def result(self) -> list[MatchupMetrics]:
        """A row per matchup, most frames first, equal ones by their ids."""
        ordered = sorted(self._sums.items(), key=lambda item: (-item[1][0], item[0]))
        return [_row(key, sums) for key, sums in ordered]


def _row(key: int, sums: np.ndarray) -> MatchupMetrics:
    pair, stage = divmod(key, _IDS)
    own, opponent = divmod(pair, _IDS)
    nll, accuracy = (sums[2:] / sums[1]).reshape(2, -1).tolist()
    right: dict[str, float] = dict(zip(COMPONENTS, accuracy, strict=True))
    return MatchupMetrics(
        character=character_name(own),
        opponent=character_name(opponent),
        stage=stage_name(stage),
        frames=int(sums[0]),
        nll=sum(nll),
        score=overall_score(right),
        components=dict(zip(COMPONENTS, nll, strict=True)),
        accuracy=right,
    )
