"""LayerNormalization of every width in ONNX Runtime, bit for bit that of `numerics`, on rows that are hard for it."""

from __future__ import annotations

import numpy as np
import pytest

from bitline.ir.index_map import IndexMap, identity, join_dims
from bitline.ir.kernels import LIMITS, NUMPY, Constants, Dtype, Network, Norm, Port, Tensor
from bitline.lower.golden import golden_model
from bitline.numerics.norm import NormConstants
from bitline.numerics.reference import evaluate_kernel
from bitline.pipeline.contents import run_golden
from bitline.verify.network import verify_network
from tests.numerics.norm_cases import WIDTHS, Case, every_kind


def rows(shape: tuple[int, int, int]) -> IndexMap:
    return join_dims(identity(shape), [[0, 1], [2]])


def network_of(case: Case, constants: NormConstants) -> Network:
    shape = (1, *case.x.shape)
    low, high = LIMITS[case.result]
    kernel = Norm(name="norm", nodes=(), x="x", y="y", read=rows(shape), write=rows(shape), table="table",
                  format=constants.format, low=low, high=high)  # fmt: skip
    return Network(
        name="norm",
        tensors=(
            Tensor(name="x", shape=shape, dtype=case.dtype, scale=case.scale_x, zero_point=0, onnx="x",
                   view=identity(shape)),
            Tensor(name="y", shape=shape, dtype=case.result, scale=case.scale_y, zero_point=case.zero_point, onnx="y",
                   view=identity(shape)),
        ),
        kernels=(kernel,),
        ports=(
            Port(name="x", shape=shape, tensor="x", view=identity(shape), direction="input", real=True),
            Port(name="y", shape=shape, tensor="y", view=identity(shape), direction="output", real=True),
        ),
    )  # fmt: skip


@pytest.mark.parametrize("n", [1, 2, 3, 7, 64, 128, 1025, 4096])
@pytest.mark.parametrize(("dtype", "result"), [(x, y) for x in WIDTHS for y in WIDTHS])
def test_the_same_integers(n: int, dtype: Dtype, result: Dtype) -> None:
    checked = 0
    for seed in range(2):
        for case in every_kind(n, dtype, result, seed):
            constants = case.constants
            if constants is None:
                continue
            network = network_of(case, constants)
            values: Constants = {"table": constants.table}
            assert verify_network(network, values) == ()
            x = case.x.astype(NUMPY[dtype]).reshape(1, 1, *case.x.shape)
            got = run_golden(golden_model(network, values), {"x": x}, optimise=seed == 0)["y"]
            wanted = case.integers(constants)
            assert (got.reshape(wanted.shape) == wanted).all(), case
            stored, *_ = evaluate_kernel(network.kernels[0], network, {"x": x[0].astype(np.int64)}, values)
            assert (stored["y"].reshape(wanted.shape) == wanted).all(), case
            checked += 1
    assert checked > 0
