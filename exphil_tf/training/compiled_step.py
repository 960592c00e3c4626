"""A step that is compiled whole, and is found again by the next process that compiles the same.

XLA's persistent cache (`training.compile_cache`) finds a step by its graph with all names in it.
TensorFlow ends the names of functions and loops with a number that counts every tensor and function
that the process has made, so a run that goes on would have other names than one that starts. Here
they are numbered by the step's own name and by how often that was traced before.
"""

import contextlib
import itertools
import logging
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf
from tensorflow.python.framework import ops

_numbers: dict[str, Iterator[int]] = {}
"""Of what is traced under each name: unique in the process, as TensorFlow's own are."""


class CompiledStep:
    """A function of batches and variables as one graph.

    Args:
      function: without Python control flow that would have to be converted; without autograph,
        tracing takes half the time.
      jit: compile with XLA. Without it a step is several times slower but ready at once.
    """

    def __init__(self, function: Callable[..., Any], *, jit: bool):
        self._name = function.__name__
        self._function = tf.function(function, jit_compile=jit, autograph=False)
        self._is_traced = False

    def __call__(self, *args: Any) -> Any:
        """The function's results."""
        if self._is_traced:
            return self._function(*args)
        with _numbered(self._name), _unwarned():
            results = self._function(*args)
        self._is_traced = True
        return results

    def graph(self, *args: Any) -> Any:
        """The graph for such arguments."""
        with _numbered(self._name):
            return self._function.get_concrete_function(*args).graph


@contextlib.contextmanager
def _unwarned() -> Iterator[None]:
    """Inside, TensorFlow does not warn that a function is traced time and again.

    It goes by the code alone, which many steps share: each policy of a match has its own.
    """
    logger = tf.get_logger()
    logger.addFilter(_is_of_interest)
    try:
        yield
    finally:
        logger.removeFilter(_is_of_interest)


def _is_of_interest(record: logging.LogRecord) -> bool:
    return "triggered tf.function retracing" not in record.getMessage()


@contextlib.contextmanager
def _numbered(name: str) -> Iterator[None]:
    """Inside, TensorFlow numbers what it makes by a name."""
    first = zlib.crc32(name.encode()) << 31 | 1 << 30  # no process counts so far by itself
    ops.get_default_graph()  # is numbered too, once in a process: not among these
    numbers, usual = _numbers.setdefault(name, itertools.count(first)), ops.uid
    ops.uid = lambda: next(numbers)
    try:
        yield
    finally:
        ops.uid = usual
