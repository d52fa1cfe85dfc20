"""The chip's arithmetic as an ONNX model of integer operators, for ONNX Runtime: a witness that nobody here wrote.

Tensors keep the stored form with a batch axis: [1, H, W, C]. Convolutions and linear layers are `MatMulInteger` over
gathered rows; where a converter can clip, every input bit and weight slice of every row group is a `MatMulInteger` of
its own, clipped and shifted. Requantisation multiplies in double, which is exact: 24-bit mantissas, sums below 2^29.
"""

from __future__ import annotations

from typing import assert_never

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from bitline.ir.index_map import IndexMap
from bitline.ir.kernels import (
    LIMITS,
    Add,
    Constants,
    Kernel,
    MatMul,
    Move,
    Network,
    Pool,
    Softmax,
    Table,
    Tensor,
)

Array = npt.NDArray[np.generic]
OPSET = 18
ONNX_TYPE = {"u8": TensorProto.UINT8, "s8": TensorProto.INT8, "s32": TensorProto.INT32}


def _axis_of_digits(read: IndexMap) -> list[int] | None:
    """The one source axis that each digit moves along, or None where a digit moves along two."""
    owners: list[int] = []
    for digit in range(len(read.digits)):
        axes = [axis for axis, c in enumerate(read.coordinates) if c.coefficients[digit]]
        if len(axes) > 1:
            return None
        owners.append(axes[0] if axes else 0)
    return owners


