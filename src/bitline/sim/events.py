"""The compiled event loop over compressed queues: hardware loops are walked, never unrolled. Times in picoseconds."""

# pyright: reportUnknownParameterType=false, reportMissingParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUntypedFunctionDecorator=false, reportUnknownMemberType=false

from __future__ import annotations

import numpy as np
from numba import njit

LOOP, CORES, END, WAIT, POST, SEND, RECV, SERIAL, WRITE, MVM = range(10)
KIND, ARG0, ARG1, MATE, DURATION, PORT, PORT_TIME, BASE, PHASE, MODULUS, KERNEL, STRIDES = range(12)

TOKEN_CAPACITY = 256


@njit(cache=True)
def _place(row, counters, depth):
    value = row[PHASE]
    for level in range(depth):
        value += row[STRIDES + level] * counters[level]
    if row[MODULUS] > 0:
        value %= row[MODULUS]
    return row[BASE] + value


@njit(cache=True)
def _walk(code, at, core, counters, depth, q):
    """Where a loop mark leads, or -1 where the place holds none."""
    row = code[at]
    kind = row[KIND]
    if kind == LOOP:
        if row[ARG0] <= 0:
            return row[MATE] + 1
        counters[q, depth[q]] = 0
        depth[q] += 1
        return at + 1
    if kind == CORES:
        return at + 1 if row[ARG0] <= core < row[ARG1] else row[MATE] + 1
    if kind == END:
        mate = row[MATE]
        if code[mate, KIND] == LOOP:
            counters[q, depth[q] - 1] += 1
            if counters[q, depth[q] - 1] < code[mate, ARG0]:
                return mate + 1
            depth[q] -= 1
        return at + 1
    return -1


@njit(cache=True)
def _next(at, last, blocked, now):
    """(the queue that is ready first, when the one after it is); queue -1: none is ready."""
    chosen, second = -1, np.int64(1 << 62)
    for q in range(at.shape[0]):
        if at[q] >= last[q] or blocked[q]:
            continue
        if chosen < 0 or now[q] < now[chosen]:
            if chosen >= 0:
                second = now[chosen]
            chosen = q
        elif now[q] < second:
            second = now[q]
    return chosen, second


@njit(cache=True)
def _wake(blocked, core_of, core):
    """Let the waiting queues of a core look again."""
    for q in range(core_of.shape[0]):
        if core_of[q] == core:
            blocked[q] = False


@njit(cache=True)
def _occupy(free, array, start, duration, overlap):
    """A write into an array from `start` on, or when the array (without overlap: every array) is free; (start, end)."""
    start = max(start, free[array])
    if not overlap:
        start = max(start, free.max())
    end = start + duration
    if overlap:
        free[array] = end
    else:
        free[:] = end
    return start, end


@njit(cache=True)
def _note(span, start, end, covered):
    """Add one instruction to a span; what runs side by side counts once. Returns the time covered so far."""
    if span[0] < 0 or start < span[0]:
        span[0] = start
    span[1] = max(span[1], end)
    span[2] += max(0, end - max(start, covered))
    span[3] += 1
    return max(covered, end)


@njit(cache=True)
def simulate(code, first, last, core_of, cores, tokens, channels, ports, arrays, issue, message, overlap, kernels):
    """Run all queues in global time order.

    Returns (end time, spans [queues, kernels + 1, 4] of start, end, busy, count; instructions; True if all ended).
    """
    queues = first.shape[0]
    at = first.copy()
    counters = np.zeros((queues, code.shape[1] - STRIDES), np.int64)
    counters[:, 0] = core_of
    depth = np.ones(queues, np.int64)
    now, done, covered = np.zeros(queues, np.int64), np.zeros(queues, np.int64), np.zeros(queues, np.int64)
    posted, taken = np.zeros((cores, tokens), np.int64), np.zeros((cores, tokens), np.int64)
    post_time = np.zeros((cores, tokens, TOKEN_CAPACITY), np.int64)
    sent, received = np.zeros((cores, cores, channels), np.int64), np.zeros((cores, cores, channels), np.int64)
    letter_time = np.zeros((cores, cores, channels, TOKEN_CAPACITY), np.int64)
    port_free = np.zeros(ports + 1, np.int64)
    array_free = np.zeros((cores, arrays), np.int64)
    spans = np.zeros((queues, kernels + 1, 4), np.int64)
    spans[:, :, 0] = -1
    blocked = np.zeros(queues, np.bool_)
    instructions = 0
    while True:
        q, second = _next(at, last, blocked, now)
        if q < 0:
            break
        core = core_of[q]
        while at[q] < last[q] and now[q] <= second:
            following = _walk(code, at[q], core, counters, depth, q)
            if following >= 0:
                at[q] = following
                continue
            row = code[at[q]]
            kind = row[KIND]
            if kind == WAIT:
                token = row[ARG0]
                if taken[core, token] >= posted[core, token]:
                    blocked[q] = True
                    break
                now[q] = max(now[q], post_time[core, token, taken[core, token] % TOKEN_CAPACITY]) + issue
                taken[core, token] += 1
            elif kind == POST:
                token = row[ARG0]
                post_time[core, token, posted[core, token] % TOKEN_CAPACITY] = max(now[q], done[q]) + issue
                posted[core, token] += 1
                now[q] += issue
                _wake(blocked, core_of, core)
                second = now[q] - 1  # somebody may be ready earlier: choose again
            elif kind == SEND:
                peer = (core + _place(row, counters[q], depth[q])) % cores
                slot = sent[core, peer, row[ARG0]] % TOKEN_CAPACITY
                letter_time[core, peer, row[ARG0], slot] = max(now[q], done[q]) + issue + message
                sent[core, peer, row[ARG0]] += 1
                now[q] += issue
                _wake(blocked, core_of, peer)
                second = now[q] - 1
            elif kind == RECV:
                peer = (core + _place(row, counters[q], depth[q])) % cores
                if received[peer, core, row[ARG0]] >= sent[peer, core, row[ARG0]]:
                    blocked[q] = True
                    break
                slot = received[peer, core, row[ARG0]] % TOKEN_CAPACITY
                now[q] = max(now[q], letter_time[peer, core, row[ARG0], slot]) + issue
                received[peer, core, row[ARG0]] += 1
            elif kind == MVM:
                array = _place(row, counters[q], depth[q])
                start = max(now[q], array_free[core, array])
                end = start + row[DURATION]
                array_free[core, array] = end
                now[q] = start + issue  # the next array may start at once
                done[q] = max(done[q], end)
                covered[q] = _note(spans[q, row[KERNEL]], start, end, covered[q])
            else:
                start = max(now[q], done[q])
                if row[PORT] >= 0:
                    start = max(start, port_free[row[PORT]])
                    if start > second:  # the port is busy: let the others move up to then
                        now[q] = start
                        break
                end = start + row[DURATION]
                if kind == WRITE:
                    array = _place(row, counters[q], depth[q])
                    start, end = _occupy(array_free[core], array, start, row[DURATION], overlap)
                if row[PORT] >= 0:
                    port_free[row[PORT]] = start + row[PORT_TIME]
                now[q] = end
                done[q] = max(done[q], end)
                covered[q] = _note(spans[q, row[KERNEL]], start, end, covered[q])
            instructions += 1
            at[q] += 1
    finish = max(now.max(), done.max())
    return finish, spans, instructions, bool((at >= last).all())
