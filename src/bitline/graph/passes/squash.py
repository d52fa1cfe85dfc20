"""What moves values comes down to few forms, what changes nothing goes, until neither finds anything more.

    y = Squeeze(Add(Unsqueeze(Flatten(x)), 0))   -->   y = Reshape(x)

The rules are in `squash_layout` and `squash_neutral`.
"""

from __future__ import annotations

import onnx

from bitline.graph import shapes
from bitline.graph.passes.squash_layout import squash_layout
from bitline.graph.passes.squash_neutral import squash_neutral


def squash(model: onnx.ModelProto) -> onnx.ModelProto:
    """Ends: every rule removes a node, or moves an Expand or a Reshape toward the outputs or to a plainer form."""
    while True:
        squashed = shapes.grow(squash_neutral(squash_layout(model)))
        if squashed.graph.node == model.graph.node:
            return squashed
        model = squashed
