"""The columns of the layer table: what each says, in which unit, and by which formula."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import floor, log10
from typing import Final

from bitline.report.layers import LayerRow
from bitline.report.names import printable

Value = int | float | str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """`value` sorts and is shown. `share`: a part of 1, shown in percent with a bar.
    `number`: sorts by size and stands to the right. `total`: the sum makes sense."""

    heading: str
    unit: str
    tip: str
    value: Callable[[LayerRow], Value]
    share: bool = False
    number: bool = True
    total: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A value as text, what it sorts by, and the length of its bar in percent (None: no bar)."""

    text: str
    sort: str
    bar: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRow:
    """One layer: the cells, and all ONNX nodes for whoever points at it."""

    kernel: int
    tip: str
    cells: tuple[Cell, ...]


COLUMNS: Final[tuple[Column, ...]] = (
    Column(
        heading="layer",
        unit="",
        tip="Place of the kernel in execution order, and the ONNX node it stands for: the first it was made of. "
        "Point at a row for all of them. Click a row to see the arrays while it runs.",
        value=lambda r: r.kernel,
        number=False,
    ),
    Column(
        heading="kind",
        unit="",
        tip="Operator after lowering. MatMul multiplies by weights in arrays: convolutions and linear layers.",
        value=lambda r: r.kind,
        number=False,
    ),
    Column(
        heading="MACs",
        unit="",
        tip="Multiplications by weights that the model asks for.\noutput pixels x groups x matrix rows x columns",
        value=lambda r: r.macs,
        total=True,
    ),
    Column(
        heading="MVMs",
        unit="",
        tip="Matrix-vector multiplications: times an array was driven in one inference, all cores together.",
        value=lambda r: r.mvms,
        total=True,
    ),
    Column(
        heading="utilisation",
        unit="%",
        tip="Useful part of the multipliers that were driven.\nMACs / (MVMs x array rows x array columns)",
        value=lambda r: r.utilisation,
        share=True,
    ),
    Column(
        heading="arrays",
        unit="",
        tip="Different arrays in which the weights of the layer lie while it runs.",
        value=lambda r: r.arrays,
    ),
    Column(
        heading="writes",
        unit="",
        tip="Blocks written into arrays during one inference: 0 where all weights stay from one inference to the next.",
        value=lambda r: r.weight_writes,
        total=True,
    ),
    Column(
        heading="DMA",
        unit="bytes",
        tip="Bytes copied between memories, in and out, weights included, in one inference.",
        value=lambda r: r.dma_bytes,
        total=True,
    ),
    Column(
        heading="loads from",
        unit="us",
        tip="Start of the first instruction of any unit: weights and inputs may come while earlier layers compute.",
        value=lambda r: r.loads_from_us,
    ),
    Column(
        heading="start",
        unit="us",
        tip="Start of the first instruction on a unit that computes (mvm, vector), from the start of the inference.",
        value=lambda r: r.start_us,
    ),
    Column(
        heading="duration",
        unit="us",
        tip="From the first instruction on a unit that computes to the end of the last on any unit, all cores.\n"
        "end - start\nWhat is loaded ahead, while earlier layers compute, does not count.",
        value=lambda r: r.duration_us,
    ),
    Column(
        heading="time",
        unit="%",
        tip="Part of the inference.\nduration / latency\nLayers may run at the same time, so the sum may pass 100 %.",
        value=lambda r: r.time_share,
        share=True,
    ),
    Column(
        heading="energy",
        unit="nJ",
        tip="Energy of all instructions of the layer, all cores together; power at rest is not in it.",
        value=lambda r: r.energy_nj,
        total=True,
    ),
    Column(
        heading="energy share",
        unit="%",
        tip="Part of the energy of the inference.\nenergy of the layer / energy of the inference\n"
        "What is missing to 100 % is power at rest and instructions that belong to no layer.",
        value=lambda r: r.energy_share,
        share=True,
    ),
    Column(
        heading="bound by",
        unit="",
        tip="The unit whose busy time is the largest part of the duration, on its busiest core.\n"
        "busy time / duration, at most 100 %\n"
        "Waiting: no unit was busy for half of the time; layers wait for data, for one another or for messages.",
        value=lambda r: r.bound_by,
        number=False,
    ),
)


def grouped(value: float, decimals: int = 0) -> str:
    """`1234567.8` -> `1,234,567.8` with thin spaces, which no language reads as a decimal point."""
    return f"{value:,.{decimals}f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def decimals_for(values: Sequence[Value]) -> int:
    """Decimals so that the largest of a column has four digits, alike in all rows; 0 for integers."""
    floats = [value for value in values if isinstance(value, float)]
    largest = max(map(abs, floats), default=0.0)
    return min(6, max(0, 3 - floor(log10(largest)))) if largest else (1 if floats else 0)


def table_rows(rows: Sequence[LayerRow]) -> tuple[TableRow, ...]:
    """The rows of the page, cell by cell as in `COLUMNS`."""
    decimals = [decimals_for([column.value(row) for row in rows]) for column in COLUMNS]
    return tuple(
        TableRow(
            kernel=row.kernel,
            tip=_tip(row),
            cells=(
                Cell(text=printable(_first_node(row)), sort=str(row.kernel), bar=None),
                *(_cell(c, row, d) for c, d in zip(COLUMNS[1:], decimals[1:], strict=True)),
            ),
        )
        for row in rows
    )


def totals(rows: Sequence[LayerRow]) -> tuple[str, ...]:
    """Sums under the columns, empty where a sum says nothing."""
    texts: list[str] = []
    for column in COLUMNS:
        values = [column.value(row) for row in rows]
        numbers = [value for value in values if isinstance(value, int | float)]
        texts.append(grouped(sum(numbers), decimals_for(values)) if column.total else "")
    return ("sum", *texts[1:])


def _first_node(row: LayerRow) -> str:
    return row.nodes[0] if row.nodes else row.name


def _cell(column: Column, row: LayerRow, decimals: int) -> Cell:
    value = column.value(row)
    match value:
        case None:
            return Cell(text="", sort="-1", bar=None)
        case str():
            return Cell(text=value, sort=value, bar=None)
        case _ if column.share:
            return Cell(text=f"{100 * value:.1f}", sort=repr(value), bar=round(min(100.0, 100 * value), 1))
        case int():
            return Cell(text=grouped(value), sort=str(value), bar=None)
        case float():
            return Cell(text=grouped(value, decimals), sort=repr(value), bar=None)


def _tip(row: LayerRow) -> str:
    energy = ", ".join(f"{unit.replace('_', ' ')} {value:.4g}" for unit, value in row.energy_by_unit_nj if value)
    lines = [
        f"#{row.kernel} {row.name}",
        "ONNX: " + (", ".join(row.nodes) or "none"),
        f"{row.start_us:.3f} to {row.end_us:.3f} us",
    ]
    return "\n".join(printable(line) for line in [*lines, *([f"energy in nJ: {energy}"] if energy else [])])
