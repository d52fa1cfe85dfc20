"""Happens-before over the whole expanded program, compiled.

Every queue of every core has a vector clock. `Post` and `Send` hand a copy of it on, `Wait` and `Recv` take the maximum
with the copy they were given. A token has one poster and one waiter, a channel one sender and one receiver per pair of
cores, so the n-th wait always meets the n-th post: the relation is the same in every run, and one run decides it. For
every strip of memory the last write and the last read of each reader are kept with their clocks (as in FastTrack,
Flanagan and Freund, PLDI 2009): a conflicting access that is not ordered after them is a race.
"""

# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUntypedFunctionDecorator=false, reportUnknownMemberType=false

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from bitline.verify.flat import (
    ARG0,
    ARG1,
    ARRAY,
    COL,
    COLS,
    CORES,
    DMA,
    DST,
    END,
    LOOP,
    MATE,
    MVM,
    O_BASE,
    O_MODULUS,
    O_PHASE,
    O_RUNS,
    O_SPACE,
    O_STRIDES,
    OP,
    OVERWRITE,
    POST,
    RECV,
    ROW,
    ROWS,
    SEND,
    SRC0,
    SRC3,
    WAIT,
    WRITE,
)

RACE, UNWRITTEN, OUTSIDE, SIZES, FULL, ARRAY_OUTSIDE, CONSTANT_WRITTEN, SETUP_LOST = 1, 2, 3, 4, 5, 6, 7, 8
NOBODY, HOST, SETUP, SETUP_IN_USE = -1, -2, -3, -4
"""Writers that are no queue of the phase; `SETUP_IN_USE`: the phase has read what setup wrote, so it has to stay."""
TOKEN_CAPACITY = 256
"""Outstanding posts that a counter may hold."""
LETTER_CAPACITY = 32
"""Messages that may be on their way from one core to another; a sender waits when there are more."""
MOST_READERS = (1 << 15) - 1
"""More than there are units of all cores."""
FEW_COPIES = 64
"""Clocks on their way that there is room for at first."""


class Tables(NamedTuple):
    """The program as `verify.flat` made it."""

    code: Any
    operands: Any
    run_starts: Any
    runs: Any


class Memories(NamedTuple):
    """Where the strips of each memory begin, and which queues read it; the arrays are the last entry of readers.

    Byte b of a memory lies in strip `edge[edge_base + b // granule]` (`verify.places`). A memory of a core is read by
    that core alone: its readers are those of core 0, `core_units` queues on for each core (0 for memories that all
    cores reach). The reads of strip s begin at `read_base + s * readers` in `Watch.read_at`.
    """

    base: Any
    bytes: Any
    core_stride: Any
    granule: Any
    edge: Any
    edge_base: Any
    constant: Any
    readers: Any
    reader_slot: Any
    reader: Any
    core_units: Any
    read_base: Any


class Arrays(NamedTuple):
    """Arrays per core and their size; `row_edge` and `col_edge` number the strips of cells that share their fate."""

    count: Any
    rows: Any
    cols: Any
    base: Any
    row_edge: Any
    col_edge: Any
    row_cells: Any
    col_cells: Any


class Watch(NamedTuple):
    """What is known so far: clocks of queues, last writer and readers of every strip, findings.

    Readers of a strip since it was written are in slots first_reader..last_reader: whoever is ordered after that write
    is ordered after all reads before it.
    """

    clocks: Any
    writer: Any
    written_at: Any
    read_at: Any
    first_reader: Any
    last_reader: Any
    found: Any
    count: Any


@njit(cache=True)
def _report(watch, kind, queue, place, other, where):
    if watch.count[0] < watch.found.shape[0]:
        watch.found[watch.count[0], 0] = kind
        watch.found[watch.count[0], 1] = queue
        watch.found[watch.count[0], 2] = place
        watch.found[watch.count[0], 3] = other
        watch.found[watch.count[0], 4] = where
    watch.count[0] += 1


