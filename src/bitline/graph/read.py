"""The gate: a file from anywhere becomes a `Model`, or a `Refusal` says what is wrong with it. Never a traceback.

What it guards against was measured on a matrix of hostile files: ONNX's checker, given the *path*, refuses wrong
lengths, cycles and unknown operators; what it accepts or follows, `budgets` and `external` refuse before it is asked.
The order is the order of cost: bytes are counted before a message is built, the message is walked before ONNX's
checker sees it, and weights in other files are read last, once.
"""

from __future__ import annotations

import math
import mmap
import os
import re
import stat
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError, EncodeError
from onnx import inliner

from bitline.core.diagnostics import Diagnostic, Refusal, refuse
from bitline.graph import shapes as shape_inference
from bitline.graph.budgets import DEFAULTS, Limits, all_nodes, check_contents, check_extent, check_loops, damaged
from bitline.graph.external import External, early, find_external, not_finite, read_into
from bitline.graph.model import Model
from bitline.graph.newest_opset import NEWEST, without_news
from bitline.graph.operands import check_operands
from bitline.graph.refused_forms import check_forms
from bitline.graph.wire import Damaged, measure

__all__ = ["OLDEST_OPSET", "Limits", "read_model"]

OLDEST_OPSET = 13  # the first in which DequantizeLinear takes one scale per channel

LARGEST_AXIS = 2**31 - 1
_ONNX_DOMAINS = ("", "ai.onnx")
_ONNX_ERRORS = (DecodeError, EncodeError, OSError, MemoryError, RecursionError, *shape_inference.ERRORS)


def read_model(path: Path, *, shapes: Mapping[str, tuple[int, ...]] = {}, limits: Limits = DEFAULTS) -> Model:
    """The checked model with all weights inside and a static shape for every tensor.

    `shapes` gives sizes to inputs by name. An open first axis that it leaves open becomes 1, which `remarks` says.
    Raises `Refusal`: BL0201, BL0202, BL0203, BL0204, BL0301, BL0302, BL0303, BL0101 for a wrong entry of `shapes`.
    """
    place = path.name
    proto = _parsed(path, limits)
    check_contents(proto, place, limits)
    external = find_external(proto, path.parent, place, limits)
    _check_operators(proto, place)  # before ONNX's checker, for which an unknown operator is a damaged file
    check_loops(proto.graph, place, limits)
    try:
        onnx.checker.check_model(str(path), full_check=True)
        for item in early(external):
            read_into(item.tensor, item, path.parent, place)
        if proto.functions:
            proto = inliner.inline_local_functions(proto)
    except _ONNX_ERRORS as error:
        raise _invalid(error, place) from None
    _check_operators(proto, place)
    remarks = [*_defaults_to_constants(proto)]
    proto = _raise_opset(proto, place, remarks)
    remarks += _fix_inputs(proto, place, shapes)
    try:
        proto = shape_inference.with_shapes(proto, each_bytes=limits.fold_bytes, total_bytes=limits.fold_bytes_total)
    except _ONNX_ERRORS as error:
        raise (_contradicted(error, place, shapes) if shapes else _invalid(error, place)) from None
    shape_inference.check_static(proto, place=place, tensor_bytes=limits.tensor_bytes)
    check_operands(proto.graph, place)
    check_forms(proto.graph, place)
    _read_late(proto, external, path)
    _check_finite(proto, place)
    return Model(proto=proto, name=path.stem, path=path, remarks=tuple(remarks))


def _parsed(path: Path, limits: Limits) -> onnx.ModelProto:
    """The message, without data from other files. Its bytes are counted before anything is built from them."""
    place = path.name
    with _opened(path) as handle:
        size = os.fstat(handle).st_size
        if size == 0:
            raise refuse("BL0202", "the file is empty", place=place, help="export or copy the model again")
        if size > limits.model_bytes:
            raise refuse(
                "BL0203",
                f"{size} bytes; the limit is {limits.model_bytes}",
                place=place,
                help="protobuf ends at 2 GiB: save the weights beside it, `onnx.save(..., save_as_external_data=True)`",
            )
        try:
            with mmap.mmap(handle, size, access=mmap.ACCESS_READ) as data:
                extent = measure(data, fields=limits.fields, nodes=limits.nodes, subgraphs=limits.subgraphs)
                check_extent(extent, place, limits)
                return onnx.ModelProto.FromString(data[:])
        except Damaged as error:
            raise damaged(error, place) from None
        except (DecodeError, OSError, MemoryError, ValueError) as error:
            raise _invalid(error, place) from None


