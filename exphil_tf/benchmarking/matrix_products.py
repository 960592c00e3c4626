"""The matrix products of a compiled step, and how long they alone would take.

They are read off the traced graph, loops with as many turns as they have. Products of a matrix with
a vector don't count: they are bound by memory, and a good step has none.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

_CALLS = ("f", "body", "then_branch", "else_branch")
"""Attributes by which an operation names the functions that it runs."""


class Product(NamedTuple):
    """`batch` products of `[rows, inner]` with `[inner, columns]`."""

    batch: int
    rows: int
    inner: int
    columns: int

    @property
    def flops(self) -> int:
        """Additions and multiplications."""
        return 2 * self.batch * self.rows * self.inner * self.columns


def products(graph: Any) -> Counter[Product]:
    """How often a graph computes each product.

    Args:
      graph: a `GraphDef` with shapes (`graph.as_graph_def(add_shapes=True)`), all static.
    """
    functions = {function.signature.name: function for function in graph.library.function}

    def count(nodes: dict[str, Any], arguments: dict[str, list[int]], turns: int) -> None:
        for node in nodes.values():
            shapes = [_shape(name, nodes, arguments) for name in node.input[:2]]
            product = _product(node, shapes)
            if product is not None and min(product[1:]) > 1:
                found[product] += turns
            times = turns * (_turns(node, nodes) if node.op.endswith("While") else 1)
            for name in (node.attr[key].func.name for key in _CALLS if key in node.attr):
                if name in functions:
                    inside = functions[name]
                    count({n.name: n for n in inside.node_def}, _arguments(inside), times)

    found: Counter[Product] = Counter()
    count({node.name: node for node in graph.node}, {}, 1)
    return found


def _arguments(function: Any) -> dict[str, list[int]]:
    """Shapes of a function's arguments by name, where they are known."""
    return {
        argument.name: _dims(function.arg_attr[i].attr["_output_shapes"].list.shape[0])
        for i, argument in enumerate(function.signature.input_arg)
        if function.arg_attr[i].attr["_output_shapes"].list.shape
    }


def _dims(shape: Any) -> list[int]:
    return [dim.size for dim in shape.dim]


def _shape(name: str, nodes: dict[str, Any], arguments: dict[str, list[int]]) -> list[int] | None:
    """Shape of an operation's input: `node`, `node:1`, `node:output:1`, or an argument."""
    source, *place = name.lstrip("^").split(":")
    if source in arguments:
        return arguments[source]
    shapes = nodes[source].attr["_output_shapes"].list.shape if source in nodes else ()
    index = int(place[-1]) if place else 0
    return _dims(shapes[index]) if index < len(shapes) else None


def _turns(node: Any, nodes: dict[str, Any]) -> int:
    """Turns of a loop, from its second input, the most that it may make."""
    limit = nodes[node.input[1].split(":")[0]]
    return int(tf.make_ndarray(limit.attr["value"].tensor)) if "value" in limit.attr else 1


def _product(node: Any, shapes: list[list[int] | None]) -> Product | None:
    if node.op not in ("MatMul", "BatchMatMulV2") or None in shapes:
        return None
    left, right = shapes
    assert left is not None and right is not None
    keys = ("transpose_a", "transpose_b") if node.op == "MatMul" else ("adj_x", "adj_y")
    rows, inner = left[-2:][:: -1 if node.attr[keys[0]].b else 1]
    columns = right[-2] if node.attr[keys[1]].b else right[-1]
    batch = np.prod(np.broadcast_shapes(tuple(left[:-2]), tuple(right[:-2])), dtype=int)
    return Product(int(batch), rows, inner, columns)


def floor(counts: Counter[Product]) -> Callable[[], Any]:
    """Returns what computes all of these products and nothing else."""
    once = [_repeated(product, count) for product, count in sorted(counts.items())]
    compiled = tf.function(lambda: [work() for work in once], jit_compile=True, autograph=False)
    return lambda: compiled()[0].numpy()  # noqa: PLW0108 - it runs only when called


def _repeated(product: Product, count: int) -> Callable[[], Any]:
    batch, rows, inner, columns = product
    random: Any = np.random.default_rng(0).standard_normal
    left = tf.Variable(tf.cast(random((2, batch, rows, inner)), tf.float32))
    right = tf.Variable(tf.cast(random((batch, inner, columns)), tf.float32))

    def work() -> Any:
        first = tf.matmul(left[0], right)
        if count == 1:
            return first
        # Another left side each turn, or the compiler would compute one product for all.
        return tf.while_loop(
            lambda i, _: i < count,
            lambda i, _: (i + 1, tf.matmul(left[i % 2], right)),
            (tf.constant(1), first),
            maximum_iterations=count - 1,
        )[1]

    return work