@njit(cache=True)
def _touch(watch, memories, space, strip, write, q, place):
    """One strip of a memory read or written by queue q."""
    last = watch.writer[strip]
    if write and last == SETUP_IN_USE:
        _report(watch, SETUP_LOST, q, place, -1, strip)
    if last >= 0 and last != q and watch.written_at[strip] > watch.clocks[q, last]:
        _report(watch, RACE, q, place, last, strip)
    reads = memories.read_base[space] + strip * memories.readers[space]
    if write:
        units = memories.core_units[space]
        first = q - q % units if units > 0 else 0
        for slot in range(watch.first_reader[strip], watch.last_reader[strip] + 1):
            other = first + memories.reader[space, slot]
            if other != q and watch.read_at[reads + slot] > watch.clocks[q, other]:
                _report(watch, RACE, q, place, other, strip)
        watch.first_reader[strip], watch.last_reader[strip] = MOST_READERS, -1
        watch.writer[strip] = q
        watch.written_at[strip] = watch.clocks[q, q]
        return
    if last == NOBODY:
        _report(watch, UNWRITTEN, q, place, -1, strip)
    if last == SETUP:
        watch.writer[strip] = SETUP_IN_USE
    slot = memories.reader_slot[space, q]
    if slot >= 0:
        watch.read_at[reads + slot] = watch.clocks[q, q]
        watch.first_reader[strip] = min(watch.first_reader[strip], slot)
        watch.last_reader[strip] = max(watch.last_reader[strip], slot)


@njit(cache=True)
def _offset(operands, operand, counters, depth):
    """`phase + sum stride * counter`, before the modulus."""
    value = operands[operand, O_PHASE]
    for level in range(depth):
        value += operands[operand, O_STRIDES + level] * counters[level]
    return value


@njit(cache=True)
def _number(operands, operand, counters, depth):
    """The value of an address that counts arrays or cores."""
    value = _offset(operands, operand, counters, depth)
    if operands[operand, O_MODULUS] > 0:
        value %= operands[operand, O_MODULUS]
    return operands[operand, O_BASE] + value


@njit(cache=True)
def _adds(tables, place, counters, depth):
    """Whether an mvm adds to what its target holds."""
    mask = tables.code[place, OVERWRITE]
    if mask < 0:
        return True
    for level in range(depth):  # noqa: SIM110  # compiled code knows no generators
        if (mask >> level) & 1 and counters[level] != 0:
            return True
    return False


