"""Target name or file + overrides -> `Chip`. Every mistake of a file is reported at once, each with its line."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from bitline.core.diagnostics import Diagnostic, Refusal, refuse
from bitline.target import source as yaml
from bitline.target.schema import CHECKS, KEYS, OPTIONAL_SECTIONS, SECTIONS, Chip, Sourced, entry, meaning
from bitline.target.source import Tree

CATALOG: Final = Path(__file__).parent / "catalog"
MAX_BASES: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Who wrote a key: a line of a file, or an option."""

    code: str
    text: str


Places = dict[yaml.Path, Place]


def catalog_names() -> tuple[str, ...]:
    """Names of the targets that come with bitline, sorted."""
    return tuple(sorted(file.stem for file in CATALOG.glob("*.yaml")))


def load_target(name_or_path: str, overrides: Sequence[str] = ()) -> Chip:
    """The chip of a catalog name or a YAML file, with `key.path=value` overrides applied in their order.

    Raises `Refusal`: BL0102 no such target, BL0201 unreadable, BL0103 mistakes in the file, BL0101 in an override.
    """
    return _checked(*_read(name_or_path, ()), overrides)


def changed(chip: Chip, overrides: Sequence[str]) -> Chip:
    """`chip` with `key.path=value` overrides. Raises `Refusal` (BL0101) as `load_target` does."""
    tree: dict[str, Tree] = json.loads(chip.model_dump_json(exclude_none=True))
    return _checked(tree, {(): Place(code="BL0103", text=chip.name)}, overrides)


def _checked(tree: dict[str, Tree], places: Places, overrides: Sequence[str]) -> Chip:
    _override(tree, places, overrides)
    try:
        # Strict validation accepts mappings for models only from JSON.
        chip = Chip.model_validate_json(json.dumps(tree))
    except ValidationError as error:
        raise Refusal([_explain(e, tree, places) for e in error.errors(include_url=False)]) from None
    broken = [_blame(chip, keys, check.__doc__ or "", places) for keys, check in CHECKS if not check(chip)]
    if broken:
        raise Refusal(broken)
    return chip


def _read(name_or_path: str, readers: tuple[str, ...]) -> tuple[dict[str, Tree], Places]:
    """The tree of a file laid over its base's, and where each key was written. `readers` extend it, outermost first."""
    file = _find(name_or_path, readers)
    name = file.name if file.parent == CATALOG else str(file)
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise refuse("BL0103", "not a text file in UTF-8", place=name, help="see `bitline targets show`") from None
    except OSError as error:
        message = f"cannot read the target file: {error.strerror}"
        raise refuse("BL0201", message, place=name, help="check the path and who may read it") from None
    source = yaml.parse(text, name)
    places = {path: Place(code="BL0103", text=_at(name, line, path)) for path, line in source.lines.items()}
    places[()] = Place(code="BL0103", text=f"{name}:1")
    if "extends" not in source.tree:
        return source.tree, places
    base = source.tree.pop("extends")
    here = _at(name, source.lines["extends",], ("extends",))
    if not isinstance(base, str):
        raise refuse("BL0103", "extends takes one name", place=here, help=f"one of {', '.join(catalog_names())}")
    if str(file) in readers or len(readers) >= MAX_BASES:
        raise refuse("BL0103", "targets extend one another in a circle", place=here, help="take one `extends` out")
    beside = file.parent / base
    tree, under = _read(str(beside) if os.path.isfile(beside) else base, (*readers, str(file)))
    return _merge(tree, source.tree), under | places


def _at(file: str, line: int, path: yaml.Path) -> str:
    return f"{file}:{line}:{'.'.join(path)}"


def _find(name_or_path: str, readers: tuple[str, ...]) -> Path:
    names = catalog_names()
    if name_or_path in names:
        return CATALOG / f"{name_or_path}.yaml"
    file = Path(name_or_path)
    if os.path.isfile(file):  # unlike Path.is_file, False also for names that the system refuses
        return file
    raise refuse(
        "BL0102",
        f"{name_or_path!r} is neither a target of the catalog nor a file",
        place=f"extends of {readers[-1]}" if readers else "--target",
        help=_did_you_mean(name_or_path, names) or f"the catalog has {', '.join(names)}; or give a YAML file",
    )


def _merge(base: dict[str, Tree], over: dict[str, Tree]) -> dict[str, Tree]:
    """Deep, but a value is replaced with its source: a source says nothing of another value."""
    merged = dict(base)
    for key, tree in over.items():
        old = base.get(key)
        if isinstance(old, dict) and isinstance(tree, dict) and not {"value", "source"} & tree.keys():
            merged[key] = _merge(old, tree)
        else:
            merged[key] = tree
    return merged


def _override(tree: dict[str, Tree], places: Places, overrides: Iterable[str]) -> None:
    """Put `key.path=value` strings into the tree. Raises `Refusal` (BL0101) with one diagnostic per wrong key."""
    wrong: list[Diagnostic] = []
    old_rows = _value(tree, "array", "rows")
    given: set[str] = set()
    for text in overrides:
        key, equals, value = (part.strip() for part in text.partition("="))
        if not equals:
            wrong.append(_usage(text, f"{text!r} has no `=`", "write `--set key.path=value`"))
        elif key not in KEYS:
            wrong.append(_usage(text, f"no key {key!r}", _did_you_mean(key, KEYS) or f"keys are {', '.join(KEYS)}"))
        else:
            given.add(key)
            _put(tree, key, _scalar(value), "set by the user")
            places[tuple(key.split("."))] = Place(code="BL0101", text=f"--set {text}")
    if wrong:
        raise Refusal(wrong)
    if "array.rows" in given and "array.group_rows" not in given:
        _follow_rows(tree, places, old_rows)


