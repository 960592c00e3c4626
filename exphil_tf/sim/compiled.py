"""How rules are compiled: inner functions inlined by LLVM, kernels kept on disk.

numba keeps a kernel for as long as the kernel's own file stays as it is, whatever becomes of the
functions that it calls. So a kernel's name carries a hash of all rules: other rules, other kernel.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba


def rule(function: Callable[..., Any]) -> Any:
    """A function that kernels call; Python cannot, which saves half of the time to compile."""
    options: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return numba.njit(function, error_model="numpy", **options)


def kernel(function: Callable[..., Any]) -> Any:
    """A function that Python calls; its machine code is kept beside the module, or in the cache."""
    function.__qualname__ = f"{function.__qualname__}_{_fingerprint()}"
    return numba.njit(function, cache=True, error_model="numpy", nogil=True)


@functools.cache
def _fingerprint() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
