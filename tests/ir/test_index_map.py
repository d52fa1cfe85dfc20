"""Index maps against numpy: every layout operation on a map equals the operation on an array of flat indices."""

from __future__ import annotations

from math import prod

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bitline.core.diagnostics import NoMatch
from bitline.ir import index_map
from bitline.ir.boxes import Walk, axis_tiles, read_taps, read_walks
from bitline.ir.index_map import IndexMap, Window, identity

Ints = npt.NDArray[np.int64]
shapes = st.lists(st.integers(1, 6), min_size=1, max_size=4).map(tuple)


def flat(shape: tuple[int, ...]) -> Ints:
    return np.arange(prod(shape), dtype=np.int64).reshape(shape)


def factored(data: st.DataObject, size: int) -> tuple[int, ...]:
    """Some shape of `size` elements, ones included."""
    found: list[int] = []
    while size > 1:
        factor = data.draw(st.sampled_from([f for f in range(2, size + 1) if size % f == 0]))
        found.append(factor)
        size //= factor
    for _ in range(data.draw(st.integers(0 if found else 1, 2))):
        found.insert(data.draw(st.integers(0, len(found))), 1)
    return tuple(found)


def rearranged(data: st.DataObject, view: IndexMap, values: Ints) -> tuple[IndexMap, Ints]:
    """Reshapes and transposes in any order, as long as the map can follow; the same on `values`."""
    for _ in range(data.draw(st.integers(0, 4))):
        if data.draw(st.booleans()):
            order = data.draw(st.permutations(range(values.ndim)))
            view, values = index_map.transpose(view, order), values.transpose(order)
            continue
        shape = factored(data, values.size)
        reshaped = index_map.reshape(view, shape)
        if isinstance(reshaped, IndexMap):
            view, values = reshaped, values.reshape(shape)
    return view, values


@given(data=st.data(), shape=shapes)
def test_reshape_and_transpose_equal_numpy(data: st.DataObject, shape: tuple[int, ...]) -> None:
    view, values = rearranged(data, identity(shape), flat(shape))
    view.check()
    assert view.shape == values.shape
    assert np.array_equal(view.evaluate(), values)


@given(data=st.data(), shape=shapes)
def test_a_plain_tensor_takes_every_shape(data: st.DataObject, shape: tuple[int, ...]) -> None:
    wanted = factored(data, prod(shape))
    whole = index_map.reshape(identity((prod(shape),)), wanted)
    assert isinstance(whole, IndexMap)
    assert np.array_equal(whole.evaluate(), flat(wanted))


@given(data=st.data(), shape=shapes)
def test_merging_digits_changes_nothing_and_ends(data: st.DataObject, shape: tuple[int, ...]) -> None:
    view, values = rearranged(data, identity(shape), flat(shape))
    merged = index_map.merge_digits(view)
    merged.check()
    assert np.array_equal(merged.evaluate(), values)
    assert index_map.merge_digits(merged) == merged
    assert len(merged.digits) <= len(view.digits)


@given(data=st.data(), shape=shapes)
def test_digit_strides_walk_the_flat_source(data: st.DataObject, shape: tuple[int, ...]) -> None:
    view, values = rearranged(data, identity(shape), flat(shape))
    grid = np.indices(view.digits).reshape(len(view.digits), -1)
    assert np.array_equal(np.array(view.digit_strides()) @ grid, values.reshape(-1))


@given(data=st.data(), shape=shapes)
def test_joined_dimensions_run_one_inside_the_other(data: st.DataObject, shape: tuple[int, ...]) -> None:
    view, values = rearranged(data, identity(shape), flat(shape))
    order = data.draw(st.permutations(range(values.ndim)))
    cut = data.draw(st.integers(1, values.ndim))
    groups = [order[:cut], order[cut:]] if cut < values.ndim else [order]
    joined = index_map.join_dims(view, groups)
    wanted = values.transpose(order).reshape([prod(values.shape[d] for d in group) for group in groups])
    assert np.array_equal(joined.evaluate(), wanted)


windows = st.builds(
    Window,
    out=st.integers(1, 5),
    taps=st.integers(1, 4),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
    pad_before=st.integers(0, 3),
)


