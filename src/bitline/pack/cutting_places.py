"""Where `cutting_decode` puts a rectangle or a part of it, and what every bin answered to the last such question.

A network has many equal matrices, which wait one behind another. So the same question comes again and again, and only
the bin that took the last part answers anew.
"""

# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from bitline.pack.layout_decode import first_band, score_place
from bitline.pack.maxrects import Ints, compiled, inlined

TIDY_FIT, TIDY_PART, FIT, PART, KINDS = range(5)
"""Kinds of questions, in the order in which they are put: for a place for all of it, or for a part. Tidy: no rest of a
free rectangle is too small for anything."""
HEIGHT, WIDTH, NEEDED, SMALL_ROWS, SMALL_COLS, STEP, PREFER, FIELDS = range(8)
"""Columns of `asked`, the last question of every kind: what is placed, and how parts are cut off it."""
SCORE, SECOND, AT_ROW, AT_COL, AT_BAND, PART_ROWS, PART_COLS, ANSWER = range(8)
"""Columns of `answers` [kind, bin]: the smallest score is the best, `SECOND` decides between equals."""
NOWHERE, UNKNOWN = 1 << 62, -1 << 62
"""Scores: the bin has no such place; the bin has to be asked."""


@compiled
def best_bin(
    kind: int,
    asked: Ints,
    answers: Ints,
    live: Ints,
    lives: int,
    free: Ints,
    free_count: Ints,
    stretches: Ints,
    stretch_count: Ints,
    bands: int,
    rule: int,
    slack: int,
) -> int:
    """The first bin with the best answer to the question of this kind; -1 where there is no place.

    `live[:lives]` are the bins with free rectangles, by number; `stretches` has as many lines for every bin.
    """
    room = len(stretches) // answers.shape[1]
    whole = kind in (TIDY_FIT, FIT)
    chosen, best, second = -1, NOWHERE, 0
    for i in range(lives):
        b = live[i]
        if answers[kind, b, SCORE] == UNKNOWN:
            if whole:
                _place_whole(kind, asked, answers, b, free, free_count, stretches, b * room, stretch_count, bands, rule)
            else:
                _place_part(kind, asked, answers, b, free, free_count, stretches, b * room, stretch_count, bands, slack)
        score = answers[kind, b, SCORE]
        if score < best or (score == best and chosen >= 0 and answers[kind, b, SECOND] < second):
            chosen, best, second = b, score, answers[kind, b, SECOND]
    return chosen


@compiled
def ask(
    kind: int,
    asked: Ints,
    answers: Ints,
    live: Ints,
    lives: int,
    height: int,
    width: int,
    needed: int,
    small_rows: int,
    small_cols: int,
    step: int,
    prefer: int,
) -> None:
    """Put a question; if it is another one than before, what the bins answered is forgotten."""
    if kind in (TIDY_FIT, FIT):
        step, prefer = 0, 0
    if (
        asked[kind, HEIGHT] == height
        and asked[kind, WIDTH] == width
        and asked[kind, NEEDED] == needed
        and asked[kind, SMALL_ROWS] == small_rows
        and asked[kind, SMALL_COLS] == small_cols
        and asked[kind, STEP] == step
        and asked[kind, PREFER] == prefer
    ):
        return
    asked[kind, HEIGHT], asked[kind, WIDTH], asked[kind, NEEDED] = height, width, needed
    asked[kind, SMALL_ROWS], asked[kind, SMALL_COLS] = small_rows, small_cols
    asked[kind, STEP], asked[kind, PREFER] = step, prefer
    for i in range(lives):
        answers[kind, live[i], SCORE] = UNKNOWN


