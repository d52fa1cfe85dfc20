"""Weights that two layers, or the samples of a batch, have in common are placed and written once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bitline import api
from bitline.ir.kernels import MatMul
from bitline.place.matrices import extract_matrices
from bitline.quant.options import QuantOptions
from bitline.report.figures import busiest_array, utilisation
from bitline.target.load import load_target
from bitline.verify.residency import Geometry, verify_residency

FAST = QuantOptions(method="minmax")
SMALL = ("cores=2", "array.per_core=2", "array.rows=16", "array.cols=8")


def weights(seed: int, *shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(seed).normal(0, 0.4, shape).astype(np.float32)


def chain(layers: list[str], width: int = 16, rows: int = 4) -> onnx.ModelProto:
    """MatMul after MatMul, each with the weights named, and Relu between them."""
    nodes: list[onnx.NodeProto] = []
    last = "x"
    for number, name in enumerate(layers):
        nodes.append(helper.make_node("MatMul", [last, name], [f"m{number}"], name=f"layer{number}"))
        last = "y" if number == len(layers) - 1 else f"r{number}"
        nodes.append(helper.make_node("Relu", [f"m{number}"], [last], name=f"relu{number}"))
    constants = [numpy_helper.from_array(weights(ord(n[-1]), width, width), n) for n in dict.fromkeys(layers)]
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [rows, width])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def batched_conv(batch: int) -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], name="conv", pads=[1, 1, 1, 1])],
        "batched",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, 5, 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 8, 5, 5])],
        [numpy_helper.from_array(weights(3, 8, 3, 3, 3), "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def package_of(proto: onnx.ModelProto, folder: Path, target: str, overrides: tuple[str, ...] = ()) -> api.Package:
    path = folder / "model.onnx"
    onnx.save(proto, path)
    shape = [dim.dim_value for dim in proto.graph.input[0].type.tensor_type.shape.dim]
    feeds = {"x": weights(9, 2, *shape)}
    return api.compile(path, target=target, calib=feeds, options=FAST, overrides=overrides)


def matrices(package: api.Package) -> list[str]:
    return [k.matrix.name for k in package.contents.network.kernels if isinstance(k, MatMul)]


def test_tied_layers_have_one_matrix_in_one_place(tmp_path: Path) -> None:
    package = package_of(chain(["a", "b", "a"]), tmp_path, "sram-dcim")
    names = matrices(package)
    assert len(names) == 3
    assert names[0] == names[2] != names[1]
    blocks = package.contents.blocks
    assert {block.block.copy for block in blocks} == {0}
    assert sorted(block.block.matrix for block in blocks) == sorted({names[0], names[1]})
    assert len(package.contents.files["arrays.bin"]) == 2 * 16 * 16
    assert package.verify().errors == ()


@pytest.mark.parametrize("target", ["sram-dcim", "reram-tile", "isaac"])
def test_tied_layers_give_what_the_model_gives(tmp_path: Path, target: str) -> None:
    package = package_of(chain(["a", "b", "a"]), tmp_path, target)
    ran = package.run({"x": weights(5, 2, 4, 16)}, check_samples=1)
    assert ran.checked is not None
    for agreement in (ran.checked.exact.against_reference, ran.checked.exact.against_golden):
        assert agreement.equal == agreement.values
    stepped = package.run({"x": weights(5, 2, 4, 16)}, step=True)
    assert np.array_equal(stepped.outputs["y"], ran.outputs["y"])


def test_layers_with_other_weights_share_nothing(tmp_path: Path) -> None:
    names = matrices(package_of(chain(["a", "b", "c"]), tmp_path, "sram-dcim"))
    assert len(set(names)) == 3


def test_in_segments_each_has_a_copy_of_its_own(tmp_path: Path) -> None:
    """Arrays that hold two of five layers: the tied ones are written again where others were in between."""
    package = package_of(chain(["a", "a", "b", "c", "a"]), tmp_path, "sram-dcim", SMALL)
    schedule, names = package.contents.schedule, matrices(package)
    assert not schedule.resident
    copies = [plan.matrix_copy for plan in schedule.kernels if plan.jobs[0].pieces]
    assert copies[0] == copies[1] == (names[0], 0)
    assert copies[4] == (names[0], 1)
    assert package.verify().errors == ()


def test_streamed_layers_each_write_their_weights(tmp_path: Path) -> None:
    """A matrix of more blocks than there are arrays."""
    package = package_of(
        chain(["a", "a"], width=48), tmp_path, "sram-dcim", ("cores=1", "array.per_core=2", *SMALL[2:])
    )
    weights_of = [plan.jobs[0].weights for plan in package.contents.schedule.kernels if plan.jobs[0].pieces]
    assert set(weights_of) <= {"held", "cycled"}
    assert {b.block.copy for b in package.contents.blocks} == {0, 1}
    assert package.verify().errors == ()


def test_samples_of_a_batch_share_the_weights_of_a_convolution(tmp_path: Path) -> None:
    package = package_of(batched_conv(3), tmp_path, "sram-dcim")
    names = matrices(package)
    assert len(names) == 3
    assert len(set(names)) == 1
    assert len(package.contents.files["arrays.bin"]) == 27 * 8
    ran = package.run({"x": weights(4, 3, 3, 5, 5)}, check_samples=1)
    assert ran.checked is not None
    assert ran.checked.exact.against_reference.equal == ran.checked.exact.against_reference.values
    assert package.verify().errors == ()


def test_a_clipping_converter_shares_too(tmp_path: Path) -> None:
    package = package_of(chain(["a", "a"]), tmp_path, "reram-tile", ("adc.bits=4",))
    assert len(set(matrices(package))) == 1
    assert package.verify().errors == ()


def test_figures_count_a_shared_matrix_once(tmp_path: Path) -> None:
    tied, apart = (package_of(chain(layers), tmp_path, "sram-dcim") for layers in (["a", "a"], ["a", "b"]))
    chip = load_target("sram-dcim", ())
    assert tied.figures()["macs_on_arrays"] == apart.figures()["macs_on_arrays"] == 2 * 4 * 16 * 16
    network, blocks = tied.contents.network, tied.contents.blocks
    assert busiest_array(network, blocks) == 8
    assert utilisation(network, blocks, chip) == 16 * 16 / (256 * 256)
    matrices = extract_matrices(network, tied.contents.constants)
    assert [(m.matrix.rows, m.matrix.cols, m.pixels) for m in matrices] == [(16, 16, 8)]


def test_a_second_entry_for_a_shared_block_is_found(tmp_path: Path) -> None:
    package = package_of(chain(["a", "a"]), tmp_path, "sram-dcim")
    contents, chip = package.contents, load_target("sram-dcim", ())
    geometry = Geometry(
        cores=chip.cores.value,
        arrays_per_core=chip.array.per_core.value,
        array_rows=chip.array.rows.value,
        array_cols=chip.array.cols.value,
    )
    cells = contents.files["arrays.bin"]
    assert verify_residency(contents.network, contents.constants, contents.blocks, cells, geometry) == ()
    twice = (*contents.blocks, *contents.blocks)
    found = verify_residency(contents.network, contents.constants, twice, cells, geometry)
    assert any("more than one block has" in error.message for error in found)
