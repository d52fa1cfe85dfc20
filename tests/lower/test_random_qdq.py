"""Random QDQ networks of every operator on every grid: verified, the same numbers from all engines, and ONNX Runtime's.

Chips have little room, so that tensors are worked on in many units, on several cores.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import pytest

from bitline import pipeline
from bitline.core.diagnostics import Refusal
from bitline.ir.kernels import Elementwise, Host, Network
from bitline.quant.options import QuantOptions
from tests.lower.engines import build, differences, teacher_forced_worst
from tests.lower.random_qdq import random_qdq

SEEDS = range(70)
CHIPS_PER_NETWORK = 2
TINY = ("memory.input_bytes=96", "memory.output_bytes=64")
CHIPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("reram-tile", ("cores=3",)),
    ("sram-dcim", ()),
    ("reram-tile", ("cores=2", *TINY)),
    ("sram-dcim", ("cores=5", "memory.input_bytes=640", "memory.psum_bytes=512", "memory.output_bytes=128")),
    ("sram-dcim", ("array.rows=16", "array.cols=16", "array.per_core=2", "cores=3")),
    ("reram-tile", ("array.rows=8", "array.cols=8", "array.per_core=6", "cores=1", "memory.shared_bytes=256")),
    ("reram-tile", ("array.rows=16", "array.cols=16", "array.per_core=3", "adc.bits=4", "cores=4")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What became of one network: what is wrong with it, and what it exercised."""

    wrong: tuple[str, ...]
    worst: int
    refused: int
    features: tuple[str, ...]


def features(network: Network) -> list[str]:
    found = [kernel.op if isinstance(kernel, Elementwise) else kernel.kind for kernel in network.kernels]
    found += [tensor.dtype for tensor in network.tensors]
    found += ["constant operand"] * any(tensor.constant for tensor in network.tensors)
    found += ["first axis"] * any(port.shape and port.shape[0] > 1 for port in network.ports)
    hosts = [i for i, kernel in enumerate(network.kernels) if isinstance(kernel, Host)]
    found += ["host in between"] * any(0 < i < len(network.kernels) - 1 for i in hosts)
    return found


@cache
def seen(seed: int) -> Seen:
    """The network of a seed on its chips."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "random.onnx"
        onnx.save(random_qdq(seed), path)
        model = pipeline.quantise(pipeline.load(path, {}), None, QuantOptions()).model
    wrong: list[str] = []
    used: list[str] = []
    worst = refused = 0
    for turn in range(CHIPS_PER_NETWORK):
        target, overrides = CHIPS[(seed * CHIPS_PER_NETWORK + turn) % len(CHIPS)]
        try:
            made = build(model, target, overrides)
        except Refusal as refusal:  # a row or product that the buffers do not hold
            wrong += [str(d) for d in refusal.diagnostics if d.code != "BL0401" or not d.help]
            refused += 1
            continue
        wrong += [f"{target} {' '.join(overrides)}: {what}" for what in differences(made, seed)]
        used += features(made.network)
        if all(kernel.math.lossless for kernel in made.network.kernels if kernel.kind == "MatMul"):
            worst = max(worst, teacher_forced_worst(model, made, seed))
    return Seen(wrong=tuple(wrong), worst=worst, refused=refused, features=tuple(used))


@pytest.mark.parametrize("seed", SEEDS)
def test_all_engines_agree_and_every_kernel_stays_within_one_step(seed: int) -> None:
    assert not seen(seed).wrong
    assert seen(seed).worst <= 1


def test_every_kernel_and_grid_occurs_and_little_is_refused() -> None:
    found = Counter(feature for seed in SEEDS for feature in seen(seed).features)
    operators = {"sum", "product", "quotient", "largest", "smallest", "prelu", "select", "equal", "modulo"}
    operators |= {"table", "curve"}
    kinds = {"MatMul", "BatchMatMul", "Pool", "Softmax", "Norm", "Lookup", "Move", "Host"}
    wanted = operators | kinds | {"u8", "s8", "s16", "s32", "f32", "constant operand", "first axis", "host in between"}
    assert wanted <= set(found), wanted - set(found)
    assert sum(seen(seed).refused for seed in SEEDS) < 0.1 * len(SEEDS) * CHIPS_PER_NETWORK
