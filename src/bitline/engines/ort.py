"""ONNX Runtime: the engine that runs every model above the line. The only file that imports it, and only when used.

One thread, so that results depend on the machine at most, never on its load; log output off, because a library
does not write to the user's terminal. What ONNX Runtime refuses comes back as a `Refusal` that names the user's file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from bitline.core.diagnostics import Diagnostic, Refusal, refuse
from bitline.engines.protobuf import constant_bytes, fits, is_large, serialised, without_large_constants

if TYPE_CHECKING:
    import onnxruntime

Array = npt.NDArray[Any]

MUCH = 2**28
"""Bytes of constants from which on large ones stay outside the message."""
HANDED_OVER = 2**16
"""Elements of a large one."""

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(bool)": "bool",
} | {f"tensor({sign}int{bits})": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}


class Session:
    """A model loaded once and run many times. `optimise=False` runs the nodes exactly as they are written."""

    def __init__(self, model: onnx.ModelProto | bytes | Path, *, optimise: bool, place: str = "") -> None:
        import onnxruntime

        self.place = place or (model.name if isinstance(model, Path) else "model.onnx")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        levels = onnxruntime.GraphOptimizationLevel
        source = str(model) if isinstance(model, Path) else model
        if isinstance(source, onnx.ModelProto):
            source, beside = _in_pieces(source, self.place)
            hand_over = onnxruntime.OrtValue.ortvalue_from_numpy
            self._weights = {tensor.name: hand_over(numpy_helper.to_array(tensor)) for tensor in beside}
            options.add_external_initializers(list(self._weights), list(self._weights.values()))
        # ALL also makes operators that it then refuses (QLinearAveragePool with dilations); BASIC stays within ONNX
        tried = (levels.ORT_ENABLE_ALL, levels.ORT_ENABLE_BASIC) if optimise else (levels.ORT_DISABLE_ALL,)
        for level in tried:
            options.graph_optimization_level = level
            try:
                self._session: onnxruntime.InferenceSession = onnxruntime.InferenceSession(
                    source, sess_options=options, providers=["CPUExecutionProvider"]
                )
                break
            except _ort_errors() as error:
                if level != tried[-1]:
                    continue
                raise _unloadable(error, self.place) from None
        self.inputs = {
            value.name: (_DTYPES.get(value.type, value.type), tuple(value.shape))
            for value in self._session.get_inputs()
        }
        self.outputs = tuple(value.name for value in self._session.get_outputs())

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """Outputs by name (all of them by default). Raises `Refusal` (BL0105) where the feeds do not fit the model."""
        names = self.outputs if outputs is None else tuple(outputs)
        assert set(names) <= set(self.outputs), f"not outputs of this session: {sorted(set(names) - set(self.outputs))}"
        self._check(feeds)
        if not names:  # ONNX Runtime would take this for all of them
            return {}
        try:
            values = self._session.run(list(names), {name: feeds[name] for name in self.inputs})
        except _ort_errors() as error:
            raise refuse(
                "BL0202",
                f"ONNX Runtime cannot run the model: {_one_line(error)}",
                place=self.place,
                help="check the model and its input with another tool; the message above names the node",
            ) from None
        return {name: np.asarray(value) for name, value in zip(names, values, strict=True)}

    def _check(self, feeds: Mapping[str, Array]) -> None:
        found: list[Diagnostic] = []

        def complain(message: str) -> None:
            found.append(
                Diagnostic(
                    code="BL0105",
                    message=message,
                    place=self.place,
                    help="inputs of the model: " + ", ".join(f"{n} {d} {list(s)}" for n, (d, s) in self.inputs.items()),
                )
            )

        for name in sorted(set(feeds) - set(self.inputs)):
            complain(f"the model has no input {name!r}")
        for name, (dtype, shape) in self.inputs.items():
            if name not in feeds:
                complain(f"no value for input {name!r}")
                continue
            given = feeds[name]
            fits = len(given.shape) == len(shape) and all(
                not isinstance(want, int) or want == have for want, have in zip(shape, given.shape, strict=True)
            )
            if not fits or str(given.dtype) != dtype:
                complain(f"input {name!r} is {dtype} {list(shape)}, given {given.dtype} {list(given.shape)}")
        if found:
            raise Refusal(found)


def _in_pieces(model: onnx.ModelProto, place: str) -> tuple[bytes, list[onnx.TensorProto]]:
    """The message for ONNX Runtime, and the weights to hand over beside it where they are many: a message of them would
    be in memory three times, and cannot be longer than 2 GiB."""
    if constant_bytes(model) < MUCH and fits(model):
        return serialised(model, place=place), []
    large = [tensor for tensor in model.graph.initializer if is_large(tensor, HANDED_OVER)]
    return serialised(without_large_constants(model, HANDED_OVER), place=place), large


def run_model(
    model: onnx.ModelProto | bytes | Path,
    feeds: Mapping[str, Array],
    outputs: Sequence[str] | None = None,
    *,
    optimise: bool,
    place: str = "",
) -> dict[str, Array]:
    """Run a model once. To run it often, keep a `Session`."""
    return Session(model, optimise=optimise, place=place).run(feeds, outputs)


def expose(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """A copy of the model whose outputs are its own and, after them, the intermediate tensors `names`."""
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    known = {value.name: value for value in exposed.graph.value_info}
    present = {value.name for value in exposed.graph.output}
    for name in names:
        if name in present:
            continue
        exposed.graph.output.append(known.get(name) or onnx.ValueInfoProto(name=name))
        present.add(name)
    return exposed


def _ort_errors() -> tuple[type[BaseException], ...]:
    """ONNX Runtime has one exception class per status code and no common base but `Exception`."""
    state = import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    own = [value for value in vars(state).values() if isinstance(value, type) and issubclass(value, Exception)]
    return (*own, RuntimeError, ValueError)


def _unloadable(error: BaseException, place: str) -> Refusal:
    missing = "Could not find an implementation" in str(error)
    return refuse(
        "BL0301" if missing else "BL0202",
        f"ONNX Runtime does not load the model: {_one_line(error)}",
        place=place,
        help="if the operator or opset is newer than the installed ONNX Runtime, export with an older opset",
    )


def _one_line(error: BaseException) -> str:
    text = re.sub(r"\s+", " ", str(error)).strip()
    text = re.sub(r"\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text)
    return text if len(text) <= 400 else text[:397] + "..."
