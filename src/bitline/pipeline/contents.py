"""What a package holds, from what compilation made, and back."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import onnx

from bitline import package
from bitline.core.canonical import dumps, from_json, to_json
from bitline.core.diagnostics import Refusal, refuse
from bitline.core.escape import printable
from bitline.core.version import __version__
from bitline.engines.protobuf import serialised
from bitline.graph.macs import model_macs
from bitline.ir.kernels import LIMITS, NUMPY, ArrayMath, Constants, Elementwise, Host, Lookup, MatMul, Network
from bitline.ir.loops import nest_text
from bitline.ir.program import Program
from bitline.ir.residency import BlockResidency, TensorResidency
from bitline.ir.schedule import Schedule
from bitline.isa import binary, text
from bitline.numerics.reference import evaluate
from bitline.pipeline.hosts import HostKernels
from bitline.report.csv import placement_csv
from bitline.report.facts import Facts
from bitline.report.figures import Json, block_rows, compile_figures
from bitline.report.html.page import render
from bitline.report.trace import trace_json
from bitline.target.limits import limits
from bitline.target.schema import Chip

if TYPE_CHECKING:
    from bitline.pipeline.compile import Compiled

Array = npt.NDArray[np.generic]
GOLDEN_SAMPLES = 2
GOLDEN_SEED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """`placement.json`."""

    blocks: tuple[BlockResidency, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """`memory.json`: where tensors lie, and how many bytes of each memory are used."""

    tensors: tuple[TensorResidency, ...]
    memory_bytes: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayMaths:
    """`array_math.json`: what the arrays compute, by matrix."""

    matrices: dict[str, ArrayMath]


def npz_bytes(arrays: Mapping[str, Array]) -> bytes:
    """An .npz archive with a fixed date.

    Not by `numpy.savez`, which takes tensors called `file` or `allow_pickle` for its own arguments.
    """
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, values in sorted(arrays.items()):
            member = io.BytesIO()
            np.lib.format.write_array(member, np.asanyarray(values), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue(), zipfile.ZIP_DEFLATED)
    return out.getvalue()


def golden_samples(network: Network, constants: Constants) -> dict[str, Array]:
    """Seeded stored inputs [samples, H, W, C]: quantised ones uniform over all integers, row numbers below the table
    that they index, other integers and truth values 0 or 1 (1 where anything divides), floats standard normal."""
    rows = {k.x: len(constants[k.table]) for k in network.kernels if isinstance(k, Lookup)}
    truths = {p.tensor for p in network.ports if p.dtype == "bool"}
    least = int(_divides_integers(network, constants))
    rng = np.random.Generator(np.random.Philox(GOLDEN_SEED))
    found: dict[str, Array] = {}
    for name in dict.fromkeys(p.tensor for p in network.ports if p.direction == "input"):
        tensor = network.tensor(name)
        shape = (GOLDEN_SAMPLES, *tensor.shape)
        if tensor.dtype == "f32":
            found[name] = rng.standard_normal(shape).astype(np.float32)
            continue
        low, high = LIMITS[tensor.dtype] if tensor.dtype in ("u8", "s8", "s16") else (least, rows.get(name, 2) - 1)
        if tensor.dtype in ("u8", "s8", "s16") and (tensor.scale, tensor.zero_point) == (1.0, 0):
            low = max(low, least) if least else low
        if tensor.dtype == "u8" and tensor.scale == 1.0 and name in truths:
            high = 1
        found[name] = rng.integers(low, high + 1, shape).astype(NUMPY[tensor.dtype])
    return found


def _divides_integers(network: Network, constants: Constants) -> bool:
    """Whether anything divides, perhaps by an input: ONNX Runtime ends at an integer 0."""
    for kernel in network.kernels:
        if isinstance(kernel, Elementwise) and kernel.op == "modulo":
            return True
        if isinstance(kernel, Host):
            model = onnx.load_model_from_string(constants[kernel.model].astype(np.uint8).tobytes())
            if any(node.op_type in ("Div", "Mod") for node in model.graph.node):
                return True
    return False


def computes(network: Network) -> bool:
    """Whether any output is more than an input under another shape: `golden.onnx` has no outputs otherwise."""
    inputs = {port.tensor for port in network.ports if port.direction == "input"}
    return any(port.tensor not in inputs for port in network.ports)


def run_golden(
    model: onnx.ModelProto | bytes, inputs: Mapping[str, Array], *, optimise: bool = True
) -> dict[str, Array]:
    """Outputs of `golden.onnx` by ONNX Runtime, sample after sample, [samples, H, W, C]."""
    from bitline.engines.ort import Session

    session = Session(model, optimise=optimise, place="golden.onnx")
    count = next((len(values) for values in inputs.values()), 1)
    results = [session.run({k: v[i : i + 1] for k, v in inputs.items()}) for i in range(count)]
    return {name: np.concatenate([r[name] for r in results]) for name in results[0]}


def _golden_outputs(
    network: Network, constants: Constants, golden: bytes, inputs: Mapping[str, Array]
) -> dict[str, Array]:
    """Outputs of `golden.onnx`. Where it ends, the reference says why: its kernels have the user's names."""
    if not computes(network):
        return {}
    try:
        return run_golden(golden, inputs)
    except Refusal:
        host = HostKernels(network, constants)
        for sample in range(GOLDEN_SAMPLES):
            evaluate(network, constants, {name: values[sample] for name, values in inputs.items()}, host.run)
        raise


