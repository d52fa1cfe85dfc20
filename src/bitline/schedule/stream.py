"""A stream of inputs as a pipeline of kernels: what waits for what, and a frame of memory for every input on its way.

Kernels run on cores of their own as soon as what they need is there, so several inputs are on their way at once. Each
has a frame, a copy of all memory between the ports; a frame is used again when its input has left. Inside a frame
tensors share bytes as in `schedule.memory`, and whoever writes over a tensor waits for its readers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bitline.core.diagnostics import Diagnostic, Refusal
from bitline.ir.kernels import Host, Network, inputs_of, outputs_of
from bitline.ir.residency import TensorResidency
from bitline.ir.schedule import Job, Stream, neighbours
from bitline.schedule.memory import ALIGNMENT, CONSTANT_MEMORY, place_tensors

MOST_ON_THEIR_WAY = 8
"""Inputs at once where weights lie in the arrays once: one layer is far slower than the others then."""
MOST_WITH_COPIES = 32
"""Inputs at once where copies make layers alike: a core keeps so many messages from another before the sender has to
wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frames:
    """Where tensors lie in the first frame (ports: for the first input), bytes used, and the stream."""

    tensors: tuple[TensorResidency, ...]
    memory_bytes: dict[str, int]
    stream: Stream


def check_streams(network: Network, resident: bool) -> None:
    """Raise `Refusal` (BL0101) for a network whose inputs cannot follow one another as a pipeline."""
    hosts = [kernel.name for kernel in network.kernels if isinstance(kernel, Host)]
    states = [port.name for port in network.ports if port.state]
    whys: list[tuple[str, str]] = []
    if not network.kernels:
        whys.append(("it computes nothing", "leave --stream out"))
    elif not resident:
        whys.append(
            ("its weights do not all stay in the arrays", "take a target that holds them, or leave --stream out")
        )
    if network.repeats:
        whys.append(("it has a recurrent layer", "leave --stream out: its steps follow one another"))
    if hosts:
        whys.append((f"{hosts[0]!r} runs on the host", "leave --stream out; `bitline check` says why it is there"))
    if states:
        whys.append(
            (f"{states[0]!r} carries state from input to input", "leave --stream out, and run with --keep-state")
        )
    if whys:
        raise Refusal(
            [
                Diagnostic(
                    code="BL0101",
                    message=f"no pipeline over a stream of inputs: {why}",
                    place=network.name,
                    help=way_out,
                )
                for why, way_out in whys
            ]
        )


def place_frames(
    network: Network, capacities: Mapping[str, int], inputs: int, most: int = MOST_ON_THEIR_WAY, *, far: bool = False
) -> Frames:
    """As many frames as fit, at most `most`, without moving a tensor to a memory further away; two at least where
    there is room anywhere. `far`: tensors may move. Raises `Refusal` (BL0401) where not even one fits."""
    ports = {port.tensor for port in network.ports}
    alone, _ = place_tensors(network, capacities)
    near = {home.tensor: home.memory for home in alone if home.tensor not in ports}
    moved: Frames | None = None
    for window in range(min(inputs, most), 1, -1):
        found = _frames(network, capacities, inputs, window)
        if found is None:
            continue
        if far or all(near.get(home.tensor, home.memory) == home.memory for home in found.tensors):
            return found
        moved = found
    single = _frames(network, capacities, inputs, 1)
    if moved is None and single is None:
        raise Refusal(
            [
                Diagnostic(
                    code="BL0401",
                    message=f"{inputs} inputs with their results do not fit beside one inference",
                    place=network.name,
                    help="stream fewer inputs at a time, or take a target with more memory",
                )
            ]
        )
    chosen = moved or single
    assert chosen is not None
    return chosen


def _frames(network: Network, capacities: Mapping[str, int], inputs: int, window: int) -> Frames | None:
    """Ports for all inputs behind `window` frames, or None where they do not fit."""
    ports = dict.fromkeys(port.tensor for port in network.ports)
    sizes = {name: network.tensor(name).size_bytes for name in ports}
    for host in reversed(list(capacities)):
        room = dict(capacities)
        room[host] -= sum(-(-inputs * size // ALIGNMENT) * ALIGNMENT for size in sizes.values())
        if room[host] < 0:
            continue
        parts = {memory: size // window // ALIGNMENT * ALIGNMENT for memory, size in room.items()}
        try:
            homes, used = place_tensors(network, parts, apart=ports)
        except Refusal:
            continue
        frame = {m: -(-used[m] // ALIGNMENT) * ALIGNMENT for m in capacities}
        total = {m: frame[m] * window for m in capacities}
        placed = list(homes)
        for name, size in sizes.items():
            placed.append(
                TensorResidency(
                    tensor=name,
                    memory=host,
                    address=total[host],
                    bytes=size,
                    from_step=-1,
                    to_step=len(network.kernels),
                )
            )
            total[host] += -(-inputs * size // ALIGNMENT) * ALIGNMENT
        stream = Stream(inputs=inputs, window=window, frame_bytes=frame, after=dependencies(network, placed))
        order = tuple(sorted(placed, key=lambda p: (p.from_step, p.tensor)))
        return Frames(tensors=order, memory_bytes=total | {CONSTANT_MEMORY: used[CONSTANT_MEMORY]}, stream=stream)
    return None


def dependencies(network: Network, homes: Sequence[TensorResidency]) -> tuple[tuple[int, ...], ...]:
    """The kernels that each kernel waits for: writers of what it reads, and whoever still uses the bytes that it
    writes; without those that others among them wait for."""
    writer = {name: number for number, kernel in enumerate(network.kernels) for name in outputs_of(kernel)}
    users: dict[str, list[int]] = {}
    for number, kernel in enumerate(network.kernels):
        for name in (*inputs_of(kernel), *outputs_of(kernel)):
            users.setdefault(name, []).append(number)
    home = {place.tensor: place for place in homes}
    before: list[set[int]] = []
    found: list[tuple[int, ...]] = []
    for number, kernel in enumerate(network.kernels):
        needed = {writer[name] for name in inputs_of(kernel) if name in writer}
        for name in outputs_of(kernel):
            for other, place in home.items():
                if other != name and _meet(home[name], place):
                    needed |= {user for user in users.get(other, []) if user < number}
        needed.discard(number)
        passed = {far for near in needed for far in before[near]}
        found.append(tuple(sorted(needed - passed)))
        before.append(needed | passed)
    return tuple(found)


def _meet(one: TensorResidency, other: TensorResidency) -> bool:
    return (
        one.memory == other.memory
        and one.address < other.address + other.bytes
        and other.address < one.address + one.bytes
    )


def on_cores(jobs: Sequence[Job], first: int) -> tuple[Job, ...]:
    """The same jobs `first` cores on."""
    return tuple(replace(j, first_core=j.first_core + first, last_core=j.last_core + first) for j in jobs)


def longest_run(cores: Sequence[int]) -> range:
    """The first of the longest runs of neighbouring cores."""
    return max(neighbours(cores), key=len)
