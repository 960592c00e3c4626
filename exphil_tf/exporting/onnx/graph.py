"""An ONNX graph that can be edited: nodes in a list, constants as numpy arrays by name.

`onnx.GraphProto` finds nothing by name; the rewrites of this package ask all the time who makes a
value, who reads it and whether it is a constant. A value is made once (SSA), so those answers are
three dictionaries. They are built when asked for after a change, which is fast enough: a policy
has a few hundred nodes.

Alternatives that lost: onnxscript's rewriter, which was tried (docs/adr/0006), and
onnx-graphsurgeon: a dependency each for what is a hundred lines here.
"""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

CONTRIB = "com.microsoft"
"""Domain of ONNX Runtime's own operators."""


class NestedGraphError(ValueError):
    """A graph with loops or branches, whose values these rewrites do not follow."""


class Graph:
    """A copy of a model, taken apart.

    `to_model` puts it together again and leaves out what no output depends on.
    """

    def __init__(self, model: onnx.ModelProto):
        graph = model.graph
        self.name = graph.name
        self.inputs = list(graph.input)
        self.outputs = list(graph.output)
        self.constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        self.nodes: list[NodeProto] = []
        for node in graph.node:
            if node.op_type == "Constant":
                self.constants[node.output[0]] = _constant_value(node)
            elif any(a.HasField("g") or a.graphs for a in node.attribute):
                raise NestedGraphError(f"graph: want no loops. Received: {node.op_type}")
            else:
                copy = NodeProto()
                copy.CopyFrom(node)
                self.nodes.append(copy)
        self.value_info = {v.name: v for v in graph.value_info}
        self.opsets = {o.domain: o.version for o in model.opset_import}
        self._index: tuple[dict[str, NodeProto], dict[str, list[NodeProto]]] | None = None
        self._fresh = 0

    # -- Questions --------------------------------------------------------------------------------

    def producer(self, value: str) -> NodeProto | None:
        """The node that makes a value; None for inputs and constants."""
        return self._indexed()[0].get(value)

    def consumers(self, value: str) -> list[NodeProto]:
        """Nodes that read a value, one entry per node; the graph's outputs are not counted."""
        return self._indexed()[1].get(value, [])

    def is_output(self, value: str) -> bool:
        """Whether the graph gives the value out."""
        return any(output.name == value for output in self.outputs)

    def is_single_use(self, value: str) -> bool:
        """Whether exactly one node reads the value and nothing else does."""
        return len(self.consumers(value)) == 1 and not self.is_output(value)

    def constant(self, value: str) -> np.ndarray | None:
        """The value of a constant, None if it depends on inputs."""
        return self.constants.get(value)

    def scalar(self, value: str) -> float | None:
        """The value of a constant of one element, else None."""
        found = self.constants.get(value)
        return float(found.reshape(())) if found is not None and found.size == 1 else None

    def rank(self, value: str) -> int | None:
        """Axes of a value, None if unknown."""
        shape = self.shape(value)
        return None if shape is None else len(shape)

    def shape(self, value: str) -> list[int | str] | None:
        """Sizes of a value (names where symbolic), None if unknown."""
        if value in self.constants:
            return list(self.constants[value].shape)
        info = self.value_info.get(value)
        for known in (*self.inputs, *self.outputs):
            info = known if known.name == value else info
        if info is None or not info.type.tensor_type.HasField("shape"):
            return None
        return [d.dim_value if d.HasField("dim_value") else d.dim_param for d in _dims(info)]

    # -- Changes ----------------------------------------------------------------------------------

    def add_constant(self, value: np.ndarray, name: str) -> str:
        """Stores a constant under a name that starts like `name`, which is returned."""
        unique = self.fresh(name)
        self.constants[unique] = np.asarray(value)
        return unique

    def fresh(self, name: str) -> str:
        """A value name that nothing has yet."""
        taken = {output for node in self.nodes for output in node.output} | self.constants.keys()
        taken |= {v.name for v in (*self.inputs, *self.outputs)}
        unique = name
        while unique in taken:
            self._fresh += 1
            unique = f"{name}.{self._fresh}"
        return unique

    def insert(self, before: NodeProto, nodes: Iterable[NodeProto]) -> None:
        """Puts nodes in front of another."""
        place = next(i for i, node in enumerate(self.nodes) if node is before)
        self.nodes[place:place] = list(nodes)
        self._index = None

    def replace(self, old: Iterable[NodeProto], new: Iterable[NodeProto]) -> None:
        """Puts nodes where the last of the old ones stood, and removes those."""
        gone = list(old)
        last = max(i for i, node in enumerate(self.nodes) if any(node is g for g in gone))
        self.nodes[last + 1 : last + 1] = list(new)
        self.nodes = [node for node in self.nodes if not any(node is g for g in gone)]
        self._index = None

    def redirect(self, old: str, new: str) -> None:
        """Lets every reader of `old` read `new`; `old` must not be an output of the graph."""
        for node in self.consumers(old):
            for place, value in enumerate(node.input):
                if value == old:
                    node.input[place] = new
        self._index = None

    def bypass(self, node: NodeProto) -> bool:
        """Removes a node that only hands its first input on; False if an output forbids it."""
        value, source = node.output[0], node.input[0]
        if not self.is_output(value):
            self.redirect(value, source)
            self.replace([node], [])
            return True
        maker = self.producer(source)
        if maker is None or self.is_output(source):
            return False
        # The maker takes over the output's name.
        self.replace([node], [])
        self.redirect(source, value)
        maker.output[list(maker.output).index(source)] = value
        self._index = None
        return True

    def sweep(self) -> None:
        """Removes nodes and constants that no output depends on."""
        needed = {output.name for output in self.outputs}
        kept = []
        for node in reversed(self.nodes):
            if needed & set(node.output):
                needed |= set(node.input)
                kept.append(node)
        self.nodes = kept[::-1]
        self.constants = {n: v for n, v in self.constants.items() if n in needed}
        self._index = None

    def touch(self) -> None:
        """Says that nodes were changed in place."""
        self._index = None

    def sort(self) -> None:
        """Orders nodes so that each comes after those it reads, by what the outputs ask for first.

        The order follows from the graph alone: that of tf2onnx goes by names.
        """
        makers = {value: node for node in self.nodes for value in node.output}
        given = {v.name for v in self.inputs} | self.constants.keys() | {""}
        done: dict[int, NodeProto] = {}
        asked = [(value, False) for node in reversed(self.nodes) for value in node.output]
        asked += [(output.name, False) for output in reversed(self.outputs)]
        open_nodes: set[int] = set()
        while asked:
            value, is_read = asked.pop()
            if value in given:
                continue
            node = makers.get(value)
            if node is None or (id(node) in open_nodes and id(node) not in done and not is_read):
                raise ValueError(f"graph: a cycle, or nobody makes {value!r}")
            if id(node) in done:
                continue
            if is_read:
                done[id(node)] = node
                continue
            open_nodes.add(id(node))
            asked.append((value, True))
            asked += [(needed, False) for needed in reversed(node.input)]
        self.nodes = list(done.values())
        self._index = None

    def rename(self) -> None:
        """Names values by the operation that makes them, so that equal graphs give equal bytes.

        TensorFlow and tf2onnx number names through the life of a process.
        """
        self.sweep()
        self.sort()
        taken = {v.name for v in (*self.inputs, *self.outputs)} | {""}
        new = {name: name for name in taken}
        for node in self.nodes:
            for value in node.output:
                if value not in new:
                    new[value] = _unique(node.op_type, taken)
            for value in node.input:
                if value in self.constants and value not in new:
                    place = list(node.input).index(value)
                    new[value] = _unique(f"{new[node.output[0]]}.{place}", taken)
        for node in self.nodes:
            node.name = new[node.output[0]]
            node.doc_string = ""
            node.input[:] = [new[value] for value in node.input]
            node.output[:] = [new[value] for value in node.output]
        order = [v for node in self.nodes for v in node.input]
        old = {new[name]: value for name, value in self.constants.items() if name in new}
        self.constants = {name: old[name] for name in dict.fromkeys(order) if name in old}
        self.value_info = {
            new[n]: info
            for n, info in self.value_info.items()
            if n in new and n not in self.constants
        }
        self._index = None

    def to_model(self, *, ir_version: int = 10) -> onnx.ModelProto:
        """Puts the model together, checked by onnx; equal graphs give equal bytes."""
        self.sweep()
        self.sort()
        initializers = [
            numpy_helper.from_array(np.ascontiguousarray(value), name)
            for name, value in self.constants.items()
        ]
        graph = helper.make_graph(self.nodes, self.name, self.inputs, self.outputs, initializers)
        used = {"", *(node.domain for node in self.nodes)}
        opsets = [helper.make_opsetid(d, v) for d, v in sorted(self.opsets.items()) if d in used]
        model = helper.make_model(graph, opset_imports=opsets, producer_name="exphil-tf")
        model.ir_version = ir_version
        onnx.checker.check_model(model)
        return model

    def _indexed(self) -> tuple[dict[str, NodeProto], dict[str, list[NodeProto]]]:
        if self._index is None:
            producers: dict[str, NodeProto] = {}
            consumers: dict[str, list[NodeProto]] = {}
            for node in self.nodes:
                producers.update(dict.fromkeys(node.output, node))
                for value in dict.fromkeys(node.input):
                    consumers.setdefault(value, []).append(node)
            self._index = producers, consumers
        return self._index


def attribute(node: NodeProto, name: str, default: Any = None) -> Any:
    """An attribute's Python value, or the default."""
    for found in node.attribute:
        if found.name == name:
            return helper.get_attribute_value(found)
    return default


def until_stable(graph: Graph, rewrite: Callable[[Graph, NodeProto], bool]) -> int:
    """Offers every node to a rewrite until none changes any more; returns how many changed."""
    count, again = 0, True
    while again:
        again = False
        for node in list(graph.nodes):
            # A rewrite of an earlier node may have removed this one.
            if any(node is n for n in graph.nodes) and rewrite(graph, node):
                count, again = count + 1, True
    return count


def _unique(name: str, taken: set[str]) -> str:
    """The name, counted up until it is free, and taken from then on."""
    count, unique = 0, name
    while unique in taken:
        count += 1
        unique = f"{name}.{count}"
    taken.add(unique)
    return unique


def _constant_value(node: NodeProto) -> np.ndarray:
    return numpy_helper.to_array(attribute(node, "value"))


def _dims(info: onnx.ValueInfoProto) -> Any:
    return info.type.tensor_type.shape.dim