def provenance(network: Network, program: Program) -> str:
    """Which ONNX nodes every kernel, and every instruction of every queue, stands for."""
    return dumps(
        {
            "kernels": [{"name": k.name, "kind": k.kind, "nodes": list(k.nodes)} for k in network.kernels],
            "queues": {
                phase: {queue.unit: list(queue.kernels) for queue in queues}
                for phase, queues in (("setup", program.setup), ("main", program.main))
            },
        }
    )


def _copies(layers: Json) -> tuple[tuple[str, str, str], ...]:
    """The line that says how often layers lie in the arrays; none where all lie there once."""
    if not isinstance(layers, list):
        return ()
    names: dict[int, list[str]] = {}
    for layer in layers:
        assert isinstance(layer, dict), layer
        names.setdefault(int(str(layer["copies"])), []).append(str(layer["name"]))
    text = ", ".join(
        f"{copies:,} of {alike[0] if len(alike) == 1 else f'{len(alike):,} layers'}"
        for copies, alike in sorted(names.items(), reverse=True)
    )
    return (("copies", text, "how often weights lie in arrays, each copy for a share of the output pixels"),)


def facts_of(model: str, chip: Chip, figures: Mapping[str, Json]) -> Facts:
    """The headline of the report."""
    f = figures

    def number(key: str) -> float:
        value = f[key]
        assert isinstance(value, int | float)
        return value

    def share(key: str) -> float:
        whole = sum(number(f"macs_on_{where}") for where in ("arrays", "vector", "host"))
        return 100 * number(key) / whole if whole else 0.0

    host = "none: the chip does everything"
    if number("host_kernels"):
        count = f"{number('host_kernels'):,.0f} kernel{'s' if number('host_kernels') > 1 else ''}"
        host = f"{count}, {share('macs_on_host'):.3g} % of MACs, {100 * number('host_time_share'):.3g} % of time"
    updates = f"{number('array_writes'):,.0f} per inference"
    if f["resident"]:
        updates = "none: weights stay in the arrays"
    wear = "no cell is written during inference"
    if number("writes_per_cell_max"):
        lasts = (
            f"; lasts {number('lifetime_inferences'):,.0f} inferences" if f["lifetime_inferences"] is not None else ""
        )
        wear = f"{number('writes_per_cell_max'):,.0f} writes per inference of the worst cell{lasts}"
    found = limits(chip)
    keys = ", ".join(limit.partition(":")[0] for limit in found)
    told = f"stated by the target, not done by programs: {'; '.join(found)}"
    stated = (("not carried out", keys, told),) if found else ()
    streamed: tuple[tuple[str, str, str], ...] = ()
    if number("stream_inputs") > 1:
        rate = f"{number('interval_us'):,.1f} us, {number('samples_per_s'):,.0f} results per second"
        meaning = f"from one result to the next; {number('stream_window'):.0f} inputs are on their way at once"
        streamed = (("interval", rate, meaning),)
    return Facts(
        title=f"{model} on {chip.name}",
        model=model,
        target=f"{chip.name}: {chip.description.strip()}",
        version=__version__,
        summary=(
            (
                "MACs",
                f"{number('macs') / 1e6:,.2f} M, {share('macs_on_arrays'):.4g} % on arrays"
                + (f", {share('macs_on_vector'):.4g} % vector" if number("macs_on_vector") else ""),
                "multiplications in one inference; on vector units those of activations by activations",
            ),
            ("host", host, "what no unit of the chip does; the section Host says why"),
            ("arrays", f"{f['arrays_used']} of {f['arrays_available']}", "arrays that ever hold a block"),
            *_copies(f.get("layers")),
            (
                "utilisation",
                f"{100 * number('utilisation'):.1f} %",
                "weights over cells of the arrays that hold them, over all loads",
            ),
            ("weight writes", updates, "blocks written into arrays"),
            ("wear", wear, "writes of the cell written most often; inferences until array.endurance_writes"),
            (
                "instructions",
                f"{number('instructions_static'):,.0f} static, {number('instructions_executed'):,.0f} executed",
                "stored in the queues; carried out by all cores in one inference",
            ),
            ("latency", f"{number('latency_us'):,.1f} us", "first to last event of one inference"),
            *streamed,
            ("energy", f"{number('energy_uj'):,.2f} uJ", "sum over instructions, and leakage for the latency"),
            (
                "DRAM traffic",
                f"{number('dram_bytes') / 1e3:,.1f} kB",
                "bytes of tensors and weights moved to and from DRAM",
            ),
            *stated,
        ),
    )


