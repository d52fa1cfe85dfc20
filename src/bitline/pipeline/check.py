"""Verifying a package: every artefact by code of its own, numbers against three other engines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bitline.engines.ort import Session, expose
from bitline.ir.kernels import NUMPY, MatMul, inputs_of, outputs_of
from bitline.numerics.reference import constant_tensors, evaluate, evaluate_kernel, execution_order
from bitline.numerics.stored import from_bytes, from_stored, to_bytes
from bitline.pipeline.contents import Contents, computes, run_golden
from bitline.sim.runner import Runner
from bitline.verify.checks import Check
from bitline.verify.network import verify_network
from bitline.verify.numeric import Agreement, compare, must_be_near, must_equal
from bitline.verify.package import Parts, verify_listing, verify_package
from bitline.verify.program import verify_program
from bitline.verify.residency import Geometry, verify_residency
from bitline.verify.schedule import verify_schedule

Array = npt.NDArray[np.generic]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exactness:
    """Stored samples through simulator, reference and `golden.onnx`."""

    samples: int
    against_reference: Agreement
    against_golden: Agreement
    conversions: int
    clipped: int


def structural_checks(contents: Contents) -> tuple[Check, ...]:
    """Network, files against one another, placement, schedule, memory and program: nothing is executed on data."""
    network, chip = contents.network, contents.chip
    described = Check(
        name="network",
        saw=f"{len(network.kernels)} kernels, {len(contents.constants)} constants",
        errors=verify_network(network, contents.constants),
    )
    if described.errors:
        return (described,)
    geometry = Geometry(
        cores=chip.cores.value,
        arrays_per_core=chip.array.per_core.value,
        array_rows=chip.array.rows.value,
        array_cols=chip.array.cols.value,
    )
    cells = contents.files["arrays.bin"]
    placed = verify_residency(network, contents.constants, contents.blocks, cells, geometry)
    sizes = {
        "shared": chip.memory.shared_bytes.value,
        "dram": chip.memory.dram_bytes.value,
        "tables": len(contents.files["tables.bin"]),
    }
    scheduled = verify_schedule(network, contents.schedule, sizes, chip.cores.value)
    proof = verify_program(contents.files["program.bin"])
    parts = Parts(
        network=network,
        constants=contents.constants,
        schedule=contents.schedule,
        blocks=contents.blocks,
        chip=chip,
        program=contents.program,
        array_maths=contents.array_maths,
        tensors=contents.memory.tensors,
        memory_bytes=contents.memory.memory_bytes,
        golden=contents.golden,
        files=contents.files,
    )
    agreeing = verify_package(parts)
    if not proof.errors:
        agreeing += verify_listing(contents.program, contents.files["program.asm"])
    return (
        described,
        Check(name="files agree", saw=f"{len(contents.files)} files", errors=agreeing),
        Check(name="residency", saw=f"{len(contents.blocks):,} blocks, {len(cells):,} cells", errors=placed),
        Check(name="schedule", saw=f"{len(network.kernels)} kernels, {len(network.tensors)} tensors", errors=scheduled),
        Check(name="program", saw=f"{proof.executed:,} instructions ordered", errors=proof.errors),
    )


def exactness(contents: Contents, runner: Runner, inputs: Mapping[str, Array]) -> Exactness:
    """Simulator against reference and golden on stored inputs [samples, H, W, C]."""
    network = contents.network
    ran = runner.run({name: to_bytes(values, network.tensor(name)) for name, values in inputs.items()})
    simulated = {name: from_bytes(data, network.tensor(name)) for name, data in ran.outputs.items()}
    count = next((len(values) for values in inputs.values()), 1)
    expected: dict[str, list[Array]] = {name: [] for name in simulated}
    clipped = conversions = 0
    for sample in range(count):
        result = evaluate(network, contents.constants, {n: v[sample] for n, v in inputs.items()}, contents.host.run)
        clipped, conversions = clipped + result.clipped, conversions + result.conversions
        for name, values in expected.items():
            values.append(result.values[name])
    typed = {n: v.astype(NUMPY[network.tensor(n).dtype]) for n, v in inputs.items()}
    golden = run_golden(contents.files["golden.onnx"], typed) if computes(network) else {}
    return Exactness(
        samples=count,
        against_reference=compare(simulated, {n: np.stack(v) for n, v in expected.items()}),
        against_golden=compare(simulated, {**inputs, **golden}),
        conversions=ran.conversions,
        clipped=clipped,
    )


def numeric_checks(contents: Contents, runner: Runner) -> tuple[Check, ...]:
    """Seeded inputs of the package through simulator, reference and golden; golden's stored outputs reproduced."""
    golden = contents.golden
    inputs = {name.removeprefix("input:"): v for name, v in golden.items() if name.startswith("input:")}
    stored = {name.removeprefix("output:"): v for name, v in golden.items() if name.startswith("output:")}
    exact = exactness(contents, runner, inputs)
    computed = run_golden(contents.files["golden.onnx"], inputs, optimise=False) if computes(contents.network) else {}
    again = compare(stored, computed)
    saw = f"{exact.samples} samples, {exact.against_reference.values:,} values"
    forced = against_model(contents, {name: values[:1] for name, values in inputs.items()})
    return (
        Check(name="simulator = reference", saw=saw, errors=must_equal("the reference", exact.against_reference)),
        Check(name="simulator = golden", saw=saw, errors=must_equal("golden.onnx", exact.against_golden)),
        Check(name="golden = stored outputs", saw=f"{again.values:,} values", errors=must_equal("golden.npz", again)),
        forced,
    )


