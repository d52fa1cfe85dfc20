"""LSTM, GRU and Scan over several steps: one repetition, a hardware loop, and the same bits in every engine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bitline import api, pipeline
from bitline.graph.model import Model
from bitline.ir.kernels import Host, MatMul, Move, Network
from bitline.ir.program import Loop
from bitline.pipeline.check import teacher_forced
from bitline.quant.ptq import quantize
from bitline.schedule.memory import lifetimes
from bitline.verify.network import verify_network
from tests.lower.engines import Artefacts, build, differences

STEPS, INPUTS, HIDDEN, OUTS = 7, 6, 5, 3
GATES = {"LSTM": 4, "GRU": 3}


def recurrent(kind: str, direction: str = "forward", *, batch: int = 1, ends: bool = False) -> onnx.ModelProto:
    """A recurrent layer over STEPS steps and a linear layer behind it; `ends`: the last state is an output too."""
    rng = np.random.default_rng(3)
    count, rows = (2 if direction == "bidirectional" else 1), GATES[kind] * HIDDEN
    constants = {
        "w": rng.normal(0, 0.5, (count, rows, INPUTS)),
        "r": rng.normal(0, 0.5, (count, rows, HIDDEN)),
        "b": rng.normal(0, 0.2, (count, 2 * rows)),
        "out": rng.normal(0, 0.5, (count * HIDDEN, OUTS)),
    }
    nodes = [
        helper.make_node(
            kind, ["x", "w", "r", "b"], ["y", "last"], name="cell", hidden_size=HIDDEN, direction=direction
        ),
        helper.make_node("Transpose", ["y"], ["turned"], name="turn", perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["turned", "sizes"], ["rows"], name="rows"),
        helper.make_node("MatMul", ["rows", "out"], ["z"], name="head"),
    ]
    initializers = [numpy_helper.from_array(v.astype(np.float32), name) for name, v in constants.items()]
    initializers.append(numpy_helper.from_array(np.array([STEPS * batch, count * HIDDEN], np.int64), "sizes"))
    outputs = [helper.make_tensor_value_info("z", TensorProto.FLOAT, [STEPS * batch, OUTS])]
    if ends:
        outputs.append(helper.make_tensor_value_info("last", TensorProto.FLOAT, [count, batch, HIDDEN]))
    source = helper.make_tensor_value_info("x", TensorProto.FLOAT, [STEPS, batch, INPUTS])
    graph = helper.make_graph(nodes, "net", [source], outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model


def quantised(proto: onnx.ModelProto, folder: Path) -> Model:
    path = folder / "net.onnx"
    onnx.save(proto, path)
    model = api.load(path)
    shape = [dim.dim_value for dim in model.inputs[0].type.tensor_type.shape.dim]
    data = np.random.default_rng(1).normal(0, 1, (6, *shape)).astype(np.float32)
    return quantize(model, {"x": data}).model


@pytest.fixture(scope="module")
def lstm(tmp_path_factory: pytest.TempPathFactory) -> Artefacts:
    return build(quantised(recurrent("LSTM", ends=True), tmp_path_factory.mktemp("lstm")), "sram-dcim")


@pytest.mark.parametrize("target", ["sram-dcim", "reram-tile"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_every_engine_agrees(kind: str, direction: str, target: str, tmp_path: Path) -> None:
    made = build(quantised(recurrent(kind, direction, ends=True), tmp_path), target)
    assert not any(isinstance(kernel, Host) for kernel in made.network.kernels)
    assert [repeat.count for repeat in made.network.repeats] == [STEPS] * (2 if direction == "bidirectional" else 1)
    assert differences(made, seed=5) == []


def test_a_batch_of_two_agrees(tmp_path: Path) -> None:
    assert differences(build(quantised(recurrent("LSTM", batch=2), tmp_path), "sram-dcim"), seed=6) == []


def test_weights_that_do_not_fit_are_loaded_in_every_pass(tmp_path: Path) -> None:
    small = ("array.per_core=1", "array.rows=8", "array.cols=8", "array.group_rows=8", "cores=1")
    made = build(quantised(recurrent("LSTM"), tmp_path), "sram-dcim", small)
    assert differences(made, seed=7) == []
    (repeat,) = made.network.repeats
    inside = {k.matrix.name for k in made.network.kernels[repeat.first : repeat.last + 1] if isinstance(k, MatMul)}
    loads = {b.loads for b in made.planned.blocks if b.block.matrix in inside}
    assert inside
    assert all(load % STEPS == 0 and load > 0 for load in loads)


def test_steps_are_a_hardware_loop(lstm: Artefacts, tmp_path: Path) -> None:
    """Twice the steps take no more instructions, only more passes."""
    counts = [i.count for q in lstm.built.program.main for i in q.code if isinstance(i, Loop)]
    assert STEPS in counts
    assert lstm.built.program.main[0].code.count(Loop(count=STEPS)) == 1


def test_quantised_cells_stay_close_to_float(tmp_path: Path) -> None:
    proto = recurrent("GRU")
    path = tmp_path / "float.onnx"
    onnx.save(proto, path)
    model = api.load(path)
    data = np.random.default_rng(2).normal(0, 1, (8, STEPS, 1, INPUTS)).astype(np.float32)
    result = quantize(model, {"x": data})
    assert result.sqnr_db > 25
    assert any("body of" in step for step in result.steps)


def test_results_equal_onnx_runtime(lstm: Artefacts, tmp_path: Path) -> None:
    """Fed ONNX Runtime's integers, every kernel outside the body is within one step of it."""
    model = quantised(recurrent("LSTM", ends=True), tmp_path)
    package = api.compile(model, target="sram-dcim")
    feeds = {"x": np.random.default_rng(4).normal(0, 1, (STEPS, 1, INPUTS)).astype(np.float32)}
    agreement = teacher_forced(package.contents, feeds)
    assert agreement.values > STEPS * OUTS
    assert agreement.within_one == agreement.values