def _follow_rows(tree: dict[str, Tree], places: Places, old_rows: Tree) -> None:
    """No group exceeds its array. A digital array sums all its rows, a converter is made for so many and no more."""
    rows, group = _value(tree, "array", "rows"), _value(tree, "array", "group_rows")
    if not isinstance(rows, int) or not isinstance(group, int) or rows < 1:
        return
    digital = _value(tree, "adc", "bits") == 0
    if rows < group or (digital and group == old_rows):
        _put(tree, "array.group_rows", rows, f"follows array.rows, which was set by the user (was {group})")
        places["array", "group_rows"] = places["array", "rows"]


def _usage(text: str, message: str, way_out: str) -> Diagnostic:
    return Diagnostic(code="BL0101", message=message, place=f"--set {text}", help=way_out)


def _value(tree: dict[str, Tree], section: str, key: str) -> Tree:
    keys = tree.get(section)
    found = keys.get(key) if isinstance(keys, dict) else None
    return found.get("value") if isinstance(found, dict) else None


def _put(tree: dict[str, Tree], key: str, value: Tree, source: str) -> None:
    """Set a key of `KEYS`. A section that the file lacks or mistook stays wrong, for validation to tell, unless it may
    be left out."""
    section, _, name = key.rpartition(".")
    if section in OPTIONAL_SECTIONS:
        tree.setdefault(section, {})
    keys = tree.get(section) if section else tree
    if isinstance(keys, dict):
        keys[name] = {"value": value, "source": source}


def _scalar(text: str) -> Tree:
    """A value of the command line: an integer, a number, true, false, or a word."""
    if text in ("true", "false"):
        return text == "true"
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def _explain(error: ErrorDetails, tree: dict[str, Tree], places: Places) -> Diagnostic:
    """What the user is told of one mistake that the schema found."""
    path = tuple(str(part) for part in error["loc"])
    short = path[:-1] if path[-1] in ("value", "source") else path
    place = next(places[short[:n]] for n in range(len(short), -1, -1) if short[:n] in places)
    key = ".".join(short)
    kind = error["type"]
    if kind == "extra_forbidden":
        known = _siblings(path[:-1])
        guess = _did_you_mean(path[-1], known) or _did_you_mean(path[-1], KEYS)
        message, way_out = f"unknown key {'.'.join(path)!r}", guess or f"keys here are {', '.join(known)}"
    elif kind == "missing" and path == short:
        message = f"{key} is missing"
        way_out = f"{key}: {{value: ..., source: ...}}: {meaning(key)}" if key in KEYS else f"add {key}"
    elif (path == short and key in KEYS) or kind == "missing":
        message = f"{key} needs a value and a source"
        way_out = f"write {short[-1]}: {{value: {_shown(tree, short)}, source: a paper and table, or `estimated: why`}}"
    elif kind == "model_type":
        message, way_out = (
            f"{key} is a section of keys, not {error['input']!r}",
            f"keys are {', '.join(_siblings(path))}",
        )
    elif path[-1] == "source":
        message, way_out = f"{key} has no source", "name a paper and table, a file, or write `estimated: why`"
    else:
        message = f"{key}: {error['msg'][0].lower()}{error['msg'][1:]}, not {error['input']!r}"
        way_out = meaning(key) if key in KEYS else ""
    return Diagnostic(code=place.code, message=message, place=place.text, help=way_out)


def _siblings(path: yaml.Path) -> tuple[str, ...]:
    """Keys that may stand under a path."""
    match path:
        case ():
            return ("extends", *Chip.model_fields)
        case (section,) if section in SECTIONS:
            return tuple(SECTIONS[section].model_fields)
        case _:
            return tuple(Sourced.model_fields)


def _shown(tree: dict[str, Tree], path: yaml.Path) -> str:
    node: Tree = tree
    for part in path:
        node = node.get(part) if isinstance(node, dict) else None
    node = node.get("value") if isinstance(node, dict) else node
    return "..." if node is None else str(node)


def _blame(chip: Chip, keys: tuple[str, ...], message: str, places: Places) -> Diagnostic:
    """A broken rule between keys: the place is an override where one of the keys was overridden."""
    found = [places[path] for path in (tuple(key.split(".")) for key in keys) if path in places]
    place = next((p for p in found if p.code == "BL0101"), found[0] if found else places[()])
    values = ((key, entry(chip, key)) for key in keys)
    shown = ", ".join(f"{key} = {value.value}" for key, value in values if value)
    return Diagnostic(
        code=place.code, message=f"{message} ({shown})", place=place.text, help=f"change {' or '.join(keys)}"
    )


def _did_you_mean(word: str, known: Sequence[str]) -> str:
    """A guess in words, empty where nothing is near; `rows` also finds `array.rows`."""
    ends = [name for name in known if name.rpartition(".")[2] == word]
    near = ends or difflib.get_close_matches(word, known, n=3, cutoff=0.6)
    return f"did you mean {' or '.join(near)}?" if near else ""