@contextmanager
def _opened(path: Path) -> Generator[int]:
    """A plain file, open. It is looked at first: opening a FIFO would wait for somebody to write."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise refuse("BL0201", "a folder, not a file", place=str(path), help="name the .onnx file inside it")
        if not stat.S_ISREG(mode):
            raise refuse("BL0201", "not a plain file", place=str(path), help="copy the model into a file")
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise refuse("BL0201", f"cannot be read: {why}", place=str(path), help="check the path") from None
    try:
        yield handle
    finally:
        os.close(handle)


def _read_late(proto: onnx.ModelProto, external: tuple[External, ...], path: Path) -> None:
    """The large tensors that are still outside; each is copied into the message and forgotten."""
    places = {item.tensor.name: item for item in external}
    for tensor in proto.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            read_into(tensor, places[tensor.name], path.parent, path.name)


def _one_line(error: BaseException) -> str:
    text = re.sub(r"\s+", " ", str(error)).strip() or type(error).__name__
    return text if len(text) <= 500 else text[:497] + "..."


def _invalid(error: BaseException, place: str) -> Refusal:
    return refuse(
        "BL0202",
        "not an ONNX file, or damaged" if isinstance(error, DecodeError) else _one_line(error),
        place=place,
        help="export the model again; `python -m onnx.bin.checker MODEL` shows the same complaint",
    )


def _contradicted(error: BaseException, place: str, shapes: Mapping[str, tuple[int, ...]]) -> Refusal:
    """The file was sound before the user's sizes were put in."""
    given = " ".join(f"--shape {name}={','.join(map(str, sizes))}" for name, sizes in shapes.items())
    return refuse(
        "BL0101",
        f"the network cannot take {given}: {_one_line(error)}",
        place=place,
        help="give sizes that the network was made for",
    )


def _check_operators(proto: onnx.ModelProto, place: str) -> None:
    """Every operator is one of ONNX or a function of the file. Domains not imported are left to the checker."""
    versions = {entry.domain: entry.version for entry in proto.opset_import}
    functions = {(function.domain, function.name) for function in proto.functions}
    found: list[Diagnostic] = []
    for _, node in all_nodes(proto.graph.node):
        domain, version = node.domain, versions.get(node.domain)
        if version is None or (domain, node.op_type) in functions or onnx.defs.has(node.op_type, version, domain):
            continue
        newer = onnx.defs.has(node.op_type, domain) and domain in _ONNX_DOMAINS
        where = f"opset {version} of ONNX" if domain in _ONNX_DOMAINS else f"ONNX (domain {domain!r})"
        found.append(
            Diagnostic(
                code="BL0301",
                message=f"operator {node.op_type!r} is not part of {where}",
                place=f"{place}:{node.name or node.op_type}",
                help="export with a newer opset" if newer else "export with standard operators only",
            )
        )
    if found:
        raise Refusal(found)


def _defaults_to_constants(proto: onnx.ModelProto) -> list[str]:
    """Inputs with a default value (files of IR version 3 list every weight as one) are constants here."""
    proto.ir_version = max(proto.ir_version, 4)  # below it every constant has to be an input as well
    constants = {tensor.name for tensor in proto.graph.initializer}
    kept = [value for value in proto.graph.input if value.name not in constants]
    count = len(proto.graph.input) - len(kept)
    if not count:
        return []
    values = [onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in kept]
    del proto.graph.input[:]
    proto.graph.input.extend(values)
    return [f"{count} inputs with a default value became constants"]


def _raise_opset(proto: onnx.ModelProto, place: str, remarks: list[str]) -> onnx.ModelProto:
    version = next((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), 0)
    newest = onnx.defs.onnx_opset_version()
    if version > newest:
        raise refuse(
            "BL0302",
            f"opset {version} is newer than {newest}, the newest that the installed onnx knows",
            place=place,
            help=f"export the model with opset {newest} or older",
        )
    proto, news = without_news(proto, place)
    if news:
        raise Refusal(news)
    if version > NEWEST:
        remarks.append(f"opset {version} became {NEWEST}")
    if version >= OLDEST_OPSET or version == 0:
        return proto
    try:
        raised = onnx.version_converter.convert_version(proto, OLDEST_OPSET)
    except (onnx.version_converter.ConvertError, *_ONNX_ERRORS) as error:
        raise refuse(
            "BL0302",
            f"opset {version} cannot be converted to {OLDEST_OPSET}: {error}",
            place=place,
            help=f"export the model with opset {OLDEST_OPSET} or newer",
        ) from None
    raised.ir_version = max(raised.ir_version, 7)
    remarks.append(f"opset {version} became {OLDEST_OPSET}")
    return raised


