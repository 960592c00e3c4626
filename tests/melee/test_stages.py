"""Stage geometry against libmelee's."""

import numpy as np
import pytest

libmelee = pytest.importorskip("melee.stages")

import melee  # noqa: E402

from exphil_tf.melee import stages  # noqa: E402
from exphil_tf.melee.enums import STAGE_TO_LIBMELEE, Stage  # noqa: E402


@pytest.mark.parametrize("stage", list(Stage), ids=lambda stage: stage.name)
def test_edges_and_blast_zones_are_libmelees(stage):
    theirs = melee.enums.Stage(STAGE_TO_LIBMELEE[stage])
    ours = stages.GEOMETRY[stage]
    assert ours.edge == libmelee.EDGE_GROUND_POSITION[theirs]
    assert (ours.left, ours.right, ours.top, ours.bottom) == libmelee.BLASTZONES[theirs]


def test_randall_goes_round_as_libmelees_does():
    frame = np.array([-123, -1, 0, 1, 599, 1199, 1200, 5001, 28_800])
    x, height = stages.randall(frame)
    for index, number in enumerate(frame):
        wanted_height, left, right = libmelee.randall_position(int(number))
        assert height[index] == np.float32(wanted_height)
        assert x[index] == np.float32((left + right) / 2)
    assert x.dtype == height.dtype == np.float32


def test_the_resting_stage_is_libmelees():
    from melee.gamestate import FoDPlatforms, StadiumTransformationType

    assert (FoDPlatforms().left, FoDPlatforms().right) == stages.FOD_START_HEIGHTS
    assert StadiumTransformationType.NORMAL.value == stages.STADIUM_NORMAL