def test_what_enters_a_repetition_lives_to_its_end(lstm: Artefacts) -> None:
    network = lstm.network
    (repeat,) = network.repeats
    lives = lifetimes(network)
    body = network.kernels[repeat.first : repeat.last + 1]
    outside = {part.x for k in body if isinstance(k, Move) for part in k.parts if part.read_step}
    filled = {k.y for k in body if isinstance(k, Move) and any(part.write_step for part in k.parts)}
    assert outside
    assert all(lives[name][1] >= repeat.last for name in outside)
    assert all(lives[name][0] <= repeat.first for name in filled)
    assert all(lives[name][0] < repeat.first and lives[name][1] >= repeat.last for name in repeat.carried)


def broken(network: Network, **changes: int) -> Network:
    """The network with its repetition changed."""
    (repeat,) = network.repeats
    return replace(network, repeats=(replace(repeat, **changes),))


def test_the_verifier_sees_wrong_repetitions(lstm: Artefacts) -> None:
    network, constants = lstm.network, lstm.lowered.constants
    assert verify_network(network, constants) == ()
    (repeat,) = network.repeats
    for wrong in (
        broken(network, count=STEPS + 1),  # reads and fills beyond its tensors
        broken(network, count=STEPS - 1),  # leaves a step out
        broken(network, last=len(network.kernels)),
        replace(network, repeats=(replace(repeat, carried=()),)),
        replace(network, repeats=(repeat, repeat)),
    ):
        assert verify_network(wrong, constants)


def test_a_scan_with_a_body_for_the_host_goes_there_whole(tmp_path: Path) -> None:
    """CumSum has no unit: the Scan around it is one host call, and says why."""
    text = """<ir_version: 10, opset_import: ["" : 21]> net (float[4,1,3] x, float[1,3] h) => (float[4,1,3] z) {
        last, y = Scan <num_scan_inputs = 1, body = step (float[1,3] s, float[1,3] v) => (float[1,3] n, float[1,3] o)
            <int64 axis = {1}> { a = Add(s, v) n = CumSum(a, axis) o = Identity(n) }> (h, x)
        z = Relu(y)
    }"""
    path = tmp_path / "net.onnx"
    onnx.save(onnx.parser.parse_model(text), path)
    model = api.load(path)
    rng = np.random.default_rng(0)
    data = {"x": rng.normal(size=(3, 4, 1, 3)).astype(np.float32), "h": rng.normal(size=(3, 1, 3)).astype(np.float32)}
    done = pipeline.quantise(model, data, api.QuantOptions())
    made = build(done.model, "sram-dcim")
    assert not made.network.repeats
    assert any(isinstance(kernel, Host) for kernel in made.network.kernels)
    assert differences(made, seed=8) == []
