"""Copies of the weights of a kernel: jobs for those on every core, and the share of the output pixels of each.

Pixels are numbered row by row. Of d copies in all, those from copy c on begin with pixel c * q // d of q, so that no
copy computes more than ceil(q / d); the pixels of a core go round the copies that lie on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bitline.core.diagnostics import NoMatch
from bitline.ir.boxes import read_walks, unit_channels
from bitline.ir.kernels import MatMul
from bitline.ir.schedule import Job, KernelSchedule, Pixels
from bitline.schedule.tiling import Buffers, StripPlan, Tile, fit_tile, make_job, tile_schedule, too_large

TILES_WANTED = 8
"""Of the pixels of a core: units take turns, so the first and the last tile of a kernel are worked on alone."""
SLOTS = (*((n, n, 2) for n in range(2, 7)), (1, 2, 2), (2, 1, 2), (1, 1, 1))
"""Of the input, partial-sum and output buffers, in the order in which they are tried."""
NO_PIXELS = Pixels(first_row=0, last_row=0, first_col=0, last_col=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class SharePlan:
    """Copies of neighbouring strips on one core before they are a job: `strips` with their places and blocks of the
    first of them, `arrays` from one copy to the next, copies first..first+copies-1 of `of`."""

    core: int
    strips: tuple[StripPlan, ...]
    copies: int
    arrays: int
    first: int
    of: int


def pixels_between(first: int, last: int, width: int) -> tuple[Pixels, ...]:
    """Pixels first..last-1, row by row in rows of `width`, as parts of the picture: what is left of a row, whole rows,
    the beginning of a row."""
    top, left = divmod(first, width)
    bottom, right = divmod(last, width)
    if top == bottom:
        spans = [(top, top + 1, left, right)]
    else:
        whole = top + (left > 0)
        spans = [(top, whole, left, width), (whole, bottom, 0, width), (bottom, bottom + 1, 0, right)]
    parts = [Pixels(first_row=a, last_row=b, first_col=c, last_col=d) for a, b, c, d in spans if a < b and c < d]
    return tuple(parts) or (NO_PIXELS,)


def share_jobs(kernel: MatMul, shares: Sequence[SharePlan]) -> tuple[Job, ...]:
    """A job for every share."""
    jobs: list[Job] = []
    for share in shares:
        job = make_job("resident", share.core, share.core + 1, 1, share.strips, share.arrays, share.copies)
        if share.copies == 1:
            job = replace(job, chunk=0)
        if share.copies < share.of:
            ends = [number * kernel.pixels // share.of for number in (share.first, share.first + share.copies)]
            job = replace(job, share=pixels_between(ends[0], ends[1], kernel.read.shape[1]))
        jobs.append(job)
    return tuple(jobs)


def share_schedule(
    kernel: MatMul, number: int, segment: int, jobs: tuple[Job, ...], buffers: Buffers, width_y: int = 1
) -> KernelSchedule:
    """Tiles and slots under which all copies of a core can fire at once: the tiles on their way have a pixel for each.
    Raises `Refusal` (BL0401) where one pixel does not fit the buffers."""
    walks = read_walks(kernel.read)
    assert not isinstance(walks, NoMatch), walks
    height, width, _ = kernel.read.shape
    parts = [part for job in jobs for part in job.parts(height, width)]
    pixels = max(sum(part.count for part in job.parts(height, width)) for job in jobs)
    outs = (max(part.rows for part in parts), max(part.cols for part in parts))
    channels = max(unit_channels(kernel, job)[1] for job in jobs)
    cols = max(job.cols for job in jobs)
    busy = max(job.copies for job in jobs)
    most = max(busy, -(-pixels // TILES_WANTED))
    best: tuple[float, Tile] | None = None
    for slots in SLOTS:
        tile = fit_tile(outs, walks, channels, cols, True, buffers, [slots], False, width_y, most)
        if tile is not None:
            ahead = min(slots[:2]) - 1 or 0.5
            fed = min(1.0, ahead * tile.rows * tile.cols / busy)
            if best is None or fed > best[0]:
                best = (fed, tile)
    if best is None:
        box = walks[0].length(1) * walks[1].length(1) * channels
        raise too_large(
            buffers.model, kernel, f"{box:,} input bytes, {cols * 4:,} bytes of partial sums, {cols:,} output bytes"
        )
    return tile_schedule(number, segment, best[1], jobs)
