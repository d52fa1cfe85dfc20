"""No change of a package goes unseen: not a bit of a file, and no change of meaning with the hashes made to fit."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from bitline import examples
from bitline.core.canonical import dumps
from bitline.ir.program import Dma, Instruction, Loop, Mvm, Post, Program, Queue, Vector, Wait
from bitline.isa import binary, text
from bitline.numerics.stored import Array
from bitline.package import FILES, MANIFEST, hashes, read_package, write_package
from bitline.pipeline.contents import npz_bytes
from tests.cli.invoke import Answer, bitline
from tests.cli.models import network

Files = dict[str, bytes]
Mutation = Callable[[Files], None]


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network of handwritten digits on a chip of ReRAM tiles: 79 blocks, some resident, some streamed."""
    place = tmp_path_factory.mktemp("mnist") / "package"
    answer = bitline(
        *("compile", str(examples.path("mnist_cnn.onnx")), "--target", "reram-tile", "-o", str(place)),
        *("--calib", str(examples.path("mnist_calib_64.npz")), "--preprocess", "mean=0.1307", "std=0.3081"),
    )
    assert answer.status == 0, answer.err
    return place


# -- hashes see every bit ---------------------------------------------------------------------------------------------


def refused(answer: Answer, name: str) -> None:
    """Exit 5 with BL0205 at this file, and a way out."""
    assert answer.status == 5, answer.err
    assert "error[BL0205]" in answer.err
    assert name in answer.err
    assert "\n  help: " in answer.err
    assert "Traceback" not in answer.err
    assert answer.out == ""


@pytest.mark.parametrize("command", ["verify {}", "run {} random:1"], ids=["verify", "run"])
@pytest.mark.parametrize("name", [*FILES, MANIFEST])
def test_a_flipped_bit_or_a_missing_file(package: Path, tmp_path: Path, name: str, command: str) -> None:
    copy = tmp_path / "package"
    shutil.copytree(package, copy)
    whole = (copy / name).read_bytes()
    rng = np.random.default_rng(len(whole))
    for place in (0, len(whole) - 1, *rng.integers(0, len(whole), 4).tolist()) if whole else ():
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(rng.integers(0, 8))
        (copy / name).write_bytes(flipped)
        refused(bitline(command.format(copy)), name)
    (copy / name).write_bytes(whole[:-1] if whole else b"\0")  # no look-ups: no tables
    refused(bitline(command.format(copy)), name)
    (copy / name).unlink()
    refused(bitline(command.format(copy)), name)
    (copy / name).mkdir()
    refused(bitline(command.format(copy)), name)


def test_all_damage_is_told_at_once(package: Path, tmp_path: Path) -> None:
    shutil.copytree(package, tmp_path / "package")
    for name in [*FILES][:3]:
        (tmp_path / "package" / name).unlink()
    answer = bitline("verify", str(tmp_path / "package"))
    assert answer.err.count("error[BL0205]") == 3


# -- meaning, with hashes that fit ------------------------------------------------------------------------------------


def changed(name: str, *path: str | int, to: Callable[[object], object]) -> Mutation:
    """A value of a JSON file, found by its path."""

    def mutate(files: Files) -> None:
        whole = json.loads(files[name])
        at = whole
        for step in path[:-1]:
            at = at[step]
        old = at[path[-1]]
        at[path[-1]] = to(old)
        assert at[path[-1]] != old, "the mutation changes nothing"
        files[name] = dumps(whole).encode()

    return mutate


def plus(number: float) -> Callable[[object], object]:
    """Add to a number."""

    def add(old: object) -> object:
        assert isinstance(old, int | float)
        return old + number

    return add


def always(value: object) -> Callable[[object], object]:
    return lambda _: value


def swapped(name: str, key: str, first: int, second: int, parts: Sequence[str] = ()) -> Mutation:
    """Two entries of a list in a JSON file, or parts of them, change places."""

    def mutate(files: Files) -> None:
        whole = json.loads(files[name])
        entries = whole[key]
        if not parts:
            entries[first], entries[second] = entries[second], entries[first]
        for part in parts:
            entries[first][part], entries[second][part] = entries[second][part], entries[first][part]
        files[name] = dumps(whole).encode()

    return mutate