def _fix_inputs(proto: onnx.ModelProto, place: str, shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    found: list[Diagnostic] = []
    remarks: list[str] = []
    names = [value.name for value in proto.graph.input]
    for name in sorted(set(shapes) - set(names)):
        message = f"--shape names {name!r}, which is no input"
        found.append(
            Diagnostic(code="BL0101", message=message, place=place, help=f"inputs: {', '.join(names) or 'none'}")
        )
    for value in proto.graph.input:
        if not value.type.HasField("tensor_type"):
            message = f"input {value.name!r} is not a tensor"
            found.append(Diagnostic(code="BL0302", message=message, place=place, help="use tensor inputs only"))
            continue
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_value < 0:  # some exporters write -1 where they mean any size
                dim.ClearField("dim_value")
        empty = any(
            dim.WhichOneof("value") == "dim_value" and not dim.dim_value for dim in value.type.tensor_type.shape.dim
        )
        if empty and value.name not in shapes:
            message = f"input {value.name!r} has an axis of size 0"
            found.append(Diagnostic(code="BL0302", message=message, place=place, help="export with real sizes"))
            continue
        given = shapes.get(value.name)
        why = _apply_shape(value, given) if given is not None else _close_first_axis(value, remarks)
        if why is not None:
            code, message = why
            rank = len(value.type.tensor_type.shape.dim)
            example = ",".join(
                str(dim.dim_value or (1 if axis == 0 else "N"))
                for axis, dim in enumerate(value.type.tensor_type.shape.dim)
            )
            found.append(
                Diagnostic(
                    code=code,
                    message=message,
                    place=place,
                    help=f"give its sizes: `--shape {value.name}={example if rank else '...'}`",
                )
            )
    if found:
        raise Refusal(found)
    return remarks


def _apply_shape(value: onnx.ValueInfoProto, given: tuple[int, ...]) -> tuple[str, str] | None:
    """Give an input its sizes; why not, as code and message, where they contradict the file."""
    tensor = value.type.tensor_type
    text = ",".join(map(str, given))
    if not all(1 <= size <= LARGEST_AXIS for size in given):
        return "BL0101", f"--shape {value.name}={text}: sizes start at 1 and end at {LARGEST_AXIS}"
    if not tensor.HasField("shape"):
        tensor.shape.SetInParent()
        for size in given:
            tensor.shape.dim.add(dim_value=size)
        return None
    if len(given) != len(tensor.shape.dim):
        return "BL0101", f"--shape {value.name}={text} has {len(given)} axes, the input has {len(tensor.shape.dim)}"
    for axis, (dim, size) in enumerate(zip(tensor.shape.dim, given, strict=True)):
        if dim.WhichOneof("value") == "dim_value" and dim.dim_value != size:
            return "BL0101", f"--shape {value.name}={text}: the file fixes axis {axis} to {dim.dim_value}"
    for dim, size in zip(tensor.shape.dim, given, strict=True):
        dim.dim_value = size
    return None


def _close_first_axis(value: onnx.ValueInfoProto, remarks: list[str]) -> tuple[str, str] | None:
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return "BL0303", f"input {value.name!r} has no shape"
    open_axes = [axis for axis, dim in enumerate(tensor.shape.dim) if dim.WhichOneof("value") != "dim_value"]
    if any(axis > 0 for axis in open_axes):
        axes = ", ".join(f"{axis} ({tensor.shape.dim[axis].dim_param or 'unnamed'})" for axis in open_axes)
        return "BL0303", f"input {value.name!r} has open axes: {axes}"
    if open_axes:
        tensor.shape.dim[0].dim_value = 1
        remarks.append(f"open axis 0 of {value.name!r} became 1")
    return None


def _check_finite(proto: onnx.ModelProto, place: str) -> None:
    found: list[Diagnostic] = []
    for tensor in proto.graph.initializer:
        bad = not_finite(tensor)
        if bad:
            found.append(
                Diagnostic(
                    code="BL0204",
                    message=f"{tensor.name!r} holds {bad} NaN or infinite values of {math.prod(tensor.dims)}",
                    place=place,
                    help="train or export the model again",
                )
            )
    if found:
        raise Refusal(found)
