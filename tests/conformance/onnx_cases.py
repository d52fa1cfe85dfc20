"""The node cases of the onnx package for the operators of real exports, and what becomes of one in bitline.

A case is a model of one node with inputs and expected outputs. It goes the whole way: saved, read by the gate,
quantised with its own inputs as calibration, compiled, simulated, compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper
from onnx.backend.test.loader import load_node_model_tests


from bitline import api
from bitline.core.diagnostics import Diagnostic, Refusal
from bitline.ir.kernels import Host, Network
from bitline.quant.options import QuantOptions
from bitline.target.load import load_target

Array = npt.NDArray[Any]
End = Literal["native", "host", "refused"]

OPERATORS = (
    "Gemm Conv ConvTranspose MatMul Add Sub Mul Div Pow Sqrt Exp Erf Relu LeakyRelu PRelu Clip Sigmoid HardSigmoid "
    "HardSwish Tanh Gelu Softmax LayerNormalization BatchNormalization MaxPool AveragePool GlobalAveragePool "
    "ReduceMean ReduceSum ReduceMax Max Min Where Equal Not Mod Cast Identity Constant ConstantOfShape Shape Range "
    "Reshape Flatten Transpose Squeeze Unsqueeze Concat Split Slice Gather GatherND GatherElements ScatterND Expand "
    "Pad Resize DepthToSpace LSTM GRU QuantizeLinear DequantizeLinear"
).split()
"""The 62 operators that real exports use."""

PARAMETERS: Mapping[str, tuple[int, ...]] = {
    "Gemm": (1, 2),
    "Conv": (1, 2),
    "ConvTranspose": (1, 2),
    "MatMul": (1,),
    "PRelu": (1,),
    "Pow": (1,),
    "Clip": (1, 2),
    "LayerNormalization": (1, 2),
    "BatchNormalization": (1, 2, 3, 4),
    "ReduceMean": (1,),
    "ReduceSum": (1,),
    "ReduceMax": (1,),
    "ConstantOfShape": (0,),
    "Range": (0, 1, 2),
    "Reshape": (1,),
    "Squeeze": (1,),
    "Unsqueeze": (1,),
    "Split": (1,),
    "Slice": (1, 2, 3, 4),
    "Gather": (1,),
    "GatherND": (1,),
    "GatherElements": (1,),
    "ScatterND": (1,),
    "Expand": (1,),
    "Pad": (1, 2, 3),
    "Resize": (1, 2, 3),
    "LSTM": (1, 2, 3, 4, 7),
    "GRU": (1, 2, 3, 4),
    "QuantizeLinear": (1, 2),
    "DequantizeLinear": (1, 2),
}
"""Operands that exporters write as constants. The cases hand over everything as inputs, shapes too."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A case with its values as arrays; sequences and optionals stay what they are."""

    name: str
    operator: str
    model: onnx.ModelProto
    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]
    rtol: float
    atol: float


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a case ended. `worst` is the largest error in steps of its output, 0 where nothing is quantised."""

    end: End
    why: tuple[str, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    wrong: str = ""


@cache
def cases() -> tuple[Case, ...]:
    """All plain cases of the operators, those that expand a function into its nodes left out."""
    return tuple(sorted(_cases(), key=lambda case: (OPERATORS.index(case.operator), case.name)))


def _cases() -> Iterator[Case]:
    for test in load_node_model_tests():
        model = test.model
        if model is None or test.name.endswith("_expanded") or len(model.graph.node) != 1:
            continue
        (node,) = model.graph.node
        if node.op_type not in OPERATORS or node.domain not in ("", "ai.onnx"):
            continue
        given, wanted = test.data_sets[0]
        yield Case(
            name=test.name,
            operator=node.op_type,
            model=model,
            inputs={value.name: _array(x) for value, x in zip(model.graph.input, given, strict=True)},
            outputs={value.name: _array(y) for value, y in zip(model.graph.output, wanted, strict=True)},
            rtol=test.rtol,
            atol=test.atol,
        )


def _array(value: object) -> Array:
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)


def as_exported(case: Case) -> Case:
    """The case with the operands that exporters write as constants as initializers."""
    (node,) = case.model.graph.node
    places = PARAMETERS.get(case.operator, ())
    fixed = {node.input[place] for place in places if place < len(node.input) and node.input[place]}
    fixed &= set(case.inputs)
    if not fixed:
        return case
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    kept = [value for value in model.graph.input if value.name not in fixed]
    types = {value.name: value.type.tensor_type.elem_type for value in model.graph.input}
    copies = [onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in kept]
    del model.graph.input[:]
    model.graph.input.extend(copies)
    for name in sorted(fixed):
        model.graph.initializer.append(_tensor(case.inputs[name], types[name], name))
    inputs = {name: value for name, value in case.inputs.items() if name not in fixed}
    return Case(
        name=case.name,
        operator=case.operator,
        model=model,
        inputs=inputs,
        outputs=case.outputs,
        rtol=case.rtol,
        atol=case.atol,
    )


def _tensor(value: Array, elem_type: int, name: str) -> onnx.TensorProto:
    tensor = numpy_helper.from_array(value, name)
    assert tensor.data_type == elem_type, (name, tensor.data_type, elem_type)
    return tensor
