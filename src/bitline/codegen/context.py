"""What the nest of one kernel needs to know: where tensors lie, where its constants and weights are in memory."""

from __future__ import annotations

from dataclasses import dataclass

from bitline.ir.kernels import Tensor
from bitline.ir.loops import Access, Affine
from bitline.ir.program import Runs, Token
from bitline.ir.residency import TensorResidency
from bitline.ir.schedule import KernelSchedule

ARRIVE, GO, LEFT = "arrive", "go", "left"
"""Between kernels every core tells core 0 that it has finished, and core 0 tells every core to go on. In a pipeline the
cores of a kernel tell the first of them, and that one those of the kernels after it; when an input has left, the cores
that take the next one in are told."""
ITEM = "item"
"""The variable of the loop over a stream of inputs."""

TOKENS = (
    Token(name="input_free", poster="mvm", waiter="dma_in"),
    Token(name="input_full", poster="dma_in", waiter="mvm"),
    Token(name="operand_free", poster="vector", waiter="dma_in"),
    Token(name="operand_full", poster="dma_in", waiter="vector"),
    Token(name="weights_free", poster="mvm", waiter="write"),
    Token(name="weights_full", poster="write", waiter="mvm"),
    Token(name="psum_free", poster="vector", waiter="mvm"),
    Token(name="psum_full", poster="mvm", waiter="vector"),
    Token(name="output_free", poster="dma_out", waiter="vector"),
    Token(name="output_full", poster="vector", waiter="dma_out"),
    Token(name="kernel_done", poster="dma_out", waiter="dma_in"),
    Token(name="kernel_open", poster="dma_in", waiter="dma_out"),
    Token(name="host_open", poster="dma_in", waiter="host"),
    Token(name="host_done", poster="host", waiter="dma_out"),
)

Terms = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A tensor and where it is stored; in a stream `item_bytes` further on for every input, and after `ring_bytes`
    (0: never) from the start again."""

    tensor: Tensor
    home: TensorResidency
    item_bytes: int = 0
    ring_bytes: int = 0

    def access(self, offset: int, terms: Terms, runs: Runs) -> Access:
        """Bytes of the tensor from `offset` on."""
        return self.reach(Affine(base=self.home.address + offset, terms=terms), runs)

    def reach(self, at: Affine, runs: Runs) -> Access:
        """Bytes at an address that is right for the first input."""
        if self.item_bytes:
            terms = (*at.terms, (ITEM, self.item_bytes))
            if self.ring_bytes:
                at = Affine(phase=at.base, terms=terms, modulus=self.ring_bytes)
            else:
                at = Affine(base=at.base, terms=terms)
        return Access(space=self.home.memory, at=at, runs=runs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Everything about one kernel. `images[job][piece]`: address and step per unit of a piece's cells in `weights`.

    `parameters`: address in `const` (of a look-up: in `tables`) of the `parameter_bytes` bytes that the kernel needs;
    `table_rows`: rows of a look-up's table; `call`: number of a host call.
    """

    schedule: KernelSchedule
    reads: tuple[Placed, ...]
    all_writes: tuple[Placed, ...]
    parameters: int
    parameter_bytes: int
    table_rows: int
    call: int
    images: tuple[tuple[tuple[int, int], ...], ...]
    loads_in_setup: bool
    loads_in_main: bool
    opens_segment: bool

    @property
    def writes(self) -> Placed:
        """What a kernel with one output writes."""
        return self.all_writes[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ring:
    """`slots` slots of `bytes` in a buffer, from byte `base` on, taken in turn: slot number = sequence number mod
    slots."""

    space: str
    slots: int
    bytes: int
    base: int = 0

    def access(self, first: int, sequence: Terms, offset: int, terms: Terms, runs: Runs) -> Access:
        """Bytes at `offset` of slot (first + sum of `sequence`) mod slots."""
        if self.slots == 1:
            return Access(space=self.space, at=Affine(base=self.base + offset, terms=terms), runs=runs)
        ring = tuple((var, self.bytes * step) for var, step in sequence)
        return Access(
            space=self.space,
            at=Affine(
                base=self.base,
                terms=(*ring, *terms),
                phase=self.bytes * first + offset,
                modulus=self.slots * self.bytes,
            ),
            runs=runs,
        )


def unit_terms(cores: int, step: int) -> Terms:
    """`step` per unit, units counted core by core and then round by round."""
    return (("core", step), ("round", step * cores)) if step else ()
