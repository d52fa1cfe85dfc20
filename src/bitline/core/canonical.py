"""Canonical JSON of our frozen dataclasses, and hashes. Equal values give equal bytes on every machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import TYPE_CHECKING, Final, TypeVar, cast

from bitline.core.diagnostics import refuse

if TYPE_CHECKING:
    from pydantic import TypeAdapter


T = TypeVar("T")

SPARSE: Final[Mapping[str, bool]] = {"sparse": True}
"""Metadata of a field that JSON leaves out where it has its default: what few values need costs the others nothing."""


@cache
def _adapter(cls: type[T]) -> TypeAdapter[T]:
    from pydantic import TypeAdapter

    return TypeAdapter(cls)


def dumps(value: object) -> str:
    """Canonical JSON text: sorted keys, no spaces, no NaN; ends with a newline.

    ASCII only: names from model files hold what a terminal obeys and what ends a line of `program.asm` (U+2028).
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.replace("\x7f", "\\u007f") + "\n"


def to_json(value: object) -> str:
    """Canonical JSON of a dataclass made of dataclasses, tuples, dicts, strings, numbers and None."""
    plain: object = _adapter(type(value)).dump_python(value, mode="json")
    _leave_out(value, plain)
    return dumps(plain)


def _leave_out(value: object, plain: object) -> None:
    """Take sparse fields at their default out of `plain`, what pydantic made of `value`."""
    if is_dataclass(value) and isinstance(plain, dict):
        keys = cast(dict[str, object], plain)
        for field in fields(value):
            inner: object = getattr(value, field.name)
            if field.metadata.get("sparse") and inner == field.default:
                del keys[field.name]
            elif isinstance(inner, tuple | list | dict) or is_dataclass(inner):
                _leave_out(inner, keys[field.name])
    elif isinstance(value, dict) and isinstance(plain, dict):
        keys = cast(dict[str, object], plain)
        for key, inner in cast(dict[str, object], value).items():
            _leave_out(inner, keys[key])
    elif isinstance(value, tuple | list) and isinstance(plain, list):
        for inner, made in zip(cast(tuple[object, ...], value), cast(list[object], plain), strict=True):
            if isinstance(inner, tuple | list | dict) or is_dataclass(inner):
                _leave_out(inner, made)


def from_json(cls: type[T], text: str | bytes, *, place: str, again: str = "compile the package again") -> T:
    """The value that `to_json` wrote. `again`: what makes the file anew. Raises `Refusal` (BL0205) naming the field
    where the text does not fit `cls`."""
    from pydantic import ValidationError

    try:
        return _adapter(cls).validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise refuse(
            "BL0205",
            f"{field or 'file'}: {first['msg']}",
            place=place,
            help=f"the file was altered or written by another version; {again}",
        ) from None


def sha256(data: bytes) -> str:
    """Hexadecimal SHA-256."""
    return hashlib.sha256(data).hexdigest()
