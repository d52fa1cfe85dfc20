"""Calibrating on a stream, and the options that say what takes 16 bits, as a user types them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from bitline import api
from tests.cli.invoke import Answer, bitline
from tests.graph.build import parsed

RNG = np.random.default_rng(0)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A layer over a frame of a stream and what is left of the frames before."""
    values = {name: RNG.standard_normal((8, 8)).astype(np.float32) / 4 for name in ("w", "v")}
    proto = parsed(
        "float[1,8] frame, float[1,8] state) => (float[1,8] state_out, float[1,8] y",
        "a = MatMul(frame, w) b = MatMul(state, v) c = Add(a, b) state_out = Tanh(c) y = Relu(state_out)",
        values,
    )
    path = tmp_path / "stream.onnx"
    onnx.save(proto, path)
    return path


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    path = tmp_path / "sound.npy"
    np.save(path, RNG.standard_normal(160).astype(np.float32))
    return path


def figures(answer: Answer) -> dict[str, Any]:
    assert answer.status == 0, answer.err
    return json.loads(answer.out)


def test_frames_alone_calibrate_a_model_with_state(model: Path, sound: Path, tmp_path: Path) -> None:
    made = tmp_path / "made.onnx"
    words = (
        "quantize",
        str(model),
        "--calib",
        str(sound),
        "--hop",
        "4",
        "-o",
        str(made),
        "--test",
        str(sound),
        "--json",
    )
    found = figures(bitline(*words))
    assert "39 samples of a stream, 1 state fed back" in found["steps"][0]
    assert found["sqnr_db"] > 20
    assert found["agree"] >= 80
    constants = {t.name: numpy_helper.to_array(t) for t in onnx.load(made).graph.initializer}
    grids = [float(constants[f"{name}_scale"]) for name in ("state", "state_out")]
    assert grids[0] == grids[1], "a state leaves and enters on one grid"


def test_states_are_named_where_names_do_not_say_them(model: Path, sound: Path, tmp_path: Path) -> None:
    proto = onnx.load(model)
    for value in (*proto.graph.input, *proto.graph.output):
        value.name = {"state": "before", "state_out": "after"}.get(value.name, value.name)
    for node in proto.graph.node:
        node.input[:] = [
            "before" if name == "state" else "after" if name == "state_out" else name for name in node.input
        ]
        node.output[:] = ["after" if name == "state_out" else name for name in node.output]
    onnx.save(proto, model)
    words = ["quantize", str(model), "--calib", str(sound), "-o", str(tmp_path / "made.onnx"), "--json"]
    refused = bitline(*words)
    assert refused.status != 0
    assert "no data for input 'before'" in refused.err
    assert "1 state fed back" in figures(bitline(*words, "--state", "after=before"))["steps"][0]


def test_from_a_stream_to_a_running_package(model: Path, sound: Path, tmp_path: Path) -> None:
    package = tmp_path / "package"
    compiled = ("compile", str(model), "--target", "sram-dcim", "--calib", str(sound), "-o", str(package), "--json")
    assert figures(bitline(*compiled))["verified"] == "structure"
    opened = api.open_package(package)
    assert opened.contents.manifest.options["state"] == "state_out=state"
    assert opened.contents.manifest.options["layer_bits"] == "auto"
    assert "of a stream" in opened.contents.manifest.steps[0]
    assert figures(bitline("run", str(package), str(sound), "--keep-state", "--json"))["samples"] == 20


@pytest.mark.parametrize(("data", "said"), [("sound", "2 of 2 layers read 16 bits"), ("random:8", "")])
def test_widths_are_asked_for(model: Path, sound: Path, tmp_path: Path, data: str, said: str) -> None:
    """Random data decide nothing: a threshold that no model reaches asks for 16 bits, noise leaves layers at 8."""
    words = ["quantize", str(model), "-o", str(tmp_path / "made.onnx"), "--json", "--calib"]
    words += [str(sound) if data == "sound" else data]
    asked = figures(bitline(*words, *(["--layer-bits", "16"] if said else ["--residual-threshold-db", "200"])))
    assert any(step.startswith(said) for step in asked["steps"] if "layers read" in step) == bool(said)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--layer-bits", "12"), "'12' is not one of 'auto', '8', '16'"),
        (("--unary-bits", "4"), "'4' is not one of"),
        (("--residual-bits", "x"), "'x' is not one of"),
        (("--residual-threshold-db", "1000"), "residual_threshold_db is 1000"),
    ],
)
def test_what_no_width_is(model: Path, tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    answer = bitline("quantize", str(model), "--calib", "random:2", "-o", str(tmp_path / "made.onnx"), *words)
    assert answer.status == 2
    assert message in answer.err


@pytest.mark.parametrize("command", ["place", "schedule"])
def test_plans_need_no_state_either(command: str, model: Path, sound: Path) -> None:
    words = (command, str(model), "--target", "sram-dcim", "--json")
    for data in ((), ("--calib", str(sound))):
        assert figures(bitline(*words, *data))["seconds"] >= 0
