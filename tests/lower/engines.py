"""One compiled network through every engine that computes integers, compared bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from onnx import helper

from bitline import pipeline
from bitline.codegen.build import Built
from bitline.engines.ort import Session, expose
from bitline.graph.model import Model
from bitline.ir.kernels import LIMITS, NUMPY, Network, Tensor, inputs_of, outputs_of
from bitline.isa import binary
from bitline.lower.golden import golden_model
from bitline.lower.kernels import Lowered
from bitline.numerics.reference import constant_tensors, evaluate, evaluate_kernel
from bitline.numerics.stored import from_bytes, to_bytes
from bitline.pipeline.contents import run_golden
from bitline.pipeline.hosts import HostKernels
from bitline.schedule.plan import Planned
from bitline.sim.runner import Runner
from bitline.target.load import load_target
from bitline.target.schema import Chip
from bitline.verify.network import verify_network
from bitline.verify.program import verify_program

Array = npt.NDArray[np.generic]


@dataclass(frozen=True, kw_only=True)
class Artefacts:
    """A network on a chip, up to its program."""

    chip: Chip
    lowered: Lowered
    planned: Planned
    built: Built

    @property
    def network(self) -> Network:
        return self.lowered.network

    @cached_property
    def host(self) -> HostKernels:
        return HostKernels(self.lowered.network, self.lowered.constants)


def build(
    model: Model,
    target: str,
    overrides: tuple[str, ...] = (),
    *,
    stream: int = 1,
    stretches: bool = False,
    budget: int | None = None,
) -> Artefacts:
    """All stages after quantisation. Raises `Refusal`."""
    chip = load_target(target, overrides)
    lowered = pipeline.to_kernels(model, chip)
    planned = pipeline.make_plan(lowered.network, chip, stream, stretches, budget)
    built = pipeline.make_program(lowered, planned, chip)
    return Artefacts(chip=chip, lowered=lowered, planned=planned, built=built)


def stored_inputs(network: Network, seed: int, samples: int = 2) -> dict[str, Array]:
    """Stored inputs [samples, H, W, C]: the first uniform over all integers, the others extremes; floats are normal,
    what the user gives as integers lies in -3..12, so that look-ups and comparisons meet."""
    rng = np.random.default_rng(seed)
    found: dict[str, Array] = {}
    for port in network.ports:
        if port.direction == "input":
            tensor = network.tensor(port.tensor)
            shape = (samples, *tensor.shape)
            if tensor.dtype == "f32":
                found[port.tensor] = rng.normal(0, 1.5, shape).astype(np.float32)
                continue
            low, high = LIMITS[tensor.dtype] if port.real else (-3, 12)
            if port.dtype == "bool":
                low, high = 0, 1
            values = rng.choice(np.array([low, high]), shape)
            values[0] = rng.integers(low, high + 1, tensor.shape)
            found[port.tensor] = values.astype(np.int64)
    return found


def differences(made: Artefacts, seed: int) -> list[str]:
    """What verifiers and engines object to; empty where all agree bit for bit."""
    network, constants, program = made.network, made.lowered.constants, made.built.program
    data = binary.encode(program)
    errors = [*verify_network(network, constants), *verify_program(data).errors]
    if errors:
        return [f"verify: {error.message} at {error.place}" for error in errors]
    found: list[str] = []
    inputs = stored_inputs(network, seed)
    runner = Runner(binary.decode(data), made.built.constants, made.host.functions)
    ran = runner.run({name: to_bytes(values, network.tensor(name)) for name, values in inputs.items()})
    golden: list[Mapping[str, Array]] = []
    if network.kernels:
        typed = {name: values.astype(NUMPY[network.tensor(name).dtype]) for name, values in inputs.items()}
        proto = golden_model(network, constants)
        golden = [{**typed, **run_golden(proto, typed, optimise=optimise)} for optimise in optimisations(network)]
    clipped = conversions = 0
    for sample in range(len(next(iter(inputs.values())))):
        one = {name: values[sample] for name, values in inputs.items()}
        stepped = runner.step({n: to_bytes(values[None], network.tensor(n)) for n, values in one.items()})
        wanted = evaluate(network, constants, one, made.host.run)
        clipped, conversions = clipped + stepped.clipped, conversions + stepped.conversions
        if (stepped.conversions, stepped.clipped) != (wanted.conversions, wanted.clipped):
            found.append(f"sample {sample}: step and reference count conversions differently")
        for name, data_ in ran.outputs.items():
            got = from_bytes(data_[sample : sample + 1], network.tensor(name))[0]
            witnesses: dict[str, Array] = {
                "reference": wanted.values[name],
                "step": from_bytes(stepped.outputs[name], network.tensor(name))[0],
            }
            witnesses |= {f"golden {i}": values[name][sample] for i, values in enumerate(golden)}
            for who, values in witnesses.items():
                if not same_bits(got, values):
                    found.append(f"sample {sample}, {name}: run and {who} differ")
    if (ran.conversions, ran.clipped) != (conversions, clipped):
        found.append("run and step count conversions differently")
    return found


def optimisations(network: Network) -> tuple[bool, ...]:
    """How `golden.onnx` is run: float subgraphs of the host only as they are, as their bits depend on fusions."""
    return (False,) if any(kernel.kind == "Host" for kernel in network.kernels) else (True, False)


def same_bits(one: Array, other: Array) -> bool:
    if one.dtype.kind == "f":
        return np.array_equal(one.view(np.int32), np.ascontiguousarray(other, np.float32).view(np.int32))
    return np.array_equal(one, other.astype(np.int64))


def real_inputs(model: Model, seed: int) -> dict[str, Array]:
    """What a user would give: normal floats, small integers, masks."""
    rng = np.random.default_rng(seed)
    found: dict[str, Array] = {}
    for value in model.inputs:
        shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
        dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        numbers = (
            rng.normal(0, 1.5, shape) if dtype.kind == "f" else rng.integers(0, 2 if dtype.kind == "b" else 7, shape)
        )
        found[value.name] = numbers.astype(dtype)
    return found


def teacher_forced_worst(model: Model, made: Artefacts, seed: int) -> int:
    """Largest difference of any kernel, fed ONNX Runtime's integers, from ONNX Runtime's integers; host kernels, which
    ONNX Runtime runs, must be equal in every bit."""
    network, constants = made.network, made.lowered.constants
    names = [tensor.onnx for tensor in network.tensors if tensor.onnx]  # a copy that lowering made has no name
    seen = Session(expose(model.proto, names), optimise=False).run(real_inputs(model, seed), names)
    values: dict[str, Array] = dict(constant_tensors(network, constants))
    for tensor in network.tensors:
        if tensor.onnx:
            values[tensor.name] = stored_values(tensor, seen[tensor.onnx])
    worst = 0
    for kernel in network.kernels:
        fed = {name: values[name] for name in inputs_of(kernel)}
        got = evaluate_kernel(kernel, network, fed, constants, made.host.run)[0]
        for name in outputs_of(kernel):
            values.setdefault(name, got[name])
            if kernel.kind == "Host" or values[name].dtype.kind == "f":
                worst = max(worst, 0 if same_bits(values[name], got[name]) else 1 << 20)
            else:
                worst = max(worst, int(np.abs(got[name].astype(np.int64) - values[name].astype(np.int64)).max()))
    return worst


def stored_values(tensor: Tensor, values: Array) -> Array:
    """Values of an ONNX tensor where the stored one has them."""
    flat = np.zeros(int(np.prod(tensor.shape)), np.float32 if tensor.dtype == "f32" else np.int64)
    flat[tensor.view.evaluate().reshape(-1)] = values.reshape(-1).astype(flat.dtype)
    return flat.reshape(tensor.shape)