def package_contents(compiled: Compiled, options: Mapping[str, str]) -> tuple[package.Manifest, dict[str, bytes]]:
    """All files of the package. The same compilation gives the same bytes."""
    from safetensors.numpy import save

    network, chip = compiled.lowered.network, compiled.chip
    planned, built = compiled.planned, compiled.built
    schedule = planned.schedule
    macs = model_macs(compiled.quantised.model)
    figures = compile_figures(network, schedule, planned.blocks, built.program, compiled.trace, chip, macs)
    table: dict[str, Json] = {"blocks": block_rows(network, planned.blocks, chip.array.per_core.value)}
    inputs = golden_samples(network, compiled.lowered.constants)
    golden = serialised(compiled.golden, place="golden.onnx")
    outputs = _golden_outputs(network, compiled.lowered.constants, golden, inputs)
    arrays = {f"input:{k}": v for k, v in inputs.items()} | {f"output:{k}": v for k, v in outputs.items()}
    page = render(
        facts=facts_of(compiled.quantised.model.name, chip, figures),
        network=network,
        blocks=planned.blocks,
        trace=compiled.trace,
        chip=chip,
        steps=compiled.quantised.steps,
    )
    maths = {k.matrix.name: k.math for k in network.kernels if isinstance(k, MatMul)}
    constants = {name: np.ascontiguousarray(value) for name, value in sorted(compiled.lowered.constants.items())}
    contents = {
        "array_math.json": to_json(ArrayMaths(matrices=maths)).encode(),
        "arrays.bin": built.constants["weights"],
        "constants.bin": built.constants["const"],
        "golden.npz": npz_bytes(arrays),
        "golden.onnx": golden,
        "kernels.json": to_json(network).encode(),
        "loops.txt": "\n\n".join(
            f"# {printable(k.name)} ({k.kind})\n{nest_text(nest)}"
            for k, nest in zip(network.kernels, built.nests, strict=True)
        ).encode(),
        "memory.json": to_json(Memory(tensors=schedule.tensors, memory_bytes=schedule.memory_bytes)).encode(),
        "model.onnx": serialised(compiled.quantised.model.proto, place=compiled.quantised.model.place()),
        "placement.csv": placement_csv(planned.blocks, network).encode(),
        "placement.json": to_json(Placement(blocks=planned.blocks)).encode(),
        "program.asm": text.disassemble(built.program).encode(),
        "program.bin": compiled.program,
        "provenance.json": provenance(network, built.program).encode(),
        "report.html": page.encode(),
        "schedule.json": to_json(schedule).encode(),
        "tables.bin": built.constants["tables"],
        "summary.json": dumps(figures | table).encode(),
        "target.json": to_json(chip).encode(),
        "trace.json": trace_json(compiled.trace, network).encode(),
        "weights.safetensors": save(constants),
    }
    manifest = package.Manifest(
        format=package.FORMAT,
        version=__version__,
        model=compiled.quantised.model.name,
        target=chip.name,
        options=dict(options),
        steps=compiled.quantised.steps,
        remarks=compiled.quantised.model.remarks,
        files=package.hashes(contents),
    )
    return manifest, contents