def with_listings(mutate: Mutation) -> Mutation:
    """After a change of the program, everything that is printed from it is printed again."""

    def both(files: Files) -> None:
        mutate(files)
        program = binary.decode(files["program.bin"])
        files["program.asm"] = text.disassemble(program).encode()
        written = json.loads(files["provenance.json"])
        written["queues"] = {
            phase: {queue.unit: list(queue.kernels) for queue in queues}
            for phase, queues in (("setup", program.setup), ("main", program.main))
        }
        files["provenance.json"] = dumps(written).encode()

    return both


def with_table(mutate: Mutation) -> Mutation:
    """After a change of placement.json, placement.csv says the same."""

    def both(files: Files) -> None:
        mutate(files)
        blocks = json.loads(files["placement.json"])["blocks"]
        rows = list(csv.DictReader(io.StringIO(files["placement.csv"].decode())))
        by_index = {str(item["index"]): {**item, **item["block"], **item["region"]} for item in blocks}
        out = io.StringIO()
        writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            item = by_index[row["index"]]
            known = {key: str(item[key]) for key in row if key in item}
            writer.writerow({**row, **known, "core_id": str(item["core"])})
        files["placement.csv"] = out.getvalue().encode()

    return both


def instruction(
    kind: type[Instruction], change: Callable[[Instruction], Instruction | None], which: int = 0
) -> Mutation:
    """An instruction of the main program, the `which`-th of its kind, replaced or taken out (None)."""

    def mutate(files: Files) -> None:
        program = binary.decode(files["program.bin"])
        places = [
            (q, i) for q, queue in enumerate(program.main) for i, at in enumerate(queue.code) if isinstance(at, kind)
        ]
        q, i = places[which]
        queue = program.main[q]
        other = change(queue.code[i])
        assert other != queue.code[i], "the mutation changes nothing"
        middle = () if other is None else (other,)
        kept = () if other is None else (queue.kernels[i],)
        made = Queue(
            unit=queue.unit,
            code=(*queue.code[:i], *middle, *queue.code[i + 1 :]),
            kernels=(*queue.kernels[:i], *kept, *queue.kernels[i + 1 :]),
        )
        main = (*program.main[:q], made, *program.main[q + 1 :])
        files["program.bin"] = binary.encode(replace(program, main=main))

    return with_listings(mutate)


def header(change: Callable[[Program], Program]) -> Mutation:
    """Something in front of the queues."""

    def mutate(files: Files) -> None:
        files["program.bin"] = binary.encode(change(binary.decode(files["program.bin"])))

    return with_listings(mutate)


def _count(found: Instruction) -> Instruction:
    assert isinstance(found, Loop)
    return replace(found, count=found.count - 1)


def _overwrite(found: Instruction) -> Instruction:
    assert isinstance(found, Mvm)
    return replace(found, overwrite=-1 if found.overwrite >= 0 else 0)


def _array(found: Instruction) -> Instruction:
    assert isinstance(found, Mvm)
    return replace(found, array=replace(found.array, base=found.array.base + 1))


def _source(found: Instruction) -> Instruction:
    assert isinstance(found, Dma)
    address = found.src.address
    return replace(found, src=replace(found.src, address=replace(address, base=address.base + 4)))


def _parameters(found: Instruction) -> Instruction:
    assert isinstance(found, Vector)
    assert found.parameters is not None
    address = found.parameters.address
    return replace(found, parameters=replace(found.parameters, address=replace(address, base=address.base + 12)))


def _zero_point(program: Program) -> Program:
    first = program.posts[0]
    return replace(program, posts=(replace(first, zero_y=first.zero_y + 1), *program.posts[1:]))


def byte(name: str, place: int, change: int = 1) -> Mutation:
    """A byte of a plain file."""

    def mutate(files: Files) -> None:
        data = bytearray(files[name])
        data[place] = (data[place] + change) % 256
        files[name] = bytes(data)

    return mutate


