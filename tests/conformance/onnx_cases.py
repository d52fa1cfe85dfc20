"""The node cases of the onnx package for the operators of real exports, and what becomes of one in bitline.

A case is a model of one node with inputs and expected outputs. It goes the whole way: saved, read by the gate,
quantised with its own inputs as calibration, compiled, simulated, compared.

What has to hold (`close`): integers and truth values equal; floats within the tolerance of the case, or within two
steps of the grid of the output, or 30 dB (recurrent cells: 20 dB) away from the case's values; where the inputs are too
coarse for that, the same against the case's model fed the rounded inputs. Simulator, reference and `golden.onnx` agree
bit for bit always.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
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
from bitline.core.diagnostics import Refusal
from bitline.engines.ort import Session
from bitline.graph.newest_opset import without_news
from bitline.ir.kernels import Host, Move, Network
from bitline.numerics.stored import from_stored, to_stored
from bitline.quant.options import QuantOptions
from bitline.target.schema import Chip
from bitline.verify.numeric import sqnr_db

Array = npt.NDArray[Any]
End = Literal["native", "both", "host", "refused"]
ENDS: tuple[End, ...] = ("native", "both", "host", "refused")
"""Kernels of the chip only; some on the host; all on the host; a named diagnostic."""

LEAST_DB = 30.0
LEAST_DB_RECURRENT = 20.0
"""Above it quantisation takes 8 bits to be enough (`QuantOptions.residual_threshold_db`); gates of a GRU that reach 100
leave not much more."""
MOST_STEPS = 2.0

_NAMES = (
    "Gemm Conv ConvTranspose MatMul Add Sub Mul Div Pow Sqrt Exp Erf Relu LeakyRelu PRelu Clip Sigmoid HardSigmoid "
    "HardSwish Tanh Gelu Softmax LayerNormalization BatchNormalization MaxPool AveragePool GlobalAveragePool "
    "ReduceMean ReduceSum ReduceMax Max Min Where Equal Not Mod Cast Identity Constant ConstantOfShape Shape Range "
    "Reshape Flatten Transpose Squeeze Unsqueeze Concat Split Slice Gather GatherND GatherElements ScatterND Expand "
    "Pad Resize DepthToSpace LSTM GRU QuantizeLinear DequantizeLinear"
)
OPERATORS: Sequence[str] = _NAMES.split()
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
    """How a case ended: as one of `ENDS`, with the reasons of host kernels or the codes and messages of the refusal.

    `wrong` says what is not as it has to be, "" where all is well.
    """

    end: End
    why: tuple[str, ...] = ()
    wrong: str = ""


@cache
def cases() -> tuple[Case, ...]:
    """All plain cases of the operators, those that expand a function into its nodes left out."""
    return tuple(sorted(_cases(), key=lambda case: (OPERATORS.index(case.operator), case.name)))


def _cases() -> Iterator[Case]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the package computes its cases, with overflows on purpose
        tests = load_node_model_tests()
    for test in tests:
        model = test.model
        if model is None or test.name.endswith("_expanded") or len(model.graph.node) != 1:
            continue
        (node,) = model.graph.node
        if node.op_type not in OPERATORS or node.domain not in ("", "ai.onnx"):
            continue
        assert test.data_sets is not None
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


def carried_out(case: Case, folder: Path, chip: Chip) -> Outcome:
    """A case the whole way. Anything but a `Refusal` comes out as it is: a crash."""
    path = folder / "case.onnx"
    onnx.save(case.model, path)
    feeds = {name: value[None] for name, value in case.inputs.items()}
    try:
        model = api.load(path)
        package = api.compile(model, target=chip, calib=feeds, options=QuantOptions(method="minmax"))
        ran = package.run(feeds, check_samples=1)
    except Refusal as refusal:
        nameless = [str(d) for d in refusal.diagnostics if not (d.message and d.place and d.help)]
        why = tuple(f"{d.code} {d.message}" for d in refusal.diagnostics)
        return Outcome(end="refused", why=why, wrong="; ".join(nameless))
    network = package.contents.network
    hosts = tuple(kernel.why for kernel in network.kernels if isinstance(kernel, Host))
    working = [k for k in network.kernels if not isinstance(k, Host | Move)]
    end: End = "native" if not hosts else "both" if working else "host"
    assert ran.checked is not None
    exact = ran.checked.exact
    found: list[str] = []
    for name, agreement in (("reference", exact.against_reference), ("golden.onnx", exact.against_golden)):
        if agreement.equal != agreement.values:
            found.append(f"{agreement.values - agreement.equal} values are not those of the {name}")
    found += _errors(case, network, ran.outputs, feeds)
    return Outcome(end=end, why=hosts, wrong="; ".join(found))


def _errors(case: Case, network: Network, outputs: Mapping[str, Array], feeds: Mapping[str, Array]) -> Iterator[str]:
    """Outputs that are not what the case wants, within what quantisation may cost."""
    for name, wanted in case.outputs.items():
        if name not in outputs or outputs[name].size != wanted.size or outputs[name].dtype != wanted.dtype:
            yield f"{name} is missing, or has another size or type"
            continue
        port = next(p for p in network.ports if p.direction == "output" and p.name == name)
        got = outputs[name].reshape(wanted.shape)
        if wanted.dtype.kind in "iub":
            if not np.array_equal(got, wanted):
                yield f"{name} differs in {int((got != wanted).sum())} of {wanted.size} integers"
            continue
        step = network.tensor(port.tensor).scale if port.real else 0.0
        if close(case, wanted, got, step):
            continue
        chip_sees = _on_grids(case, network, feeds)
        again = Session(_readable(case.model), optimise=False).run(chip_sees)[name]
        if not close(case, again, got, step):
            yield f"{name} is up to {np.nanmax(np.abs(got - wanted)):.3g} away, {sqnr_db(wanted, got):.1f} dB"


def close(case: Case, wanted: Array, got: Array, step: float) -> bool:
    """The rule: within the tolerance of the case; or no value more than two steps of its grid away; or 30 dB.

    Rounding inputs, weights and the result of a layer to 8 bits costs about one step of the result; where several
    roundings follow one another (recurrent cells) the noise of 8 bits, about 40 dB, adds up.
    """
    wanted, got = wanted.astype(np.float64).reshape(got.shape), got.astype(np.float64)
    if np.allclose(got, wanted, rtol=case.rtol, atol=case.atol, equal_nan=True):
        return True
    if not np.isfinite(wanted).all():
        return False
    least = LEAST_DB_RECURRENT if case.operator in ("LSTM", "GRU") else LEAST_DB
    return bool(np.abs(got - wanted).max() <= MOST_STEPS * step) or sqnr_db(wanted, got) >= least


def _on_grids(case: Case, network: Network, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """The inputs as the chip is given them, for cases whose values no grid of 8 bits can tell apart."""
    seen: dict[str, Array] = {}
    for port in network.ports:
        if port.direction == "input":
            tensor = network.tensor(port.tensor)
            stored = to_stored(feeds[port.name], port, tensor)
            seen[port.name] = from_stored(stored, port, tensor).reshape(case.inputs[port.name].shape)
    return seen


def _readable(model: onnx.ModelProto) -> onnx.ModelProto:
    older, refused = without_news(model, "case")
    assert not refused, refused
    return older
