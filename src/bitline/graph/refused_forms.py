"""Forms of operators that ONNX Runtime runs, but not twice alike, or not as ONNX says: no engine could vouch for them.

y = RandomNormal(), Dropout(x, training), ...      another result at every run
y, m, v = BatchNormalization(x, ..., training)     ONNX Runtime (1.31) carries m and v on from run to run
y = Resize(x, scales 0.6, align_corners)           of an axis of 4: ONNX says 0.6 * 4 - 1, ONNX Runtime 2 - 1
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import onnx

from bitline.core.diagnostics import Diagnostic, Refusal
from bitline.graph.model import Wiring, attribute, subgraphs

RANDOM: Final = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"}
)
_INFERENCE: Final = "export the model for inference: `model.eval()` before the export"


def check_forms(graph: onnx.GraphProto, place: str) -> None:
    """Raise `Refusal` (BL0302) for every node, in subgraphs too, of such a form."""
    found = [
        Diagnostic(
            code="BL0302", message=f"{node.op_type} {why}", place=f"{place}:{node.name or node.op_type}", help=help
        )
        for node, why, help in _refused(graph)
    ]
    if found:
        raise Refusal(found)


def _refused(graph: onnx.GraphProto) -> Iterator[tuple[onnx.NodeProto, str, str]]:
    wiring = Wiring(graph)
    for node in graph.node:
        for inner in subgraphs(node):
            yield from _refused(inner)
        if node.domain not in ("", "ai.onnx"):
            continue
        if node.op_type in RANDOM:
            yield node, "gives another result at every run", "make its numbers an input of the network"
        elif node.op_type == "Dropout" and _drops(node, wiring):
            yield node, "drops at random", _INFERENCE
        elif node.op_type == "BatchNormalization" and attribute(node, "training_mode", 0):
            yield node, "is in training mode and changes its own statistics from run to run", _INFERENCE
        elif node.op_type == "Resize" and (axis := _cut_axis(node, wiring)) is not None:
            why = f"scales axis {axis} to no whole number with align_corners, where ONNX Runtime departs from ONNX"
            yield node, why, "give it `sizes` in place of `scales`"


def _drops(node: onnx.NodeProto, wiring: Wiring) -> bool:
    if len(node.input) < 3 or not node.input[2]:
        return False
    training = wiring.array(node.input[2])
    return training is not None and bool(training.any())


def _cut_axis(node: onnx.NodeProto, wiring: Wiring) -> int | None:
    """The first axis that a Resize with align_corners cuts or extends to a part of an element."""
    if attribute(node, "coordinate_transformation_mode", "half_pixel") != "align_corners" or len(node.input) < 3:
        return None
    scales, shape = wiring.array(node.input[2]), wiring.shape(node.input[0])
    if scales is None or shape is None:
        return None
    axes = attribute(node, "axes", None) or range(len(shape))
    for axis, scale in zip(axes, scales.reshape(-1).tolist(), strict=False):
        size = scale * shape[axis]
        if abs(size - np.rint(size)) > 1e-3:
            return int(axis)
    return None
