"""Passes from ONNX to ONNX: the same function, in fewer and plainer nodes. One file each.

A pass takes and returns a `ModelProto` and leaves its argument as it is. `simplify` runs them all, in this order:

    name_nodes           every node has a name of its own, so that reports can refer to it
    fold_constants       what depends on constants only is computed; branches never taken, Identity and Dropout go
    second_outputs       LayerNormalization and MaxPool whose side results are used become two
    explicit_pads        auto_pad and output_shape become numbers
    binary_sum           Sum, Max and Min of many become operators of two, unless they are quantised
    fuse_layernorm       LayerNorm written in plain operators becomes LayerNormalization
    fuse_gelu            GELU written in plain operators becomes Gelu
    fuse_hardswish       hard-swish written in plain operators becomes HardSwish
    decompose_recurrent  LSTM and GRU become layers and element-wise operators, in a Scan where there are many steps
    plain_gemm           linear layers become Gemm with alpha = beta = 1
    fold_batchnorm       BatchNormalization moves into the layer before it, or becomes a depthwise convolution
    fold_affine          constant factors and summands move into the layer before or after them
    plain_gemm           once more: a bias that a factor stood before
    fold_pad             zero Pad moves into the convolution or pool after it
    squash               one Reshape, one Transpose, a Slice for what moves values; what changes nothing goes
    drop_dead            what no output depends on goes

`near_misses` tells what almost was one of the patterns, and why it was left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

import onnx

from bitline.core.diagnostics import NoMatch, refuse
from bitline.graph import shapes
from bitline.graph.model import Model
from bitline.graph.passes.binary_sum import binary_sum
from bitline.graph.passes.decompose_recurrent import decompose_recurrent, near_recurrent
from bitline.graph.passes.drop_dead import drop_dead
from bitline.graph.passes.explicit_pads import explicit_pads
from bitline.graph.passes.fold_affine import fold_affine
from bitline.graph.passes.fold_batchnorm import fold_batchnorm
from bitline.graph.passes.fold_constants import fold_constants
from bitline.graph.passes.fold_pad import fold_pad
from bitline.graph.passes.fuse_gelu import fuse_gelu, near_gelus
from bitline.graph.passes.fuse_hardswish import fuse_hardswish, near_hardswishes
from bitline.graph.passes.fuse_layernorm import fuse_layernorm, near_layernorms
from bitline.graph.passes.name_nodes import name_nodes
from bitline.graph.passes.plain_gemm import plain_gemm
from bitline.graph.passes.second_outputs import second_outputs
from bitline.graph.passes.squash import squash

PASSES: Final[Mapping[str, Callable[[onnx.ModelProto], onnx.ModelProto]]] = MappingProxyType(
    {
        "name_nodes": name_nodes,
        "fold_constants": fold_constants,
        "second_outputs": second_outputs,
        "explicit_pads": explicit_pads,
        "binary_sum": binary_sum,
        "fuse_layernorm": fuse_layernorm,
        "fuse_gelu": fuse_gelu,
        "fuse_hardswish": fuse_hardswish,
        "decompose_recurrent": decompose_recurrent,
        "plain_gemm": plain_gemm,
        "fold_batchnorm": fold_batchnorm,
        "fold_affine": fold_affine,
        "fold_pad": fold_pad,
        "squash": squash,
        "drop_dead": drop_dead,
    }
)

_AFTER_AFFINE = list(PASSES).index("fold_affine") + 1
ORDER: Final = (*list(PASSES)[:_AFTER_AFFINE], "plain_gemm", *list(PASSES)[_AFTER_AFFINE:])


def simplify(model: Model, *, disable: Collection[str] = ()) -> Model:
    """The model after every pass that is not disabled. Raises `Refusal` (BL0101) for a name that is no pass."""
    unknown = sorted(set(disable) - set(PASSES))
    if unknown:
        raise refuse("BL0101", f"no such pass: {', '.join(unknown)}", help=f"passes: {', '.join(PASSES)}")
    proto = model.proto
    for name in ORDER:
        if name not in disable:
            changed = PASSES[name](proto)
            proto = shapes.grown(proto) if changed is proto else shapes.grow(changed)
    return replace(model, proto=shapes.with_shapes(proto))


def near_misses(model: Model) -> tuple[NoMatch, ...]:
    """What is left in a simplified model of LayerNorm, GELU, hard-swish, LSTM and GRU, each with the reason."""
    proto = model.proto
    return (*near_layernorms(proto), *near_gelus(proto), *near_hardswishes(proto), *near_recurrent(proto))
