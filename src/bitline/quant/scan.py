"""The bodies of Scan nodes, quantised like models of their own: what they read in float, step by step, is their data.

    h, y = Scan(h0, x, body: h' = cell(h, x_t))   -->   the same, its body with QuantizeLinear -> DequantizeLinear pairs

A state has one grid where it enters and where it leaves the body, so that it is carried from step to step without
rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

from bitline.engines.ort import Session, expose
from bitline.graph import shapes
from bitline.graph.model import Model, attribute, copied
from bitline.graph.passes.name_nodes import name_nodes
from bitline.quant.calibration import batches

Array = npt.NDArray[Any]
QuantiseBody = Callable[[Model, Mapping[str, Array], Sequence[tuple[str, str]]], onnx.ModelProto]
"""(body, samples stacked on a new first axis, (output, input) of every state) -> the body with its pairs."""

MOST_STEPS: Final = 64
"""Steps of each sample that calibrate a body, evenly spread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scans:
    """The model with quantised bodies, and a line for each of them."""

    model: Model
    remarks: tuple[str, ...]


def quantise_scans(model: Model, feeds: Mapping[str, Array], quantise: QuantiseBody) -> Scans:
    """Every Scan along the first axis whose body reads nothing from outside; others stay as they are."""
    remarks: list[str] = []
    proto = copied(model.proto)
    for node in proto.graph.node:
        if node.op_type != "Scan" or not _simple(node):
            continue
        body = _as_model(model, attribute(node, "body", None), node.name)
        samples = _samples(model, node, body, feeds)
        count = int(attribute(node, "num_scan_inputs", 0))
        states = len(node.input) - count
        pairs = [(body.outputs[i].name, body.inputs[i].name) for i in range(states)]
        quantised = quantise(body, samples, pairs)
        for entry in node.attribute:
            if entry.name == "body":
                entry.g.CopyFrom(quantised.graph)
        steps = len(next(iter(samples.values())))
        remarks.append(f"body of {node.name}: ranges from {steps} steps, states carried on one grid")
    return Scans(model=replace(model, proto=proto), remarks=tuple(remarks))


def _simple(node: onnx.NodeProto) -> bool:
    body: onnx.GraphProto = attribute(node, "body", None)
    made = {v.name for v in body.input} | {t.name for t in body.initializer}
    made |= {name for inner in body.node for name in inner.output}
    outside = {name for inner in body.node for name in inner.input if name} - made
    axes = [*attribute(node, "scan_input_axes", []), *attribute(node, "scan_output_axes", [])]
    floats = all(v.type.tensor_type.elem_type == onnx.TensorProto.FLOAT for v in (*body.input, *body.output))
    return not outside and not any(axes) and floats


def _as_model(model: Model, body: onnx.GraphProto, name: str) -> Model:
    proto = helper.make_model(body, opset_imports=list(model.proto.opset_import))
    proto.ir_version = model.proto.ir_version
    return Model(proto=shapes.with_shapes(name_nodes(proto)), name=name, path=Path(model.path))


def _samples(model: Model, node: onnx.NodeProto, body: Model, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Inputs of the body, stacked on a new first axis: what it reads in float at every chosen step of every sample."""
    initial = {t.name: onnx.numpy_helper.to_array(t) for t in model.proto.graph.initializer if t.name in node.input}
    given = {value.name for value in model.inputs}
    wanted = [name for name in dict.fromkeys(node.input) if name not in initial and name not in given]
    session = Session(expose(model.proto, wanted), optimise=False, place=model.place())
    step = Session(body.proto, optimise=False, place=model.place(node.name))
    names = [value.name for value in body.inputs]
    outputs = [value.name for value in body.outputs]
    scanned = int(attribute(node, "num_scan_inputs", 0))
    states = len(names) - scanned
    ways = [bool(v) for v in attribute(node, "scan_input_directions", [0] * scanned)]
    found: dict[str, list[Array]] = {name: [] for name in names}
    for batch in batches(feeds, model):
        values = {**initial, **batch, **(session.run(batch, wanted) if wanted else {})}
        read = [values[name] for name in node.input]
        count = len(read[states])
        kept = {index * count // min(count, MOST_STEPS) for index in range(min(count, MOST_STEPS))}
        current = list(read[:states])
        for turn in range(count):
            rows = [x[count - 1 - turn if back else turn] for x, back in zip(read[states:], ways, strict=True)]
            feed = dict(zip(names, [*current, *rows], strict=True))
            if turn in kept:
                for name, value in feed.items():
                    found[name].append(value)
            result = step.run(feed)
            current = [result[name] for name in outputs[:states]]
    return {name: np.stack(entries) for name, entries in found.items()}
