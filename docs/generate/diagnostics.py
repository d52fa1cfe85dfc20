"""Every diagnostic code with the messages that the code can print, read from the sources."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import bitline
from bitline.core.diagnostics import CODES, EXIT_BY_FAMILY
from docs.generate.markdown import page, prose, table

SOURCES = Path(bitline.__file__).parent
FAMILIES = {
    "01": "Usage and configuration",
    "02": "Malformed or refused input",
    "03": "Unsupported model",
    "04": "Does not fit",
    "05": "A check failed",
    "09": "A bug of bitline",
}


def messages() -> dict[str, dict[str, str]]:
    """By code: message -> way out, both with `...` for what depends on the case."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for file in sorted(SOURCES.rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        makers = _makers(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and (told := _told(node) or _made(node, makers)) is not None:
                code, message, help = told
                found[code].setdefault(message, help)
    return found


def _makers(tree: ast.Module) -> dict[str, tuple[str, int, str]]:
    """Functions of a module that make a diagnostic of a message that they are handed, or hand it on to one that does:
    (code, place of the message among their arguments, way out)."""
    found: dict[str, tuple[str, int, str]] = {}
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    for function in (*functions, *functions):
        parameters = [argument.arg for argument in function.args.args]
        for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
            names = {keyword.arg: keyword.value for keyword in call.keywords}
            code, message, help = names.get("code"), names.get("message"), names.get("help")
            said = (str(code.value), _text(help) if help else "") if isinstance(code, ast.Constant) else None
            if isinstance(call.func, ast.Name) and call.func.id in found:
                inner, place, way_out = found[call.func.id]
                said, message = (inner, way_out), call.args[place] if place < len(call.args) else None
            if said and said[0] in CODES and isinstance(message, ast.Name) and message.id in parameters:
                found.setdefault(function.name, (said[0], parameters.index(message.id), said[1]))
    return found


def _made(call: ast.Call, makers: Mapping[str, tuple[str, int, str]]) -> tuple[str, str, str] | None:
    """A call of such a function."""
    if not isinstance(call.func, ast.Name) or call.func.id not in makers:
        return None
    code, place, help = makers[call.func.id]
    text = _text(call.args[place]) if place < len(call.args) else ""
    return (code, text, help) if text.strip(". ") else None


def _told(call: ast.Call) -> tuple[str, str, str] | None:
    """(code, message, way out) of a call that makes a diagnostic; None for others and for messages in variables."""
    names = {keyword.arg: keyword.value for keyword in call.keywords}
    code = names.get("code") or (call.args[0] if call.args else None)
    message = names.get("message") or _message_place(call)
    if not (isinstance(code, ast.Constant) and code.value in CODES) or message is None:
        return None
    text = _text(message)
    help = names.get("help") or names.get("way_out")
    if help is None and len(call.args) > 3:
        help = call.args[3]
    return (str(code.value), text, _text(help) if help else "") if text.strip(". ") else None


def _message_place(call: ast.Call) -> ast.expr | None:
    """The first text behind the code."""
    return next((a for a in call.args[1:] if isinstance(a, ast.Constant | ast.JoinedStr | ast.BinOp | ast.IfExp)), None)


def _text(node: ast.expr) -> str:
    match node:
        case ast.Constant(value=str() as value):
            return " ".join(value.split(" "))
        case ast.JoinedStr(values=values):
            return "".join(_text(value) for value in values)
        case ast.BinOp(left=left, right=right):
            return _text(left) + _text(right)
        case ast.IfExp(body=body):
            return _text(body)
        case _:
            return "..."


def spaced(text: str) -> str:
    """Runs of dots taken apart: two values side by side are one `...`, and `0..n` says from where to where."""
    return re.sub(r"\.{5}", " to ...", re.sub(r"\.{6}", "...", re.sub(r"\.{8}", "... to ...", text)))


def diagnostics_page() -> str:
    """All codes, with titles, exit status and messages."""
    parts: list[str] = []
    told = messages()
    for family, title in FAMILIES.items():
        parts.append(f"## {title}: BL{family}xx, exit status {EXIT_BY_FAMILY[family]}\n")
        for code in (code for code in CODES if code[2:4] == family):
            parts.append(f"({code.lower()})=\n### {code}: {CODES[code]}\n")
            told_here = {spaced(message): spaced(help) for message, help in told.get(code, {}).items()}
            rows = [(prose(message), prose(help)) for message, help in sorted(told_here.items())]
            parts.append(table(["message", "way out"], rows) if rows else "No command prints this code today.\n")
    return page(
        "Diagnostics",
        "What is wrong is said with a code, a place in *your* file, a message and a way out; all findings of a "
        "stage at once, equal ones counted. Nothing half-made is left behind, and no traceback is shown.\n",
        "```text\nerror[BL0401]: message\n  --> model.onnx:/layer4/conv2/Conv\n  help: way out\n```\n",
        "The first finding decides the exit status. With `--json` the same is one object with `errors`. Below, "
        "`...` stands for what depends on the case.\n",
        *parts,
    )
