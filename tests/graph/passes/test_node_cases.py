"""ONNX's own cases of the operators that passes touch: as they are, and with constants for all inputs but one.

Pools are left out: ONNX takes 6 seconds to make their cases.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from bitline.core.diagnostics import Refusal
from bitline.engines.ort import run_model
from bitline.graph.passes import simplify
from bitline.graph.read import read_model

Array = np.ndarray[Any, Any]

# operators, and how many comparisons ONNX 1.23 gives: fewer would mean that cases are lost on the way
COUNTS = {
    "BatchNormalization": 2,
    "Concat": 22,
    "Conv": 8,
    "ConvTranspose": 15,
    "Dropout": 4,
    "Expand": 2,
    "Flatten": 9,
    "Gather": 8,
    "Gemm": 20,
    "GRU": 4,
    "HardSwish": 1,
    "LSTM": 4,
    "MatMul": 8,
    "Max": 20,
    "Min": 20,
    "Pad": 3,
    "ReduceMean": 8,
    "Reshape": 9,
    "Resize": 30,
    "Slice": 8,
    "Split": 5,
    "Squeeze": 2,
    "Sum": 4,
    "Tile": 2,
    "Transpose": 7,
    "Unsqueeze": 5,
    "Where": 2,
}


@cache
def cases() -> dict[str, list[Any]]:
    """The cases by operator. Each module makes its cases when it is imported, so only the ones needed are."""
    modules = {"BatchNormalization": "batch_normalization"}
    package = import_module("onnx.backend.test.case.node")
    for name in COUNTS:
        import_module(f"{package.__name__}.{modules.get(name, name.lower())}")
    by_operator: dict[str, list[Any]] = {name: [] for name in COUNTS}
    for case in vars(package)["_NodeTestCases"]:
        operators = {node.op_type for node in case.model.graph.node}
        if len(operators) == 1 and (name := operators.pop()) in by_operator:
            by_operator[name].append(case)
    return by_operator


def compared(model: onnx.ModelProto, values: list[Array], path: Path) -> bool:
    """Whether the gate and ONNX Runtime take the model; then the simplified one gives the same."""
    onnx.save(model, str(path))
    try:
        read = read_model(path)
        feeds = {value.name: array for value, array in zip(model.graph.input, values, strict=False)}
        wanted = run_model(read.proto, feeds, optimise=False)
    except Refusal:
        return False
    after = simplify(read).proto
    got = run_model(after, feeds, optimise=False)
    for name, value in wanted.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-4, atol=1e-5, err_msg=f"{path.name}: {name}")
    return True


@pytest.mark.parametrize("operator", sorted(COUNTS))
def test_the_cases_of(operator: str, tmp_path: Path) -> None:
    count = 0
    for case in cases()[operator]:
        inputs, outputs = case.data_sets[0]
        if not all(isinstance(value, np.ndarray) and value.dtype.kind in "biuf" for value in (*inputs, *outputs)):
            continue
        count += compared(case.model, inputs, tmp_path / f"{case.name}.onnx")
        if len(inputs) > 1:
            constant = onnx.ModelProto()
            constant.CopyFrom(case.model)
            for value, array in zip(case.model.graph.input[1:], inputs[1:], strict=True):
                constant.graph.initializer.append(numpy_helper.from_array(array, value.name))
            del constant.graph.input[1:]
            count += compared(constant, inputs[:1], tmp_path / f"{case.name}_constant.onnx")
    assert count >= COUNTS[operator]
