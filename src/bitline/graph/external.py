"""Weights in files beside the model: found, tested and read once, and never outside the model's folder.

A location is a relative path without `..`; no part of it is a link, and the file itself is a plain file with one name
(a second name, a hard link, may belong to a file elsewhere). Every folder on the way is opened in turn, so that
nothing can be swapped between the test and the reading. Nothing is opened that could block, such as a FIFO.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import onnx

from bitline.core.diagnostics import Diagnostic, Refusal, refuse
from bitline.core.machine import free_memory
from bitline.graph.budgets import Limits, all_graphs, all_nodes, invalid, over, stored_bytes, tensor_findings

_KEYS: Final = frozenset({"location", "offset", "length", "checksum"})
_NUMBER: Final = re.compile(r"[0-9]{1,19}")
_AGAIN: Final = (
    "save the model again with its data beside it, for example with `onnx.save(..., save_as_external_data=True)`"
)
EARLY_BYTES: Final = 64 * 2**20  # as much as folding may compute: whatever shapes may depend on
EARLY_BYTES_TOTAL: Final = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class External:
    """Where the bytes of one tensor lie."""

    tensor: onnx.TensorProto
    location: str
    offset: int
    length: int


def find_external(proto: onnx.ModelProto, folder: Path, place: str, limits: Limits) -> tuple[External, ...]:
    """Every tensor whose data lie in a file, all tested. Raises `Refusal` (BL0202, BL0203) with all that is wrong."""
    tested: list[External] = []
    found: list[Diagnostic] = []
    for tensor in _all_tensors(proto):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            if tensor.external_data:
                found.append(invalid(f"{tensor.name[:80]!r} holds its data and names a file as well", place))
            continue
        answer = _tested(tensor, folder, limits)
        match answer:
            case External():
                tested.append(answer)
            case str():
                where = f"{place}:{tensor.name[:80]}"
                found.append(Diagnostic(code="BL0202", message=f"external data: {answer}", place=where, help=_AGAIN))
            case Diagnostic():
                found.append(answer)
    total = sum(item.length for item in tested)
    if total > limits.external_bytes:
        found.append(over("bytes of external data", total, limits.external_bytes, place))
    if found:
        raise Refusal(found)
    free = free_memory() if limits.held_bytes is None else limits.held_bytes
    if total > free:
        raise refuse(
            "BL0203",
            f"{total} bytes of weights; memory for {free} is free",
            place=place,
            help="use a machine with more memory, or fewer or narrower weights",
        )
    return tuple(tested)


def early(items: tuple[External, ...]) -> tuple[External, ...]:
    """Those to be read before shapes are inferred: small enough to be what a shape depends on."""
    chosen: list[External] = []
    left = EARLY_BYTES_TOTAL
    for item in items:
        if item.length <= min(EARLY_BYTES, left):
            chosen.append(item)
            left -= item.length
    return tuple(chosen)


def read_into(tensor: onnx.TensorProto, item: External, folder: Path, place: str) -> None:
    """Put the bytes into the tensor, which is external no more. Raises `Refusal` (BL0202) if the file has changed."""
    try:
        with _opened(folder, item.location) as handle, os.fdopen(os.dup(handle), "rb") as stream:
            stream.seek(item.offset)
            data = stream.read(item.length)
    except (OSError, _Outside) as error:
        raise refuse(
            "BL0202", f"external data: {error}", place=f"{place}:{tensor.name}", help="copy the model again"
        ) from None
    if len(data) != item.length:
        raise refuse(
            "BL0202",
            f"external data: {item.location!r} became shorter while it was read",
            place=f"{place}:{tensor.name}",
            help="copy the model again",
        )
    tensor.raw_data = data
    tensor.ClearField("external_data")
    tensor.ClearField("data_location")


def _all_tensors(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    for _, graph in all_graphs(proto):
        yield from graph.initializer
    for nodes in (proto.graph.node, *(function.node for function in proto.functions)):
        for _, node in all_nodes(nodes):
            for entry in node.attribute:
                if entry.HasField("t"):
                    yield entry.t
                yield from entry.tensors


def _tested(tensor: onnx.TensorProto, folder: Path, limits: Limits) -> External | Diagnostic | str:
    """The place of a tensor's data, or what is wrong with it."""
    for wrong in tensor_findings(tensor, tensor.name[:80], limits.stored_bytes):
        return wrong
    entries = [(entry.key, entry.value) for entry in tensor.external_data]
    keys = [key for key, _ in entries]
    odd = next((key for key in keys if key not in _KEYS), None)
    if odd is not None:
        return f"{odd[:80]!r} is no key of external data"
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice is not None:
        return f"the key {twice!r} stands there {keys.count(twice)} times"
    values = dict(entries)
    for key in ("offset", "length"):
        if key in values and not _NUMBER.fullmatch(values[key]):
            return f"the {key} {values[key][:40]!r} is no number of bytes"
    if tensor.data_type == onnx.TensorProto.STRING:
        return "strings cannot lie in a file"
    location, offset = values.get("location", ""), int(values.get("offset", "0"))
    needed = stored_bytes(tensor)
    assert needed is not None, "tested with the element type"
    try:
        with _opened(folder, location) as handle:
            size = os.fstat(handle).st_size
    except (_Outside, OSError) as error:
        return str(error) if isinstance(error, _Outside) else f"{location[:200]!r} cannot be read: {error.strerror}"
    length = int(values["length"]) if "length" in values else size - offset
    if offset + length > size or length < 0:
        return f"bytes {offset} to {offset + max(length, 0)} of {location[:200]!r}, which has {size}"
    if length != needed:
        return f"{length} bytes of {location[:200]!r}, but {list(tensor.dims)[:12]} needs {needed}"
    return External(tensor=tensor, location=location, offset=offset, length=length)