class Contents:
    """The nouns of a package, parsed when they are asked for. Files were compared with their hashes before."""

    def __init__(self, manifest: package.Manifest, files: Mapping[str, bytes]) -> None:
        self.manifest, self.files = manifest, files

    @cached_property
    def network(self) -> Network:
        return from_json(Network, self.files["kernels.json"], place="kernels.json")

    @cached_property
    def constants(self) -> Constants:
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            return dict(load(self.files["weights.safetensors"]))
        except SafetensorError as error:
            raise refuse(
                "BL0205", f"unreadable: {error}", place="weights.safetensors", help="compile the package again"
            ) from None

    @cached_property
    def blocks(self) -> tuple[BlockResidency, ...]:
        return from_json(Placement, self.files["placement.json"], place="placement.json").blocks

    @cached_property
    def schedule(self) -> Schedule:
        return from_json(Schedule, self.files["schedule.json"], place="schedule.json")

    @cached_property
    def memory(self) -> Memory:
        return from_json(Memory, self.files["memory.json"], place="memory.json")

    @cached_property
    def array_maths(self) -> dict[str, ArrayMath]:
        return from_json(ArrayMaths, self.files["array_math.json"], place="array_math.json").matrices

    @cached_property
    def chip(self) -> Chip:
        return from_json(Chip, self.files["target.json"], place="target.json")

    @cached_property
    def program(self) -> Program:
        return binary.decode(self.files["program.bin"])

    @cached_property
    def memories(self) -> dict[str, bytes]:
        """Contents of the constant memories."""
        return {
            "weights": self.files["arrays.bin"],
            "const": self.files["constants.bin"],
            "tables": self.files["tables.bin"],
        }

    @cached_property
    def host(self) -> HostKernels:
        """The subgraphs that ONNX Runtime runs."""
        return HostKernels(self.network, self.constants)

    @cached_property
    def figures(self) -> dict[str, Json]:
        """`summary.json`."""
        value = package.parse(self.files, "summary.json")
        assert isinstance(value, dict), "summary.json holds one object"
        return value  # pyright: ignore[reportUnknownVariableType]

    @cached_property
    def qdq(self) -> onnx.ModelProto:
        from google.protobuf.message import DecodeError

        try:
            return onnx.load_model_from_string(self.files["model.onnx"])
        except DecodeError as error:
            raise refuse(
                "BL0205", f"unreadable: {error}", place="model.onnx", help="compile the package again"
            ) from None

    @cached_property
    def golden(self) -> dict[str, Array]:
        """`input:<tensor>` and `output:<tensor>`."""
        from bitline.data.arrays import UNREADABLE

        try:
            with np.load(io.BytesIO(self.files["golden.npz"]), allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        except UNREADABLE as error:
            raise refuse(
                "BL0205", f"unreadable: {error}", place="golden.npz", help="compile the package again"
            ) from None


def open_contents(place: Path) -> Contents:
    """A package from its folder. Raises `Refusal` (BL0201, BL0205)."""
    manifest, files = package.read_package(place)
    return Contents(manifest, files)


def headline(contents: Contents) -> str:
    """The summary of a package as text, at most 15 lines."""
    from bitline.report.summary import console_summary

    figures = contents.figures
    return console_summary(facts_of(contents.manifest.model, contents.chip, figures))
