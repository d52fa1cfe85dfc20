"""The table of makers and readers follows what a pass does to the graph, and gives no name twice."""

from __future__ import annotations

import numpy as np
import onnx
from hypothesis import given

from bitline.graph.model import Wiring, keep_nodes, renamed
from tests.graph.build import constants, lines, networks, parsed

X = "float[2,3] x) => (float[2,3] y"
ONES = np.ones(3, np.float32)


def same_table(left: Wiring, right: Wiring) -> bool:
    def readers(wiring: Wiring) -> dict[str, list[str]]:
        found = {name: sorted(node.output[0] for node in nodes) for name, nodes in wiring.readers.items()}
        return {name: nodes for name, nodes in found.items() if nodes}

    makers = [{name: node.output[0] for name, node in wiring.producer.items() if name} for wiring in (left, right)]
    return makers[0] == makers[1] and readers(left) == readers(right) and left.constants == right.constants


def test_who_makes_and_who_reads() -> None:
    graph = parsed(X, "a = Add(x, k) b = Mul(a, a) y = Add(b, a)", {"k": ONES}).graph
    wiring = Wiring(graph)
    assert wiring.producer["a"] is graph.node[0]
    assert [node.output[0] for node in wiring.readers["a"]] == ["b", "b", "y"]
    assert wiring.only_reader("b") is graph.node[2]
    assert wiring.only_reader("a") is None
    assert wiring.only_reader("y") is None
    assert wiring.shape("k") == (3,)
    assert wiring.shape("b") == (2, 3)
    assert wiring.array("x") is None
    assert wiring.elem_type("nothing") == 0


def test_the_table_follows_changes() -> None:
    proto = parsed(X, "a = Add(x, k) b = Mul(a, k) y = Relu(b)", {"k": ONES})
    graph = proto.graph
    wiring = Wiring(graph)
    first, second, third = graph.node
    wiring.put("m", ONES * 2)
    wiring.put("k", ONES * 3)
    wiring.set_inputs(first, ["x", "m"])
    wiring.set_inputs(third, ["a"])
    wiring.set_inputs(second, [])
    wiring.set_output(first, "c")
    wiring.set_inputs(third, ["c"])
    assert lines(proto) == ["c = Add(x, m)", "b = Mul()", "y = Relu(c)"]
    np.testing.assert_array_equal(constants(proto)["k"], ONES * 3)
    assert same_table(wiring, Wiring(graph))
    assert wiring.only_reader("m") is first
    assert wiring.only_reader("k") is None


def test_a_name_is_given_once() -> None:
    graph = parsed(X, "a = Add(x, k) y = Relu(a)", {"k": ONES}).graph
    graph.node[0].name, graph.node[1].name = "n", "n_1"
    wiring = Wiring(graph)
    assert [wiring.fresh("a"), wiring.fresh("a"), wiring.fresh("k"), wiring.fresh("z"), wiring.fresh("z")] == [
        "a_1",
        "a_2",
        "k_1",
        "z",
        "z_1",
    ]
    assert [wiring.fresh_node("n"), wiring.fresh_node("n"), wiring.fresh_node("y")] == ["n_2", "n_3", "y"]
    assert [wiring.node_below(graph.node[0], "part") for _ in range(2)] == ["n/part", "n/part_1"]
    graph.node[0].name = ""
    assert wiring.node_below(graph.node[0], "part") == ""


def test_names_change_in_subgraphs_too() -> None:
    proto = parsed(
        "bool c, float[1,3] x) => (float[1,3] y",
        "r = Exp(x) y = If (c) <then_branch = t () => (float[1,3] p) { p = Relu(r) }, "
        "else_branch = e () => (float[1,3] q) { q = Neg(r) }>",
    )
    node = proto.graph.node[1]
    renamed(node, {"r": "s", "y": "z", "p": "o"})
    branches = {entry.name: entry.g for entry in node.attribute}
    assert [list(node.output), list(branches["then_branch"].node[0].input)] == [["z"], ["s"]]
    assert [value.name for value in branches["then_branch"].output] == ["o"]
    assert list(branches["else_branch"].node[0].input) == ["s"]


@given(networks())
def test_a_table_kept_up_to_date_equals_a_new_one(proto: onnx.ModelProto) -> None:
    """Every node in turn is taken out of the graph: its readers read what it read first."""
    graph = proto.graph
    wiring = Wiring(graph)
    outputs = {value.name for value in graph.output}
    for node in list(graph.node):
        if node.output[0] in outputs:
            continue
        for reader in list(wiring.readers[node.output[0]]):
            names = [node.input[0] if name == node.output[0] else name for name in reader.input]
            wiring.set_inputs(reader, names)
        wiring.set_inputs(node, [])
    assert same_table(wiring, Wiring(graph))
    keep_nodes(graph, (node for node in graph.node if node.input))
    assert len(graph.node) == 1 or {node.output[0] for node in graph.node} == outputs
