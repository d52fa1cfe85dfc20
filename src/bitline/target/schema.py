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
Reserved = Annotated[int, Field(ge=1, le=1024)]
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
    weight_encoding: Sourced[Literal["offset", "flip", "twos_complement"]]
    """how cells hold negative weights: w + 128 in unsigned cells; `flip`, the same with full columns complemented; or
    two's complement"""
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
    reserved_cols: Sourced[Reserved] | None = None
    """columns that stay empty for calibration; `cols` does not count them"""
    bias_rows: Sourced[Reserved] | None = None
    """further rows for biases, shared by all blocks of a column; `rows` does not count them"""
    shared_converters: Sourced[Reserved] | None = None
    """arrays of a core that stand above one another and share one set of converters, so that they fire together"""


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


def _macs_per_ns() -> Sourced[Rate]:
    return Sourced[Rate](value=4.0, source="estimated: 4 multipliers, for targets that name no other number")


class VectorUnit(Section):
    """The unit of every core for everything but matrix products."""

    elements_per_ns: Sourced[Rate]
    """elements finished in one ns"""
    setup_ns: Sourced[Amount]
    """start-up of one instruction"""
    energy_pj_per_element: Sourced[Amount]
    """energy of one element, whatever the operation"""
    macs_per_ns: Sourced[Rate] = Field(default_factory=_macs_per_ns)
    """multiply-accumulates in one ns where both factors are activations"""
    rounding: Sourced[Literal["half_even", "half_up", "quarters_half_up"]] | None = None
    """how the chip itself rounds a scaled sum: ties to even, ties up, or cut to quarters towards zero, then ties up"""


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


def _host(value: float, source: str) -> Callable[[], Sourced[Rate]]:
    return lambda: Sourced[Rate](value=value, source=f"estimated: {source}")


def _host_amount(value: float, source: str) -> Callable[[], Sourced[Amount]]:
    return lambda: Sourced[Amount](value=value, source=f"estimated: {source}")


class Host(Section):
    """The processor beside the chip, for operators that no unit of the chip can do: a roofline of one core.

    A call takes call_ns + max(macs / macs_per_ns, bytes / bytes_per_ns).
    """

    macs_per_ns: Sourced[Rate] = Field(
        default_factory=_host(16.0, "one core, a quarter of its peak: 2 units x 8 float32 lanes x 4 GHz = 64 per ns")
    )
    """multiply-accumulates of one core in one ns"""
    bytes_per_ns: Sourced[Rate] = Field(
        default_factory=_host(10.0, "one core streaming from DDR4-3200, whose channel gives 25.6 bytes per ns")
    )
    """bytes that one core reads and writes in one ns"""
    call_ns: Sourced[Amount] = Field(
        default_factory=_host_amount(10_000.0, "an interrupt, a context switch and the start of a runtime's session")
    )
    """time to hand work over and take it back"""
    energy_pj_per_mac: Sourced[Amount] = Field(default_factory=_host_amount(300.0, "5 W of one core over 16 per ns"))
    """energy of one multiply-accumulate, the instruction around it included"""
    energy_pj_per_byte: Sourced[Amount] = Field(
        default_factory=_host_amount(100.0, "DRAM as in ZigZag, 725 pJ per 8 bytes, and the caches on the way")
    )
    """energy to move one byte between the chip's memory and the processor"""


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
    host: Host = Field(default_factory=Host)
    """processor beside the chip"""


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
    """a converter adds unsigned cells: `offset` or `flip` with a converter, `twos_complement` with adc.bits 0"""
    return chip.adc.bits.value == 0 or chip.array.weight_encoding.value != "twos_complement"


def flipped_columns_fit(chip: Chip) -> bool:
    """`flip` must leave no column that can clip, half of group_rows x the largest cell; `offset` evaluates clips"""
    array = chip.array
    if array.weight_encoding.value != "flip":
        return True
    half = array.group_rows.value * ((1 << array.cell_bits.value) - 1) // 2
    bits = chip.adc.bits.value
    return bits > 0 and half <= (1 << min(bits, 15)) - 1


def cells_divide_flipped_weights(chip: Chip) -> bool:
    """`flip` takes whole cells: cell_bits must divide weight_bits"""
    array = chip.array
    return array.weight_encoding.value != "flip" or array.weight_bits.value % array.cell_bits.value == 0


def converters_are_shared_evenly(chip: Chip) -> bool:
    """arrays that share converters must divide the arrays of a core"""
    shared = chip.array.shared_converters
    return shared is None or chip.array.per_core.value % shared.value == 0


def digital_has_no_conversions(chip: Chip) -> bool:
    """an array without a converter (bits 0) cannot spend energy on conversions; use shift_add_energy_fj"""
    return chip.adc.bits.value > 0 or chip.adc.energy_fj.value == 0


CHECKS: Final[tuple[tuple[tuple[str, ...], Callable[[Chip], bool]], ...]] = (
    (("array.group_rows", "array.rows"), group_fits_array),
    (("array.cell_bits", "array.weight_bits"), cell_fits_weight),
    (("array.weight_bits",), weights_are_bytes),
    (("array.input_bits",), inputs_are_bytes),
    (("array.weight_encoding", "adc.bits"), converters_see_unsigned_cells),
    (("array.weight_encoding", "adc.bits", "array.group_rows", "array.cell_bits"), flipped_columns_fit),
    (("array.weight_encoding", "array.cell_bits", "array.weight_bits"), cells_divide_flipped_weights),
    (("array.shared_converters", "array.per_core"), converters_are_shared_evenly),
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
    "host": Host,
}
OPTIONAL_SECTIONS: Final = ("host",)
"""Sections that a file may leave out."""


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
    return " ".join((model.model_fields[name].description or "").split())
