"""Proof that a program's values do not depend on timing: decoded by `verify.flat`, decided by `verify.races`."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from bitline.core.diagnostics import Diagnostic, refuse
from bitline.core.interrupts import uninterrupted
from bitline.isa.table import BY_OPCODE
from bitline.verify import flat as f
from bitline.verify.flat import I64, FlatPost, FlatProgram
from bitline.verify.places import strips

FINDINGS = 16
WIDEST = 1 << 44
"""No honest number of a program is larger."""
MOST_PLACES = 1 << 30
"""Pieces of memory whose last writer is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramProof:
    """What the check saw: nothing wrong if `errors` is empty."""

    errors: tuple[Diagnostic, ...]
    executed: int


def verify_program(data: bytes) -> ProgramProof:
    """Check bytes of `program.bin`: structure, memory limits, order of all conflicting accesses, balance, no
    deadlock."""
    program = f.flatten(data)
    errors = _structure(program)
    if errors:
        return ProgramProof(errors=tuple(errors), executed=0)
    return _Run(program).errors()


def _error(message: str, place: str) -> Diagnostic:
    return Diagnostic(code="BL0503", message=message, place=f"program.bin:{place}", help="compile the package again")


def _structure(program: FlatProgram) -> list[Diagnostic]:
    """Everything that can be seen without running."""
    errors: list[Diagnostic] = []
    tokens, spaces, runs = len(program.tokens), len(program.spaces), len(program.run_starts) - 1
    for phase, units, starts in program.phases:
        if len(set(units)) != len(units):
            errors.append(_error("a unit has two queues", phase))
        unknown = sorted(set(units) - set(_UNITS))
        if unknown:
            errors.append(_error(f"no unit {', '.join(map(repr, unknown))}", phase))
            continue
        errors += _channel_errors(program, phase, units, starts)
        for unit, first, last in zip(units, starts[:-1], starts[1:], strict=True):
            depth = 0
            for place in range(int(first), int(last)):
                row = program.code[place]
                where = f"{phase}.{unit}[{place - int(first)}]"
                op = int(row[f.OP])
                depth += int(op == f.LOOP) - int(op == f.END and program.code[row[f.MATE], f.OP] == f.LOOP)
                if depth >= f.MAX_LEVELS - 1:
                    errors.append(_error(f"loops are nested deeper than {f.MAX_LEVELS - 1}", where))
                if op in (f.WAIT, f.POST):
                    errors += _token_errors(program, unit, op, int(row[f.ARG0]), tokens, where)
                if op in (f.SEND, f.RECV) and not 0 <= row[f.ARG0] < program.channels:
                    errors.append(_error(f"no channel {row[f.ARG0]}", where))
                if op == f.LOOP and row[f.ARG0] < 1:
                    errors.append(_error(f"a loop of {row[f.ARG0]} passes", where))
                if op == f.FILL and not 0 <= row[f.ARG0] <= 0xFF:
                    errors.append(_error(f"{row[f.ARG0]} is no byte", where))
                if op == f.MVM and not 0 <= row[f.ARG0] < program.math_count:
                    errors.append(_error(f"no arithmetic {row[f.ARG0]}", where))
                if op == f.VECTOR and not 0 <= row[f.ARG0] < len(program.posts):
                    errors.append(_error(f"no vector operation {row[f.ARG0]}", where))
                if op == f.HOST and not 0 <= row[f.ARG0] < len(program.calls):
                    errors.append(_error(f"no host call {row[f.ARG0]}", where))
                if op == f.HOST and depth:
                    errors.append(_error("a host call inside a loop", where))
                if op == f.TAKE and not _is_table(program, row):
                    errors.append(_error("takes rows of a table that lies in no constant memory", where))
                if op not in _UNITS[unit]:
                    errors.append(_error(f"unit {unit!r} cannot run `{BY_OPCODE[op].mnemonic}`", where))
    for operand in program.operands:
        if operand[f.O_SPACE] >= 0 and not (operand[f.O_SPACE] < spaces and 0 <= operand[f.O_RUNS] < runs):
            errors.append(_error(f"an operand names memory {operand[f.O_SPACE]}, runs {operand[f.O_RUNS]}", "operands"))
        if operand[f.O_MODULUS] < 0:
            errors.append(_error("a modulus is negative", "operands"))
    if len(program.runs) and program.runs[:, 1].min() < 1:
        errors.append(_error("a run is empty", "runs"))
    for direction, space, address, size in program.ports:
        if not (0 <= space < spaces and address >= 0 and address + size <= program.spaces[space].bytes):
            errors.append(_error(f"an {direction} lies outside its memory", "ports"))
    return errors or _wide_numbers(program) or _size_errors(program)


