"""YAML text of a target -> a tree of plain values that knows the line of every key. Trusts nothing in the text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, MappingEndEvent, MappingStartEvent, SequenceEndEvent, SequenceStartEvent
from ruamel.yaml.nodes import MappingNode, Node

from bitline.core.diagnostics import refuse

Path = tuple[str, ...]
Scalar = int | float | bool | str | None
Tree: TypeAlias = "dict[str, Tree] | Scalar"

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
        yaml = YAML(typ="safe", pure=True)
        root: Node | None = yaml.compose(text)
        loaded: object = YAML(typ="safe", pure=True).load(text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise refuse(
            "BL0103",
            f"not valid YAML: {error.problem}",
            place=f"{file}:{line}",
            help="write every number as `key: {value: 1, source: ...}`, every key once, nested by two spaces",
        ) from None
    except (YAMLError, ValueError) as error:
        raise refuse("BL0103", f"not valid YAML: {error}".splitlines()[0], place=file) from None
    tree = _plain(loaded)
    if not isinstance(tree, dict) or not isinstance(root, MappingNode):
        raise refuse("BL0103", "not a mapping of keys to values", place=f"{file}:1", help="see `bitline targets new`")
    lines: dict[Path, int] = {}
    _lines(root, (), lines)
    return Source(file=file, tree=tree, lines=lines)


def _check_shape(text: str, file: str) -> None:
    """Refuse aliases, which can unfold without end, and nesting that no target has."""
    depth = 0
    for event in YAML(typ="safe", pure=True).parse(text):
        line = event.start_mark.line + 1
        match event:
            case AliasEvent():
                raise refuse("BL0103", "aliases (`*name`) are not read", place=f"{file}:{line}", help="write it out")
            case MappingStartEvent() | SequenceStartEvent():
                depth += 1
            case MappingEndEvent() | SequenceEndEvent():
                depth -= 1
            case _:
                pass
        if depth > MAX_DEPTH:
            raise refuse("BL0103", f"nested deeper than {MAX_DEPTH} levels", place=f"{file}:{line}")


def _plain(node: object) -> Tree:
    match node:
        case dict():
            return {str(key): _plain(value) for key, value in node.items()}
        case bool() | int() | float() | str() | None:
            return node
        case _:
            return str(node)


def _lines(node: MappingNode, path: Path, lines: dict[Path, int]) -> None:
    for key, value in node.value:
        here = (*path, str(key.value))
        lines[here] = key.start_mark.line + 1
        if isinstance(value, MappingNode):
            _lines(value, here, lines)
