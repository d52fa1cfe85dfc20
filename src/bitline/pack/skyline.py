"""Pieces onto the lowest place of a skyline: dense where many small pieces share a bin (Wei, Oon, Zhu and Lim 2011)."""

# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from bitline.pack.maxrects import Ints, compiled


@compiled
def fill_skyline(
    waiting: Ints, count: int, sizes: Ints, rows: int, cols: int, kind: int, number: int, positions: Ints, sky: Ints
) -> int:
    flip = kind % 2
    kind = kind // 2
    wide, high = (rows, cols) if flip else (cols, rows)
    at_w = 0 if flip else 1
    at_h = 1 - at_w
    lowest = high
    for i in range(count):
        lowest = min(lowest, sizes[waiting[i], at_h])
    # sky[s] = (start, height, width)
    sky[0, 0], sky[0, 1], sky[0, 2] = 0, 0, wide
    m = 1
    while count > 0:
        s = 0
        for i in range(1, m):
            if sky[i, 1] < sky[s, 1]:
                s = i
        x, y, room = sky[s, 0], sky[s, 1], sky[s, 2]
        if y + lowest > high:
            break
        left = (sky[s - 1, 1] if s > 0 else high) - y
        right = (sky[s + 1, 1] if s + 1 < m else high) - y
        best, best_score = -1, -1
        for i in range(count):
            w, h = sizes[waiting[i], at_w], sizes[waiting[i], at_h]
            if w > room or y + h > high:
                continue
            if kind == 0:
                best = i
                break
            if kind == 1:
                score = 0
                if w == room:
                    score += 2
                if h == left:
                    score += 1
                if h == right:
                    score += 1
            else:
                score = w
            if score > best_score:
                best, best_score = i, score
                if kind == 1 and score == 4:
                    break
        if best < 0:
            if m == 1:
                break
            # fill up to the lower neighbour
            sky[s, 1] = y + min(left, right)
            if left == right and s > 0 and s + 1 < m:
                sky[s - 1, 2] += room + sky[s + 1, 2]
                for i in range(s, m - 2):
                    sky[i, 0], sky[i, 1], sky[i, 2] = sky[i + 2, 0], sky[i + 2, 1], sky[i + 2, 2]
                m -= 2
            elif s > 0 and (left <= right or s + 1 == m):
                if s + 1 == m or left <= right:
                    sky[s - 1, 2] += room
                    for i in range(s, m - 1):
                        sky[i, 0], sky[i, 1], sky[i, 2] = sky[i + 1, 0], sky[i + 1, 1], sky[i + 1, 2]
                    m -= 1
            else:
                sky[s, 1] = sky[s + 1, 1]
                sky[s, 2] += sky[s + 1, 2]
                for i in range(s + 1, m - 1):
                    sky[i, 0], sky[i, 1], sky[i, 2] = sky[i + 1, 0], sky[i + 1, 1], sky[i + 1, 2]
                m -= 1
            continue
        piece = waiting[best]
        for i in range(best, count - 1):
            waiting[i] = waiting[i + 1]
        count -= 1
        w, h = sizes[piece, at_w], sizes[piece, at_h]
        at_left = left >= right
        start = x if at_left else x + room - w
        positions[piece, 0] = number
        if flip:
            positions[piece, 1], positions[piece, 2] = start, y
        else:
            positions[piece, 1], positions[piece, 2] = y, start
        join_left = s > 0 and h == left and start == x
        join_right = s + 1 < m and h == right and start + w == x + room
        if w == room:
            if join_left and join_right:
                sky[s - 1, 2] += room + sky[s + 1, 2]
                for i in range(s, m - 2):
                    sky[i, 0], sky[i, 1], sky[i, 2] = sky[i + 2, 0], sky[i + 2, 1], sky[i + 2, 2]
                m -= 2
            elif join_left:
                sky[s - 1, 2] += room
                for i in range(s, m - 1):
                    sky[i, 0], sky[i, 1], sky[i, 2] = sky[i + 1, 0], sky[i + 1, 1], sky[i + 1, 2]
                m -= 1
            elif join_right:
                sky[s + 1, 0] = x
                sky[s + 1, 2] += room
                for i in range(s, m - 1):
                    sky[i, 0], sky[i, 1], sky[i, 2] = sky[i + 1, 0], sky[i + 1, 1], sky[i + 1, 2]
                m -= 1
            else:
                sky[s, 1] = y + h
        elif at_left:
            if join_left:
                sky[s - 1, 2] += w
                sky[s, 0], sky[s, 2] = x + w, room - w
            else:
                for i in range(m, s, -1):
                    sky[i, 0], sky[i, 1], sky[i, 2] = sky[i - 1, 0], sky[i - 1, 1], sky[i - 1, 2]
                m += 1
                sky[s, 0], sky[s, 1], sky[s, 2] = x, y + h, w
                sky[s + 1, 0], sky[s + 1, 2] = x + w, room - w
        elif join_right:
            sky[s + 1, 0] = start
            sky[s + 1, 2] += w
            sky[s, 2] = room - w
        else:
            for i in range(m, s, -1):
                sky[i, 0], sky[i, 1], sky[i, 2] = sky[i - 1, 0], sky[i - 1, 1], sky[i - 1, 2]
            m += 1
            sky[s, 2] = room - w
            sky[s + 1, 0], sky[s + 1, 1], sky[s + 1, 2] = start, y + h, w
    return count