def _channel_errors(program: FlatProgram, phase: str, units: tuple[str, ...], starts: I64) -> list[Diagnostic]:
    """A channel has one sending and one receiving unit: then the k-th message is the same whatever the timing."""
    errors: list[Diagnostic] = []
    for op, verb in ((f.SEND, "send"), (f.RECV, "receive")):
        users: dict[int, set[str]] = {}
        for unit, first, last in zip(units, starts[:-1], starts[1:], strict=True):
            code = program.code[first:last]
            for channel in code[code[:, f.OP] == op, f.ARG0].tolist():
                users.setdefault(channel, set()).add(unit)
        for channel, both in sorted(users.items()):
            if len(both) > 1:
                errors.append(_error(f"{' and '.join(sorted(both))} {verb} on channel {channel}", phase))
    return errors


def _wide_numbers(program: FlatProgram) -> list[Diagnostic]:
    """Addresses are computed in 64 bits; no sum of a program may come near that."""
    tables = (program.code, program.operands, program.runs)
    largest = [max((abs(int(t.min())), abs(int(t.max()))), default=0) if t.size else 0 for t in tables]
    loops = program.code[program.code[:, f.OP] == f.LOOP, f.ARG0]
    steps = max(program.cores, int(loops.max()) if loops.size else 0)
    if max(largest) >= WIDEST or largest[1] * steps * f.MAX_LEVELS >= 1 << 62:
        return [_error(f"numbers up to {max(largest)} in loops of up to {steps}", "operands")]
    return []


def _size_errors(program: FlatProgram) -> list[Diagnostic]:
    """Operands of one instruction hold as much as its operation takes and gives."""
    errors: list[Diagnostic] = []
    totals = np.array([program.runs[a:b, 1].sum() for a, b in pairwise(program.run_starts.tolist())], np.int64)

    def size(operand: int) -> int:
        return int(totals[program.operands[operand, f.O_RUNS]]) if operand >= 0 else 0

    for phase, units, starts in program.phases:
        for unit, first, last in zip(units, starts[:-1], starts[1:], strict=True):
            for place in range(int(first), int(last)):
                row = program.code[place]
                where = f"{phase}.{unit}[{place - int(first)}]"
                if row[f.OP] == f.WRITE and min(row[f.ROWS], row[f.COLS]) < 1:
                    errors.append(_error(f"writes {row[f.ROWS]} x {row[f.COLS]} cells", where))
                if row[f.OP] == f.VECTOR:
                    out, *operands, parameters = (size(int(row[c])) for c in (f.DST, f.SRC0, f.SRC1, f.SRC2, f.SRC3))
                    post = program.posts[row[f.ARG0]]
                    if not _vector_fits(post, out, operands, parameters):
                        taken = ", ".join(map(str, [*operands, parameters]))
                        errors.append(_error(f"`{post.op}` of {taken} bytes gives {out}", where))
                if row[f.OP] == f.HOST:
                    sizes = (size(int(row[f.SRC0])), size(int(row[f.DST])))
                    if sizes != program.calls[row[f.ARG0]]:
                        errors.append(_error(f"a host call takes {sizes[0]} bytes and gives {sizes[1]}", where))
                if row[f.OP] == f.TAKE and 4 * size(int(row[f.DST])) != size(int(row[f.SRC0])) * int(row[f.COLS]):
                    errors.append(_error("takes other rows than it has numbers", where))
    return errors


def _is_table(program: FlatProgram, row: I64) -> bool:
    """Whether all rows that an instruction may take lie in a constant memory."""
    space, base, rows, size = (int(row[c]) for c in (f.ARG0, f.ARG1, f.ROWS, f.COLS))
    if not 0 <= space < len(program.spaces) or base < 0 or rows < 1 or size < 1:
        return False
    return program.spaces[space].constant and base + rows * size <= program.spaces[space].bytes


