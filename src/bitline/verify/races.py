"""Happens-before over the whole expanded program, compiled.

Every queue of every core has a vector clock. `Post` and `Send` hand a copy of it on, `Wait` and `Recv` take the maximum
with the copy they were given. A token has one poster and one waiter, a channel one sender and one receiver per pair of
cores, so the n-th wait always meets the n-th post: the relation is the same in every run, and one run decides it. For
every granule of memory the last write and the last read of each reader are kept with their clocks (as in FastTrack,
Flanagan and Freund, PLDI 2009): a conflicting access that is not ordered after them is a race.
"""

# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUntypedFunctionDecorator=false, reportUnknownMemberType=false

from __future__ import annotations

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
    SRC2,
    WAIT,
    WRITE,
)

RACE, UNWRITTEN, OUTSIDE, SIZES, FULL, ARRAY_OUTSIDE, CONSTANT_WRITTEN, SETUP_LOST = 1, 2, 3, 4, 5, 6, 7, 8
NOBODY, HOST, SETUP, SETUP_IN_USE = -1, -2, -3, -4
"""Writers that are no queue of the phase; `SETUP_IN_USE`: the phase has read what setup wrote, so it has to stay."""
TOKEN_CAPACITY = 256
"""Outstanding posts that a counter may hold."""


@njit(cache=True)
def _report(found, count, kind, queue, place, other, where):
    if count[0] < found.shape[0]:
        found[count[0], 0] = kind
        found[count[0], 1] = queue
        found[count[0], 2] = place
        found[count[0], 3] = other
        found[count[0], 4] = where
    count[0] += 1


@njit(cache=True)
def _touch(
    granule, write, q, clocks, writer, written_at, readers, read_at, reader_slot, queue_of_slot, place, found, count
):
    """One granule read or written by queue q; `reader_slot` is q's column among the readers of this memory."""
    last = writer[granule]
    if write and last == SETUP_IN_USE:
        _report(found, count, SETUP_LOST, q, place, -1, granule)
    if last >= 0 and last != q and written_at[granule] > clocks[q, last]:
        _report(found, count, RACE, q, place, last, granule)
    if write:
        for slot in range(readers):
            other = queue_of_slot[slot]
            if other != q and read_at[granule, slot] > clocks[q, other]:
                _report(found, count, RACE, q, place, other, granule)
        writer[granule] = q
        written_at[granule] = clocks[q, q]
    else:
        if last == NOBODY:
            _report(found, count, UNWRITTEN, q, place, -1, granule)
        if last == SETUP:
            writer[granule] = SETUP_IN_USE
        if reader_slot >= 0:
            read_at[granule, reader_slot] = clocks[q, q]