def cells_swapped(files: Files) -> None:
    """The cells of two blocks of one size change places."""
    blocks = json.loads(files["placement.json"])["blocks"]
    full = [item for item in blocks if item["block"]["rows"] == item["block"]["cols"] == 64]
    one, other, size = full[0]["cells_at"], full[1]["cells_at"], 64 * 64
    data = bytearray(files["arrays.bin"])
    data[one : one + size], data[other : other + size] = data[other : other + size], data[one : one + size]
    files["arrays.bin"] = bytes(data)


def weight(kind: type[np.generic], amount: int) -> Mutation:
    """One number of the first constant of this type."""

    def mutate(files: Files) -> None:
        tensors = load_tensors(files["weights.safetensors"])
        name = next(name for name, values in sorted(tensors.items()) if values.dtype == kind)
        values = tensors[name].copy()
        values.reshape(-1)[0] += amount
        files["weights.safetensors"] = save_tensors(dict(sorted({**tensors, name: values}.items())))

    return mutate


def initializer(name: str, dtype: type[np.generic]) -> Mutation:
    """One number of the largest constant of this type in an ONNX file: weights, not shapes."""

    def mutate(files: Files) -> None:
        model = onnx.load_model_from_string(files[name])
        found = [t for t in model.graph.initializer if numpy_helper.to_array(t).dtype == dtype]
        largest = max(found, key=lambda t: int(np.prod(t.dims)))
        values: Array = numpy_helper.to_array(largest).copy()
        flat = values.reshape(-1)
        flat[0] = flat[0] - 1 if flat[0] > 0 else flat[0] + 1
        largest.CopyFrom(numpy_helper.from_array(values, largest.name))
        files[name] = model.SerializeToString(deterministic=True)

    return mutate


def golden_output(files: Files) -> None:
    with np.load(io.BytesIO(files["golden.npz"])) as archive:
        arrays: dict[str, Array] = {name: archive[name] for name in archive.files}
    name = next(name for name in sorted(arrays) if name.startswith("output:"))
    values = arrays[name].copy()
    values.reshape(-1)[0] ^= 1
    files["golden.npz"] = npz_bytes({**arrays, name: values})


def golden_without_inputs(files: Files) -> None:
    with np.load(io.BytesIO(files["golden.npz"])) as archive:
        arrays: dict[str, Array] = {name: archive[name] for name in archive.files if name.startswith("output:")}
    files["golden.npz"] = npz_bytes(arrays)


def another_model(files: Files) -> None:
    files["model.onnx"] = network().SerializeToString()


def replaced(name: str, old: bytes, new: bytes) -> Mutation:
    """Text of a file, where it stands first."""

    def mutate(files: Files) -> None:
        assert old in files[name]
        files[name] = files[name].replace(old, new, 1)

    return mutate


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """What is changed, and what `bitline verify` says of it."""

    mutate: Mutation
    code: str
    says: tuple[str, ...]


def mutant(mutate: Mutation, code: str, *says: str) -> Mutant:
    return Mutant(mutate=mutate, code=code, says=says)


