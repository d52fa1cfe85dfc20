"""`bitline check`: as far as planning, on random calibration data, with everything that is in the way at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

import numpy as np
import onnx

from bitline.core.diagnostics import Diagnostic, Refusal
from bitline.data.random import random_feeds
from bitline.graph.macs import model_macs
from bitline.graph.model import Model, dtype_of, shape_of
from bitline.ir.kernels import Host, Kernel, Lookup, MatMul, Move, Network, dynamic_macs, macs
from bitline.lower.kernels import Lowered
from bitline.pack.rectangles import pack
from bitline.pipeline.compile import make_plan, matrix_strips, quantise, to_kernels
from bitline.quant.options import QuantOptions
from bitline.quant.ptq import is_quantized
from bitline.quant.steps import plan_steps
from bitline.report.figures import high_half
from bitline.report.outlook import UNITS, Fit, Macs, OnHost, Outlook, Port, Room, Row, Unit
from bitline.target.schema import Chip

RANDOM: Final = "lowered with one random sample: which values fit their grids is not known before calibration"
MADE: Final = ("QuantizeLinear", "DequantizeLinear")


def look(model: Model, chip: Chip | None) -> Outlook:
    """What a compilation would meet. `model` went through `pipeline.load`; nothing is raised, `problems` hold it."""
    problems: list[Diagnostic] = []
    remarks = list(model.remarks)
    lowered: Lowered | None = None
    fit: Fit | None = None
    original = model
    if chip is not None:
        try:
            if not is_quantized(model):
                remarks.append(RANDOM)
            feeds = None if is_quantized(model) else random_feeds(model, 1)
            model = quantise(model, feeds, QuantOptions(method="minmax", layer_bits=8)).model
            lowered = to_kernels(model, chip)
            fit = _fit(lowered.network, chip)
        except Refusal as refusal:
            problems += refusal.diagnostics
    network = None if lowered is None else lowered.network
    where = _units(network)
    rows = Counter[tuple[str, Unit]](
        (node.op_type, where.get(node.name, "addresses")) for node in original.proto.graph.node
    )
    order = [unit for unit, _ in UNITS]
    return Outlook(
        model=model.path.name,
        target="" if chip is None else chip.name,
        inputs=tuple(_port(value) for value in original.inputs),
        outputs=tuple(_port(value) for value in original.outputs),
        rows=tuple(
            Row(operator=operator, unit=unit, count=count)
            for (operator, unit), count in sorted(rows.items(), key=lambda e: (order.index(e[0][1]), -e[1], e[0][0]))
        ),
        on_host=() if network is None else _on_host(original, network),
        macs=Macs(arrays=model_macs(original), vector=0, host=0) if network is None else _macs(network),
        fit=fit,
        problems=tuple(problems),
        remarks=tuple(remarks),
    )


def _port(value: onnx.ValueInfoProto) -> Port:
    dtype = np.dtype(dtype_of(value.type.tensor_type.elem_type))
    return Port(name=value.name, shape=shape_of(value) or (), dtype=str(dtype))


def _unit(kernel: Kernel) -> Unit:
    match kernel:
        case MatMul():
            return "arrays"
        case Host():
            return "host"
        case Move() | Lookup():
            return "dma"
        case _:
            return "vector"


def _units(network: Network | None) -> Mapping[str, Unit]:
    """By node, where it runs: the host where any of it does, then arrays before vector units before copies."""
    order: tuple[Unit, ...] = ("host", "arrays", "vector", "dma")
    found: dict[str, Unit] = {}
    for kernel in () if network is None else network.kernels:
        unit = _unit(kernel)
        for node in kernel.nodes:
            if node not in found or order.index(unit) < order.index(found[node]):
                found[node] = unit
    return found


def _on_host(model: Model, network: Network) -> tuple[OnHost, ...]:
    """Nodes inside host kernels, in the order of the model: quantisation's reason, or lowering's."""
    left = {entry.node: entry.why for entry in plan_steps(model).left}
    operators = {node.name: node.op_type for node in model.proto.graph.node}
    found: dict[str, OnHost] = {}
    for kernel in network.kernels:
        if not isinstance(kernel, Host):
            continue
        for node in kernel.nodes:
            if node in operators and operators[node] not in MADE:
                why = left.get(node) or kernel.why.rpartition(f"{operators[node]} {node!r}: ")[2]
                found.setdefault(node, OnHost(node=node, operator=operators[node], why=why))
    return tuple(found.values())


def _macs(network: Network) -> Macs:
    times = [network.passes(number) for number in range(len(network.kernels))]
    return Macs(
        arrays=sum(times[n] * macs(k) for n, k in enumerate(network.kernels) if not high_half(k, network)),
        vector=sum(times[n] * dynamic_macs(kernel) for n, kernel in enumerate(network.kernels)),
        host=sum(times[n] * kernel.macs for n, kernel in enumerate(network.kernels) if isinstance(kernel, Host)),
    )


def _fit(network: Network, chip: Chip) -> Fit:
    """Plans the whole schedule. Raises `Refusal` (BL04xx)."""
    planned = make_plan(network, chip)
    rows, cols = chip.array.rows.value, chip.array.cols.value
    blocks = {block: None for strips in matrix_strips(network, chip).values() for s in strips for block in s.blocks}
    packing = pack([(block.rows, block.cols) for block in blocks], rows=rows, cols=cols)
    assert packing is not None, "the number of arrays is unlimited"
    used = planned.schedule.memory_bytes
    memory = chip.memory
    capacities = {"shared": memory.shared_bytes.value, "dram": memory.dram_bytes.value}
    return Fit(
        arrays_used=len({(b.region.core, b.region.array) for b in planned.blocks}),
        arrays_needed=packing.bins if blocks else 0,
        arrays_available=chip.cores.value * chip.array.per_core.value,
        resident=planned.schedule.resident,
        segments=len(planned.schedule.segments),
        memories=tuple(Room(memory=m, used=used.get(m, 0), capacity=c) for m, c in capacities.items()),
    )
