"""Loop nests: what all units of all cores do for one kernel, before it is split into queues. The whole grammar:

    nest      ::= statement*
    statement ::= for VAR in COUNT: nest | on cores FIRST..LAST: nest | UNIT: action
    action    ::= await TOKEN | signal TOKEN | tell CHANNEL, PEER | hear CHANNEL, PEER
                | copy ACCESS -> ACCESS | set ACCESS = VALUE
                | write ACCESS -> ARRAY[ROW.., COL..] | fire ACCESS x ARRAY[ROW.., COL..] -> ACCESS
                | step POST: ACCESS (ACCESS)... -> ACCESS | pick ACCESS of ROWS -> ACCESS | give CALL: ACCESS -> ACCESS
    ACCESS    ::= SPACE[AFFINE] RUNS        AFFINE ::= base + (phase + sum stride * VAR) mod modulus

The variable `core` is always there. `codegen.emit` turns a nest into one queue per unit.
"""

from __future__ import annotations

from dataclasses import dataclass

from bitline.ir.program import MathOp, PostOp, Runs, Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Affine:
    """`base + (phase + sum stride * variable) mod modulus`; modulus 0 means none."""

    base: int = 0
    terms: tuple[tuple[str, int], ...] = ()
    phase: int = 0
    modulus: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Bytes of a memory, by its name."""

    space: str
    at: Affine
    runs: Runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Await:
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tell:
    channel: str
    peer: Affine


@dataclass(frozen=True, slots=True, kw_only=True)
class Hear:
    channel: str
    peer: Affine


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    src: Access
    dst: Access


@dataclass(frozen=True, slots=True, kw_only=True)
class Set:
    dst: Access
    value: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    src: Access
    array: Affine
    row: int
    col: int
    rows: int
    cols: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fire:
    """`first`: the sums replace what lies in `dst`; otherwise they are added."""

    src: Access
    array: Affine
    row: int
    col: int
    cols: int
    dst: Access
    first: bool
    math: MathOp


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    post: PostOp
    dst: Access
    a: Access
    b: Access | None = None
    c: Access | None = None
    parameters: Access | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pick:
    """Rows of a table in the memory `tables`, chosen by the numbers in `src` (`ir.program.Take`)."""

    base: int
    rows: int
    row_bytes: int
    src: Access
    dst: Access


@dataclass(frozen=True, slots=True, kw_only=True)
class Give:
    """The host runs subgraph `call`."""

    call: int
    src: Access
    dst: Access


Action = Await | Signal | Tell | Hear | Copy | Set | Write | Fire | Step | Pick | Give


@dataclass(frozen=True, slots=True, kw_only=True)
class Do:
    """`unit` does `action`."""

    unit: Unit
    action: Action


@dataclass(frozen=True, slots=True, kw_only=True)
class For:
    var: str
    count: int
    body: tuple[Statement, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class On:
    first: int
    last: int
    body: tuple[Statement, ...]


Statement = For | On | Do
Nest = tuple[Statement, ...]


def join_runs(runs: Runs) -> Runs:
    """The same bytes in the same order with neighbouring runs joined."""
    joined: list[tuple[int, int]] = []
    for offset, length in runs:
        if joined and sum(joined[-1]) == offset:
            joined[-1] = (joined[-1][0], joined[-1][1] + length)
        elif length:
            joined.append((offset, length))
    return tuple(joined)


def _affine_text(affine: Affine) -> str:
    inner = " + ".join([*(f"{s}*{v}" for v, s in affine.terms), *([str(affine.phase)] if affine.phase else [])]) or "0"
    ring = f"({inner}) % {affine.modulus}" if affine.modulus else inner
    return f"{affine.base} + {ring}" if affine.base else ring


def _access_text(access: Access) -> str:
    size = sum(length for _, length in access.runs)
    runs = f"{size} bytes" if len(access.runs) == 1 else f"{size} bytes in {len(access.runs)} runs"
    return f"{access.space}[{_affine_text(access.at)}] {runs}"


def _action_text(action: Action) -> str:
    match action:
        case Await():
            return f"await {action.token}"
        case Signal():
            return f"signal {action.token}"
        case Tell() | Hear():
            verb = "tell" if isinstance(action, Tell) else "hear"
            return f"{verb} {action.channel}, core + {_affine_text(action.peer)}"
        case Copy():
            return f"copy {_access_text(action.src)} -> {_access_text(action.dst)}"
        case Set():
            return f"set {_access_text(action.dst)} = {action.value}"
        case Write():
            place = f"[{action.row}:{action.row + action.rows}, {action.col}:{action.col + action.cols}]"
            return f"write {_access_text(action.src)} -> array {_affine_text(action.array)}{place}"
        case Fire():
            place = f"[{action.row}.., {action.col}:{action.col + action.cols}]"
            arrow = "->" if action.first else "+>"
            array = f"array {_affine_text(action.array)}{place}"
            return f"fire {_access_text(action.src)} x {array} {arrow} {_access_text(action.dst)}"
        case Step():
            operands = [_access_text(a) for a in (action.a, action.b, action.c, action.parameters) if a is not None]
            return f"{action.post.op} {', '.join(operands)} -> {_access_text(action.dst)}"
        case Pick():
            table = f"{action.rows} rows of {action.row_bytes} bytes at {action.base}"
            return f"pick {_access_text(action.src)} of {table} -> {_access_text(action.dst)}"
        case Give():
            return f"give call {action.call}: {_access_text(action.src)} -> {_access_text(action.dst)}"


def nest_text(nest: Nest, depth: int = 0) -> str:
    """A nest as indented text, one statement a line."""
    lines: list[str] = []
    for statement in nest:
        match statement:
            case For():
                lines.append(f"{'  ' * depth}for {statement.var} in {statement.count}:")
                lines.append(nest_text(statement.body, depth + 1))
            case On():
                lines.append(f"{'  ' * depth}on cores {statement.first}..{statement.last - 1}:")
                lines.append(nest_text(statement.body, depth + 1))
            case Do():
                lines.append(f"{'  ' * depth}{statement.unit}: {_action_text(statement.action)}")
    return "\n".join(lines)