@njit(cache=True)
def _access(tables, memories, watch, operand, read, write, q, core, place, counters, depth):
    """All bytes of an operand; returns how many there are."""
    operands = tables.operands
    space = operands[operand, O_SPACE]
    start = _offset(operands, operand, counters, depth)
    modulus = operands[operand, O_MODULUS]
    granule, edges = memories.granule[space], memories.edge_base[space]
    origin = memories.base[space] + memories.core_stride[space] * core
    constant = memories.constant[space]
    if write and constant:
        _report(watch, CONSTANT_WRITTEN, q, place, -1, space)
    total = 0
    run = operands[operand, O_RUNS]
    for r in range(tables.run_starts[run], tables.run_starts[run + 1]):
        offset = start + tables.runs[r, 0]
        left = tables.runs[r, 1]
        total += left
        while left > 0:
            part = left
            if modulus > 0:
                offset %= modulus
                part = min(left, modulus - offset)
            first = operands[operand, O_BASE] + offset
            if first < 0 or first + part > memories.bytes[space]:
                _report(watch, OUTSIDE, q, place, space, first)
                break
            if not constant:
                for strip in range(
                    memories.edge[edges + first // granule], memories.edge[edges + (first + part) // granule]
                ):
                    if read:
                        _touch(watch, memories, space, origin + strip, False, q, place)
                    if write:
                        _touch(watch, memories, space, origin + strip, True, q, place)
            left -= part
            offset += part
    return total


@njit(cache=True)
def _cells(tables, memories, arrays, watch, rows, q, core, place, counters, depth):
    """The cells of a block, written or multiplied."""
    code = tables.code
    array = _number(tables.operands, code[place, ARRAY], counters, depth)
    top, left = code[place, ROW], code[place, COL]
    bottom, right = top + rows, left + code[place, COLS]
    if array < 0 or array >= arrays.count or top < 0 or left < 0 or bottom > arrays.rows or right > arrays.cols:
        _report(watch, ARRAY_OUTSIDE, q, place, -1, array)
        return
    if rows <= 0 or right <= left:
        return
    base = arrays.base + (core * arrays.count + array) * arrays.row_cells * arrays.col_cells
    space = memories.bytes.shape[0]
    for i in range(arrays.row_edge[top], arrays.row_edge[bottom]):
        for j in range(arrays.col_edge[left], arrays.col_edge[right]):
            _touch(watch, memories, space, base + i * arrays.col_cells + j, code[place, OP] == WRITE, q, place)


@njit(cache=True)
def _work(tables, memories, arrays, watch, q, core, place, counters, depth):
    """One instruction that moves or computes: first what it reads, last what it writes."""
    code = tables.code
    op = code[place, OP]
    read = 0
    for column in range(SRC0, SRC3 + 1):
        operand = code[place, column]
        if operand >= 0:
            total = _access(tables, memories, watch, operand, True, False, q, core, place, counters, depth)
            if column == SRC0:
                read = total
    if code[place, DST] >= 0:
        adds = op == MVM and _adds(tables, place, counters, depth)
        written = _access(tables, memories, watch, code[place, DST], adds, True, q, core, place, counters, depth)
        if (op == DMA and written != read) or (op == MVM and written != 4 * code[place, COLS]):
            _report(watch, SIZES, q, place, -1, written)
    if op == WRITE:
        if read != code[place, ROWS] * code[place, COLS]:
            _report(watch, SIZES, q, place, -1, read)
        _cells(tables, memories, arrays, watch, code[place, ROWS], q, core, place, counters, depth)
    elif op == MVM:
        _cells(tables, memories, arrays, watch, read, q, core, place, counters, depth)


@njit(cache=True)
def _walk(code, place, core, counters, depth, q):
    """A loop mark: where to go on, or -1 if the place is none."""
    op = code[place, OP]
    if op == LOOP:
        if code[place, ARG0] <= 0:
            return code[place, MATE] + 1
        counters[q, depth[q]] = 0
        depth[q] += 1
        return place + 1
    if op == CORES:
        return place + 1 if code[place, ARG0] <= core < code[place, ARG1] else code[place, MATE] + 1
    if op == END:
        mate = code[place, MATE]
        if code[mate, OP] == LOOP:
            counters[q, depth[q] - 1] += 1
            if counters[q, depth[q] - 1] < code[mate, ARG0]:
                return mate + 1
            depth[q] -= 1
            counters[q, depth[q]] = 0
        return place + 1
    return -1


class Copies(NamedTuple):
    """Clocks on their way from whoever hands on to whoever takes over; `free[: count]` are the rows not in use."""

    clocks: Any
    free: Any
    count: Any


@njit(cache=True)
def _more(copies):
    """Room for twice as many copies."""
    room, queues = copies.clocks.shape
    clocks = np.zeros((2 * room, queues), np.int32)
    clocks[:room] = copies.clocks
    free = np.zeros(2 * room, np.int64)
    free[:room] = np.arange(room, 2 * room)
    copies.count[0] = room
    return Copies(clocks, free, copies.count)


@njit(cache=True)
def _hand_on(copies, clocks, q):
    """Keep a copy of q's clocks for whoever waits for it; what q does from now on comes after. Returns its row."""
    copies.count[0] -= 1
    row = copies.free[copies.count[0]]
    copies.clocks[row] = clocks[q]
    clocks[q, q] += 1
    return row


@njit(cache=True)
def _take_over(copies, row, clocks, q):
    """Everything before the matching hand-over comes before what q does from now on."""
    for other in range(clocks.shape[0]):
        clocks[q, other] = max(clocks[q, other], copies.clocks[row, other])
    copies.free[copies.count[0]] = row
    copies.count[0] += 1


@njit(cache=True)
def check(
    cores, code, operands, run_starts, runs,
    queue_first, queue_last, queue_core,
    token_count, channel_count,
    space_base, space_bytes, space_core_stride, space_granule, space_edge, edge_base, space_constant,
    space_slots, slot_table, slot_queue, core_units, read_base,
    array_count, array_rows, array_cols, array_base, row_edge, col_edge, row_cells, col_cells,
    writer, written_at, read_at, found,
):  # fmt: skip
    """Run every queue to its end.

    Returns (findings, executed, stuck queues, where each queue stands, tokens left over, messages left over).
    """
    queues = queue_first.shape[0]
    clocks = np.zeros((queues, queues), np.int64)
    depth = np.ones(queues, np.int64)
    counters = np.zeros((queues, operands.shape[1] - O_STRIDES), np.int64)
    for q in range(queues):
        clocks[q, q] = 1
        counters[q, 0] = queue_core[q]
    tables = Tables(code, operands, run_starts, runs)
    memories = Memories(
        space_base, space_bytes, space_core_stride, space_granule, space_edge, edge_base, space_constant,
        space_slots, slot_table, slot_queue, core_units, read_base,
    )  # fmt: skip
    arrays = Arrays(array_count, array_rows, array_cols, array_base, row_edge, col_edge, row_cells, col_cells)
    first_reader, last_reader = np.full(writer.shape, MOST_READERS, np.int16), np.full(writer.shape, -1, np.int16)
    watch = Watch(clocks, writer, written_at, read_at, first_reader, last_reader, found, np.zeros(1, np.int64))
    at = queue_first.copy()
    posted = np.zeros((cores, token_count), np.int64)
    taken = np.zeros((cores, token_count), np.int64)
    posts = np.zeros((cores, token_count, TOKEN_CAPACITY), np.int32)
    sent = np.zeros((cores, cores, channel_count), np.int64)
    received = np.zeros((cores, cores, channel_count), np.int64)
    letters = np.zeros((cores, cores, channel_count, LETTER_CAPACITY), np.int32)
    copies = Copies(np.zeros((FEW_COPIES, queues), np.int32), np.arange(FEW_COPIES), np.full(1, FEW_COPIES))
    executed = 0
    progress = True
    while progress:
        progress = False
        for q in range(queues):
            core = queue_core[q]
            while at[q] < queue_last[q]:
                place = at[q]
                op = code[place, OP]
                if copies.count[0] == 0:
                    copies = _more(copies)
                following = _walk(code, place, core, counters, depth, q)
                if following >= 0:
                    at[q] = following
                    progress = True
                    continue
                if op == WAIT:
                    token = code[place, ARG0]
                    if taken[core, token] >= posted[core, token]:
                        break
                    _take_over(copies, posts[core, token, taken[core, token] % TOKEN_CAPACITY], clocks, q)
                    taken[core, token] += 1
                elif op == POST:
                    token = code[place, ARG0]
                    if posted[core, token] - taken[core, token] >= TOKEN_CAPACITY:
                        _report(watch, FULL, q, place, -1, token)
                        break
                    posts[core, token, posted[core, token] % TOKEN_CAPACITY] = _hand_on(copies, clocks, q)
                    posted[core, token] += 1
                elif op in (SEND, RECV):
                    peer = (core + _number(operands, code[place, ARRAY], counters[q], depth[q])) % cores
                    channel = code[place, ARG0]
                    if op == SEND:
                        if sent[core, peer, channel] - received[core, peer, channel] >= LETTER_CAPACITY:
                            break
                        slot = sent[core, peer, channel] % LETTER_CAPACITY
                        letters[core, peer, channel, slot] = _hand_on(copies, clocks, q)
                        sent[core, peer, channel] += 1
                    else:
                        if received[peer, core, channel] >= sent[peer, core, channel]:
                            break
                        slot = received[peer, core, channel] % LETTER_CAPACITY
                        _take_over(copies, letters[peer, core, channel, slot], clocks, q)
                        received[peer, core, channel] += 1
                else:
                    _work(tables, memories, arrays, watch, q, core, place, counters[q], depth[q])
                executed += 1
                at[q] = place + 1
                progress = True
    stuck = (at < queue_last).sum()
    return watch.count[0], executed, stuck, at, posted - taken, sent - received
