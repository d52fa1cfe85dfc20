"""YAML text of a target -> a tree of plain values that knows the line of every key. Trusts nothing in the text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, TypeAlias, cast

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, MappingEndEvent, MappingStartEvent, SequenceEndEvent, SequenceStartEvent

from bitline.core.diagnostics import refuse

Path = tuple[str, ...]
Scalar = int | float | bool | str | None
Tree: TypeAlias = "dict[str, Tree] | list[Tree] | Scalar"

MAX_CHARACTERS = 256 * 1024
MAX_DEPTH = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A target file as read: `lines` holds the line of every path of keys, `file` how the user calls the file."""

    file: str
    tree: dict[str, Tree]
    lines: dict[Path, int]


def parse(text: str, file: str) -> Source:
    """The tree of one file. Raises `Refusal` (BL0103) where the text is no plain YAML mapping of a reasonable size."""
    if len(text) > MAX_CHARACTERS:
        raise refuse("BL0103", f"more than {MAX_CHARACTERS} characters", place=file, help="this is no target file")
    try:
        _check_shape(text, file)
        root = _yaml().compose(text)
        loaded = _yaml().load(text)
    except MarkedYAMLError as error:
        marked = cast("_Marked", error)
        line = marked.problem_mark.line + 1 if marked.problem_mark else 1
        raise refuse(
            "BL0103",
            f"not valid YAML: {marked.problem}",
            place=f"{file}:{line}",
            help="write every number as `key: {value: 1, source: ...}`, every key once, nested by two spaces",
        ) from None
    except (YAMLError, ValueError) as error:
        raise refuse("BL0103", f"not valid YAML: {str(error).splitlines()[0]}", place=file) from None
    tree = _plain(loaded)
    if not isinstance(tree, dict) or root is None:
        raise refuse("BL0103", "not a mapping of keys to values", place=f"{file}:1", help="see `bitline targets new`")
    return Source(file=file, tree=tree, lines=dict(_lines(root, ())))


class _Mark(Protocol):
    line: int


class _Marked(Protocol):
    problem: str | None
    problem_mark: _Mark | None


class _Event(Protocol):
    start_mark: _Mark


class _Node(Protocol):
    """A node of composed YAML; the value of a mapping is a list of pairs, of a scalar a text."""

    id: str
    start_mark: _Mark
    value: list[tuple[_Node, _Node]] | list[_Node] | str


class _Yaml(Protocol):
    """What we use of ruamel.yaml, whose own annotations stop short of it."""

    def parse(self, stream: str) -> Iterator[_Event]: ...
    def compose(self, stream: str) -> _Node | None: ...
    def load(self, stream: str) -> object: ...


def _yaml() -> _Yaml:
    return cast("_Yaml", YAML(typ="safe", pure=True))


def _check_shape(text: str, file: str) -> None:
    """Refuse aliases, which can unfold without end, and nesting that no target has."""
    depth = 0
    for event in _yaml().parse(text):
        place = f"{file}:{event.start_mark.line + 1}"
        match event:
            case AliasEvent():
                raise refuse("BL0103", "aliases (`*name`) are not read", place=place, help="write the value out")
            case MappingStartEvent() | SequenceStartEvent():
                depth += 1
            case MappingEndEvent() | SequenceEndEvent():
                depth -= 1
            case _:
                pass
        if depth > MAX_DEPTH:
            raise refuse(
                "BL0103", f"nested deeper than {MAX_DEPTH} levels", place=place, help="a target has three levels"
            )


def _plain(node: object) -> Tree:
    match node:
        case dict():
            items = cast("dict[object, object]", node)
            return {str(key): _plain(value) for key, value in items.items()}
        case list():
            return [_plain(value) for value in cast("list[object]", node)]
        case bool() | int() | float() | str() | None:
            return node
        case _:
            return str(node)


def _lines(node: _Node, path: Path) -> Iterator[tuple[Path, int]]:
    """(keys, line) of every key at or below a node."""
    if node.id != "mapping":
        return
    for key, value in cast("list[tuple[_Node, _Node]]", node.value):
        here = (*path, str(key.value))
        yield here, key.start_mark.line + 1
        yield from _lines(value, here)
