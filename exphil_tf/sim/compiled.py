"""How rules are compiled: inner functions inlined by LLVM, kernels kept on disk.

numba keeps a kernel for as long as the kernel's own file stays as it is, whatever becomes of the
functions that it calls. So a kernel's name carries a hash of its module and of those of the
simulator that it imports: other rules, other kernel.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numba
import numba.core.config

from exphil_tf.sim.rule_compiler import KernelDispatcher, RuleCompiler, RuleDispatcher

_config: Any = numba.core.config
_OPTIONS: dict[str, Any] = {"error_model": "numpy"}
_INNER: dict[str, Any] = {**_OPTIONS, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""Python cannot call it, which saves half of the time to compile."""


def rule(function: Callable[..., Any]) -> Any:
    """A function that kernels call; see `rule_compiler`."""
    if _config.DISABLE_JIT:
        return function  # as `numba.njit` does
    return RuleDispatcher(
        function, targetoptions={"nopython": True, **_INNER}, pipeline_class=RuleCompiler
    )


def passage(function: Callable[..., Any]) -> Any:
    """A rule that is compiled as a part of whoever calls it.

    For one that calls nearly all others, which LLVM would go over once more.
    """
    return numba.njit(function, inline="always", **_INNER)


def kernel(function: Callable[..., Any]) -> Any:
    """A function that Python calls; its machine code is kept beside the module, or in the cache."""
    function.__qualname__ = f"{function.__qualname__}_{_fingerprint(function.__module__)}"
    if _config.DISABLE_JIT:
        return function
    found = KernelDispatcher(
        function,
        targetoptions={"nopython": True, "nogil": True, "no_cfunc_wrapper": True, **_OPTIONS},
    )
    found.enable_caching()
    return found


@functools.cache
def _fingerprint(module: str) -> str:
    digest, todo, done = hashlib.sha256(), [module], set[str]()
    while todo:
        name = todo.pop()
        source = _source(name)
        if source is None or name in done:
            continue
        done.add(name)
        todo += _imports(source)
    for name in sorted(done):
        digest.update((_source(name) or "").encode())
    return digest.hexdigest()[:12]


@functools.cache
def _source(module: str) -> str | None:
    """The text of a module of the simulator; None if it is no such module."""
    if not f"{module}.".startswith(f"{__package__}."):
        return None
    path = Path(__file__).parent.joinpath(*module.split(".")[2:]).with_suffix(".py")
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _imports(source: str) -> Iterator[str]:
    """Names of modules, and of what may be one."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
