"""One compiled network through every engine that computes integers, compared bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bitline import pipeline
from bitline.codegen.build import Built
from bitline.engines.ort import Session, expose
from bitline.graph.model import Model
from bitline.ir.kernels import LIMITS, Network, inputs_of
from bitline.isa import binary
from bitline.lower.golden import golden_model
from bitline.lower.kernels import Lowered
from bitline.numerics.reference import evaluate, evaluate_kernel
from bitline.numerics.stored import from_bytes, to_bytes
from bitline.pipeline.contents import run_golden
from bitline.schedule.plan import Planned
from bitline.sim.runner import Runner
from bitline.target.load import load_target
from bitline.target.schema import Chip
from bitline.verify.program import verify_program

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Artefacts:
    """A network on a chip, up to its program."""

    chip: Chip
    lowered: Lowered
    planned: Planned
    built: Built

    @property
    def network(self) -> Network:
        return self.lowered.network


def build(model: Model, target: str, overrides: tuple[str, ...] = ()) -> Artefacts:
    """All stages after quantisation. Raises `Refusal`."""
    chip = load_target(target, overrides)
    lowered = pipeline.to_kernels(model, chip)
    planned = pipeline.make_plan(lowered.network, chip)
    built = pipeline.make_program(lowered, planned, chip)
    return Artefacts(chip=chip, lowered=lowered, planned=planned, built=built)


def stored_inputs(network: Network, seed: int, samples: int = 2) -> dict[str, Ints]:
    """Stored inputs [samples, H, W, C]: the first uniform over all integers, the others extremes."""
    rng = np.random.default_rng(seed)
    found: dict[str, Ints] = {}
    for port in network.ports:
        if port.direction == "input":
            tensor = network.tensor(port.tensor)
            low, high = LIMITS[tensor.dtype]
            values = rng.choice(np.array([low, high]), (samples, *tensor.shape))
            values[0] = rng.integers(low, high + 1, tensor.shape)
            found[port.tensor] = values.astype(np.int64)
    return found


def differences(made: Artefacts, seed: int) -> list[str]:
    """What verifier and engines object to; empty where all agree bit for bit."""
    network, constants, program = made.network, made.lowered.constants, made.built.program
    data = binary.encode(program)
    found = [f"verify: {error.message} at {error.place}" for error in verify_program(data).errors]
    if found:
        return found
    inputs = stored_inputs(network, seed)
    runner = Runner(binary.decode(data), made.built.constants)
    ran = runner.run({name: to_bytes(values) for name, values in inputs.items()})
    golden: list[Mapping[str, npt.NDArray[np.generic]]] = []
    if network.kernels:
        types = {"u8": np.uint8, "s8": np.int8}
        typed = {name: values.astype(types[network.tensor(name).dtype]) for name, values in inputs.items()}
        proto = golden_model(network, constants)
        golden = [run_golden(proto, typed, optimise=optimise) for optimise in (True, False)]
    clipped = conversions = 0
    for sample in range(len(next(iter(inputs.values())))):
        one = {name: values[sample] for name, values in inputs.items()}
        stepped = runner.step({name: to_bytes(values[None]) for name, values in one.items()})
        wanted = evaluate(network, constants, one)
        clipped, conversions = clipped + stepped.clipped, conversions + stepped.conversions
        if (stepped.conversions, stepped.clipped) != (wanted.conversions, wanted.clipped):
            found.append(f"sample {sample}: step and reference count conversions differently")
        for name, data_ in ran.outputs.items():
            got = from_bytes(data_[sample : sample + 1], network.tensor(name))[0]
            witnesses = {
                "reference": wanted.values[name],
                "step": from_bytes(stepped.outputs[name], network.tensor(name))[0],
            }
            witnesses |= {f"golden {i}": values[name][sample].astype(np.int64) for i, values in enumerate(golden)}
            for who, values in witnesses.items():
                if not np.array_equal(got, values):
                    found.append(f"sample {sample}, {name}: run and {who} differ")
    if (ran.conversions, ran.clipped) != (conversions, clipped):
        found.append("run and step count conversions differently")
    return found


def teacher_forced_worst(model: Model, lowered: Lowered, seed: int) -> int:
    """Largest difference of any kernel, fed ONNX Runtime's integers, from ONNX Runtime's integers."""
    network = lowered.network
    rng = np.random.default_rng(seed)
    feeds = {
        value.name: rng.normal(0, 1.5, [d.dim_value for d in value.type.tensor_type.shape.dim]).astype(np.float32)
        for value in model.inputs
    }
    names = [tensor.onnx for tensor in network.tensors if tensor.onnx]  # a copy that lowering made has no name
    seen = Session(expose(model.proto, names), optimise=False).run(feeds, names)
    values: dict[str, Ints] = {}
    for tensor in network.tensors:
        if not tensor.onnx:
            continue
        flat = np.zeros(tensor.size_bytes, np.int64)
        flat[tensor.view.evaluate().reshape(-1)] = seen[tensor.onnx].astype(np.int64).reshape(-1)
        values[tensor.name] = flat.reshape(tensor.shape)
    worst = 0
    for kernel in network.kernels:
        fed = {name: values[name] for name in inputs_of(kernel)}
        got = evaluate_kernel(kernel, network, fed, lowered.constants)[0]
        values.setdefault(kernel.y, got)
        worst = max(worst, int(np.abs(got - values[kernel.y]).max()))
    return worst