def unfolded(values: Ints, slides: tuple[Window, Window]) -> Ints:
    """im2col of [H, W, C] in four loops: [oh, ow, kh, kw, C], -1 for padding."""
    height, width, channels = values.shape
    rows, cols = slides
    found = np.full((rows.out, cols.out, rows.taps, cols.taps, channels), -1, np.int64)
    for oh, ow, kh, kw in np.ndindex(*found.shape[:4]):
        row = oh * rows.stride + kh * rows.dilation - rows.pad_before
        col = ow * cols.stride + kw * cols.dilation - cols.pad_before
        if 0 <= row < height and 0 <= col < width:
            found[oh, ow, kh, kw] = values[row, col]
    return found


@given(shape=st.tuples(*[st.integers(1, 5)] * 3), rows=windows, cols=windows)
def test_windows_are_im2col(shape: tuple[int, int, int], rows: Window, cols: Window) -> None:
    found = index_map.windows(identity(shape), (0, 1), (rows, cols))
    if isinstance(found, NoMatch):  # three axes of one element: none is left for the second window
        assert "padded" in found.why
        return
    assert np.array_equal(found.evaluate(), unfolded(flat(shape), (rows, cols)))


@given(shape=st.tuples(*[st.integers(1, 4)] * 3), rows=windows, cols=windows)
def test_walks_hold_all_taps_of_all_outputs(shape: tuple[int, int, int], rows: Window, cols: Window) -> None:
    window = index_map.windows(identity(shape), (0, 1), (rows, cols))
    assume(isinstance(window, IndexMap))
    assert isinstance(window, IndexMap)
    read = index_map.join_dims(window, [[0], [1], [2, 3, 4]])
    walks = read_walks(read)
    assert not isinstance(walks, NoMatch), walks
    for axis, walk in enumerate(walks):
        values = read.coordinate_values(axis)
        for out in range(read.shape[axis]):
            seen = np.take(values, out, axis=axis)
            assert (seen.min(), seen.max()) == (walk.step * out + walk.low, walk.step * out + walk.high)
        assert walk.length(read.shape[axis]) == values.max() - values.min() + 1
    assert read_taps(read).channels.tolist() == read.coordinate_values(2)[0, 0].reshape(-1).tolist()


@given(
    before=st.integers(0, 5),
    outputs=st.integers(1, 20),
    tile=st.integers(1, 20),
    step=st.integers(0, 4),
    low=st.integers(-6, 3),
    reach=st.integers(0, 5),
    extent=st.integers(1, 30),
)
def test_axis_tiles_are_a_partition(
    before: int, outputs: int, tile: int, step: int, low: int, reach: int, extent: int
) -> None:
    walk = Walk(step=step, low=low, high=low + reach)
    classes = axis_tiles(range(before, before + outputs), tile, walk, extent)
    covered: list[int] = []
    number = 0
    for one in classes:
        assert one.first == number
        number += one.count
        for i in range(one.count):
            start = one.out_start + i * tile
            covered += range(start, start + one.out_len)
            box = range(step * start + low, step * (start + one.out_len - 1) + walk.high + 1)
            assert one.box_len == len(box)
            inside = [place for place in box if 0 <= place < extent]
            assert one.in_len == len(inside)
            if inside:
                assert one.in_start + i * one.in_step == inside[0]
                assert one.pad_before == inside[0] - box.start
            assert 0 <= one.pad_before <= one.box_len
    assert covered == list(range(before, before + outputs))


def test_a_map_that_does_not_hold_together_is_named() -> None:
    good = identity((2, 3))
    with pytest.raises(ValueError, match="2 coordinates for 3"):
        IndexMap(source=(2, 3, 4), dims=good.dims, coordinates=good.coordinates).check()
    with pytest.raises(ValueError, match="2 coefficients for 3"):
        IndexMap(source=(2, 3), dims=((2,), (3,), (1,)), coordinates=good.coordinates).check()
    with pytest.raises(ValueError, match="positive"):
        IndexMap(source=(2, 0), dims=good.dims, coordinates=good.coordinates).check()


def test_a_reshape_across_what_is_stored_says_why() -> None:
    turned = index_map.transpose(identity((2, 3)), [1, 0])
    assert isinstance(refused := index_map.reshape(turned, (2, 3)), NoMatch)
    assert "do not split" in refused.why


def test_text_form() -> None:
    assert str(index_map.transpose(identity((2, 3)), [1, 0])) == "3x2 <- [i1, i0] of 2x3"


# -- parts, repetition -------------------------------------------------------------------------------------------------


