"""Networks of kernels without arithmetic, for schedules: convolutions with groups, and chains of tables and adds."""

from __future__ import annotations

import numpy as np

from bitline.ir import index_map
from bitline.ir.index_map import IndexMap, Window, identity
from bitline.ir.kernels import (
    ArrayMath,
    Elementwise,
    Kernel,
    MatMul,
    Matrix,
    Network,
    Port,
    Read,
    Requantise,
    Tensor,
)


def math_of(group_rows: int, bundle: int) -> ArrayMath:
    return ArrayMath(
        group_rows=group_rows,
        bundle=bundle,
        weight_bits=8,
        cell_bits=2,
        weight_offset=128,
        input_bits=8,
        input_offset=0,
        adc_bits=8,
    )


def conv_kernel(
    *, size: int, taps: int, groups: int, channels: int, filters: int, math: ArrayMath, shuffled: bool = False
) -> MatMul:
    """taps x taps over size x size pixels; `channels` and `filters` per group. `shuffled`: groups read stored channels
    in turn, as after a channel shuffle."""
    view = identity((size, size, groups * channels))
    if shuffled:
        split = index_map.reshape(view, (size, size, channels, groups))
        assert isinstance(split, IndexMap)
        split = index_map.transpose(split, (0, 1, 3, 2))
    else:
        split = index_map.reshape(view, (size, size, groups, channels))
        assert isinstance(split, IndexMap)
    slide = Window(out=size, taps=taps, stride=1, dilation=1, pad_before=taps // 2)
    window = index_map.windows(split, (0, 1), (slide, slide))
    assert isinstance(window, IndexMap)
    return MatMul(
        name="conv",
        nodes=("conv",),
        x="x",
        y="y",
        matrix=Matrix(name="w", groups=groups, rows=taps * taps * channels, cols=filters),
        read=index_map.join_dims(window, [[0], [1], [4, 2, 3, 5]]),
        write=identity((size, size, groups * filters)),
        post=Requantise(parameters="p", zero_point=0, low=0, high=255),
        math=math,
    )


def tensor(name: str, size: int) -> Tensor:
    return Tensor(
        name=name, shape=(1, 1, size), dtype="u8", scale=1.0, zero_point=0, onnx=name, view=identity((1, 1, size))
    )


def elementwise(name: str, xs: tuple[str, ...], y: Tensor) -> Elementwise:
    """A table of one tensor or the mean of several; only names and sizes count."""
    return Elementwise(
        name=name,
        nodes=(name,),
        op="table" if len(xs) == 1 else "sum",
        reads=tuple(Read(x=x, map=y.view, mantissa=1) for x in xs),
        y=y.name,
        write=y.view,
        low=0,
        high=255,
        shift=1,
        table="t" if len(xs) == 1 else "",
    )


def random_chain(seed: int, kernels: int) -> Network:
    """Tables and adds that read any earlier tensors."""
    rng = np.random.default_rng(seed)
    tensors = [tensor("t0", int(rng.integers(1, 300)))]
    found: list[Kernel] = []
    for i in range(kernels):
        a, b = (str(rng.choice([t.name for t in tensors])) for _ in range(2))
        y = tensor(f"t{i + 1}", int(rng.integers(1, 300)))
        found.append(elementwise(f"k{i}", (a,) if rng.random() < 0.5 else (a, b), y))
        tensors.append(y)

    def port(of: Tensor, direction: str) -> Port:
        assert direction == "input" or direction == "output"
        return Port(name=of.name, shape=of.shape, tensor=of.name, view=of.view, direction=direction, real=False)

    return Network(
        name="chain",
        tensors=tuple(tensors),
        kernels=tuple(found),
        ports=(port(tensors[0], "input"), port(tensors[int(rng.integers(0, len(tensors)))], "output")),
    )
