"""Passes from ONNX to ONNX: the same function, in fewer and plainer nodes. One file each.

A pass takes and returns a `ModelProto` and leaves its argument as it is. `simplify` runs them all, in this order:

    name_nodes       every node has a name of its own, so that reports can refer to it
    fold_constants   what depends on constants only is computed; Identity and Dropout go
    explicit_pads    auto_pad becomes numbers
    plain_gemm       linear layers become Gemm with alpha = beta = 1
    fold_batchnorm   BatchNormalization moves into the layer before it, or becomes a depthwise convolution
    fold_pad         zero Pad moves into the convolution or pool after it
    drop_dead        what no output depends on goes
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

import onnx

from bitline.core.diagnostics import refuse
from bitline.graph import shapes
from bitline.graph.model import Model
from bitline.graph.passes.drop_dead import drop_dead
from bitline.graph.passes.explicit_pads import explicit_pads
from bitline.graph.passes.fold_batchnorm import fold_batchnorm
from bitline.graph.passes.fold_constants import fold_constants
from bitline.graph.passes.fold_pad import fold_pad
from bitline.graph.passes.name_nodes import name_nodes
from bitline.graph.passes.plain_gemm import plain_gemm

PASSES: Final[Mapping[str, Callable[[onnx.ModelProto], onnx.ModelProto]]] = MappingProxyType(
    {
        "name_nodes": name_nodes,
        "fold_constants": fold_constants,
        "explicit_pads": explicit_pads,
        "plain_gemm": plain_gemm,
        "fold_batchnorm": fold_batchnorm,
        "fold_pad": fold_pad,
        "drop_dead": drop_dead,
    }
)


def simplify(model: Model, *, disable: Collection[str] = ()) -> Model:
    """The model after every pass that is not disabled. Raises `Refusal` (BL0101) for a name that is no pass."""
    unknown = sorted(set(disable) - set(PASSES))
    if unknown:
        raise refuse("BL0101", f"no such pass: {', '.join(unknown)}", help=f"passes: {', '.join(PASSES)}")
    proto = model.proto
    for name, function in PASSES.items():
        if name not in disable:
            proto = function(proto)
    return replace(model, proto=shapes.with_shapes(proto))