@inlined
def _place_whole(
    kind: int,
    asked: Ints,
    answers: Ints,
    b: int,
    free: Ints,
    free_count: Ints,
    stretches: Ints,
    first: int,
    stretch_count: Ints,
    bands: int,
    rule: int,
) -> None:
    """The best place by the rule, ties to the first."""
    height, width, needed = asked[kind, HEIGHT], asked[kind, WIDTH], asked[kind, NEEDED]
    rest_rows = asked[kind, SMALL_ROWS] if kind == TIDY_FIT else 0
    rest_cols = asked[kind, SMALL_COLS] if kind == TIDY_FIT else 0
    best, second = NOWHERE, 0
    tries = 1 if needed == 0 else 2 * stretch_count[b] + 1
    for f in range(free_count[b]):
        r0, c0, c1 = free[b, f, 0], free[b, f, 1], free[b, f, 3]
        slack_rows = free[b, f, 2] - r0 - height
        slack_cols = c1 - c0 - width
        if slack_rows < 0 or slack_cols < 0 or 0 < slack_rows < rest_rows or 0 < slack_cols < rest_cols:
            continue
        for t in range(tries):
            at = c0
            if t > 0:
                at = stretches[first + ((t - 1) >> 1), 0] - (width if t & 1 == 0 else 0)
                if at <= c0 or at + width > c1:
                    continue
            start = 0
            if needed > 0:
                start = first_band(stretches, first, stretch_count[b], at, at + width, needed, bands)
                if start < 0:
                    continue
            score, other = score_place(r0, at, slack_rows, slack_cols, height, width, 0, rule)
            if score < best or (score == best and other < second):
                best, second = score, other
                _answer(answers, kind, b, r0, at, start, height, width)
    answers[kind, b, SCORE], answers[kind, b, SECOND] = best, second


@inlined
def _place_part(
    kind: int,
    asked: Ints,
    answers: Ints,
    b: int,
    free: Ints,
    free_count: Ints,
    stretches: Ints,
    first: int,
    stretch_count: Ints,
    bands: int,
    slack: int,
) -> None:
    """The part to cut off that fills most of a free rectangle, ties to the first."""
    height, width, needed = asked[kind, HEIGHT], asked[kind, WIDTH], asked[kind, NEEDED]
    small_rows, small_cols, step = asked[kind, SMALL_ROWS], asked[kind, SMALL_COLS], asked[kind, STEP]
    prefer = asked[kind, PREFER]
    rest_rows = small_rows if kind == TIDY_PART else 0
    rest_cols = small_cols if kind == TIDY_PART else 0
    best = NOWHERE
    tries = 1 if needed == 0 else stretch_count[b] + 1
    for f in range(free_count[b]):
        r0, c0, r1, c1 = free[b, f, 0], free[b, f, 1], free[b, f, 2], free[b, f, 3]
        high = _cut_side(height, r1 - r0, small_rows, step, rest_rows)
        if high == 0:
            continue
        for t in range(tries):
            at = c0
            if t > 0:
                at = stretches[first + t - 1, 0]
                if at <= c0 or at >= c1:
                    continue
            wide, start = c1 - at, 0
            if needed > 0:
                wide = _reach(stretches, first, stretch_count[b], at, c1, needed, bands)
            wide = _cut_side(width, wide, small_cols, 1, rest_cols)
            if wide == 0:
                continue
            if needed > 0:
                start = first_band(stretches, first, stretch_count[b], at, at + wide, needed, bands)
            score = slack * ((r1 - r0) * (c1 - at) - high * wide) - 8 * high * wide
            if (prefer == 1 and high < height) or (prefer == 2 and wide < width):
                score += 4 * high * wide
            if score < best:
                best = score
                _answer(answers, kind, b, r0, at, start, high, wide)
    answers[kind, b, SCORE], answers[kind, b, SECOND] = best, 0


@inlined
def _answer(answers: Ints, kind: int, b: int, row: int, col: int, band: int, rows: int, cols: int) -> None:
    answers[kind, b, AT_ROW], answers[kind, b, AT_COL], answers[kind, b, AT_BAND] = row, col, band
    answers[kind, b, PART_ROWS], answers[kind, b, PART_COLS] = rows, cols


@inlined
def _cut_side(side: int, room: int, small: int, step: int, left: int) -> int:
    """The largest length of at most `room` that may be cut off a side; 0 where there is none."""
    if side <= room and (side == room or room - side >= left):
        return side
    length = _in_steps(min(room, side - small), step)
    if 0 < room - length < left:
        length = _in_steps(min(room - left, side - small), step)
    return length if length >= small else 0


@inlined
def _in_steps(length: int, step: int) -> int:
    """The largest multiple of `step` up to a length; a division takes its time."""
    return length if step == 1 else length // step * step


@inlined
def _reach(stretches: Ints, first: int, count: int, col: int, col_end: int, needed: int, bands: int) -> int:
    """The most columns from `col` on, up to `col_end`, that have a common interval of `needed` free bias rows."""
    reached, s, last = col, first, first + count
    while s < last and reached < col_end:
        if stretches[s, 0] > col:
            end = min(stretches[s, 0], col_end)
            start = first_band(stretches, first, count, col, end, needed, bands)
            if start < 0:
                last = s
            else:
                reached = end
        s += 1
    return reached - col