class _Outside(Exception):
    """Why a location is not followed."""


@contextmanager
def _opened(folder: Path, location: str) -> Generator[int]:
    """The file of a location, open. Raises `_Outside` for what is not a plain file of the folder, else `OSError`."""
    shown = repr(location if len(location) <= 200 else location[:197] + "...")
    parts = location.split("/")
    if not location or any(part in ("", ".") for part in parts[1:]):
        raise _Outside(f"the location {shown} names no file")
    if location.startswith("/") or "\\" in location or re.match(r"[A-Za-z]:", location):
        raise _Outside(f"the location {shown} is no path relative to the model")
    if ".." in parts:
        raise _Outside(f"the location {shown} leads out of the model's folder")
    if not location.isprintable():
        raise _Outside(f"the location {shown} holds control characters")
    here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in parts[:-1]:
            _refuse_link(part, here, shown)
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
            os.close(here)
            here = inner
        _refuse_link(parts[-1], here, shown)
        handle = os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=here)
    finally:
        os.close(here)
    try:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode):
            raise _Outside(f"{shown} is not a plain file")
        if about.st_nlink > 1:
            raise _Outside(f"{shown} is a hard link ({about.st_nlink} names); copy the file")
        yield handle
    finally:
        os.close(handle)


def _refuse_link(part: str, folder: int, shown: str) -> None:
    """Before it is opened: a device may act on being opened."""
    mode = os.stat(part, dir_fd=folder, follow_symlinks=False).st_mode
    if stat.S_ISLNK(mode):
        raise _Outside(f"{part!r} in {shown} is a symbolic link; copy the file")
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise _Outside(f"{shown} is not a plain file")


CHUNK: Final = 2**24


def not_finite(tensor: onnx.TensorProto) -> int:
    """How many values of a float tensor are NaN or infinite; looked at in pieces, so that no copy is made of it."""
    match tensor.data_type:
        case onnx.TensorProto.FLOAT | onnx.TensorProto.DOUBLE | onnx.TensorProto.FLOAT16:
            values: npt.NDArray[np.float64] = onnx.numpy_helper.to_array(tensor).reshape(-1)
        case onnx.TensorProto.BFLOAT16:
            values = onnx.numpy_helper.to_array(tensor).astype(np.float64).reshape(-1)
        case _:
            return 0
    pieces = (values[at : at + CHUNK] for at in range(0, values.size, CHUNK))
    return sum(int(np.count_nonzero(~np.isfinite(piece))) for piece in pieces)
