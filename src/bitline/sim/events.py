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
def simulate(code, first, last, core_of, cores, tokens, channels, ports, arrays, issue, message, overlap, kernels):
    """Run all queues in global time order.

    Returns (end time, spans [queues, kernels + 1, 4] of start, end, busy, count; instructions; True if all ended).
    """
    queues = first.shape[0]
    levels = code.shape[1] - STRIDES
    at = first.copy()
    counters = np.zeros((queues, levels), np.int64)
    depth = np.ones(queues, np.int64)
    now = np.zeros(queues, np.int64)
    done = np.zeros(queues, np.int64)
    covered = np.zeros(queues, np.int64)
    posted = np.zeros((cores, tokens), np.int64)
    taken = np.zeros((cores, tokens), np.int64)
    post_time = np.zeros((cores, tokens, TOKEN_CAPACITY), np.int64)
    sent = np.zeros((cores, cores, channels), np.int64)
    received = np.zeros((cores, cores, channels), np.int64)
    letter_time = np.zeros((cores, cores, channels, TOKEN_CAPACITY), np.int64)
    port_free = np.zeros(ports + 1, np.int64)
    array_free = np.zeros((cores, arrays), np.int64)
    spans = np.zeros((queues, kernels + 1, 4), np.int64)
    spans[:, :, 0] = -1
    blocked = np.zeros(queues, np.bool_)
    instructions = 0
    for q in range(queues):
        counters[q, 0] = core_of[q]
    while True:
        chosen, soonest, second = -1, 0, np.int64(1 << 62)
        for q in range(queues):
            if at[q] < last[q] and not blocked[q]:
                if chosen < 0 or now[q] < soonest:
                    if chosen >= 0:
                        second = soonest
                    chosen, soonest = q, now[q]
                elif now[q] < second:
                    second = now[q]
        if chosen < 0:
            break
        q, core = chosen, core_of[chosen]
        while at[q] < last[q] and now[q] <= second:
            row = code[at[q]]
            kind = row[KIND]
            if kind == LOOP:
                if row[ARG0] <= 0:
                    at[q] = row[MATE] + 1
                    continue
                counters[q, depth[q]] = 0
                depth[q] += 1
                at[q] += 1
                continue
            if kind == CORES:
                at[q] = at[q] + 1 if row[ARG0] <= core < row[ARG1] else row[MATE] + 1
                continue
            if kind == END:
                mate = row[MATE]
                if code[mate, KIND] == LOOP:
                    counters[q, depth[q] - 1] += 1
                    if counters[q, depth[q] - 1] < code[mate, ARG0]:
                        at[q] = mate + 1
                        continue
                    depth[q] -= 1
                at[q] += 1
                continue
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
                for other in range(queues):
                    if core_of[other] == core:
                        blocked[other] = False
                second = now[q] - 1  # somebody may be ready earlier: choose again
            elif kind == SEND:
                peer = (core + _place(row, counters[q], depth[q])) % cores
                channel = row[ARG0]
                letter_time[core, peer, channel, sent[core, peer, channel] % TOKEN_CAPACITY] = (
                    max(now[q], done[q]) + issue + message
                )
                sent[core, peer, channel] += 1
                now[q] += issue
                for other in range(queues):
                    if core_of[other] == peer:
                        blocked[other] = False
                second = now[q] - 1
            elif kind == RECV:
                peer = (core + _place(row, counters[q], depth[q])) % cores
                channel = row[ARG0]
                if received[peer, core, channel] >= sent[peer, core, channel]:
                    blocked[q] = True
                    break
                arrival = letter_time[peer, core, channel, received[peer, core, channel] % TOKEN_CAPACITY]
                now[q] = max(now[q], arrival) + issue
                received[peer, core, channel] += 1
            else:
                start = now[q]
                if kind == MVM:
                    array = _place(row, counters[q], depth[q])
                    start = max(start, array_free[core, array])
                    end = start + row[DURATION]
                    array_free[core, array] = end
                    now[q] = start + issue
                else:
                    start = max(start, done[q])
                    if row[PORT] >= 0:
                        start = max(start, port_free[row[PORT]])
                        if start > second:  # the port is busy: let the others move up to then
                            now[q] = start
                            break
                    if kind == WRITE:
                        array = _place(row, counters[q], depth[q])
                        start = max(start, array_free[core, array])
                        if not overlap:
                            for other in range(arrays):
                                start = max(start, array_free[core, other])
                        end = start + row[DURATION]
                        array_free[core, array] = end
                        if not overlap:
                            for other in range(arrays):
                                array_free[core, other] = end
                    else:
                        end = start + row[DURATION]
                    if row[PORT] >= 0:
                        port_free[row[PORT]] = start + row[PORT_TIME]
                    now[q] = end
                done[q] = max(done[q], end)
                kernel = row[KERNEL]
                if spans[q, kernel, 0] < 0 or start < spans[q, kernel, 0]:
                    spans[q, kernel, 0] = start
                spans[q, kernel, 1] = max(spans[q, kernel, 1], end)
                spans[q, kernel, 2] += max(0, end - max(start, covered[q]))  # arrays side by side count once
                covered[q] = max(covered[q], end)
                spans[q, kernel, 3] += 1
            instructions += 1
            at[q] += 1
    ended = True
    finish = np.int64(0)
    for q in range(queues):
        ended = ended and at[q] >= last[q]
        finish = max(finish, max(now[q], done[q]))
    return finish, spans, instructions, ended
