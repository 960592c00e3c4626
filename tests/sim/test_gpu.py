"""The rules as CUDA runs them, in numba's simulator of it: as on a processor, but for roundings.

The simulator interprets every rule in Python, where float32 and a literal make float32 and not
float64 as in compiled code: away from thresholds, actions and counters must be equal all the same.
"""

import os
import subprocess
import sys

import numpy as np

from exphil_tf.melee.enums import Character, Stage
from exphil_tf.sim.random_pads import RandomPads
from exphil_tf.sim.state import INPUT, MATCH
from exphil_tf.sim.tables import TABLES
from exphil_tf.sim.world import World

MATCHES, FRAMES = 3, 40
PLAYED_THERE = """
import sys
import numpy as np
from numba.cuda.simulator.cudadrv.devicearray import FakeWithinKernelCUDAArray as Fake
from exphil_tf.sim.gpu import GpuMatches
from exphil_tf.sim.state import INPUT, MATCH

usual = Fake.__getattr__
def field_first(fake, name):  # `size` and `base` are fields, and not an array's
    is_field = name in (fake._item._ary.dtype.names or ())
    return fake[name] if is_field else usual(fake, name)
Fake.__getattr__ = field_first

matches, pads, played = sys.argv[1:]
on_gpu = GpuMatches(np.fromfile(matches, MATCH))
for held in np.fromfile(pads, INPUT).reshape(-1, len(on_gpu.read()), 2):
    on_gpu.step(held)
on_gpu.read().tofile(played)
"""


def test_matches_on_a_gpu_take_the_same_course(tmp_path):
    characters = [Character.FOX, Character.PEACH, Character.SHEIK]
    world = World(np.array([characters, characters[::-1]]).T, list(Stage)[:MATCHES])
    source = RandomPads(MATCHES, seed=4)
    pads = np.stack([source.next() for _ in range(FRAMES)])
    for stick in ("stick_x", "stick_y", "c_x", "c_y"):
        pads[stick] *= np.float32(0.993)  # off the grid, where thresholds lie
    files = [tmp_path / name for name in ("matches", "pads", "played")]
    world.matches.tofile(files[0])
    pads.tofile(files[1])
    simulated = {"NUMBA_ENABLE_CUDASIM": "1", "NUMBA_DISABLE_JIT": "1"}
    command = [sys.executable, "-c", PLAYED_THERE, *map(str, files)]
    subprocess.run(command, env=os.environ | simulated, check=True)
    for held in pads:
        world.step(held)
    there = np.fromfile(files[2], world.matches.dtype)
    assert len(np.unique(world.players["action"])) > 3
    for name in ("action", "frames", "jumps", "stock", "grounded", "buttons"):
        np.testing.assert_array_equal(there["players"][name], world.players[name], err_msg=name)
    for name in ("x", "y", "vx", "vy", "percent", "shield"):
        np.testing.assert_allclose(
            there["players"][name], world.players[name], rtol=1e-4, atol=1e-3, err_msg=name
        )


def records(dtype, name="record"):
    """Every record within a dtype, with its path."""
    dtype = dtype.base
    if dtype.names:
        yield name, dtype
        for field in dtype.names:
            yield from records(dtype[field], f"{name}.{field}")


def test_what_a_gpu_reads_is_aligned():
    """CUDA refuses to read a field elsewhere; the simulator of it does not."""
    unaligned = [name for one in (MATCH, INPUT, TABLES) for name, record in records(one)
                 if not record.isalignedstruct]  # fmt: skip
    assert unaligned == []
