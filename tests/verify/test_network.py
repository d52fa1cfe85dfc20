"""Networks that describe no computation are refused before any kernel runs, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from bitline.ir import index_map
from bitline.ir.index_map import IndexMap, identity
from bitline.ir.kernels import (
    BatchMatMul,
    Constants,
    Elementwise,
    Host,
    Kernel,
    Lookup,
    Move,
    Network,
    Norm,
    Part,
)
from bitline.verify.network import verify_network
from tests.verify.compiled import mixed

Spoil = Callable[[Network, Constants], tuple[Network, Constants]]


def kernel_of(network: Network, kind: type[Kernel], op: str = "") -> Kernel:
    return next(k for k in network.kernels if isinstance(k, kind) and (not op or getattr(k, "op", "") == op))


def spoilt(kind: type[Kernel], change: Callable[[Kernel], Kernel], op: str = "") -> Spoil:
    """One kernel of a kind changed."""

    def spoil(network: Network, constants: Constants) -> tuple[Network, Constants]:
        chosen = kernel_of(network, kind, op)
        kernels = tuple(change(k) if k is chosen else k for k in network.kernels)
        return replace(network, kernels=kernels), constants

    return spoil


def fields(kind: type[Kernel], op: str = "", **values: object) -> Spoil:
    return spoilt(kind, lambda kernel: replace(kernel, **values), op)  # type: ignore[arg-type]


def constant(kind: type[Kernel], name: str, change: Callable[[np.ndarray], object], op: str = "") -> Spoil:  # type: ignore[type-arg]
    """The constant that a field of a kernel names, changed; None: left out."""

    def spoil(network: Network, constants: Constants) -> tuple[Network, Constants]:
        key = str(getattr(kernel_of(network, kind, op), name))
        made = change(constants[key])
        rest = {k: v for k, v in constants.items() if k != key}
        return network, rest if made is None else {**rest, key: np.asarray(made)}

    return spoil


def tensor(kind: type[Kernel], which: str, **values: object) -> Spoil:
    """A tensor that a kernel names, changed."""

    def spoil(network: Network, constants: Constants) -> tuple[Network, Constants]:
        name = getattr(kernel_of(network, kind), which)
        tensors = tuple(replace(t, **values) if t.name == name else t for t in network.tensors)  # type: ignore[arg-type]
        return replace(network, tensors=tensors), constants

    return spoil


def read(number: int, **values: object) -> Callable[[Kernel], Kernel]:
    def change(kernel: Kernel) -> Kernel:
        assert isinstance(kernel, Elementwise)
        reads = list(kernel.reads)
        reads[number] = replace(reads[number], **values)  # type: ignore[arg-type]
        return replace(kernel, reads=tuple(reads))

    return change


def norm(**values: int) -> Spoil:
    def change(kernel: Kernel) -> Kernel:
        assert isinstance(kernel, Norm)
        return replace(kernel, format=replace(kernel.format, **values))

    return spoilt(Norm, change)


def moved(change: Callable[[Part], tuple[Part, ...]]) -> Spoil:
    """A copy in place of the look-up's result: a Move that is right, but for `change`."""

    def spoil(network: Network, constants: Constants) -> tuple[Network, Constants]:
        chosen = kernel_of(network, Elementwise, "select")
        assert isinstance(chosen, Elementwise)
        x, y = chosen.reads[2], network.tensor(chosen.y)
        source = network.tensor(x.x)
        part = Part(x=x.x, read=identity(source.shape), write=identity(y.shape))
        move = Move(name="copy", nodes=("copy",), parts=change(part), y=chosen.y)
        kernels = tuple(move if k is chosen else k for k in network.kernels)
        tensors = tuple(replace(y, dtype=source.dtype) if t is y else t for t in network.tensors)
        return replace(network, kernels=kernels, tensors=tensors), constants

    return spoil


def half(view: IndexMap, start: int) -> IndexMap:
    taken = index_map.take_slice(view, 1, start, 2)
    assert isinstance(taken, IndexMap)
    return taken


def halves(part: Part, *starts: int) -> tuple[Part, ...]:
    return tuple(Part(x=part.x, read=half(part.read, s), write=half(part.write, s)) for s in starts)


