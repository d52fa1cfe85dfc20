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
    NUMPY,
    BatchMatMul,
    Constants,
    Elementwise,
    Host,
    Kernel,
    Lookup,
    MatMul,
    Move,
    Network,
    Norm,
    Pool,
    Read,
    Repeat,
    Softmax,
    Tensor,
)
from bitline.numerics.elementwise import CURVE_FRACTION_BITS
from bitline.numerics.norm import INVERSE_BITS, VARIANCE_BITS

Array = npt.NDArray[np.generic]
OPSET = 18
"""The least; a subgraph for the host brings its own."""
ONNX_TYPE = {
    "u8": TensorProto.UINT8,
    "s8": TensorProto.INT8,
    "s16": TensorProto.INT16,
    "s32": TensorProto.INT32,
    "s64": TensorProto.INT64,
    "f32": TensorProto.FLOAT,
}


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
        self.taken = {tensor.name for tensor in network.tensors}
        self.opset = OPSET
        self.renamed: dict[str, str] = {}
        self.count = 0

    def fresh(self, wanted: str) -> str:
        """`wanted`, or `wanted.1`, ... where the network or this model has a tensor of that name."""
        name, count = wanted, 0
        while name in self.taken:
            count += 1
            name = f"{wanted}.{count}"
        self.taken.add(name)
        return name

    def op(self, kind: str, *inputs: str, out: str = "", **attributes: int | list[int]) -> str:
        self.count += 1
        name = out or self.fresh(f"t{self.count}")
        node = helper.make_node(kind, list(inputs), [name], name=f"{kind}_{self.count}")
        node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        self.nodes.append(node)
        return name

    def constant(self, value: Array) -> str:
        tensor = numpy_helper.from_array(np.ascontiguousarray(value))
        key = tensor.SerializeToString()
        if key not in self.known:
            self.known[key] = tensor.name = self.fresh(f"c{len(self.initializers)}")
            self.initializers.append(tensor)
        return self.known[key]

    def integers(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def cast(self, name: str, to: int) -> str:
        return self.op("Cast", name, to=to)

    # -- pieces of arithmetic -------------------------------------------------------------------------------------

    def gathered(self, name: str, read: IndexMap, padding: int) -> str:
        """The tensor's elements at an index map, [its shape], padding appended as one more element."""
        tensor = self.network.tensor(name)
        stored = self.named(name)
        fill = self.constant(np.array(padding, NUMPY[tensor.dtype]))
        owners = _axis_of_digits(read)
        if owners is not None:
            return self.gathered_by_axis(name, read, owners, padding)
        indices = read.evaluate()
        size = int(np.prod(read.source))
        flat = self.op("Reshape", stored, self.integers(-1))
        if (indices < 0).any():
            flat = self.op("Concat", flat, self.op("Reshape", fill, self.integers(1)), axis=0)
        return self.op("Gather", flat, self.constant(np.where(indices < 0, size, indices)), axis=0)

    def gathered_by_axis(self, name: str, read: IndexMap, owners: list[int], padding: int) -> str:
        """One short index list per stored axis, then the digits into their order: windows without large tables."""
        lists: list[npt.NDArray[np.int64]] = []
        digits = [[d for d, owner in enumerate(owners) if owner == axis] for axis in range(len(read.source))]
        for axis in range(len(read.source)):
            lists.append(read.coordinate_values(axis, digits[axis]).reshape(-1))
        tensor = self.network.tensor(name)
        name = source = self.named(name)
        before = [max(0, -int(values.min())) for values in lists]
        after = [max(0, int(v.max()) - size + 1) for v, size in zip(lists, read.source, strict=True)]
        if any(before) or any(after):
            name = self.padded(source, tensor, [0, *before, 0, *after], padding)
        for axis, (values, first, size) in enumerate(zip(lists, before, read.source, strict=True)):
            if not (first == 0 and values.size == size and (values == np.arange(size)).all()):
                name = self.op("Gather", name, self.constant(values + first), axis=axis + 1)
        order = [d for axis in digits for d in axis]
        split = self.op("Reshape", name, self.integers(*(read.digits[d] for d in order)))
        turned = self.op("Transpose", split, perm=[order.index(d) for d in range(len(order))])
        return self.op("Reshape", turned, self.integers(*read.shape))

    def padded(self, name: str, tensor: Tensor, pads: list[int], padding: int) -> str:
        """`Pad`; int16, which ONNX Runtime does not pad, by way of int32."""
        wide = tensor.dtype == "s16"
        fill = self.constant(np.array(padding, "int32" if wide else NUMPY[tensor.dtype]))
        data = self.cast(name, TensorProto.INT32) if wide else name
        padded = self.op("Pad", data, self.integers(*pads), fill)
        return self.cast(padded, TensorProto.INT16) if wide else padded

    def finish(self, real: str, y: Tensor, low: int, high: int) -> str:
        """clamp(round half even(real double) + zero_point, low, high) as y's type."""
        shifted = self.op("Add", self.op("Round", real), self.constant(np.array(float(y.zero_point))))
        clipped = self.op("Clip", shifted, self.constant(np.array(float(low))), self.constant(np.array(float(high))))
        return self.op("Cast", clipped, to=ONNX_TYPE[y.dtype])

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
        self.stored(self.finish(real, y, kernel.post.low, kernel.post.high), y, kernel.write)

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

    def operand(self, read: Read) -> str:
        """An operand over the logical index of its kernel, as it is stored."""
        return self.gathered(read.x, read.map, self.network.tensor(read.x).zero_point)

    def centred(self, name: str, x: Tensor) -> str:
        """Real doubles with the zero point taken off."""
        real = self.cast(name, TensorProto.DOUBLE)
        return self.op("Sub", real, self.constant(np.array(float(x.zero_point)))) if x.zero_point else real

    def elementwise(self, kernel: Elementwise) -> None:
        y = self.network.tensor(kernel.y)
        xs = [self.network.tensor(read.x) for read in kernel.reads]
        taken = [self.operand(read) for read in kernel.reads]
        m = [self.constant(np.array(float(read.mantissa))) for read in kernel.reads]
        down = self.constant(np.array(2.0**-kernel.shift))

        def n(k: int) -> str:
            return self.centred(taken[k], xs[k])

        match kernel.op:
            case "sum":
                total = self.op("Mul", n(0), m[0])
                for k in range(1, len(taken)):
                    total = self.op("Add", total, self.op("Mul", n(k), m[k]))
                if kernel.bias:
                    total = self.op("Add", total, self.constant(np.array(float(kernel.bias))))
                rows = self.finish(self.op("Mul", total, down), y, kernel.low, kernel.high)
            case "product":
                total = self.op("Mul", self.op("Mul", n(0), n(1)), m[0])
                rows = self.finish(self.op("Mul", total, down), y, kernel.low, kernel.high)
            case "quotient":
                rows = self.finish(self.quotient(kernel, taken, xs), y, kernel.low, kernel.high)
            case "largest" | "smallest":
                scaled = [self.op("Round", self.op("Mul", self.op("Mul", n(k), m[k]), down)) for k in range(len(taken))]
                best = self.op("Max" if kernel.op == "largest" else "Min", *scaled)
                rows = self.finish(best, y, kernel.low, kernel.high)
            case "prelu":
                below = self.op("Mul", self.op("Mul", n(0), n(1)), m[1])
                positive = self.op("GreaterOrEqual", n(0), self.constant(np.array(0.0)))
                total = self.op("Where", positive, self.op("Mul", n(0), m[0]), below)
                rows = self.finish(self.op("Mul", total, down), y, kernel.low, kernel.high)
            case "select":
                chosen = self.cast(taken[0], TensorProto.BOOL)
                total = self.op("Where", chosen, self.op("Mul", n(1), m[1]), self.op("Mul", n(2), m[2]))
                rows = self.finish(self.op("Mul", total, down), y, kernel.low, kernel.high)
            case "equal":
                same = self.op("Equal", *(self.cast(name, TensorProto.INT64) for name in taken))
                rows = self.op("Cast", same, to=ONNX_TYPE[y.dtype])
            case "modulo":
                rows = self.op("Cast", self.modulo(taken), to=ONNX_TYPE[y.dtype])
            case "table":
                smallest = self.integers(LIMITS[xs[0].dtype][0])
                index = self.op("Sub", self.cast(taken[0], TensorProto.INT64), smallest)
                entries = self.constants[kernel.table].astype(NUMPY[y.dtype])
                rows = self.op("Gather", self.constant(entries), index, axis=0)
            case "length":
                squares = [self.op("Mul", self.op("Mul", n(k), n(k)), m[k]) for k in range(2)]
                root = self.op("Floor", self.op("Sqrt", self.op("Add", *squares)))
                half = self.constant(np.array(float(1 << kernel.shift >> 1)))
                nearest = self.op("Floor", self.op("Mul", self.op("Add", root, half), down))
                rows = self.finish(nearest, y, kernel.low, kernel.high)
            case "curve":
                rows = self.finish(self.curve(kernel, taken[0]), y, kernel.low, kernel.high)
            case _:
                assert_never(kernel.op)
        self.stored(rows, y, kernel.write)

    def quotient(self, kernel: Elementwise, taken: list[str], xs: list[Tensor]) -> str:
        """The rounded quotient as double."""
        a, b = (
            self.op("Sub", self.cast(name, TensorProto.INT64), self.integers(x.zero_point))
            for name, x in zip(taken, xs, strict=True)
        )
        size = self.op("Abs", b)
        numerator = self.op("Mul", self.op("Abs", a), self.integers(2 * kernel.reads[0].mantissa))
        half = self.op("Mul", size, self.integers(1 << kernel.shift))
        divisor = self.at_least(self.op("Mul", size, self.integers(1 << (kernel.shift + 1))), 1)
        whole = self.op("Div", self.op("Add", numerator, half), divisor)
        none = self.op("Equal", b, self.integers(0))
        bounded = self.op("Where", none, self.integers(1 << 40), whole)
        down = self.op("Where", self.op("Less", b, self.integers(0)), self.integers(-1), self.integers(1))
        sign = self.op("Mul", self.op("Sign", a), down)
        return self.cast(self.op("Mul", bounded, sign), TensorProto.DOUBLE)

    def modulo(self, taken: list[str]) -> str:
        a, b = (self.cast(name, TensorProto.INT64) for name in taken)
        none = self.op("Equal", b, self.integers(0))
        rest = self.op("Mod", a, self.op("Where", none, self.integers(1), b))
        return self.op("Where", none, self.integers(0), rest)

    def curve(self, kernel: Elementwise, name: str) -> str:
        """The interpolated value, rounded, as double."""
        knots = self.constants[kernel.table].astype(np.int64)
        bits = 16 - (knots.size - 1).bit_length() + 1
        u = self.op("Add", self.cast(name, TensorProto.INT64), self.integers(1 << 15))
        index = self.op("Div", u, self.integers(1 << bits))
        rest = self.op("Sub", u, self.op("Mul", index, self.integers(1 << bits)))
        left = self.op("Gather", self.constant(knots), index, axis=0)
        steps = np.append(np.diff(knots), 0)
        step = self.op("Gather", self.constant(steps), index, axis=0)
        total = self.op("Add", self.op("Mul", left, self.integers(1 << bits)), self.op("Mul", step, rest))
        scale = self.constant(np.array(2.0 ** -(bits + CURVE_FRACTION_BITS)))
        return self.op("Round", self.op("Mul", self.cast(total, TensorProto.DOUBLE), scale))

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
            rows = self.finish(self.op("Mul", total, self.constant(factors)), y, kernel.low, kernel.high)
        self.stored(rows, y, kernel.write)

    def at_least(self, value: str, low: int) -> str:
        """max(value, low) of int64, by `Where`: ONNX Runtime 1.31.1 gives Max(2^31, 1) = 1 (Min, Clip likewise)."""
        limit = self.integers(low)
        return self.op("Where", self.op("Less", value, limit), limit, value)

    def between(self, value: str, low: int, high: int) -> str:
        """int64 brought between two limits."""
        bounded, limit = self.at_least(value, low), self.integers(high)
        return self.op("Where", self.op("Greater", bounded, limit), limit, bounded)

    def finish_integer(self, value: str, y: Tensor, low: int, high: int) -> str:
        """clamp(value + zero_point) of int64 rows as y's type."""
        shifted = self.op("Add", value, self.integers(y.zero_point))
        clipped = self.between(shifted, low, high)
        return self.op("Cast", clipped, to=ONNX_TYPE[y.dtype])

    def softmax(self, kernel: Softmax) -> None:
        y = self.network.tensor(kernel.y)
        x = self.cast(self.gathered(kernel.x, kernel.read, 0), TensorProto.INT64)
        top = self.op("ReduceMax", x, self.integers(-1), keepdims=1)
        distance = self.op("Sub", top, x)
        table = self.constants[kernel.table].astype(np.int64)
        if table.size == 256:
            e = self.op("Gather", self.constant(table), distance, axis=0)
        else:
            high = self.op("Div", distance, self.integers(256))
            low = self.op("Sub", distance, self.op("Mul", high, self.integers(256)))
            parts = [
                self.op("Gather", self.constant(half), index, axis=0)
                for half, index in zip((table[:256], table[256:]), (high, low), strict=True)
            ]
            both = self.op("Add", self.op("Mul", *parts), self.integers(1 << 23))
            e = self.op("Div", both, self.integers(1 << 24))
        total = self.op("ReduceSum", e, self.integers(-1), keepdims=1)
        scaled = self.op("Mul", e, self.integers(2 * kernel.factor))
        half = self.op("Mul", total, self.integers(1 << kernel.fraction_bits))
        divisor = self.op("Mul", total, self.integers(1 << (kernel.fraction_bits + 1)))
        quotient = self.op("Div", self.op("Add", scaled, half), divisor)
        self.stored(self.finish_integer(quotient, y, *LIMITS[y.dtype]), y, kernel.write)

    def round_shift(self, value: str, power: str) -> str:
        """RNE(value / power) of int64, power a power of two."""
        rest = self.op("Mod", value, power)
        floor = self.op("Div", self.op("Sub", value, rest), power)
        twice = self.op("Mul", rest, self.integers(2))
        odd = self.op("Equal", self.op("Mod", floor, self.integers(2)), self.integers(1))
        tie = self.op("And", self.op("Equal", twice, power), odd)
        up = self.op("Or", self.op("Greater", twice, power), tie)
        return self.op("Add", floor, self.cast(up, TensorProto.INT64))

    def floor_root(self, value: str) -> str:
        guess = self.cast(self.op("Sqrt", self.cast(value, TensorProto.DOUBLE)), TensorProto.INT64)
        above = self.op("Greater", self.op("Mul", guess, guess), value)
        lower = self.op("Sub", guess, self.cast(above, TensorProto.INT64))
        following = self.op("Add", lower, self.integers(1))
        fits = self.op("LessOrEqual", self.op("Mul", following, following), value)
        return self.op("Add", lower, self.cast(fits, TensorProto.INT64))

    def norm(self, kernel: Norm) -> None:
        """`numerics.norm.layer_norm` in int64."""
        y, form = self.network.tensor(kernel.y), kernel.format
        n = kernel.read.shape[1]
        x = self.cast(self.gathered(kernel.x, kernel.read, 0), TensorProto.INT64)
        total = self.op("ReduceSum", x, self.integers(-1), keepdims=1)
        squares = self.op("ReduceSum", self.op("Mul", x, x), self.integers(-1), keepdims=1)
        spread = self.op("Sub", self.op("Mul", squares, self.integers(n)), self.op("Mul", total, total))
        scaling = "Mul" if form.deviation_bits >= 0 else "Div"
        scaled = self.op(scaling, spread, self.integers(1 << abs(2 * form.deviation_bits)))
        wide = self.op("Add", scaled, self.integers(form.epsilon))
        a = self.between(wide, 1, (1 << VARIANCE_BITS) - 1)
        edges = self.constant(np.array([1 << (60 - 2 * i) for i in range(30)], np.int64))
        k = self.op("ReduceSum", self.cast(self.op("Less", a, edges), TensorProto.INT64), self.integers(-1), keepdims=1)
        powers = self.constant(np.array([1 << (2 * i) for i in range(31)], np.int64))
        root = self.floor_root(self.op("Mul", a, self.op("Gather", powers, k, axis=0)))
        inverse = self.op("Div", self.integers(1 << INVERSE_BITS), root)
        deviation = self.op("Sub", self.op("Mul", x, self.integers(n)), total)
        down = INVERSE_BITS - form.deviation_bits - form.normal_bits
        downs = self.constant(np.array([1 << max(down - i, 0) for i in range(31)], np.int64))
        t = self.round_shift(self.op("Mul", deviation, inverse), self.op("Gather", downs, k, axis=0))
        table = self.constants[kernel.table].astype(np.int64)
        line = self.op("Add", self.op("Mul", t, self.constant(table[:, 0])), self.constant(table[:, 1]))
        rounded = self.round_shift(line, self.integers(1 << form.shift))
        self.stored(self.finish_integer(rounded, y, kernel.low, kernel.high), y, kernel.write)

    def batch_matmul(self, kernel: BatchMatMul) -> None:
        """Sums in double, which holds them exactly."""
        y = self.network.tensor(kernel.y)
        a, b = (self.centred(self.operand(read), self.network.tensor(read.x)) for read in (kernel.a, kernel.b))
        sums = self.op("MatMul", a, self.op("Transpose", b, perm=[0, 2, 1]))
        factor = self.constant(np.array(np.ldexp(float(kernel.a.mantissa), -kernel.shift)))
        self.stored(self.finish(self.op("Mul", sums, factor), y, kernel.low, kernel.high), y, kernel.write)

    def lookup(self, kernel: Lookup) -> None:
        y = self.network.tensor(kernel.y)
        table = self.constants[kernel.table].astype(NUMPY[y.dtype])
        index = self.cast(self.gathered(kernel.x, kernel.read, 0), TensorProto.INT64)
        count = self.integers(len(table))
        wrapped = self.op("Where", self.op("Less", index, self.integers(0)), self.op("Add", index, count), index)
        rows = self.op("Gather", self.constant(table), self.between(wrapped, 0, len(table) - 1), axis=0)
        self.stored(rows, y, kernel.write)

    def move(self, kernel: Move) -> None:
        y = self.network.tensor(kernel.y)
        if len(kernel.parts) == 1:
            (part,) = kernel.parts
            self.stored(self.gathered(part.x, part.read, self.network.tensor(part.x).zero_point), y, part.write)
            return
        taken = [
            self.op("Reshape", self.gathered(p.x, p.read, self.network.tensor(p.x).zero_point), self.integers(-1))
            for p in kernel.parts
        ]
        places = np.concatenate([part.write.evaluate().reshape(-1) for part in kernel.parts])
        order = self.constant(np.argsort(places))
        whole = self.op("Gather", self.op("Concat", *taken, axis=0), order, axis=0)
        self.op("Reshape", whole, self.integers(1, *y.shape), out=y.name)

    def host(self, kernel: Host) -> None:
        """The subgraph as it is, its names made its own."""
        model = onnx.load_model_from_string(self.constants[kernel.model].tobytes())
        inner = model.graph
        self.opset = max(self.opset, *(entry.version for entry in model.opset_import if not entry.domain))
        prefix = f"{kernel.name}/"
        names: dict[str, str] = {}
        for value, stored in zip(inner.input, kernel.xs, strict=True):
            shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
            names[value.name] = self.op("Reshape", self.named(stored), self.integers(*shape))
        for tensor in inner.initializer:
            copy = onnx.TensorProto()
            copy.CopyFrom(tensor)
            copy.name = self.own(names, prefix, tensor.name)
            self.initializers.append(copy)
        for node in inner.node:
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            copy.name = f"{prefix}{node.name}"
            self.rename(copy, names, prefix)
            self.nodes.append(copy)
        for value, stored in zip(inner.output, kernel.ys, strict=True):
            shape = self.network.tensor(stored).shape
            self.op("Reshape", names[value.name], self.integers(1, *shape), out=stored)

    def own(self, names: dict[str, str], prefix: str, name: str) -> str:
        """The name in the whole model of a tensor of a subgraph."""
        if name not in names:
            names[name] = self.fresh(f"{prefix}{name}")
        return names[name]

    def rename(self, node: onnx.NodeProto, names: dict[str, str], prefix: str) -> None:
        """Give every tensor that a node names its name in the whole model, those of its subgraphs too."""
        for place, name in enumerate(node.input):
            node.input[place] = self.own(names, prefix, name) if name else ""
        for place, name in enumerate(node.output):
            node.output[place] = self.own(names, prefix, name) if name else ""
        for attribute in node.attribute:
            for graph in [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]:
                for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
                    value.name = self.own(names, prefix, value.name)
                for inner in graph.node:
                    self.rename(inner, names, prefix)

    def repeat(self, repeat: Repeat) -> None:
        """A `Loop` over the kernels: carried tensors are its state, what is filled over all passes its scan outputs."""
        network = self.network
        prefix = f"{repeat.name}/"
        body = network.kernels[repeat.first : repeat.last + 1]
        moves = [k for k in body if isinstance(k, Move)]
        carries = {k.y: k for k in moves if k.y in repeat.carried}
        fills = [k for k in moves if any(part.write_step for part in k.parts)]
        outer, outer_names = self.nodes, dict(self.renamed)
        self.nodes = []
        turn, going = f"{prefix}turn", f"{prefix}going"
        for name in repeat.carried:
            self.renamed[name] = f"{prefix}{name}"
        results: dict[str, str] = {}
        for kernel in body:
            if isinstance(kernel, Move) and (kernel.y in carries or kernel in fills):
                results[kernel.y] = self.moved_elements(kernel, turn, f"{prefix}next/{kernel.y}")
            elif isinstance(kernel, Move):
                elements = self.moved_elements(kernel, turn, "")
                shape = self.integers(1, *network.tensor(kernel.y).shape)
                self.op("Reshape", elements, shape, out=kernel.y)
            else:
                self.kernel(kernel)
        states: list[str] = []
        for name in repeat.carried:
            shape = self.integers(1, *network.tensor(name).shape)
            states.append(self.op("Reshape", results[name], shape))
        same = self.op("Identity", going)
        inner, self.nodes, self.renamed = self.nodes, outer, outer_names
        types = [ONNX_TYPE[network.tensor(name).dtype] for name in repeat.carried]
        shapes = [[1, *network.tensor(name).shape] for name in repeat.carried]
        graph = helper.make_graph(
            inner,
            repeat.name,
            [
                helper.make_tensor_value_info(turn, TensorProto.INT64, []),
                helper.make_tensor_value_info(going, TensorProto.BOOL, []),
                *(
                    helper.make_tensor_value_info(f"{prefix}{name}", kind, shape)
                    for name, kind, shape in zip(repeat.carried, types, shapes, strict=True)
                ),
            ],
            [
                helper.make_tensor_value_info(same, TensorProto.BOOL, []),
                *(
                    helper.make_tensor_value_info(state, kind, shape)
                    for state, kind, shape in zip(states, types, shapes, strict=True)
                ),
                *(onnx.ValueInfoProto(name=results[kernel.y]) for kernel in fills),
            ],
        )
        count = self.constant(np.array(repeat.count, np.int64))
        ends = [f"{prefix}end/{name}" for name in repeat.carried]
        stacks = [f"{prefix}all/{kernel.y}" for kernel in fills]
        loop = helper.make_node("Loop", [count, "", *repeat.carried], [*ends, *stacks], name=repeat.name, body=graph)
        self.nodes.append(loop)
        for name, end in zip(repeat.carried, ends, strict=True):
            self.renamed[name] = end
        for kernel, stack in zip(fills, stacks, strict=True):
            places = np.concatenate([part.write.evaluate().reshape(-1) for part in kernel.parts])
            steps = np.concatenate([np.full(part.write.evaluate().size, part.write_step) for part in kernel.parts])
            all_places = (places[None, :] + np.arange(repeat.count)[:, None] * steps[None, :]).reshape(-1)
            flat = self.op("Reshape", stack, self.integers(-1))
            whole = self.op("Gather", flat, self.constant(np.argsort(all_places)), axis=0)
            self.op("Reshape", whole, self.integers(1, *network.tensor(kernel.y).shape), out=kernel.y)

    def moved_elements(self, kernel: Move, turn: str, out: str) -> str:
        """What a copy of one pass takes, part after part; in the order of the result where it writes all of it."""
        taken: list[str] = []
        for part in kernel.parts:
            indices = part.read.evaluate().reshape(-1)
            assert (indices >= 0).all(), "a copy inside a repetition pads nothing"
            flat = self.op("Reshape", self.named(part.x), self.integers(-1))
            index = self.constant(indices)
            if part.read_step:
                index = self.op("Add", index, self.op("Mul", turn, self.integers(part.read_step)))
            taken.append(self.op("Gather", flat, index, axis=0))
        whole = taken[0] if len(taken) == 1 else self.op("Concat", *taken, axis=0)
        if any(part.write_step for part in kernel.parts):
            return self.op("Identity", whole, out=out)
        order = np.argsort(np.concatenate([part.write.evaluate().reshape(-1) for part in kernel.parts]))
        return self.op("Gather", whole, self.constant(order), out=out, axis=0)

    def hand_out(self, name: str) -> None:
        """Let an output that a repetition carried be what it is in the end; what it began with gets another name."""
        if name not in self.renamed:
            return
        before = self.fresh(f"{name}.before")
        for node in self.nodes:
            for names in (node.input, node.output):
                for place, used in enumerate(names):
                    names[place] = before if used == name else used
        self.op("Identity", self.renamed[name], out=name)

    def named(self, name: str) -> str:
        """The ONNX name of a stored tensor here: a carried one has another inside a repetition and after it."""
        return self.renamed.get(name, name)

    def kernel(self, kernel: Kernel) -> None:
        match kernel:
            case MatMul():
                self.matmul(kernel)
            case Elementwise():
                self.elementwise(kernel)
            case Pool():
                self.pool(kernel)
            case Softmax():
                self.softmax(kernel)
            case Norm():
                self.norm(kernel)
            case BatchMatMul():
                self.batch_matmul(kernel)
            case Lookup():
                self.lookup(kernel)
            case Move():
                self.move(kernel)
            case Host():
                self.host(kernel)
            case _:
                assert_never(kernel)


def golden_model(network: Network, constants: Constants) -> onnx.ModelProto:
    """The integer model: inputs and outputs are stored tensors [1, H, W, C] under their names."""
    builder = _Builder(network, constants)
    for tensor in network.tensors:
        if tensor.constant:
            values = constants[tensor.constant].astype(NUMPY[tensor.dtype]).reshape(1, *tensor.shape)
            builder.op("Identity", builder.constant(values), out=tensor.name)
    number = 0
    while number < len(network.kernels):
        repeat = network.repeat_of(number)
        if repeat is None:
            builder.kernel(network.kernels[number])
        else:
            builder.repeat(repeat)
        number = repeat.last + 1 if repeat else number + 1

    def info(name: str) -> onnx.ValueInfoProto:
        tensor = network.tensor(name)
        return helper.make_tensor_value_info(name, ONNX_TYPE[tensor.dtype], [1, *tensor.shape])

    inputs = list(dict.fromkeys(p.tensor for p in network.ports if p.direction == "input"))
    outputs = list(dict.fromkeys(p.tensor for p in network.ports if p.direction == "output"))
    for name in outputs:
        builder.hand_out(name)
    graph = helper.make_graph(
        builder.nodes,
        "golden",
        [info(name) for name in inputs],
        [info(name) for name in outputs if name not in inputs],
        builder.initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", builder.opset)], producer_name="bitline")
    model.ir_version = 10
    return model
