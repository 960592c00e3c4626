"""Seeds for initializers and dropout, derived from one number and a name.

Derived seeds make a policy's weights a function of (config, seed) alone: adding a layer moves no
other layer's weights, and no global random state is read.
"""

import zlib


def derive_seed(seed: int, name: str) -> int:
    """Returns a seed in `[0, 2**31)` that depends on both arguments (CRC-32, stable for ever)."""
    return zlib.crc32(f"{seed}/{name}".encode()) & 0x7FFFFFFF