BLOCKS, KERNELS = "blocks", "kernels"
TABLE: dict[str, Mutant] = {
    # placement.json and arrays.bin
    "block on another": mutant(
        with_table(changed("placement.json", BLOCKS, 2, "region", "w_col_start", to=always(0))),
        "BL0501", "overlaps block 2", "core 1, array 0", "/conv2/Conv",
    ),
    "block outside its array": mutant(
        with_table(changed("placement.json", BLOCKS, 0, "region", "w_row_start", to=always(60))),
        "BL0501", "block 0", "leaves its array", "/conv1/Conv",
    ),
    "block in an array that is not there": mutant(
        with_table(changed("placement.json", BLOCKS, 0, "region", "array", to=always(9))), "BL0501", "lies in array 9"
    ),
    "block with other rows of the matrix": mutant(
        with_table(changed("placement.json", BLOCKS, 1, "block", "row_offset", to=plus(64))), "BL0501", "/conv2/Conv"
    ),
    "block taken away too early": mutant(
        with_table(changed("placement.json", BLOCKS, 1, "to_step", to=always(0))), "BL0501", "block 1", "step"
    ),
    "block where the program does not write it": mutant(
        with_table(changed("placement.json", BLOCKS, 0, "region", "w_col_start", to=always(32))),
        "BL0505", "placement.json",
    ),
    "cells of two blocks swapped": mutant(cells_swapped, "BL0501", "wrong cells", "/conv3/Conv"),
    "one cell": mutant(byte("arrays.bin", 1000), "BL0501", "/conv2/Conv", "1 wrong cells"),
    "placement table": mutant(
        replaced("placement.csv", b"\n0,0,0,0,9,", b"\n0,0,1,0,9,"), "BL0505", "placement.csv", "index=0"
    ),
    "placement table with a line missing": mutant(
        replaced("placement.csv", b"\n0,0,0,0,9,", b"\n"), "BL0505", "placement.csv"
    ),
    # weights and parameters
    "a weight": mutant(weight(np.int8, 1), "BL0501", "/conv1/Conv"),
    "a bias": mutant(weight(np.int64, 1), "BL0505", "constants.bin"),
    "a parameter on the chip": mutant(byte("constants.bin", 4), "BL0505", "constants.bin:/conv1/Conv", "byte 4"),
    "a parameter too many": mutant(
        lambda files: files.update({"constants.bin": files["constants.bin"] + bytes(4)}), "BL0505", "constants.bin"
    ),
    # kernels, schedule, memory
    "kernels in another order": mutant(swapped("kernels.json", KERNELS, 0, 1), "BL0505", "nothing wrote before it"),
    "zero point of a tensor": mutant(
        changed("kernels.json", "tensors", 1, "zero_point", to=plus(1)), "BL0505", "zero point"
    ),
    "padding of a convolution": mutant(
        changed("kernels.json", KERNELS, 0, "read", "coordinates", 0, "offset", to=plus(1)), "BL0504", "differ"
    ),
    "an index map out of bounds": mutant(
        changed("kernels.json", KERNELS, 0, "write", "coordinates", 0, "offset", to=always(10**25)),
        "BL0505", "/conv1/Conv", "index map",
    ),
    "arithmetic of the arrays": mutant(
        changed("array_math.json", "matrices", "/conv1/Conv.weights", "adc_bits", to=plus(-1)),
        "BL0505", "array_math.json:/conv1/Conv.weights",
    ),
    "schedule in another order": mutant(swapped("schedule.json", KERNELS, 0, 1), "BL0502", "schedule.json"),
    "tile size": mutant(changed("schedule.json", KERNELS, 0, "tile_cols", to=plus(-1)), "BL0505", "program.bin"),
    "tile of nothing": mutant(changed("schedule.json", KERNELS, 0, "tile_rows", to=always(0)), "BL0502", "tile"),
    "tensors on one another": mutant(
        changed("schedule.json", "tensors", 0, "address", to=always(64)), "BL0502", "share"
    ),
    "tensor gone too early": mutant(changed("schedule.json", "tensors", 1, "to_step", to=always(0)), "BL0502", "step"),
    "memory map": mutant(changed("memory.json", "tensors", 1, "address", to=plus(64)), "BL0505", "memory.json:"),
    "sizes of memories": mutant(
        changed("memory.json", "memory_bytes", "shared", to=plus(64)), "BL0505", "memory.json:memory_bytes"
    ),
    # the chip
    "number of cores": mutant(
        changed("target.json", "cores", "value", to=plus(1)), "BL0505", "target.json:cores", "for 4", "has 5"
    ),
    "size of a buffer": mutant(
        changed("target.json", "memory", "psum_bytes", "value", to=plus(64)), "BL0505", "program.bin:psum"
    ),
    "a cost": mutant(changed("target.json", "array", "step_ns", "value", to=plus(1)), "BL0505", "summary.json"),
    # the program
    "post removed": mutant(instruction(Post, always_none := lambda _: None), "BL0503", "token"),
    "wait removed": mutant(instruction(Wait, always_none, which=5), "BL0503", "token"),
    "copy removed": mutant(instruction(Dma, always_none), "BL0503", "program.bin:main."),
    "loop count": mutant(instruction(Loop, _count), "BL0503", "program.bin:main"),
    "sums added instead of replaced": mutant(instruction(Mvm, _overwrite), "BL0503", "`mvm`"),
    "array of an mvm": mutant(instruction(Mvm, _array), "BL0503", "`mvm`"),
    "source of a copy": mutant(instruction(Dma, _source), "BL0504", "differ"),
    "parameters of another column": mutant(instruction(Vector, _parameters), "BL0504", "differ"),
    "zero point of an output": mutant(header(_zero_point), "BL0504", "differ"),
    "one core less": mutant(header(lambda p: replace(p, cores=p.cores - 1)), "BL0505", "target.json:cores"),
    "a port elsewhere": mutant(
        header(lambda p: replace(p, ports=(replace(p.ports[0], address=p.ports[0].address + 64), *p.ports[1:]))),
        "BL0505", "program.bin:port input",
    ),
    "listing": mutant(replaced("program.asm", b"mvm:\n", b"mvm:\n  end  ; 0\n"), "BL0505", "program.asm:"),
    "provenance": mutant(
        changed("provenance.json", KERNELS, 0, "nodes", 0, to=always("x")), "BL0505", "provenance.json:kernels"
    ),
    # models and stored numbers
    "a weight of golden.onnx": mutant(initializer("golden.onnx", np.uint8), "BL050", "golden"),
    "stored outputs": mutant(golden_output, "BL0504", "golden.npz"),
    "no stored inputs": mutant(golden_without_inputs, "BL0505", "golden.npz:input"),
    "another model.onnx": mutant(another_model, "BL0202", "model.onnx"),
    "a weight of model.onnx": mutant(initializer("model.onnx", np.int8), "BL050", "model.onnx"),
    # what people read
    "report": mutant(replaced("report.html", b"reram-tile", b"reram-tale"), "BL0505", "report.html"),
    "summary": mutant(changed("summary.json", "cycles", to=plus(-1)), "BL0505", "summary.json"),
    "trace": mutant(replaced("trace.json", b'"dur":', b'"dur":1'), "BL0505", "trace.json"),
    "loops": mutant(replaced("loops.txt", b"core", b"cure"), "BL0505", "loops.txt"),
}  # fmt: skip


