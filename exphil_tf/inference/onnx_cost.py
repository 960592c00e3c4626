"""What a graph would cost to load and run, found out before ONNX Runtime sees it.

Shapes are followed from the inputs on by the rules of `onnx_rules`; an operator without one is
refused. The sum of all results bounds memory (ONNX Runtime is told to keep every result,
and works out constant parts when it loads), the sum of what operations read and multiply bounds
time. A graph must not cost more per row the more rows it gets.

Asking ONNX Runtime for the shapes would mean loading the graph, the `onnx` package is not there at
play, and neither of them bounds anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from exphil_tf.inference.onnx_file import MAX_RANK, GraphNode, OnnxFile, OnnxFileError
from exphil_tf.inference.onnx_rules import (
    MANY_ROWS,
    MAX_ELEMENTS,
    RULES,
    Inputs,
    Shape,
    Value,
    unknown,
)

MAX_WORK = 1 << 35
"""Numbers read, and products: seconds, where a frame lasts 17 ms."""


class Cost(NamedTuple):
    """Of a call, or of loading: constant parts are counted like the rest."""

    elements: int
    """Numbers in all inputs and results."""
    work: int
    """Numbers read and written, and products."""
    shapes: Mapping[str, Shape]
    """Of every value, by name."""


def check_cost(file: OnnxFile, batch: int | None) -> None:
    """Refuses a graph that would take more memory or time than a policy could.

    Args:
      file: as it was read.
      batch: rows that it is fixed to, None for any number.

    Raises: OnnxFileError: if it does, uses an operator that no export uses, or contradicts itself.
    """
    one = cost(file, batch or 1, limit=MAX_ELEMENTS)
    if one.work > MAX_WORK:
        raise OnnxFileError(f"want at most {MAX_WORK:,} products. Received: {one.work:,}")
    if batch is None:
        many = cost(file, MANY_ROWS, limit=MANY_ROWS * MAX_ELEMENTS)
        if many.elements > MANY_ROWS * one.elements or many.work > MANY_ROWS * one.work:
            raise OnnxFileError("it costs more for each row the more rows it gets")


def cost(file: OnnxFile, rows: int, *, limit: int) -> Cost:
    """Follows the shapes through a graph.

    Args:
      file: as it was read.
      rows: of its inputs, where their number is open.
      limit: numbers in all results at which to give up.

    Raises: OnnxFileError: see `check_cost`.
    """
    known = {name: Value(array, is_known=True) for name, array in file.constants.items()}
    for port in file.inputs:
        _define(known, port.name, unknown(_sizes(port.shape, rows), limit))
    elements = sum(known[port.name].array.size for port in file.inputs)
    work = 0
    for node in file.nodes:
        inputs = [_look_up(known, name) for name in node.inputs]
        results = _apply(node, inputs, limit)
        for name, value in zip(node.outputs, results, strict=False):
            _define(known, name, value)
        made = sum(value.array.size for value in results)
        elements += made
        work += made * _inner(node, inputs) + sum(v.array.size for v in inputs if v is not None)
        if elements > limit:
            raise OnnxFileError(f"{node.operator}: more than {limit:,} numbers in all results")
    for port in file.outputs:
        found = known[port.name].shape if port.name in known else None
        if found != _sizes(port.shape, rows):
            raise OnnxFileError(
                f"output {port.name!r:.40}: want {list(port.shape)!r:.80}. Received: {found}"
            )
    return Cost(elements, work, {name: value.shape for name, value in known.items()})


def _apply(node: GraphNode, inputs: Inputs, limit: int) -> list[Value]:
    rule = RULES.get(node.operator)
    if rule is None:
        raise OnnxFileError(f"{node.operator!r:.60}: an operator that no policy uses")
    try:
        results = rule(node, inputs)
    except OnnxFileError:
        raise
    except (ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise OnnxFileError(f"{node.operator}: {reason:.120}") from error
    if len(node.outputs) > len(results):
        raise OnnxFileError(f"{node.operator}: want {len(results)} outputs")
    if any(v.array.size > limit or v.array.ndim > MAX_RANK for v in results):
        raise OnnxFileError(f"{node.operator}: a result larger than a policy's")
    return results


def _define(known: dict[str, Value], name: str, value: Value) -> None:
    if name and name in known:
        raise OnnxFileError(f"{name!r:.60} is made twice")
    known[name] = value


def _look_up(known: Mapping[str, Value], name: str) -> Value | None:
    if not name:
        return None
    if name not in known:
        raise OnnxFileError(f"{name!r:.60} is read before it is made")
    return known[name]


def _sizes(shape: Sequence[str | int], rows: int) -> Shape:
    """Sizes of a port; its only name is the batch's."""
    if len({size for size in shape if isinstance(size, str)}) > 1:
        raise OnnxFileError(f"want one size that is open. Received: {list(shape)!r:.80}")
    return tuple(rows if isinstance(size, str) else size for size in shape)


def _inner(node: GraphNode, inputs: Inputs) -> int:
    """Products behind one number of a result."""
    first = inputs[0] if inputs else None
    return first.shape[-1] if first is not None and "MatMul" in node.operator else 1
