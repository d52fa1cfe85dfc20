"""A Pad with zeros around height and width moves into the convolutions or pools that read it.

    y = Conv(Pad(x, [0,0,1,1,0,0,1,1], 0), w, pads=[1,1,1,1])   -->   y = Conv(x, w, pads=[2,2,2,2])
    y = AveragePool(Pad(x, ..., 0))                             -->   y = AveragePool(x, pads=..., count_include_pad=1)

An average pool with padding of its own that it does not count is left alone, as it would count the zeros; so is
MaxPool, whose padding is -inf, not 0.
"""

from __future__ import annotations

import onnx

from bitline.graph.model import Wiring, attribute, copied, set_attribute
from bitline.graph.passes.drop_dead import drop_dead
from bitline.graph.passes.explicit_pads import kernel_shape


def fold_pad(model: onnx.ModelProto) -> onnx.ModelProto:
    folded = copied(model)
    wiring = Wiring(folded.graph)
    changed = False
    for node in folded.graph.node:
        pads = zero_pads(node, wiring) if node.op_type == "Pad" else None
        if pads is None or node.output[0] in wiring.outputs:
            continue
        readers = wiring.readers[node.output[0]]
        if not readers or not all(_takes(reader, node.output[0], pads, wiring) for reader in readers):
            continue
        for reader in readers:
            own: list[int] = list(attribute(reader, "pads", [0] * len(pads)))
            set_attribute(reader, "pads", [a + b for a, b in zip(own, pads, strict=True)])
            if reader.op_type == "AveragePool":
                set_attribute(reader, "count_include_pad", 1)
            reader.input[0] = node.input[0]
            wiring.readers[node.input[0]].append(reader)
        wiring.readers[node.output[0]].clear()
        changed = True
    return drop_dead(folded) if changed else folded


def zero_pads(node: onnx.NodeProto, wiring: Wiring) -> list[int] | None:
    """Begins and ends over the spatial axes if the Pad adds zeros there and nowhere else."""
    shape = wiring.shape(node.input[0])
    amounts = wiring.array(node.input[1]) if len(node.input) > 1 else None
    if attribute(node, "mode", "constant") != "constant" or shape is None or amounts is None:
        return None
    if len(node.input) > 2 and node.input[2]:
        value = wiring.array(node.input[2])
        if value is None or value.any():
            return None
    rank = len(shape)
    axes = list(range(rank))
    if len(node.input) > 3 and node.input[3]:
        stated = wiring.array(node.input[3])
        if stated is None:
            return None
        axes = [int(axis) % rank for axis in stated]
    begins, ends = [0] * rank, [0] * rank
    for index, axis in enumerate(axes):
        begins[axis] = int(amounts[index])
        ends[axis] = int(amounts[index + len(axes)])
    outside = begins[:2] + ends[:2]
    pads = begins[2:] + ends[2:]
    return pads if rank > 2 and not any(outside) and min(pads) >= 0 else None


def _takes(reader: onnx.NodeProto, padded: str, pads: list[int], wiring: Wiring) -> bool:
    if reader.op_type not in ("Conv", "AveragePool") or list(reader.input).count(padded) != 1:
        return False
    if reader.input[0] != padded or attribute(reader, "auto_pad", "NOTSET") != "NOTSET":
        return False
    if reader.op_type == "Conv":
        return True
    own: list[int] = list(attribute(reader, "pads", [0] * len(pads)))
    window = kernel_shape(reader, wiring)
    if (
        window is None
        or attribute(reader, "ceil_mode", 0)
        or (any(own) and not attribute(reader, "count_include_pad", 0))
    ):
        return False
    return all(a + b < kernel for a, b, kernel in zip(own, pads, window * 2, strict=True))  # ONNX Runtime's own bound
