"""ONNX Runtime runs what we give it, and what it refuses comes back with the user's place, never as a traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from bitline.core.diagnostics import Refusal
from bitline.engines.ort import Session, expose, run_model
from tests.graph.build import parsed

X = np.array([[-1, 2, 3]], np.float32)


def two_layers() -> onnx.ModelProto:
    return parsed("float[1,3] x) => (float[1,3] y", "a = Relu(x) y = Add(a, a)")


@pytest.mark.parametrize("optimise", [False, True])
def test_runs_from_proto_bytes_and_path(tmp_path: Path, optimise: bool) -> None:
    proto = two_layers()
    path = tmp_path / "net.onnx"
    onnx.save(proto, path)
    for model in (proto, proto.SerializeToString(), path):
        (y,) = run_model(model, {"x": X}, optimise=optimise).values()
        np.testing.assert_array_equal(y, [[0, 4, 6]])


def test_chosen_outputs_in_the_order_asked_for() -> None:
    exposed = expose(two_layers(), ["a"])
    assert list(run_model(exposed, {"x": X}, ["a", "y"], optimise=False)) == ["a", "y"]


def test_expose_keeps_outputs_types_and_its_argument() -> None:
    proto = two_layers()
    exposed = expose(proto, ["a", "y", "a"])
    assert [value.name for value in exposed.graph.output] == ["y", "a"]
    assert [value.name for value in proto.graph.output] == ["y"]
    onnx.checker.check_model(exposed, full_check=True)
    np.testing.assert_array_equal(run_model(exposed, {"x": X}, optimise=True)["a"], [[0, 2, 3]])


@pytest.mark.parametrize(
    ("feeds", "said"),
    [
        ({}, "no value for input 'x'"),
        ({"x": X, "z": X}, "no input 'z'"),
        ({"x": X.astype(np.float64)}, "input 'x' is float32 [1, 3], given float64 [1, 3]"),
        ({"x": X[0]}, "input 'x' is float32 [1, 3], given float32 [3]"),
    ],
)
def test_feeds_that_do_not_fit(feeds: dict[str, np.ndarray], said: str) -> None:
    with pytest.raises(Refusal) as refusal:
        Session(two_layers(), optimise=False, place="net.onnx").run(feeds)
    (diagnostic,) = refusal.value.diagnostics
    assert diagnostic.code == "BL0105"
    assert said in diagnostic.message
    assert diagnostic.place == "net.onnx"


def test_an_open_axis_takes_any_size() -> None:
    proto = two_layers()
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    assert run_model(proto, {"x": np.repeat(X, 5, axis=0)}, optimise=True)["y"].shape == (5, 3)


@pytest.mark.parametrize("model", [b"", b"not a model", b"\x08\x08" * 100])
def test_what_is_no_model_is_refused(model: bytes) -> None:
    with pytest.raises(Refusal) as refusal:
        Session(model, optimise=True, place="broken.onnx")
    (diagnostic,) = refusal.value.diagnostics
    assert (diagnostic.code, diagnostic.place) == ("BL0202", "broken.onnx")


def test_a_failure_while_running_is_refused() -> None:
    proto = parsed("float[1,4] x, int64[1] i) => (float[1,a] y", "y = Gather<axis = 1>(x, i)")
    with pytest.raises(Refusal) as refusal:
        run_model(proto, {"x": np.ones((1, 4), np.float32), "i": np.array([9])}, optimise=False)
    assert "indices" in refusal.value.diagnostics[0].message


def test_importing_the_engine_does_not_import_onnxruntime() -> None:
    code = "import sys, bitline.engines.ort, bitline.graph.read, bitline.quant.ptq; print('onnxruntime' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