OPERANDS = {
    "sum": (1, 2, 3), "product": (2,), "quotient": (2,), "largest": (1, 2, 3), "smallest": (1, 2, 3), "prelu": (2,),
    "select": (3,), "equal": (2,), "modulo": (2,), "table": (1,), "curve": (1,), "length": (2,),
}  # fmt: skip
"""How many operands an operation has that goes element by element."""


def _vector_fits(post: FlatPost, out: int, operands: list[int], parameters: int) -> bool:
    """Bytes of the operands of a vector instruction, as `ir.program.Vector` states them."""
    given = [size for size in operands if size]
    if len(given) != len(post.widths) or operands[: len(given)] != given or out % post.width or not out:
        return False
    if any(size % width for size, width in zip(given, post.widths, strict=True)):
        return False
    elements = out // post.width
    counts = [size // width for size, width in zip(given, post.widths, strict=True)]
    if post.op in OPERANDS:
        if len(counts) not in OPERANDS[post.op] or len(post.spreads) != len(counts):
            return False
        spread = [n == elements or elements % (n * times) == 0 for n, times in zip(counts, post.spreads, strict=True)]
        return all(spread) and _table_fits(post, parameters)
    return _whole_fits(post, elements, counts, parameters)


def _table_fits(post: FlatPost, parameters: int) -> bool:
    match post.op:
        case "table":
            return post.widths == (1,) and parameters == 256 * post.width
        case "curve":
            knots, rest = divmod(parameters, 4)
            return (
                post.widths == (2,) and rest == 0 and knots >= 2 and (knots - 1) & (knots - 2) == 0 and knots <= 65537
            )
        case _:
            return parameters == 0


def _whole_fits(post: FlatPost, elements: int, counts: list[int], parameters: int) -> bool:
    """Operations in which elements meet."""
    a, inner = counts[0], post.inner
    match post.op:
        case "requantise":
            columns, rest = divmod(parameters, 12)
            return columns > 0 and rest == 0 and elements % columns == 0 and a == elements and post.widths == (4,)
        case "max" | "mean":
            return len(counts) == 1 and 0 < elements <= a and a % elements == 0 and parameters == 0
        case "softmax":
            entries = 1024 if post.widths == (1,) else 2048
            return a == elements and inner > 0 and a % inner == 0 and parameters == entries and max(post.widths) <= 2
        case "norm":
            return a == elements and inner > 0 and a % inner == 0 and parameters == 16 * inner and max(post.widths) <= 2
        case "matmul":
            if len(counts) != 2 or inner < 1 or a % inner or counts[1] % inner:
                return False
            return (a // inner) * (counts[1] // inner) == elements and parameters == 0
        case _:
            return False


_CONTROL = {f.END, f.LOOP, f.CORES, f.WAIT, f.POST, f.SEND, f.RECV}
_UNITS = {
    "dma_in": _CONTROL | {f.DMA, f.FILL},
    "dma_out": _CONTROL | {f.DMA, f.FILL, f.TAKE},
    "write": _CONTROL | {f.WRITE},
    "mvm": _CONTROL | {f.MVM},
    "vector": _CONTROL | {f.VECTOR},
    "host": _CONTROL | {f.HOST},
}


def _token_errors(program: FlatProgram, unit: str, op: int, token: int, tokens: int, where: str) -> list[Diagnostic]:
    if not 0 <= token < tokens:
        return [_error(f"no token {token}", where)]
    name, poster, waiter = program.tokens[token]
    owner, verb = (poster, "posts") if op == f.POST else (waiter, "waits for")
    return [] if unit == owner else [_error(f"{unit} {verb} token {name!r}, which belongs to {owner}", where)]


class _Run:
    """Lays memories out as strips, then runs setup and main as one program with a full stop in between."""

    def __init__(self, program: FlatProgram) -> None:
        self.program = program
        self.strips = strips(program)
        cores = program.cores
        bases: list[int] = []
        total = 0
        for space, cut in zip(program.spaces, self.strips, strict=True):
            bases.append(total)
            if not space.constant:
                total += cut.count * (cores if space.per_core else 1)
        self.bases = np.array(bases, np.int64)
        self.array_base = total
        self.row_edge, self.col_edge = self._edges()
        self.row_cells, self.col_cells = int(self.row_edge[-1]), int(self.col_edge[-1])
        total += cores * program.arrays * self.row_cells * self.col_cells
        if total > MOST_PLACES:
            raise refuse("BL0503", f"{total:,} places to watch, at most {MOST_PLACES:,}", place="program.bin:spaces")
        self.writer = np.full(total, -1, np.int16)
        self.written_at = np.zeros(total, np.int32)
        for direction, space, address, size in program.ports:
            if direction == "input":
                self._of_port(space, address, size)[:] = -2

    def _of_port(self, space: int, address: int, size: int) -> npt.NDArray[np.int16]:
        """The last writers of the strips of a port."""
        return self.writer[int(self.bases[space]) :][self.strips[space].between(address, address + size)]

    def _edges(self) -> tuple[I64, I64]:
        """Cell row -> number of block edges at or above it; the same for columns. Between edges cells share their
        fate."""
        program = self.program
        rows, cols = {0, program.array_rows}, {0, program.array_cols}
        for row in program.code:
            if row[f.OP] in (f.WRITE, f.MVM):
                if row[f.OP] == f.WRITE:
                    height = int(row[f.ROWS])
                else:
                    run = program.operands[row[f.SRC0], f.O_RUNS]
                    height = int(program.runs[program.run_starts[run] : program.run_starts[run + 1], 1].sum())
                rows |= {int(row[f.ROW]), int(row[f.ROW]) + height}
                cols |= {int(row[f.COL]), int(row[f.COL]) + int(row[f.COLS])}
        return _places(rows, program.array_rows), _places(cols, program.array_cols)

    def errors(self) -> ProgramProof:
        errors: list[Diagnostic] = []
        executed = 0
        for phase, units, starts in self.program.phases:
            found, ran = self._phase(phase, units, starts)
            errors += found
            executed += ran if phase == "main" else 0
            self.writer[self.writer >= 0] = -3  # a full stop: everything so far lies before what follows (races.SETUP)
        if not errors:
            errors += self._outputs()
        return ProgramProof(errors=tuple(errors), executed=executed)

    def _outputs(self) -> list[Diagnostic]:
        missing: list[Diagnostic] = []
        for direction, space, address, size in self.program.ports:
            cut = self.strips[space]
            widths = np.diff(cut.starts)[cut.between(address, address + size)]
            holes = int(widths[self._of_port(space, address, size) == -1].sum())
            if direction == "output" and holes:
                missing.append(_error(f"{holes} bytes of an output are never written", "ports"))
        return missing

    def _phase(self, phase: str, units: tuple[str, ...], starts: I64) -> tuple[list[Diagnostic], int]:
        from bitline.verify import races

        program = self.program
        cores, count = program.cores, len(units)
        if count == 0:
            return [], 0
        queues = cores * count
        slot_table, slot_queue, slots = self._readers(units, starts)
        read_base, reads = self._read_clocks(slots)
        found = np.zeros((FINDINGS, 5), np.int64)
        spaces = program.spaces
        with uninterrupted():
            total, executed, stuck, at, tokens, messages = races.check(
                cores,
                program.code,
                program.operands,
                program.run_starts,
                program.runs if len(program.runs) else np.zeros((1, 2), np.int64),
                np.tile(starts[:-1], cores),
                np.tile(starts[1:], cores),
                np.repeat(np.arange(cores, dtype=np.int64), count),
                max(1, len(program.tokens)),
                max(1, program.channels),
                self.bases,
                np.array([s.bytes for s in spaces], np.int64),
                np.array([c.count if s.per_core else 0 for s, c in zip(spaces, self.strips, strict=True)], np.int64),
                np.array([cut.granule for cut in self.strips], np.int64),
                np.concatenate([np.zeros(0, np.int64), *(cut.edge for cut in self.strips)]),
                np.cumsum([0, *(len(cut.edge) for cut in self.strips)])[:-1],
                np.array([s.constant for s in spaces], np.bool_),
                slots,
                slot_table,
                slot_queue,
                np.array([count if s.per_core else 0 for s in spaces] + [count], np.int64),
                read_base,
                program.arrays,
                program.array_rows,
                program.array_cols,
                self.array_base,
                self.row_edge,
                self.col_edge,
                self.row_cells,
                self.col_cells,
                self.writer,
                self.written_at,
                np.zeros(reads, np.int32),
                found,
            )

        def name(queue: int) -> str:
            return f"core {queue // count} {units[queue % count]}"

        errors: list[Diagnostic] = []
        for kind, queue, place, other, where in found[: min(int(total), FINDINGS)].tolist():
            local = place - int(starts[queue % count])
            op = BY_OPCODE[int(program.code[place, f.OP])].mnemonic
            memory = spaces[other].name if kind == races.OUTSIDE else ""
            what = {
                races.RACE: f"`{op}` touches what {name(other)} touches, and no token orders the two",
                races.UNWRITTEN: f"`{op}` reads what nothing has written",
                races.OUTSIDE: f"`{op}` reaches byte {where} of memory {memory!r}",
                races.SIZES: f"`{op}` has operands of different sizes",
                races.FULL: "a token counter runs over",
                races.ARRAY_OUTSIDE: f"`{op}` leaves array {where}",
                races.CONSTANT_WRITTEN: f"`{op}` writes into constant memory",
                races.SETUP_LOST: f"`{op}` replaces what the next inference needs from the setup",
            }[kind]
            errors.append(_error(what, f"{phase}.{units[queue % count]}[{local}] on {name(queue)}"))
        if stuck:
            first = next(q for q in range(queues) if at[q] < starts[q % count + 1])
            where = int(at[first] - starts[first % count])
            errors.append(
                _error(f"{stuck} units wait for ever, first {name(first)}", f"{phase}.{units[first % count]}[{where}]")
            )
        for core, token in np.argwhere(tokens[:, : len(program.tokens)] != 0).tolist():
            errors.append(
                _error(f"token {program.tokens[token][0]!r} of core {core} ends at {int(tokens[core, token])}", phase)
            )
        if (messages != 0).any():
            errors.append(_error("a message is sent and never received", phase))
        return errors, int(executed)

    def _readers(self, units: tuple[str, ...], starts: I64) -> tuple[I64, I64, I64]:
        """For every memory, and last the arrays: which queues read it, so that only they need a clock per strip.

        Only queues of the same core read a memory of a core, or arrays: there a slot stands for a unit, not a queue.
        """
        program = self.program
        cores, count = program.cores, len(units)
        spaces = len(program.spaces)
        table = np.full((spaces + 1, cores * count), -1, np.int64)
        who = np.zeros((spaces + 1, cores * count), np.int64)
        slots = np.zeros(spaces + 1, np.int64)
        for unit in range(count):
            code = program.code[starts[unit] : starts[unit + 1]]
            read: set[int] = {spaces} if (code[:, f.OP] == f.MVM).any() else set()
            for column in (f.SRC0, f.SRC1, f.SRC2, f.SRC3):
                chosen = code[code[:, column] >= 0, column]
                read |= {int(s) for s in program.operands[chosen, f.O_SPACE]}
            accumulating = code[(code[:, f.OP] == f.MVM) & (code[:, f.OVERWRITE] != 0), f.DST]
            read |= {int(s) for s in program.operands[accumulating, f.O_SPACE]}
            for space in read:
                if space == spaces or program.spaces[space].per_core:
                    table[space, unit::count] = slots[space]
                    who[space, slots[space]] = unit
                    slots[space] += 1
                    continue
                for core in range(cores):
                    queue = core * count + unit
                    table[space, queue] = slots[space]
                    who[space, slots[space]] = queue
                    slots[space] += 1
        return table, who, slots

    def _read_clocks(self, slots: I64) -> tuple[I64, int]:
        """(start of every memory's read clocks, as if it began at strip 0; how many clocks there are in all)."""
        begins = [*self.bases.tolist(), self.array_base]
        ends = [*begins[1:], len(self.writer)]
        bases: list[int] = []
        total = 0
        for begin, end, readers in zip(begins, ends, slots.tolist(), strict=True):
            bases.append(total - begin * readers)
            total += (end - begin) * readers
        return np.array(bases, np.int64), max(1, total)


def _places(edges: set[int], size: int) -> I64:
    inside = sorted(e for e in edges if 0 <= e <= size)
    return np.searchsorted(np.array(inside), np.arange(size + 1), side="right").astype(np.int64) - 1