def against_model(contents: Contents, inputs: Mapping[str, Array]) -> Check:
    """One stored sample through `model.onnx`, every kernel fed its tensors: at most one step away."""
    network, name = contents.network, "kernels = model.onnx"
    if not all(k.math.lossless for k in network.kernels if isinstance(k, MatMul)):
        return Check(name=name, saw="skipped: converters clip, model.onnx does not", errors=())
    ports = [port for port in network.ports if port.direction == "input"]
    feeds = {
        port.name: from_stored(inputs[port.tensor], port, network.tensor(port.tensor)).reshape(port.shape)
        for port in ports
    }
    agreement = teacher_forced(contents, feeds)
    saw = f"{agreement.values:,} values, {100 * agreement.equal_share:.3f} % equal, the others one step off"
    return Check(name=name, saw=saw, errors=must_be_near("model.onnx", agreement))


def qdq_tensors(contents: Contents, feeds: Mapping[str, Array], *, optimise: bool) -> dict[str, Array]:
    """ONNX Runtime's own integers of every stored tensor for one sample, in stored form."""
    network = contents.network
    names = [t.onnx for t in network.tensors if t.onnx]
    model = expose(contents.qdq, names)
    values = Session(model, optimise=optimise, place="model.onnx").run(dict(feeds), names)
    found: dict[str, Array] = dict(constant_tensors(network, contents.constants))
    for tensor in network.tensors:
        if not tensor.onnx:
            continue
        stored = np.zeros(int(np.prod(tensor.shape)), np.float32 if tensor.dtype == "f32" else np.int64)
        stored[tensor.view.evaluate().reshape(-1)] = values[tensor.onnx].reshape(-1).astype(stored.dtype)
        found[tensor.name] = stored.reshape(tensor.shape)
    for number, turn in execution_order(network):  # copies, parts and passes that no ONNX tensor stands for
        kernel = network.kernels[number]
        if network.repeat_of(number) or any(name not in found for name in outputs_of(kernel)):
            found |= evaluate_kernel(kernel, network, found, contents.constants, contents.host.run, turn)[0]
    return found


def teacher_forced(contents: Contents, feeds: Mapping[str, Array]) -> Agreement:
    """Every kernel of the reference fed ONNX Runtime's own integers (optimisation off), against its integers."""
    network = contents.network
    values = qdq_tensors(contents, feeds, optimise=False)
    got: dict[str, Array] = {}
    carried = {name for repeat in network.repeats for name in repeat.carried}
    for number, kernel in enumerate(network.kernels):
        if network.repeat_of(number) or carried.intersection(outputs_of(kernel)):
            continue  # its tensors are no tensors of the model, but of the body of a Scan
        fed = {name: values[name] for name in inputs_of(kernel)}
        got |= evaluate_kernel(kernel, network, fed, contents.constants, contents.host.run)[0]
    return compare(got, values) if got else Agreement(values=0, equal=0, within_one=0, largest_difference=0)


def all_tensors(contents: Contents, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Every stored tensor of one sample by the reference, which the simulator equals at the outputs."""
    result = evaluate(contents.network, contents.constants, dict(inputs), contents.host.run)
    return {tensor.name: result.values[tensor.name] for tensor in contents.network.tensors}
