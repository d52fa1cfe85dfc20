"""Copies of layers dealt to cores. A copy lies in arrays of its own, side by side with others on its core or elsewhere.

A core fires its copies of a layer at the same time, and those on several cores work at the same time too, so a layer of
q pixels and d copies keeps every core that holds some of it busy for q / d firings, however they are spread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bitline.place.cuts import ColumnStrip


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Copies first_copy..first_copy+copies-1 of strips first_strip..last_strip-1 of a layer on `core`, one behind the
    other from `first_array` on; a copy takes `arrays`."""

    core: int
    first_strip: int
    last_strip: int
    first_copy: int
    copies: int
    first_array: int
    arrays: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Item:
    """Strips of a layer that stay together: arrays of a copy, copies, firings of each."""

    layer: int
    first_strip: int
    last_strip: int
    arrays: int
    copies: int
    times: int


def _items(
    layers: Sequence[Sequence[ColumnStrip]], copies: Sequence[int], fires: Sequence[int], arrays: int, most_cols: int
) -> list[_Item] | None:
    """Neighbouring strips as far as a core has the arrays and sums for them; None where a strip is too high."""
    found: list[_Item] = []
    for layer, strips in enumerate(layers):
        first = taken = cols = 0
        for i, strip in enumerate(strips):
            height = len(strip.blocks)
            if height > arrays:
                return None
            if i > first and (taken + height > arrays or cols + strip.cols > most_cols):
                found.append(_item(layer, first, i, taken, copies[layer], fires[layer]))
                first, taken, cols = i, 0, 0
            taken, cols = taken + height, cols + strip.cols
        found.append(_item(layer, first, len(strips), taken, copies[layer], fires[layer]))
    return found


def _item(layer: int, first: int, last: int, arrays: int, copies: int, fires: int) -> _Item:
    times = -(-fires // copies)
    return _Item(layer=layer, first_strip=first, last_strip=last, arrays=arrays, copies=copies, times=times)


def _in_order(items: Sequence[_Item], limit: int, room: int, cores: int) -> list[tuple[int, Held]] | None:
    """(layer, what a core holds of it): copies in the order of the network, one core after another, as long as it
    fires at most `limit` times and `room` of its arrays are left; None where the cores do not suffice."""
    found: list[tuple[int, Held]] = []
    core = used = load = 0
    for item in items:
        if item.times > limit:
            return None
        done = 0
        while done < item.copies:
            fits = max(0, (max(room, item.arrays) if not used else room) - used) // item.arrays
            if not fits or load + item.times > limit:
                core, used, load = core + 1, 0, 0
                if core == cores:
                    return None
                continue
            count = min(fits, item.copies - done)
            found.append((item.layer, _held(item, core, done, count, used)))
            done, used, load = done + count, used + count * item.arrays, load + item.times
    return found


def _held(item: _Item, core: int, first: int, count: int, array: int) -> Held:
    return Held(
        core=core,
        first_strip=item.first_strip,
        last_strip=item.last_strip,
        first_copy=first,
        copies=count,
        first_array=array,
        arrays=item.arrays,
    )


def _by_layer(held: Sequence[tuple[int, Held]], layers: int) -> tuple[tuple[Held, ...], ...]:
    return tuple(tuple(one for k, one in held if k == layer) for layer in range(layers))


def deal_pipeline(
    layers: Sequence[Sequence[ColumnStrip]],
    *,
    copies: Sequence[int],
    fires: Sequence[int],
    cores: int,
    arrays: int,
    most_cols: int,
) -> tuple[tuple[Held, ...], ...] | None:
    """What every core holds of each layer, so that the core that fires most fires little: stretches of the network, by
    bisection; then as few arrays of a core as that allows, so that copies spread over all cores. `fires`: pixels of a
    layer; `most_cols`: columns whose sums a core holds at once. None where the copies do not fit."""
    items = _items(layers, copies, fires, arrays, most_cols)
    if items is None:
        return None
    low, high = max((i.times for i in items), default=0), sum(i.times for i in items)
    if _in_order(items, high, arrays, cores) is None:
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if _in_order(items, middle, arrays, cores) is not None else (middle + 1, high)
    limit, few, many = low, 1, arrays
    while few < many:
        middle = (few + many) // 2
        few, many = (few, middle) if _in_order(items, limit, middle, cores) is not None else (middle + 1, many)
    found = _in_order(items, limit, few, cores)
    assert found is not None, "found by bisection"
    return _by_layer(found, len(layers))


def deal_evenly(
    layers: Sequence[Sequence[ColumnStrip]], *, copies: Sequence[int], cores: int, arrays: int, most_cols: int
) -> tuple[tuple[Held, ...], ...] | None:
    """What every core holds of each layer where layers follow one another: every layer on as many cores as it has
    copies for, the largest first. None where the copies do not fit."""
    items = _items(layers, copies, [1] * len(layers), arrays, most_cols)
    if items is None:
        return None
    used = [0] * cores
    found: list[tuple[int, Held]] = []
    for item in sorted(items, key=lambda i: (-i.arrays, i.layer, i.first_strip)):
        counts = [0] * cores
        for _ in range(item.copies):
            core = min(range(cores), key=lambda c: (used[c] + counts[c] * item.arrays, c))
            if used[core] + (counts[core] + 1) * item.arrays > arrays:
                return None
            counts[core] += 1
        done = 0
        for core, count in enumerate(counts):
            if count:
                found.append((item.layer, _held(item, core, done, count, used[core])))
                done, used[core] = done + count, used[core] + count * item.arrays
    return _by_layer(sorted(found, key=lambda pair: (pair[1].first_strip, pair[1].first_copy)), len(layers))