@given(data=st.data(), shape=shapes)
def test_slices_equal_numpy(data: st.DataObject, shape: tuple[int, ...]) -> None:
    """Any start, count and step, on maps in any order; where the map cannot say it, it says why."""
    view, values = rearranged(data, identity(shape), flat(shape))
    for _ in range(data.draw(st.integers(1, 3))):
        dim = data.draw(st.integers(0, values.ndim - 1))
        size = values.shape[dim]
        start, step = data.draw(st.integers(0, size - 1)), data.draw(st.integers(-3, 3))
        most = (size - 1 - start) // step + 1 if step > 0 else start // -step + 1 if step else 4
        count = data.draw(st.integers(1, most))
        taken = index_map.take_slice(view, dim, start, count, step)
        if isinstance(taken, NoMatch):
            assert "parts" in taken.why
            assert len(index_map.merge_digits(view).dims[dim]) > 1
            continue
        view, values = taken, values.take([start + i * step for i in range(count)], axis=dim)
        view.check()
        assert np.array_equal(view.evaluate(), values)


@given(shape=shapes, data=st.data())
def test_slices_of_what_lies_in_order_are_always_maps(shape: tuple[int, ...], data: st.DataObject) -> None:
    dim = data.draw(st.integers(0, len(shape) - 1))
    start = data.draw(st.integers(0, shape[dim] - 1))
    count = data.draw(st.integers(1, shape[dim] - start))
    view = index_map.take_slice(identity(shape), dim, start, count)
    assert isinstance(view, IndexMap)
    assert np.array_equal(view.evaluate(), flat(shape).take(range(start, start + count), axis=dim))


@given(data=st.data(), shape=shapes)
def test_broadcasting_equals_numpy(data: st.DataObject, shape: tuple[int, ...]) -> None:
    view, values = rearranged(data, identity(shape), flat(shape))
    grown = [data.draw(st.integers(1, 4)) if n == 1 else n for n in values.shape]
    wide = (*data.draw(st.lists(st.integers(1, 3), max_size=2)), *grown)
    made = index_map.broadcast(view, wide)
    made.check()
    assert made.shape == wide
    assert np.array_equal(made.evaluate(), np.broadcast_to(values, wide))


@given(data=st.data(), shape=shapes, times=st.integers(1, 3), inner=st.booleans())
def test_repetition_equals_numpy(data: st.DataObject, shape: tuple[int, ...], times: int, inner: bool) -> None:
    view, values = rearranged(data, identity(shape), flat(shape))
    dim = data.draw(st.integers(0, values.ndim - 1))
    made = index_map.repeated(view, dim, times, inner=inner)
    made.check()
    wanted = np.repeat(values, times, axis=dim) if inner else np.concatenate([values] * times, axis=dim)
    assert np.array_equal(made.evaluate(), wanted)
    index_map.merge_digits(made).check()
    assert np.array_equal(index_map.merge_digits(made).evaluate(), wanted)


@given(data=st.data(), shape=shapes)
def test_covers_is_what_counting_says(data: st.DataObject, shape: tuple[int, ...]) -> None:
    view, _ = rearranged(data, identity(shape), flat(shape))
    dim = data.draw(st.integers(0, len(view.dims) - 1))
    match data.draw(st.integers(0, 3)):
        case 0:
            view = index_map.repeated(view, dim, 2, inner=data.draw(st.booleans()))
        case 1:
            taken = index_map.take_slice(view, dim, 0, data.draw(st.integers(1, view.shape[dim])), 1)
            view = taken if isinstance(taken, IndexMap) else view
        case 2:
            taken = index_map.take_slice(view, dim, view.shape[dim] - 1, view.shape[dim], -1)
            view = taken if isinstance(taken, IndexMap) else view
        case _:
            pass
    seen = view.evaluate().reshape(-1).tolist()
    assert index_map.covers(view) == (sorted(seen) == list(range(prod(shape))))


@given(data=st.data(), shape=shapes)
def test_digits_of_one_element_part_nothing(data: st.DataObject, shape: tuple[int, ...]) -> None:
    """Of what lies in order every shape is a map, from whatever shape it had before, ones in between or not."""
    view: IndexMap | NoMatch = identity((1, 1, prod(shape)))
    for _ in range(3):
        wanted = factored(data, prod(shape))
        assert isinstance(view, IndexMap)
        view = index_map.reshape(view, wanted)
        assert isinstance(view, IndexMap), (wanted, view)
        assert np.array_equal(view.evaluate(), flat(shape).reshape(wanted))
