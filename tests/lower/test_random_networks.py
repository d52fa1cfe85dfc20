"""Random networks on random chips: verified, and the same numbers from all engines, bit for bit.

Chips are shrunk until weights are streamed in every way, networks are cut into segments, and tiles leave remainders.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from bitline import pipeline
from bitline.core.diagnostics import Refusal
from bitline.graph.model import Model
from bitline.quant.options import QuantOptions
from tests.lower.engines import build, differences, teacher_forced_worst
from tests.lower.random_networks import random_network

SEEDS = range(60)
CHIPS_PER_NETWORK = 3


def arrays(rows: int, cols: int, per_core: int, cores: int) -> tuple[str, ...]:
    return (f"array.rows={rows}", f"array.cols={cols}", f"array.per_core={per_core}", f"cores={cores}")


SMALL_BUFFERS = ("memory.input_bytes=640", "memory.psum_bytes=512", "memory.output_bytes=128")
CHIPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("reram-tile", ()),
    ("sram-dcim", ()),
    ("reram-tile", ("adc.bits=6",)),
    ("reram-tile", ("adc.bits=4", "cores=1")),
    ("reram-tile", (*arrays(16, 16, 4, 3), "memory.psum_bytes=512")),
    ("sram-dcim", (*arrays(16, 16, 2, 3), *SMALL_BUFFERS)),
    ("reram-tile", (*arrays(16, 16, 1, 1), "adc.bits=4")),
    ("reram-tile", (*arrays(8, 4, 6, 2), "memory.shared_bytes=256")),
    ("sram-dcim", (*arrays(32, 8, 3, 4), "memory.output_bytes=256")),
    ("sram-dcim", (*arrays(16, 24, 9, 2), "array.group_rows=8", "memory.input_bytes=1024")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What became of one network: what is wrong with it, and what it exercised."""

    wrong: tuple[str, ...] = ()
    refused: int = 0
    compiled: int = 0
    features: tuple[str, ...] = ()
    worst: int = 0


def quantised(proto: onnx.ModelProto, seed: int) -> Model:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "random.onnx"
        onnx.save(proto, path)
        model = pipeline.load(path, {})
        shape = [d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim]
        samples = np.random.default_rng(seed).normal(0, 1, (4, *shape[1:])).astype(np.float32)
        method = "best" if seed % 8 == 0 else "minmax"
        return pipeline.quantise(model, {"x": samples}, QuantOptions(method=method)).model


def signed(model: Model) -> Model:
    """The same model with int8 activations: every integer and zero point 128 lower."""
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    for tensor in proto.graph.initializer:
        if tensor.data_type == onnx.TensorProto.UINT8:
            lower = (numpy_helper.to_array(tensor).astype(np.int16) - 128).astype(np.int8)
            tensor.CopyFrom(numpy_helper.from_array(lower, tensor.name))
    for value in proto.graph.value_info:
        if value.type.tensor_type.elem_type == onnx.TensorProto.UINT8:
            value.type.tensor_type.elem_type = onnx.TensorProto.INT8
    return replace(model, proto=proto)


def unclear(refusal: Refusal, nodes: set[str]) -> list[str]:
    """Diagnostics that do not say which node cannot be compiled, or not why."""
    return [
        f"unclear refusal: {d}"
        for d in refusal.diagnostics
        if d.code[:4] not in ("BL03", "BL04") or not d.help or not any(name in d.place for name in nodes)
    ]


@cache
def seen(seed: int) -> Seen:
    """The network of a seed on its chips."""
    proto = random_network(seed)
    names = {n.name for n in proto.graph.node} | {o for n in proto.graph.node for o in n.output} | {"x"}
    try:
        model = quantised(proto, seed)
        model = signed(model) if seed % 3 == 1 else model
    except Refusal as refusal:
        return Seen(wrong=tuple(unclear(refusal, names)), refused=CHIPS_PER_NETWORK)
    wrong: list[str] = []
    features: list[str] = []
    refused = worst = 0
    for turn in range(CHIPS_PER_NETWORK):
        target, overrides = CHIPS[(seed * CHIPS_PER_NETWORK + turn) % len(CHIPS)]
        try:
            made = build(model, target, overrides)
        except Refusal as refusal:
            wrong += unclear(refusal, names)
            refused += 1
            continue
        wrong += [f"{target} {' '.join(overrides)}: {what}" for what in differences(made, seed)]
        schedule = made.planned.schedule
        features += [job.weights for kernel in schedule.kernels for job in kernel.jobs]
        features += [kernel.kind for kernel in made.network.kernels]
        features += ["segments"] * (len(schedule.segments) > 1) + ["remainder"] * any(
            len(kernel.jobs) > 1 for kernel in schedule.kernels
        )
        if all(kernel.math.lossless for kernel in made.network.kernels if kernel.kind == "MatMul"):
            worst = max(worst, teacher_forced_worst(model, made, seed))
    return Seen(
        wrong=tuple(wrong),
        refused=refused,
        compiled=CHIPS_PER_NETWORK - refused,
        features=tuple(features),
        worst=worst,
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_all_engines_agree_on_a_random_network(seed: int) -> None:
    assert not seen(seed).wrong


@pytest.mark.parametrize("seed", SEEDS)
def test_every_kernel_stays_within_one_step_of_onnx_runtime(seed: int) -> None:
    assert seen(seed).worst <= 1


def test_few_networks_are_refused_and_every_way_of_working_occurs() -> None:
    found = [seen(seed) for seed in SEEDS]
    features = Counter(feature for one in found for feature in one.features)
    assert {"none", "resident", "held", "cycled", "segments", "remainder"} <= set(features)
    assert {"MatMul", "Elementwise", "Pool", "Softmax", "Move"} <= set(features)
    assert sum(one.refused for one in found) < 0.25 * len(SEEDS) * CHIPS_PER_NETWORK
