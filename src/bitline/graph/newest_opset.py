"""A model of an opset newer than ONNX Runtime's becomes one of its newest, where no node loses its meaning.

    y = Cast(x, to=FLOAT)        opset 28   -->   y = Cast(x, to=FLOAT)             opset 26
    y = Mod(x, z), float         opset 28   -->   y = Mod(x, z, fmod=1), + z where the signs differ

What changed after opset 26 was read from the schemas of onnx 1.23: more element types, an attribute of Range for
sums of 16 bits, `mode` of SpaceToDepth, Mod of floats, shifts of signed numbers. An operator that is newer, or that
uses what is new, is refused by name.
"""

from __future__ import annotations

from typing import Final

import onnx
from onnx import TensorProto, helper

from bitline.core.diagnostics import Diagnostic
from bitline.graph.model import Wiring, attribute, copied, keep_nodes, set_attribute, subgraphs
from bitline.graph.weightless import infer_shapes

NEWEST: Final = 26
"""The newest opset that ONNX Runtime 1.31 reads, with the newest IR version."""
NEWEST_IR: Final = 13

_FLOATS: Final = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16)
_LOST: Final = ("stash_type", "mode")
"""Attributes whose default is what the older operator does."""


def without_news(model: onnx.ModelProto, place: str) -> tuple[onnx.ModelProto, list[Diagnostic]]:
    """The model at opset `NEWEST` or older, and every node (BL0302) that cannot be said there."""
    entry = next((entry for entry in model.opset_import if entry.domain in ("", "ai.onnx")), None)
    if entry is None or entry.version <= NEWEST:
        if model.ir_version <= NEWEST_IR:
            return model, []
        older = copied(model)
        older.ir_version = NEWEST_IR
        return older, []
    older = copied(model)
    wiring = Wiring(infer_shapes(model, strict=False).graph)
    found: list[Diagnostic] = []
    nodes: list[onnx.NodeProto] = []
    for node in older.graph.node:
        why = _news(node, wiring, entry.version)
        if why:
            found.append(
                Diagnostic(
                    code="BL0302",
                    message=f"{node.op_type} {why}: new in opset {entry.version}, ONNX Runtime reads opset {NEWEST}",
                    place=f"{place}:{node.name or node.op_type}",
                    help=f"export the model with opset {NEWEST} or older",
                )
            )
        kind = wiring.elem_type(node.input[0]) if node.input else 0
        floats = node.op_type == "Mod" and kind in _FLOATS and not attribute(node, "fmod", 0)
        nodes += _modulo(node, kind) if floats else [node]
    keep_nodes(older.graph, nodes)
    for used in older.opset_import:
        if used.domain in ("", "ai.onnx"):
            used.version = NEWEST
    older.ir_version = min(older.ir_version, NEWEST_IR)
    return older, found


def _news(node: onnx.NodeProto, wiring: Wiring, version: int) -> str:
    """What of a node the older opset does not have; "" where it has all. Attributes that mean nothing new go."""
    if node.domain not in ("", "ai.onnx"):
        return ""
    for graph in subgraphs(node):
        inside = Wiring(graph)
        for inner in graph.node:
            if why := _news(inner, inside, version):
                return f"holds {inner.op_type}, which {why}"
    if not onnx.defs.has(node.op_type, NEWEST, ""):
        return "does not exist"
    newest, older = (onnx.defs.get_schema(node.op_type, at, "") for at in (version, NEWEST))
    if newest.since_version == older.since_version:
        return ""
    for name in _LOST:
        plain = attribute(node, name, None) in (None, 1 if name == "stash_type" else "DCR")
        if name in newest.attributes and name not in older.attributes:
            if not plain:
                return f"has {name} {attribute(node, name, None)!r}"
            set_attribute(node, name, None)
    kinds = ((older.inputs, node.input), (older.outputs, node.output))
    for formal, names in kinds:
        for place, name in enumerate(names):
            kind = wiring.elem_type(name)
            allowed = formal[min(place, len(formal) - 1)].types
            if kind and f"tensor({TensorProto.DataType.Name(kind).lower()})" not in allowed:
                return f"on {TensorProto.DataType.Name(kind)}"
    return "shifts signed numbers" if node.op_type == "BitShift" and wiring.elem_type(node.input[0]) in _SIGNED else ""


_SIGNED: Final = (TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64)


def _modulo(node: onnx.NodeProto, kind: int) -> list[onnx.NodeProto]:
    """Before opset 28 Mod of floats had only the sign of C's fmod: the divisor is added where the signs differ.

    In double, so that the sum rounds once and nothing of it is quantised.
    """
    made = node.output[0]

    def part(op_type: str, inputs: list[str], name: str, **attributes: int) -> onnx.NodeProto:
        out = made if name == "result" else f"{made}.{name}"
        entry = helper.make_node(op_type, inputs, [out], name=f"{node.name or made}/{name}")
        entry.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        return entry

    x, z, rest, signs, opposed, moved, chosen = (
        f"{made}.{name}" for name in ("x", "z", "rest", "signs", "opposed", "moved", "chosen")
    )
    return [
        part("Cast", [node.input[0]], "x", to=TensorProto.DOUBLE),
        part("Cast", [node.input[1]], "z", to=TensorProto.DOUBLE),
        part("Mod", [x, z], "rest", fmod=1),
        part("Sign", [rest], "sign"),
        part("Sign", [z], "sign_z"),
        part("Mul", [f"{made}.sign", f"{made}.sign_z"], "signs"),
        part("Abs", [signs], "size"),
        part("Less", [signs, f"{made}.size"], "opposed"),
        part("Add", [rest, z], "moved"),
        part("Where", [opposed, moved, rest], "chosen"),
        part("Cast", [chosen], "result", to=kind),
    ]