class _Builder:
    def __init__(self, network: Network, constants: Constants) -> None:
        self.network, self.constants = network, constants
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.known: dict[bytes, str] = {}

    def op(self, kind: str, *inputs: str, out: str = "", **attributes: int | list[int]) -> str:
        name = out or f"t{len(self.nodes)}"
        node = helper.make_node(kind, list(inputs), [name], name=f"{kind}_{len(self.nodes)}")
        node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        self.nodes.append(node)
        return name

    def constant(self, value: Array) -> str:
        tensor = numpy_helper.from_array(np.ascontiguousarray(value))
        key = tensor.SerializeToString()
        if key not in self.known:
            self.known[key] = tensor.name = f"c{len(self.initializers)}"
            self.initializers.append(tensor)
        return self.known[key]

    def integers(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def cast(self, name: str, to: int) -> str:
        return self.op("Cast", name, to=to)

    # -- pieces of arithmetic -------------------------------------------------------------------------------------

    def gathered(self, name: str, read: IndexMap, padding: int) -> str:
        """The tensor's elements at an index map, [its shape], padding appended as one more element."""
        tensor = next(t for t in self.network.tensors if t.name == name)
        fill = self.constant(np.array(padding, np.uint8 if tensor.dtype == "u8" else np.int8))
        owners = _axis_of_digits(read)
        if owners is not None:
            return self.gathered_by_axis(name, read, owners, fill)
        indices = read.evaluate()
        size = int(np.prod(read.source))
        flat = self.op("Reshape", name, self.integers(-1))
        if (indices < 0).any():
            flat = self.op("Concat", flat, self.op("Reshape", fill, self.integers(1)), axis=0)
        return self.op("Gather", flat, self.constant(np.where(indices < 0, size, indices)), axis=0)

    def gathered_by_axis(self, name: str, read: IndexMap, owners: list[int], fill: str) -> str:
        """One short index list per stored axis, then the digits into their order: windows without large tables."""
        lists: list[npt.NDArray[np.int64]] = []
        digits = [[d for d, owner in enumerate(owners) if owner == axis] for axis in range(len(read.source))]
        for axis in range(len(read.source)):
            lists.append(read.coordinate_values(axis, digits[axis]).reshape(-1))
        before = [max(0, -int(values.min())) for values in lists]
        after = [max(0, int(v.max()) - size + 1) for v, size in zip(lists, read.source, strict=True)]
        if any(before) or any(after):
            name = self.op("Pad", name, self.integers(0, *before, 0, *after), fill)
        for axis, (values, first, size) in enumerate(zip(lists, before, read.source, strict=True)):
            if not (first == 0 and values.size == size and (values == np.arange(size)).all()):
                name = self.op("Gather", name, self.constant(values + first), axis=axis + 1)
        order = [d for axis in digits for d in axis]
        split = self.op("Reshape", name, self.integers(*(read.digits[d] for d in order)))
        turned = self.op("Transpose", split, perm=[order.index(d) for d in range(len(order))])
        return self.op("Reshape", turned, self.integers(*read.shape))

    def finish(self, real: str, y: Tensor, low: int, high: int, out: str) -> str:
        """clamp(round half even(real double) + zero_point, low, high) as y's type."""
        shifted = self.op("Add", self.op("Round", real), self.constant(np.array(float(y.zero_point))))
        clipped = self.op("Clip", shifted, self.constant(np.array(float(low))), self.constant(np.array(float(high))))
        return self.op("Cast", clipped, out=out, to=ONNX_TYPE[y.dtype])

    def stored(self, name: str, y: Tensor, write: IndexMap) -> None:
        """Rows in the order of the write map, put where they are stored, under y's name."""
        order = write.evaluate().reshape(-1)
        if not (order == np.arange(order.size)).all():
            flat = self.op("Reshape", name, self.integers(-1))
            name = self.op("Gather", flat, self.constant(np.argsort(order)), axis=0)
        self.op("Reshape", name, self.integers(1, *y.shape), out=y.name)

    # -- kernels --------------------------------------------------------------------------------------------------

    def matmul(self, kernel: MatMul) -> None:
        x, y = self.network.tensor(kernel.x), self.network.tensor(kernel.y)
        matrix = self.constants[kernel.matrix.name]
        parameters = self.constants[kernel.post.parameters].astype(np.int64)
        groups, rows, _ = matrix.shape
        height, width, _ = kernel.read.shape
        gathered = self.gathered(kernel.x, kernel.read, x.zero_point)
        driven = self.op("Reshape", gathered, self.integers(height * width, groups * rows))
        acc = self.clipped_sums(kernel, driven, x) if not kernel.math.lossless else self.sums(matrix, driven, x)
        biased = self.op("Add", acc, self.constant(parameters[:, 0].astype(np.int32)))
        factors = np.ldexp(parameters[:, 1].astype(np.float64), -parameters[:, 2].astype(np.int32))
        real = self.op("Mul", self.cast(biased, TensorProto.DOUBLE), self.constant(factors))
        result = self.finish(real, y, kernel.post.low, kernel.post.high, f"{y.name}.rows")
        self.stored(result, y, kernel.write)

    def sums(self, matrix: Array, driven: str, x: Tensor) -> str:
        """sum_r (x[r] - zero_point) * w[r, c], [pixels, groups * cols]."""
        groups, rows, cols = matrix.shape
        zero = self.constant(np.array(x.zero_point, np.uint8 if x.dtype == "u8" else np.int8))
        if groups == 1:
            return self.op("MatMulInteger", driven, self.constant(matrix[0].astype(np.int8)), zero)
        split = self.op("Reshape", driven, self.integers(-1, groups, rows))
        turned = self.op("Transpose", split, perm=[1, 0, 2])
        product = self.op("MatMulInteger", turned, self.constant(matrix.astype(np.int8)), zero)
        back = self.op("Transpose", product, perm=[1, 0, 2])
        return self.op("Reshape", back, self.integers(-1, groups * cols))

    def clipped_sums(self, kernel: MatMul, driven: str, x: Tensor) -> str:
        """The same through converters: bits of the inputs times slices of the weights, clipped one by one."""
        math, matrix = kernel.math, self.constants[kernel.matrix.name].astype(np.int64)
        groups, rows, cols = matrix.shape
        wide = self.op(
            "Add", self.cast(driven, TensorProto.INT32), self.constant(np.array(math.input_offset, np.int32))
        )
        codes = self.cast(wide, TensorProto.UINT8)
        planes = [self.bit(codes, bit) for bit in range(math.input_bits)]
        parts: list[str] = []
        for first in range(0, groups, math.bundle):
            last = min(first + math.bundle, groups)
            count = last - first
            whole = np.zeros((count, rows, count, cols), np.int64)
            whole[np.arange(count), :, np.arange(count)] = matrix[first:last]
            cells = whole.reshape(count * rows, count * cols) + math.weight_offset
            parts.append(self.block(kernel, planes, cells, first * rows))
        acc = parts[0] if len(parts) == 1 else self.op("Concat", *parts, axis=1)
        zero = (x.zero_point + math.input_offset) * matrix.sum(axis=1).reshape(-1)
        total = self.op("Sub", acc, self.constant(zero))
        return self.cast(total, TensorProto.INT32)

    def bit(self, codes: str, bit: int) -> str:
        shifted = self.op("Div", codes, self.constant(np.array(1 << bit, np.uint8)))
        return self.op("Mod", shifted, self.constant(np.array(2, np.uint8)))

    def block(self, kernel: MatMul, planes: list[str], cells: npt.NDArray[np.int64], first_row: int) -> str:
        """int64 sums of one diagonal block, its weight offset taken off."""
        math = kernel.math
        total = ""
        for start in range(0, len(cells), math.group_rows):
            end = min(start + math.group_rows, len(cells))
            for bit, plane in enumerate(planes):
                rows = self.op(
                    "Slice", plane, self.integers(first_row + start), self.integers(first_row + end), self.integers(1)
                )
                terms: list[str] = []
                for s in range(math.slices):
                    cell = (cells[start:end] >> (s * math.cell_bits)) & ((1 << math.cell_bits) - 1)
                    sums = self.op("MatMulInteger", rows, self.constant(cell.astype(np.uint8)))
                    limit = self.constant(np.array(math.adc_max, np.int32))
                    clipped = self.cast(self.op("Min", sums, limit), TensorProto.INT64)
                    terms.append(self.op("Mul", clipped, self.integers(1 << (bit + s * math.cell_bits))))
                ones = self.constant(np.ones((end - start, 1), np.uint8))
                driven = self.cast(self.op("MatMulInteger", rows, ones), TensorProto.INT64)
                terms.append(self.op("Mul", driven, self.integers(-(math.weight_offset << bit))))
                for term in terms:
                    total = self.op("Add", total, term) if total else term
        return total

    def add(self, kernel: Add) -> None:
        y = self.network.tensor(kernel.y)
        parts: list[str] = []
        for name, mantissa in ((kernel.a, kernel.mantissa_a), (kernel.b, kernel.mantissa_b)):
            zero = self.constant(np.array(float(self.network.tensor(name).zero_point)))
            real = self.op("Sub", self.cast(name, TensorProto.DOUBLE), zero)
            parts.append(self.op("Mul", real, self.constant(np.array(float(mantissa)))))
        total = self.op("Mul", self.op("Add", *parts), self.constant(np.array(2.0**-kernel.shift)))
        self.finish(total, y, kernel.low, kernel.high, y.name)

    def table(self, kernel: Table) -> None:
        x, y = self.network.tensor(kernel.x), self.network.tensor(kernel.y)
        index = self.op("Sub", self.cast(kernel.x, TensorProto.INT64), self.integers(LIMITS[x.dtype][0]))
        entries = self.constants[kernel.table].astype(np.uint8 if y.dtype == "u8" else np.int8)
        self.op("Gather", self.constant(entries), index, out=y.name, axis=0)

    def pool(self, kernel: Pool) -> None:
        x, y = self.network.tensor(kernel.x), self.network.tensor(kernel.y)
        padding = LIMITS[x.dtype][0] if kernel.op == "max" else x.zero_point
        taken = self.cast(self.gathered(kernel.x, kernel.read, padding), TensorProto.INT32)
        axis = self.integers(2)
        if kernel.op == "max":
            best = self.cast(self.op("ReduceMax", taken, axis, keepdims=0), TensorProto.DOUBLE)
            low, high = self.constant(np.array(float(kernel.low))), self.constant(np.array(float(kernel.high)))
            rows = self.op("Cast", self.op("Clip", best, low, high), to=ONNX_TYPE[y.dtype])
        else:
            real = self.op("Sub", taken, self.constant(np.array(x.zero_point, np.int32)))
            total = self.cast(self.op("ReduceSum", real, axis, keepdims=0), TensorProto.DOUBLE)
            count = (
                (kernel.read.evaluate() >= 0).sum(axis=2) if kernel.divide_by_valid else np.ones((1, 1, 1), np.int64)
            )
            factors = np.array([np.ldexp(float(s.mantissa), -s.shift) for s in kernel.scales])[count - 1]
            rows = self.finish(
                self.op("Mul", total, self.constant(factors)), y, kernel.low, kernel.high, f"{y.name}.rows"
            )
        self.stored(rows, y, kernel.write)

    def softmax(self, kernel: Softmax) -> None:
        y = self.network.tensor(kernel.y)
        x = self.cast(kernel.x, TensorProto.INT64)
        top = self.op("ReduceMax", x, self.integers(-1), keepdims=1)
        e = self.op(
            "Gather", self.constant(self.constants[kernel.table].astype(np.int64)), self.op("Sub", top, x), axis=0
        )
        total = self.op("ReduceSum", e, self.integers(-1), keepdims=1)
        scaled = self.op("Mul", e, self.integers(2 * kernel.factor))
        half = self.op("Mul", total, self.integers(1 << kernel.fraction_bits))
        divisor = self.op("Mul", total, self.integers(1 << (kernel.fraction_bits + 1)))
        quotient = self.op("Div", self.op("Add", scaled, half), divisor)
        shifted = self.op("Add", quotient, self.integers(y.zero_point))
        low, high = LIMITS[y.dtype]
        clipped = self.op("Clip", shifted, self.constant(np.array(low)), self.constant(np.array(high)))
        self.op("Cast", clipped, out=y.name, to=ONNX_TYPE[y.dtype])

    def move(self, kernel: Move) -> None:
        x, y = self.network.tensor(kernel.x), self.network.tensor(kernel.y)
        moved = self.gathered(kernel.x, kernel.read, x.zero_point)
        self.op("Reshape", moved, self.integers(1, *y.shape), out=y.name)

    def kernel(self, kernel: Kernel) -> None:
        match kernel:
            case MatMul():
                self.matmul(kernel)
            case Add():
                self.add(kernel)
            case Table():
                self.table(kernel)
            case Pool():
                self.pool(kernel)
            case Softmax():
                self.softmax(kernel)
            case Move():
                self.move(kernel)
            case _:
                assert_never(kernel)


def golden_model(network: Network, constants: Constants) -> onnx.ModelProto:
    """The integer model: inputs and outputs are stored tensors [1, H, W, C] under their names."""
    builder = _Builder(network, constants)
    for kernel in network.kernels:
        builder.kernel(kernel)

    def info(name: str) -> onnx.ValueInfoProto:
        tensor = network.tensor(name)
        return helper.make_tensor_value_info(name, ONNX_TYPE[tensor.dtype], [1, *tensor.shape])

    inputs = list(dict.fromkeys(p.tensor for p in network.ports if p.direction == "input"))
    outputs = list(dict.fromkeys(p.tensor for p in network.ports if p.direction == "output"))
    graph = helper.make_graph(
        builder.nodes,
        "golden",
        [info(name) for name in inputs],
        [info(name) for name in outputs if name not in inputs],
        builder.initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="bitline")
    model.ir_version = 9
    return model
