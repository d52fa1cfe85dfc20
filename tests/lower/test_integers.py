"""Integers of 64 bits that kernels read as 32: exact, the host's, or refused by name; never wrapped around."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitline import api
from bitline.core.diagnostics import Refusal
from bitline.engines.ort import Session, expose, run_model
from bitline.graph.model import dtype_of, shape_of
from bitline.ir.kernels import NUMPY, Elementwise, Host
from bitline.lower.integers import IntegerRanges
from bitline.lower.qdq import read_qdq
from bitline.numerics.reference import evaluate
from bitline.numerics.stored import to_stored
from bitline.pipeline.contents import run_golden
from bitline.quant.options import QuantOptions
from tests.graph.build import parsed

Array = npt.NDArray[Any]
LARGEST = 2**31 - 1


def compiled(
    signature: str, body: str, constants: Mapping[str, Array], folder: Path, *, opset: int = 21
) -> tuple[api.Package, onnx.ModelProto]:
    proto = parsed(signature, body, {"axis": np.array(0), **constants}, opset=opset)
    onnx.save(proto, folder / "whole.onnx")
    ones = {
        value.name: np.ones((1, *(shape_of(value) or ())), dtype_of(value.type.tensor_type.elem_type))
        for value in proto.graph.input
    }
    options = QuantOptions(method="minmax")
    return api.compile(folder / "whole.onnx", target="sram-dcim", calib=ones, options=options), proto


def equal(package: api.Package, proto: onnx.ModelProto, **feeds: Array) -> None:
    """All engines, and ONNX Runtime on the model, give the same integers."""
    ran = package.run({name: values[None] for name, values in feeds.items()}, check_samples=1)
    assert ran.checked is not None
    exact = ran.checked.exact
    for agreement in (exact.against_reference, exact.against_golden, ran.checked.teacher_forced):
        assert agreement.equal == agreement.values
    for name, wanted in run_model(proto, feeds, optimise=False).items():
        assert np.array_equal(ran.outputs[name].reshape(wanted.shape), wanted), name


def kernels(package: api.Package) -> list[str]:
    return [k.op if isinstance(k, Elementwise) else k.kind for k in package.contents.network.kernels]


def refused(package: api.Package, **feeds: Array) -> str:
    """What a run ends with: in the simulator, the reference and `golden.onnx`."""
    contents = package.contents
    stacked = {name: values[None] for name, values in feeds.items()}
    with pytest.raises(Refusal) as caught:
        package.run(stacked)
    (found,) = caught.value.diagnostics
    assert found.code == "BL0105"
    assert found.place
    assert found.help
    if found.message.startswith("tensor"):
        ports = [port for port in contents.network.ports if port.direction == "input"]
        stored = {p.tensor: to_stored(stacked[p.name], p, contents.network.tensor(p.tensor)) for p in ports}
        with pytest.raises(Refusal, match="holds"):
            evaluate(contents.network, contents.constants, {n: v[0] for n, v in stored.items()}, contents.host.run)
        typed = {n: v.astype(NUMPY[contents.network.tensor(n).dtype]) for n, v in stored.items()}
        for optimise in (False, True):
            with pytest.raises(Refusal, match="Gather"):
                run_golden(contents.files["golden.onnx"], typed, optimise=optimise)
    return found.message


def whole(*values: int, kind: str = "int64") -> Array:
    return np.array(values, kind)


def test_results_of_the_host_that_nothing_on_the_chip_reads_have_64_bits(tmp_path: Path) -> None:
    package, proto = compiled("int64[2] x) => (int64[2] y, int64[1,2] z", "y = CumSum(x, axis) z = Mul(y, c)", {
        "c": whole(10**9).reshape(1, 1)}, tmp_path)  # fmt: skip
    equal(package, proto, x=whole(LARGEST, LARGEST))
    assert {*kernels(package)} == {"Host"}


def test_sums_stay_on_the_chip_within_limits_of_what_the_user_gives(tmp_path: Path) -> None:
    """The sum saturated at 2^31 - 1."""
    for kind in ("int32", "int64"):
        package, proto = compiled(
            f"{kind}[2] x) => ({kind}[2] y", "y = Add(x, c)", {"c": whole(7, kind=kind)}, tmp_path
        )
        assert kernels(package) == ["sum"]
        assert package.verify().errors == ()
        equal(package, proto, x=whole(2**30 - 1, -(2**30), kind=kind))
        assert refused(package, x=whole(0, 2**30, kind=kind)) == (
            "input 'x' holds 0..1073741824; the chip takes -1073741824..1073741823"
        )


def test_inputs_that_are_only_compared_may_have_32_bits(tmp_path: Path) -> None:
    package, proto = compiled("int64[2] x) => (bool[2] y", "y = Equal(x, c)", {"c": whole(LARGEST)}, tmp_path)
    equal(package, proto, x=whole(LARGEST, -LARGEST - 1))
    assert refused(package, x=whole(2**32 + LARGEST, 0)).startswith("input 'x' holds 0..6442450943;")


def test_unsigned_inputs_beyond_63_bits(tmp_path: Path) -> None:
    package, proto = compiled("uint64[2] x) => (uint64[2] y", "y = Add(x, x)", {}, tmp_path)
    equal(package, proto, x=whole(LARGEST, 0, kind="uint64"))
    assert refused(package, x=whole(2**64 - 1, 0, kind="uint64")).startswith("input 'x' holds 0..18446744073709551615;")


@pytest.mark.parametrize("kind", ["int32", "int64"])
def test_products_that_leave_32_bits_are_the_hosts(kind: str, tmp_path: Path) -> None:
    """Kernels saturate; int32 wraps around in ONNX, int64 does not."""
    factor = {"c": whole(2**20, kind=kind)}
    package, proto = compiled(f"{kind}[2] x) => ({kind}[2] y", "y = Mul(x, c)", factor, tmp_path)
    equal(package, proto, x=whole(2**30 + 5, -LARGEST, kind=kind))
    (host,) = (k for k in package.contents.network.kernels if isinstance(k, Host))
    assert host.why.endswith("its results can leave 32 bits")


def test_what_the_host_hands_to_kernels_is_checked(tmp_path: Path) -> None:
    """`b` read 0 where ONNX has 2^32."""
    body = "a = CumSum(x, axis) v = Reshape(a, h) b = Equal(v, c)"
    constants = {"h": whole(2, 1), "c": whole(0)}
    for opset in (13, 21):
        package, proto = compiled("int64[2] x) => (bool[2,1] b", body, constants, tmp_path, opset=opset)
        assert kernels(package) == ["Host", "equal"]
        assert package.verify().errors == ()
        equal(package, proto, x=whole(LARGEST, -1))
        equal(package, proto, x=whole(-LARGEST, -1))
        message = refused(package, x=whole(2**30, 2**31 - 1))
        assert message == "tensor 'a' holds 1073741824..3221225471; the chip takes -2147483648..2147483647"


def test_a_number_without_axes_is_checked(tmp_path: Path) -> None:
    body = "a = ReduceSum<keepdims=0>(x) v = Reshape(a, h) y = Equal(v, c)"
    package, proto = compiled("int64[2] x) => (bool[1] y", body, {"c": whole(5), "h": whole(1)}, tmp_path)
    assert kernels(package) == ["Host", "equal"]
    equal(package, proto, x=whole(2, 3))
    assert "tensor 'a' holds 4294967294..4294967294" in refused(package, x=whole(LARGEST, LARGEST))


def test_sums_of_what_the_host_computes_narrow_its_limits(tmp_path: Path) -> None:
    body = "a = CumSum(x, axis) m = Mul(a, c) y = Add(m, a)"
    package, proto = compiled("int64[2] x) => (int64[2] y", body, {"c": whole(6)}, tmp_path)
    assert kernels(package) == ["Host", "product", "sum"]
    equal(package, proto, x=whole(2**28 - 2, 1))
    message = refused(package, x=whole(2**28, 0))
    assert message == "tensor 'a' holds 268435456..268435456; the chip takes -268435456..268435455"


def test_a_remainder_of_a_product_beyond_32_bits_is_exact(tmp_path: Path) -> None:
    """As hashes have it."""
    body = "a = Mul(x, c) m = Mod(a, d) e = Equal(m, f)"
    constants = {"c": whole(10**9 + 7), "d": whole(13), "f": whole(4)}
    package, proto = compiled("int64[13] x) => (bool[13] e, int64[13] m", body, constants, tmp_path)
    equal(package, proto, x=np.arange(13) + 2**30)
    assert kernels(package) == ["Host", "equal"]


def test_counts_need_no_check(tmp_path: Path) -> None:
    body = "a = ArgMax<keepdims=0>(x) y = Add(a, c)"
    package, _ = compiled("float[3,5] x) => (int64[5] y", body, {"c": whole(1)}, tmp_path)
    (host,) = (k for k in package.contents.network.kernels if isinstance(k, Host))
    model = onnx.load_model_from_string(package.contents.constants[host.model].tobytes())
    assert [node.op_type for node in model.graph.node if node.op_type != "Identity"] == ["ArgMax", "Cast"]


def test_samples_of_the_package_that_leave_32_bits_are_named(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"tensor 'a' holds .*; the chip takes") as caught:
        compiled("float[4] x) => (bool[4] y", "h = Mul(x, g) a = Cast<to=7>(h) y = Equal(a, c)", {
            "g": np.array(1e12, np.float32), "c": whole(2)}, tmp_path)  # fmt: skip
    assert caught.value.diagnostics[0].code == "BL0105"


OPERATORS = ["Add", "Sub", "Mul", "Max", "Min", "Mod", "Where", "Reshape", "CumSum", "Cast"]


@settings(max_examples=60)
@given(st.data())
def test_every_integer_lies_in_its_interval(data: st.DataObject) -> None:
    """Whatever the model, where all that is checked passes its check; kernels never leave 32 bits."""
    kind = data.draw(st.sampled_from(["int32", "int64"]))
    constants: dict[str, Array] = {"shape": whole(3), "axis": np.array(0)}
    names, body = ["x", "w"], "b = Equal(x, w) "
    for number in range(data.draw(st.integers(1, 6))):
        operator, made = data.draw(st.sampled_from(OPERATORS)), f"n{number}"
        constants[f"c{number}"] = whole(data.draw(st.sampled_from([-3, 1, 2, 7, 100, 2**22, LARGEST])), kind=kind)
        divisor = f"c{number}"
        one = data.draw(st.sampled_from(names))
        other = divisor if operator == "Mod" else data.draw(st.sampled_from([*names, divisor]))
        match operator:
            case "Where":
                body += f"{made} = Where(b, {one}, {other}) "
            case "Reshape":
                body += f"{made} = Reshape({one}, shape) "
            case "CumSum":
                body += f"{made} = CumSum({one}, axis) "
            case "Cast":
                body += f"{made}.t = Cast<to=9>({one}) {made} = Cast<to={6 if kind == 'int32' else 7}>({made}.t) "
            case _:
                body += f"{made} = {operator}({one}, {other}) "
        names.append(made)
    proto = parsed(f"{kind}[3] x, {kind}[3] w) => ({kind}[3] {names[-1]}", body.replace(".t", "t"), constants)
    ranges = IntegerRanges(read_qdq(proto, "g"))
    ranges.narrow()
    checked = ["x", "w", *(node.output[0] for node in proto.graph.node if node.op_type == "CumSum")]
    limits = {name: ranges.of(name) for name in checked}
    feeds = {name: np.array([data.draw(st.integers(*limits[name])) for _ in range(3)], kind) for name in ("x", "w")}
    seen = feeds | Session(expose(proto, names[2:]), optimise=False).run(feeds, names[2:])
    if any(seen[name].min() < low or seen[name].max() > high for name, (low, high) in limits.items()):
        return
    for node in proto.graph.node:
        name = node.output[0]
        if name in names:
            low, high = ranges.of(name)
            assert np.all((low <= seen[name]) & (seen[name] <= high)), name
            assert high - low < 2**32 or kind == "int64"
        if node.op_type in ("Add", "Sub", "Mul") and ranges.fits(node):
            function = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply}[node.op_type]
            operands = [seen.get(i, constants.get(i)) for i in node.input]
            exact = function(*(np.asarray(operand).astype(object) for operand in operands))
            assert all(-(2**31) <= number <= LARGEST for number in exact)


@pytest.mark.parametrize(
    ("signature", "body", "feeds"),
    [
        ("int64 x) => (bool y", "y = Equal(x, c)", {"x": np.array(3)}),
        ("int64 x) => (int64 y", "y = Add(x, c)", {"x": np.array(-7)}),
        ("int64 x, int64 z) => (int64 y", "y = Mod(x, z)", {"x": np.array(17), "z": np.array(5)}),
        ("int64 x, int64[1,4] v) => (int64[1,4] y", "a = Equal(x, c) y = Where(a, v, c)",
         {"x": np.array(3), "v": np.array([[1, -2, 3, 4]])}),
    ],
)  # fmt: skip
def test_numbers_without_axes(signature: str, body: str, feeds: dict[str, Array], tmp_path: Path) -> None:
    package, proto = compiled(signature, body, {"c": np.array(3)}, tmp_path)
    equal(package, proto, **feeds)
    assert package.verify().ok


def test_a_real_without_axes(tmp_path: Path) -> None:
    package, _ = compiled("float x) => (float y", "y = Relu(x)", {}, tmp_path)
    assert package.verify().ok
    ran = package.run({"x": np.array([0.5, -0.5], np.float32)}, check_samples=1)
    assert ran.outputs["y"].shape == (2,)
    assert ran.outputs["y"][1] == 0
    assert ran.checked is not None
    assert ran.checked.teacher_forced.within_one_share == 1
