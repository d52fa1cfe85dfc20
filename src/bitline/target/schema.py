"""A chip: every number with its unit in the key and a source. The docstring of a field is what the data sheet says.

Numbers are what one unit does on its own; how they add up for an instruction is in `costs`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1, le=2**40)]
Lines = Annotated[int, Field(ge=1, le=32_768)]
"""Rows or columns: so many products of two bytes still add up within int32."""
Bits = Annotated[int, Field(ge=1, le=16)]
Whole = Annotated[int, Field(ge=0, le=1024)]
Amount = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
Text = Annotated[str, Field(pattern=r"\S")]
T = TypeVar("T")


class Section(BaseModel):
    """Frozen, without unknown keys, without conversions ("64" is no number)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


class Sourced(Section, Generic[T]):
    """A value and where it comes from: a paper and table, a file, or `estimated: why`."""

    value: T
    """the value, in the unit that the key names"""
    source: Text
    """a paper and table, a file, or `estimated: why`"""


class Array(Section):
    """The arrays that hold weights and multiply. Rows and columns count weights, however many cells one takes."""

    per_core: Sourced[Count]
    """arrays of one core"""
    rows: Sourced[Lines]
    """inputs of one array"""
    cols: Sourced[Lines]
    """outputs of one array"""
    group_rows: Sourced[Lines]
    """rows that are driven and converted together; more rows take more passes"""
    weight_bits: Sourced[Bits]
    """bits of a weight"""
    cell_bits: Sourced[Bits]
    """bits of one cell; a weight takes ceil(weight_bits / cell_bits) of them"""
    weight_encoding: Sourced[Literal["offset", "twos_complement"]]
    """how cells hold negative weights: w + 128 in unsigned cells, or two's complement"""
    input_bits: Sourced[Bits]
    """bits of an input, driven one after another"""
    step_ns: Sourced[Rate]
    """time for one input bit of one row group, conversions included"""
    pipeline_steps: Sourced[Whole]
    """steps from the last input bit to the finished sum"""
    write_row_ns: Sourced[Rate]
    """time to write one row of weights, all cells of all its columns at once"""
    write_cell_energy_pj: Sourced[Amount]
    """energy to write one weight, all its cells"""
    write_overlaps_compute: Sourced[bool]
    """whether one array may be written while another of the same core computes"""
    cell_energy_fj: Sourced[Amount]
    """energy of one cell of a weight in one step"""
    row_energy_fj: Sourced[Amount]
    """energy to drive one row of one slice in one step"""
    endurance_writes: Sourced[Count] | None = None
    """writes that a cell survives"""


class Adc(Section):
    """The converters behind the columns. Digital arrays have none: bits 0."""

    bits: Sourced[Annotated[int, Field(ge=0, le=16)]]
    """resolution; sums above 2^bits - 1 clip; 0: no converter, sums are exact"""
    energy_fj: Sourced[Amount]
    """energy of one conversion"""
    shift_add_energy_fj: Sourced[Amount]
    """energy to add one conversion to the sum; in a digital array of one column in one step"""


class Memory(Section):
    """DRAM, the memory that the cores share, and three buffers in every core."""

    dram_bytes: Sourced[Count]
    """size of the memory outside the chip"""
    dram_bytes_per_ns: Sourced[Rate]
    """bandwidth of the memory outside the chip"""
    dram_energy_pj_per_byte: Sourced[Amount]
    """energy to read or write one byte outside the chip"""
    shared_bytes: Sourced[Count]
    """size of the memory that all cores share"""
    shared_bytes_per_ns: Sourced[Rate]
    """bandwidth of the shared memory, all cores together"""
    shared_energy_pj_per_byte: Sourced[Amount]
    """energy to read or write one byte of the shared memory"""
    input_bytes: Sourced[Count]
    """input buffer of one core"""
    psum_bytes: Sourced[Count]
    """buffer of one core for int32 sums"""
    output_bytes: Sourced[Count]
    """output buffer of one core"""
    local_energy_pj_per_byte: Sourced[Amount]
    """energy to read or write one byte of a core's buffers"""


class Dma(Section):
    """The engine of every core that copies between memories."""

    setup_ns: Sourced[Amount]
    """start-up of one transaction"""
    bytes_per_ns: Sourced[Rate]
    """speed of the engine, where no memory is slower"""
    run_ns: Sourced[Amount]
    """extra time for every further run of bytes that does not follow the one before"""


