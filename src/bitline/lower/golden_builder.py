"""The ONNX model of integer operators while it is written: nodes, names, arithmetic that several kernels need."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from bitline.ir.index_map import IndexMap
from bitline.ir.kernels import (
    NUMPY,
    Constants,
    Network,
    Read,
    Tensor,
)
from bitline.lower.qdq import ONNX_TYPE

Array = npt.NDArray[np.generic]
OPSET = 18
"""The least; a subgraph for the host brings its own."""


def _axis_of_digits(read: IndexMap) -> list[int] | None:
    """The one source axis that each digit moves along, or None where a digit moves along two."""
    owners: list[int] = []
    for digit in range(len(read.digits)):
        axes = [axis for axis, c in enumerate(read.coordinates) if c.coefficients[digit]]
        if len(axes) > 1:
            return None
        owners.append(axes[0] if axes else 0)
    return owners


class Builder:
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

    def named(self, name: str) -> str:
        """The ONNX name of a stored tensor here: a carried one has another inside a repetition and after it."""
        return self.renamed.get(name, name)

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
        places = [order.index(d) for d in range(len(order))]
        turned = self.op("Transpose", split, perm=places) if places else split
        return self.op("Reshape", turned, self.integers(*read.shape))

    def padded(self, name: str, tensor: Tensor, pads: list[int], padding: int) -> str:
        """`Pad`; int16, which ONNX Runtime does not pad, by way of int32."""
        wide = tensor.dtype == "s16"
        fill = self.constant(np.array(padding, "int32" if wide else NUMPY[tensor.dtype]))
        data = self.cast(name, TensorProto.INT32) if wide else name
        padded = self.op("Pad", data, self.integers(*pads), fill)
        return self.cast(padded, TensorProto.INT16) if wide else padded

    def operand(self, read: Read) -> str:
        """An operand over the logical index of its kernel, as it is stored."""
        return self.gathered(read.x, read.map, self.network.tensor(read.x).zero_point)

    def centred(self, name: str, x: Tensor) -> str:
        """Real doubles with the zero point taken off."""
        real = self.cast(name, TensorProto.DOUBLE)
        return self.op("Sub", real, self.constant(np.array(float(x.zero_point)))) if x.zero_point else real

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