SPOILT: dict[str, tuple[Spoil, str]] = {
    "integers of the user beyond their type": (
        lambda n, c: (replace(n, ports=(replace(n.ports[0], limits=(0, 1 << 40)), *n.ports[1:])), c), "values 0..1099"),
    "parts that overlap": (moved(lambda p: halves(p, 0, 1)), "parts that do not cover the result once"),
    "parts that leave a hole": (moved(lambda p: halves(p, 0)), "parts that do not cover the result once"),
    "a part twice": (moved(lambda p: (p, p)), "parts that do not cover the result once"),
    "no parts": (moved(lambda p: ()), "parts that do not cover the result once"),
    "a part of another shape": (
        moved(lambda p: (Part(x=p.x, read=half(p.read, 0), write=p.write),)), "goes to"),
    "a part from nowhere": (moved(lambda p: (replace(p, read=identity((9, 9, 9))),)), "an index map of [9, 9, 9]"),
    "no table of rows": (constant(Lookup, "table", lambda t: None), "no table"),
    "rows of other width": (constant(Lookup, "table", lambda t: t[:, :-1]), "rows of [7, 5]"),
    "rows that the type does not hold": (constant(Lookup, "table", lambda t: t.astype(np.int64) * 9), "rows of [7, 6]"),
    "rows of reals": (constant(Lookup, "table", lambda t: t.astype(np.float32)), "no table"),
    "row numbers of 8 bits": (tensor(Lookup, "x", dtype="u8"), "row numbers of u8"),
    "no model for the host": (constant(Host, "model", lambda m: None), "no model"),
    "a model that is no bytes": (constant(Host, "model", lambda m: m.astype(np.int32)), "no model"),
    "a host call that gives nothing": (fields(Host, ys=()), "nothing wrote"),
    "endless work for the host": (fields(Host, macs=1 << 60), "multiplications"),
    "a norm without its table": (constant(Norm, "table", lambda t: None), "no constant"),
    "a norm with a column too few": (constant(Norm, "table", lambda t: t[:-1]), "expected [6, 2]"),
    "a norm with one column": (constant(Norm, "table", lambda t: t[:, 0]), "expected [6, 2]"),
    "a norm with a negative epsilon": (norm(epsilon=-1), "epsilon -1"),
    "a norm that shifts nothing": (norm(shift=0), "shift 0"),
    "a norm with a deviation of 31 fraction bits": (norm(deviation_bits=31), "31 and"),
    "a norm whose values cannot be shifted": (norm(normal_bits=62), "62 fraction bits, shift"),
    "a norm whose variance passes 62 bits": (norm(deviation_bits=27), "a variance of rows of 6 values"),
    "a norm whose epsilon does": (norm(epsilon=1 << 62), "and epsilon 4611686018427387904"),
    "a norm whose normalised values pass 30 bits": (norm(normal_bits=30), "normalised values with 30"),
    "a norm with a gain of 31 bits": (constant(Norm, "table", lambda t: t | [1 << 30, 0] | 1), "beyond 1073741824"),
    "a norm with an offset of 61 bits": (constant(Norm, "table", lambda t: t * 0 - [0, 1 << 61]), "beyond 1152921"),
    "a norm beyond its type": (fields(Norm, high=1 << 20), "values"),
    "products of other rows": (spoilt(BatchMatMul, lambda k: replace(k, write=identity((1, 1, 9)))), "products of"),  # type: ignore[call-arg]
    "a selection of two": (
        spoilt(Elementwise, lambda k: replace(k, reads=k.reads[:2]), "select"), "2 operands of `select`"),  # type: ignore[union-attr, call-arg]
    "an operand of another shape": (
        spoilt(Elementwise, read(1, map=index_map.transpose(identity((1, 3, 6)), (0, 2, 1))), "select"),
        "an index map of shape [1, 6, 3]"),
    "a mantissa of 40 bits": (spoilt(Elementwise, read(1, mantissa=1 << 40), "select"), "factor"),
    "a divisor beyond 62 bits": (
        spoilt(Elementwise, lambda k: replace(k, op="quotient", reads=k.reads[:2], shift=60), "select"),  # type: ignore[union-attr, call-arg]
        "`quotient` reaches"),
    "a shift of 63": (fields(Elementwise, "select", shift=63), "/ 2^63"),
    "a bias beyond all measure": (fields(Elementwise, "select", bias=1 << 60), "a bias of"),
    "a curve of 8 bits": (spoilt(Elementwise, lambda k: replace(k, op="curve"), "select"), "operands of `curve`"),
    "a curve without knots": (constant(Elementwise, "table", lambda t: t[:-1], "curve"), "knots for s16"),
    "a kernel on what only the host computes with": (tensor(Norm, "x", dtype="f32"), "which only the host computes"),
    "a constant tensor that a kernel writes": (tensor(Norm, "x", constant="ghost"), "written already"),
}  # fmt: skip


def test_the_network_itself_is_sound() -> None:
    assert verify_network(mixed().network, mixed().constants) == ()
    kinds = {kernel.kind for kernel in mixed().network.kernels}
    assert {"Lookup", "Elementwise", "Host", "Norm", "BatchMatMul"} <= kinds


def test_a_copy_in_halves_is_sound() -> None:
    network, constants = moved(lambda p: halves(p, 0, 1))(mixed().network, mixed().constants)
    assert any("cover" in error.message for error in verify_network(network, constants))
    network, constants = moved(lambda p: (p,))(mixed().network, mixed().constants)
    assert not [error for error in verify_network(network, constants) if error.place.endswith(":copy")]


@pytest.mark.parametrize("name", SPOILT)
def test_a_spoilt_network_is_refused(name: str) -> None:
    spoil, words = SPOILT[name]
    found = verify_network(*spoil(mixed().network, mixed().constants))
    assert {error.code for error in found} == {"BL0505"}, found
    assert any(words in error.message for error in found), found
    assert all(error.place.startswith("kernels.json:") and error.help for error in found)