class VectorUnit(Section):
    """The unit of every core for everything but matrix products."""

    elements_per_ns: Sourced[Rate]
    """elements finished in one ns"""
    setup_ns: Sourced[Amount]
    """start-up of one instruction"""
    energy_pj_per_element: Sourced[Amount]
    """energy of one element, whatever the operation"""


class Noc(Section):
    """What connects the cores."""

    message_ns: Sourced[Amount]
    """time from the end of a send to the receiver"""
    adder: Sourced[bool]
    """whether sums of several cores can be added on their way"""


class Control(Section):
    """Instruction issue, and the power of a chip that does nothing."""

    issue_ns: Sourced[Amount]
    """time to fetch and decode one instruction"""
    leakage_mw: Sourced[Amount]
    """power of the whole chip at rest"""


class Chip(Section):
    """One target. Immutable; two equal chips compile to equal packages."""

    schema_version: Literal[1]
    """version of this form"""
    name: Text
    """name of the target"""
    description: Text
    """one line on what it is"""
    cores: Sourced[Annotated[int, Field(ge=1, le=1024)]]
    """cores of the chip"""
    precision: Sourced[Literal["int8", "fp16", "fp32"]]
    """arithmetic of the chip"""
    array: Array
    """arrays"""
    adc: Adc
    """converters"""
    memory: Memory
    """memories"""
    dma: Dma
    """copies"""
    vector: VectorUnit
    """vector unit"""
    noc: Noc
    """network between cores"""
    control: Control
    """control"""


def group_fits_array(chip: Chip) -> bool:
    """more rows are converted together than the array has"""
    return chip.array.group_rows.value <= chip.array.rows.value


def cell_fits_weight(chip: Chip) -> bool:
    """a cell holds more bits than a weight has"""
    return chip.array.cell_bits.value <= chip.array.weight_bits.value


def weights_are_bytes(chip: Chip) -> bool:
    """only 8-bit weights are supported"""
    return chip.array.weight_bits.value == 8


def inputs_are_bytes(chip: Chip) -> bool:
    """only 8-bit inputs are supported"""
    return chip.array.input_bits.value == 8


def converters_see_unsigned_cells(chip: Chip) -> bool:
    """a converter adds unsigned cells, so weights need the encoding `offset`; `twos_complement` needs adc.bits 0"""
    return chip.adc.bits.value == 0 or chip.array.weight_encoding.value == "offset"


def digital_has_no_conversions(chip: Chip) -> bool:
    """an array without a converter (bits 0) cannot spend energy on conversions; use shift_add_energy_fj"""
    return chip.adc.bits.value > 0 or chip.adc.energy_fj.value == 0


CHECKS: Final[tuple[tuple[tuple[str, ...], Callable[[Chip], bool]], ...]] = (
    (("array.group_rows", "array.rows"), group_fits_array),
    (("array.cell_bits", "array.weight_bits"), cell_fits_weight),
    (("array.weight_bits",), weights_are_bytes),
    (("array.input_bits",), inputs_are_bytes),
    (("array.weight_encoding", "adc.bits"), converters_see_unsigned_cells),
    (("adc.energy_fj", "adc.bits"), digital_has_no_conversions),
)
"""What must hold between keys: the keys, the first to blame, and a function whose docstring tells the user."""

SECTIONS: Final[dict[str, type[Section]]] = {
    "array": Array,
    "adc": Adc,
    "memory": Memory,
    "dma": Dma,
    "vector": VectorUnit,
    "noc": Noc,
    "control": Control,
}

KEYS: Final[tuple[str, ...]] = (
    "cores",
    "precision",
    *(f"{section}.{key}" for section, model in SECTIONS.items() for key in model.model_fields),
)
"""Every key that carries a value and a source."""


def entry(chip: Chip, key: str) -> Sourced[object] | None:
    """Value and source under a key of `KEYS`; None where an optional key is absent."""
    section, _, name = key.rpartition(".")
    found: Sourced[object] | None = getattr(getattr(chip, section) if section else chip, name)
    return found


def meaning(key: str) -> str:
    """What a key of `KEYS` means, in words."""
    section, _, name = key.rpartition(".")
    model = SECTIONS[section] if section else Chip
    return model.model_fields[name].description or ""
