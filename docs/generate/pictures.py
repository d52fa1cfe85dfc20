"""The pictures of the explanations, drawn by code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from docs.generate.svg import Picture


def array() -> str:
    """An array: inputs drive rows, products add up along columns, converters read the sums."""
    p = Picture(
        660, 310, "An array: inputs drive rows, weights lie in cells, sums run down the columns into converters"
    )
    rows, cols, left, top, step = 4, 5, 160, 50, 54
    for row in range(rows):
        y = top + row * step
        p.text(left - 96, y + 5, f"input x{row}", kind="strong")
        p.line((left - 60, y), (left + (cols - 1) * step + 30, y), kind="row")
    for col in range(cols):
        x = left + col * step
        p.line((x, top - 22), (x, top + (rows - 1) * step + 38), kind="col", arrow=True)
        for row in range(rows):
            p.dot(x, top + row * step)
        p.box(x - 19, top + rows * step - 14, 38, 26, "unit")
        p.text(x, top + rows * step + 4, "ADC", kind="small")
        p.text(x, top + rows * step + 32, f"y{col}", kind="strong")
    x, last = left + cols * step + 20, left + (cols - 1) * step
    for y, near, words in (
        (top, (last + 32, top), "row (word line): one input"),
        (top + 1.5 * step, (last + 5, top + step + 4), "cell: one weight"),
        (top + 2.5 * step, (last + 2, top + 2.5 * step), "column (bit line): y = sum of x · w"),
        (top + rows * step - 1, (last + 21, top + rows * step - 1), "converter: current → number"),
    ):
        p.line(near, (x - 8, y), kind="thin")
        p.text(x, y + 5, words, anchor="start")
    return p.svg()


def slices() -> str:
    """A weight of 8 bits in four cells of 2 bits, an input of 8 bits in eight steps, shifts and additions."""
    p = Picture(660, 288, "A weight in four cells of two bits; an input bit by bit; conversions shifted and added")
    p.text(20, 30, "weight 90 + 128 = 218 = 11 01 10 10 in four cells of 2 bits", anchor="start", kind="strong")
    for place, (bits, shift) in enumerate((("11", 6), ("01", 4), ("10", 2), ("10", 0))):
        x = 150 + place * 120
        p.box(x, 50, 84, 40, "weight")
        p.text(x + 42, 76, bits, kind="strong")
        p.line((x + 42, 90), (x + 42, 128), kind="col", arrow=True)
        p.box(x, 130, 84, 30, "unit")
        p.text(x + 42, 150, "ADC")
        p.line((x + 42, 160), (x + 42, 196), kind="col", arrow=True)
        p.text(x + 50, 184, f"· 2^{shift}", anchor="start", kind="small")
    p.text(20, 76, "slices", anchor="start")
    p.text(20, 150, "each step", anchor="start")
    p.box(150, 198, 444, 30, "box")
    p.text(372, 218, "shift and add: sum over slices s and input bits b of 2^(2s + b) · count")
    for bit in range(8):
        p.box(150 + bit * 55.5, 252, 51, 26, "input")
        p.text(150 + bit * 55.5 + 25, 270, f"bit {bit}", kind="small")
    p.text(20, 270, "input, in time", anchor="start")
    return p.svg()


def converter() -> str:
    """What a converter of 6 bits makes of sums up to 192: equal up to 63, then 63."""
    p = Picture(
        660, 300, "Counts of a converter against sums of a column: equal up to the largest count, flat above it"
    )
    left, bottom, wide, high = 90, 240, 430, 190
    p.line((left, bottom - high - 10), (left, bottom), (left + wide + 20, bottom), kind="axis")

    def at(total: float, count: float) -> tuple[float, float]:
        return left + wide * total / 192, bottom - high * count / 192

    p.line(at(0, 0), at(192, 192), kind="thin")
    p.line(at(0, 0), at(63, 63), at(192, 63), kind="curve")
    for total in (0, 63, 128, 192):
        p.text(at(total, 0)[0], bottom + 22, str(total), kind="small")
    for count in (63, 192):
        p.text(left - 14, at(0, count)[1] + 4, str(count), anchor="end", kind="small")
    p.text(left + wide / 2, bottom + 46, "sum of a column: 64 rows of 2-bit cells, at most 192")
    p.text(left - 74, 28, "count", anchor="start")
    p.text(at(192, 63)[0] + 12, at(192, 63)[1] + 4, "6 bits clip", anchor="start", kind="strong")
    p.text(at(192, 192)[0] + 12, at(192, 192)[1] + 6, "8 bits never clip", anchor="start")
    return p.svg()


def blocks() -> str:
    """A weight matrix of 150 x 100 cut into blocks that fit arrays of 64 x 64."""
    p = Picture(660, 300, "A weight matrix cut at the borders of arrays; blocks packed into arrays")
    scale = 1.3
    p.text(95, 24, "matrix, 150 by 100", kind="strong", anchor="start")
    kinds = ("weight", "input", "unit")
    for i, (row, rows) in enumerate(((0, 64), (64, 64), (128, 22))):
        for col, cols in ((0, 64), (64, 36)):
            p.box(95 + col * scale, 40 + row * scale, cols * scale, rows * scale, kinds[i])
    p.text(84, 85, "64", kind="small", anchor="end")
    p.text(84, 168, "64", kind="small", anchor="end")
    p.text(84, 226, "22", kind="small", anchor="end")
    p.text(95 + 41, 260, "64", kind="small")
    p.text(95 + 106, 260, "36", kind="small")
    p.line((240, 140), (300, 140), kind="wire", arrow=True)
    p.text(322, 24, "five arrays of 64 by 64", kind="strong", anchor="start")
    places = (
        (322, 40, ((0, 0, 64, 64, "weight"),)),
        (430, 40, ((0, 0, 64, 64, "input"),)),
        (322, 150, ((0, 0, 36, 64, "weight"),)),
        (430, 150, ((0, 0, 36, 64, "input"),)),
        (538, 40, ((0, 0, 64, 22, "unit"), (0, 22, 36, 22, "unit"))),
    )
    for x, y, inside in places:
        p.box(x, y, 64 * scale, 64 * scale, "free")
        for col, row, cols, rows, kind in inside:
            p.box(x + col * scale, y + row * scale, cols * scale, rows * scale, kind)
    p.text(322, 270, "what is left empty lowers utilisation", anchor="start")
    return p.svg()


def reloads() -> str:
    """Resident, held and cycled weights over time: writes above, products below."""
    p = Picture(660, 330, "Weights that stay, that are written once a round, and that are written again for every tile")

    def lane(y: float, name: str, spans: Sequence[tuple[float, float, str, str]], note: str) -> None:
        p.text(20, y + 20, name, anchor="start", kind="strong")
        p.text(20, y + 42, note, anchor="start", kind="small")
        p.line((230, y + 66), (640, y + 66), kind="axis")
        for start, length, kind, words in spans:
            row = y + 2 if kind == "weight" else y + 34
            p.box(230 + start * 4, row, length * 4 - 2, 26, kind)
            p.text(230 + start * 4 + length * 2, row + 18, words, kind="small")

    lane(
        14,
        "resident",
        [(0, 20, "weight", "write once"), (24, 76, "unit", "products, inference after inference")],
        "all weights fit the arrays",
    )
    rounds = [
        (0, 20, "weight", "write A"),
        (20, 22, "unit", "A, all tiles"),
        (22, 20, "weight", "write B"),
        (44, 22, "unit", "B, all tiles"),
    ]
    lane(
        114,
        "held",
        [*rounds, (46, 20, "weight", "write C"), (68, 22, "unit", "C, all tiles")],
        "a part fits, used for all pixels",
    )
    tiles = [
        (0, 14, "weight", "A"),
        (14, 10, "unit", "A 1"),
        (14, 14, "weight", "B"),
        (28, 10, "unit", "B 1"),
        (28, 14, "weight", "A"),
    ]
    tiles += [
        (42, 10, "unit", "A 2"),
        (42, 14, "weight", "B"),
        (56, 10, "unit", "B 2"),
        (56, 14, "weight", "A"),
        (70, 10, "unit", "A 3"),
    ]
    lane(214, "cycled", tiles, "sums of a tile fill the buffer first")
    p.text(640, 308, "time →", anchor="end", kind="small")
    return p.svg()


def chip() -> str:
    """A chip: DRAM and the host outside, a memory that the cores share, in each core buffers, arrays, vector unit."""
    p = Picture(
        660, 262, "A chip: DRAM, a shared memory, and cores with buffers, arrays and a vector unit; a host beside"
    )
    p.box(12, 40, 92, 44, "box")
    p.text(58, 67, "DRAM")
    p.box(12, 176, 92, 44, "box")
    p.text(58, 203, "host")
    p.line((58, 84), (58, 176))
    p.box(142, 22, 80, 222, "box")
    p.text(182, 127, "shared")
    p.text(182, 145, "memory")
    p.line((104, 62), (142, 62))
    p.box(262, 22, 384, 138, "free")
    p.text(274, 42, "core 0", anchor="start", kind="strong")
    for x, y, words, kind in (
        (274, 56, "input buffer", "input"),
        (400, 56, "arrays", "weight"),
        (526, 56, "partial sums", "input"),
        (526, 110, "vector unit", "unit"),
        (400, 110, "output buffer", "input"),
    ):
        p.box(x, y, 108, 36, kind)
        p.text(x + 54, y + 23, words)
    p.line((382, 74), (399, 74), arrow=True)
    p.line((508, 74), (525, 74), arrow=True)
    p.line((580, 92), (580, 109), arrow=True)
    p.line((526, 128), (509, 128), arrow=True)
    p.line((222, 74), (273, 74), arrow=True)
    p.text(241, 66, "DMA", kind="small")
    p.line((400, 128), (223, 128), arrow=True)
    p.text(241, 121, "DMA", kind="small")
    p.box(262, 176, 384, 28, "free")
    p.text(274, 195, "core 1", anchor="start", kind="strong")
    p.line((222, 190), (262, 190))
    p.box(262, 216, 384, 28, "free")
    p.text(274, 235, "...", anchor="start", kind="strong")
    p.line((222, 230), (262, 230))
    return p.svg()


def proofs() -> str:
    """Who compares what: artefacts in a row, checks below them."""
    p = Picture(660, 330, "Artefacts from the model to the program, and the checks that join them")
    names = ("model.onnx", "kernels", "placement", "schedule", "program.bin")
    for place, name in enumerate(names):
        x = 12 + place * 130
        p.box(x, 30, 112, 42, "box")
        p.text(x + 56, 56, name, kind="strong")
        if place:
            p.line((x - 18, 51), (x - 1, 51), arrow=True)
    checks = (
        (1, 100, "shapes, maps"),
        (2, 100, "no overlap, all there"),
        (3, 100, "fits, addresses"),
        (4, 100, "every access ordered"),
    )
    for place, y, words in checks:
        x = 12 + place * 130
        p.line((x + 56, 72), (x + 56, y), kind="thin")
        p.text(x + 56, y + 16, words, kind="small")
    p.box(404, 150, 244, 40, "unit")
    p.text(526, 175, "simulator, integers")
    p.line((588, 125), (588, 150), kind="wire", arrow=True)
    p.box(138, 150, 222, 40, "input")
    p.text(249, 175, "reference evaluator")
    p.box(138, 215, 222, 40, "weight")
    p.text(249, 240, "golden.onnx in ONNX Runtime")
    p.box(138, 280, 222, 40, "box")
    p.text(249, 305, "model.onnx in ONNX Runtime")
    p.line((404, 170), (360, 170), kind="curve")
    p.text(382, 162, "=", kind="strong")
    p.line((430, 190), (430, 235), (360, 235), kind="curve")
    p.text(395, 228, "=", kind="strong")
    p.line((138, 300), (118, 300), (118, 170), (138, 170), kind="thin")
    p.text(110, 232, "kernel by kernel:", anchor="end", kind="small")
    p.text(110, 250, "at most one step", anchor="end", kind="small")
    return p.svg()


PICTURES: Final[dict[str, Callable[[], str]]] = {
    "array": array,
    "blocks": blocks,
    "chip": chip,
    "converter": converter,
    "proofs": proofs,
    "reloads": reloads,
    "slices": slices,
}