def forged(package: Path, place: Path, mutate: Mutation) -> Path:
    """The package after a mutation, with hashes that fit."""
    manifest, files = read_package(package)
    before = dict(files)
    mutate(files)
    assert files != before, "the mutation changes nothing"
    write_package(place, files, replace(manifest, files=hashes(files)))
    return place


@pytest.mark.parametrize("kind", TABLE)
def test_a_changed_meaning_is_seen(package: Path, tmp_path: Path, kind: str) -> None:
    mutant = TABLE[kind]
    answer = bitline("verify", str(forged(package, tmp_path / "forged", mutant.mutate)), "--json")
    assert answer.status == (5 if mutant.code.startswith("BL02") else 1), answer.err + answer.out
    assert f"error[{mutant.code}" in answer.err
    for word in mutant.says:
        assert word in answer.err
    assert "\n  help: " in answer.err
    assert "Traceback" not in answer.err
    said = json.loads(answer.out)
    assert said.get("verified", False) is False


def test_forging_alone_is_not_seen(package: Path, tmp_path: Path) -> None:
    """The mutations are seen, not the way in which they are written."""
    manifest, files = read_package(package)
    write_package(tmp_path / "same", files, replace(manifest, files=hashes(files)))
    assert bitline("verify", str(tmp_path / "same")).status == 0


def test_the_table_covers_many_kinds() -> None:
    assert len(TABLE) >= 14
    assert {mutant.code for mutant in TABLE.values()} >= {"BL0501", "BL0502", "BL0503", "BL0504", "BL0505"}