@njit(cache=True)
def check(
    cores, code, operands, run_starts, runs,
    queue_first, queue_last, queue_core,
    token_count, channel_count,
    space_base, space_bytes, space_core_stride, space_granule, space_constant,
    space_slots, slot_table, slot_queue,
    arrays, array_rows, array_cols, array_base, row_edge, col_edge, row_cells, col_cells,
    writer, written_at, read_at,
    found,
):  # fmt: skip
    """Run every queue to its end. Returns (findings, executed, stuck queues, unbalanced tokens as a bit pattern of
    names)."""
    queues = queue_first.shape[0]
    levels = operands.shape[1] - O_STRIDES
    clocks = np.zeros((queues, queues), np.int64)
    for q in range(queues):
        clocks[q, q] = 1
    at = queue_first.copy()
    counters = np.zeros((queues, levels), np.int64)
    depth = np.ones(queues, np.int64)
    for q in range(queues):
        counters[q, 0] = queue_core[q]
    posted = np.zeros((cores, token_count), np.int64)
    taken = np.zeros((cores, token_count), np.int64)
    copies = np.zeros((cores, token_count, TOKEN_CAPACITY, queues), np.int32)
    sent = np.zeros((cores, cores, channel_count), np.int64)
    received = np.zeros((cores, cores, channel_count), np.int64)
    letters = np.zeros((cores, cores, channel_count, 8, queues), np.int32)
    count = np.zeros(1, np.int64)
    executed = 0
    progress = True
    while progress:
        progress = False
        for q in range(queues):
            core = queue_core[q]
            while at[q] < queue_last[q]:
                place = at[q]
                op = code[place, OP]
                if op == LOOP:
                    if code[place, ARG0] <= 0:
                        at[q] = code[place, MATE] + 1
                        continue
                    counters[q, depth[q]] = 0
                    depth[q] += 1
                elif op == CORES:
                    if not (code[place, ARG0] <= core < code[place, ARG1]):
                        at[q] = code[place, MATE] + 1
                        continue
                elif op == END:
                    mate = code[place, MATE]
                    if code[mate, OP] == LOOP:
                        counters[q, depth[q] - 1] += 1
                        if counters[q, depth[q] - 1] < code[mate, ARG0]:
                            at[q] = mate + 1
                            continue
                        depth[q] -= 1
                        counters[q, depth[q]] = 0
                elif op == WAIT:
                    token = code[place, ARG0]
                    if taken[core, token] >= posted[core, token]:
                        break
                    copy = taken[core, token] % TOKEN_CAPACITY
                    for other in range(queues):
                        clocks[q, other] = max(clocks[q, other], copies[core, token, copy, other])
                    taken[core, token] += 1
                    executed += 1
                elif op == POST:
                    token = code[place, ARG0]
                    if posted[core, token] - taken[core, token] >= TOKEN_CAPACITY:
                        _report(found, count, FULL, q, place, -1, token)
                        break
                    copy = posted[core, token] % TOKEN_CAPACITY
                    for other in range(queues):
                        copies[core, token, copy, other] = clocks[q, other]
                    posted[core, token] += 1
                    clocks[q, q] += 1
                    executed += 1
                elif op in (SEND, RECV):
                    operand = code[place, ARRAY]
                    value = operands[operand, O_PHASE]
                    for level in range(depth[q]):
                        value += operands[operand, O_STRIDES + level] * counters[q, level]
                    if operands[operand, O_MODULUS] > 0:
                        value %= operands[operand, O_MODULUS]
                    peer = (core + operands[operand, O_BASE] + value) % cores
                    channel = code[place, ARG0]
                    if op == SEND:
                        if sent[core, peer, channel] - received[core, peer, channel] >= 8:
                            break
                        copy = sent[core, peer, channel] % 8
                        for other in range(queues):
                            letters[core, peer, channel, copy, other] = clocks[q, other]
                        sent[core, peer, channel] += 1
                        clocks[q, q] += 1
                    else:
                        if received[peer, core, channel] >= sent[peer, core, channel]:
                            break
                        copy = received[peer, core, channel] % 8
                        for other in range(queues):
                            clocks[q, other] = max(clocks[q, other], letters[peer, core, channel, copy, other])
                        received[peer, core, channel] += 1
                    executed += 1
                else:
                    executed += 1
                    total_read = 0
                    for column in range(SRC0, SRC2 + 2):
                        # read operands first; the written one, also read where sums are added, comes last
                        write = column == SRC2 + 1
                        operand = code[place, DST] if write else code[place, column]
                        if operand < 0:
                            continue
                        adds = False
                        if write and op == MVM:
                            mask = code[place, OVERWRITE]
                            adds = mask < 0
                            if not adds:
                                for level in range(depth[q]):
                                    if (mask >> level) & 1 and counters[q, level] != 0:
                                        adds = True
                        space = operands[operand, O_SPACE]
                        start = operands[operand, O_PHASE]
                        for level in range(depth[q]):
                            start += operands[operand, O_STRIDES + level] * counters[q, level]
                        modulus = operands[operand, O_MODULUS]
                        granule = space_granule[space]
                        origin = space_base[space] + space_core_stride[space] * core
                        slots = space_slots[space]
                        own_slot = slot_table[space, q]
                        run = operands[operand, O_RUNS]
                        if write and space_constant[space]:
                            _report(found, count, CONSTANT_WRITTEN, q, place, -1, space)
                        total = 0
                        for r in range(run_starts[run], run_starts[run + 1]):
                            offset = start + runs[r, 0]
                            left = runs[r, 1]
                            total += left
                            while left > 0:
                                if modulus > 0:
                                    offset %= modulus
                                    part = min(left, modulus - offset)
                                else:
                                    part = left
                                first = operands[operand, O_BASE] + offset
                                if first < 0 or first + part > space_bytes[space]:
                                    _report(found, count, OUTSIDE, q, place, space, first)
                                    left = 0
                                    break
                                if not space_constant[space]:
                                    for g in range(first // granule, (first + part - 1) // granule + 1):
                                        if not write or adds:
                                            _touch(
                                                origin + g, False, q, clocks, writer, written_at, slots, read_at,
                                                own_slot, slot_queue[space], place, found, count,
                                            )  # fmt: skip
                                        if write:
                                            _touch(
                                                origin + g, True, q, clocks, writer, written_at, slots, read_at,
                                                own_slot, slot_queue[space], place, found, count,
                                            )  # fmt: skip
                                left -= part
                                offset += part
                        if not write and column == SRC0:
                            total_read = total
                        if write and op == DMA and total != total_read:
                            _report(found, count, SIZES, q, place, -1, total)
                        if write and op == MVM and total != 4 * code[place, COLS]:
                            _report(found, count, SIZES, q, place, -1, total)
                    if op in (WRITE, MVM):
                        rows = code[place, ROWS] if op == WRITE else total_read
                        if op == WRITE and total_read != rows * code[place, COLS]:
                            _report(found, count, SIZES, q, place, -1, total_read)
                        operand = code[place, ARRAY]
                        value = operands[operand, O_PHASE]
                        for level in range(depth[q]):
                            value += operands[operand, O_STRIDES + level] * counters[q, level]
                        if operands[operand, O_MODULUS] > 0:
                            value %= operands[operand, O_MODULUS]
                        array = operands[operand, O_BASE] + value
                        top, left = code[place, ROW], code[place, COL]
                        bottom, right = top + rows, left + code[place, COLS]
                        if (
                            array < 0
                            or array >= arrays
                            or top < 0
                            or left < 0
                            or bottom > array_rows
                            or right > array_cols
                        ):
                            _report(found, count, ARRAY_OUTSIDE, q, place, -1, array)
                        elif rows > 0 and right > left:
                            base = array_base + ((core * arrays) + array) * row_cells * col_cells
                            space = space_bytes.shape[0]
                            for i in range(row_edge[top], row_edge[bottom]):
                                for j in range(col_edge[left], col_edge[right]):
                                    _touch(
                                        base + i * col_cells + j, op == WRITE, q, clocks, writer, written_at,
                                        space_slots[space], read_at, slot_table[space, q], slot_queue[space],
                                        place, found, count,
                                    )  # fmt: skip
                at[q] = place + 1
                progress = True
    stuck = 0
    for q in range(queues):
        if at[q] < queue_last[q]:
            stuck += 1
    return count[0], executed, stuck, at, posted - taken, sent - received
