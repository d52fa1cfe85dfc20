"""Loop nests -> program: each unit keeps the loops around its own actions; variables become stride levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import assert_never

from bitline.ir.loops import (
    Access,
    Action,
    Affine,
    Await,
    Copy,
    Do,
    Fire,
    For,
    Give,
    Hear,
    Nest,
    On,
    Pick,
    Set,
    Signal,
    Statement,
    Step,
    Tell,
    Write,
    join_runs,
)
from bitline.ir.program import (
    NO_KERNEL,
    UNITS,
    Address,
    Cores,
    Dma,
    End,
    Fill,
    HostCall,
    Instruction,
    Loop,
    MathOp,
    Mvm,
    Operand,
    Post,
    PostOp,
    Queue,
    Recv,
    Runs,
    Send,
    Space,
    Take,
    Token,
    Unit,
    Vector,
    Wait,
    WriteWeights,
)

TABLES = "tables"
"""The constant memory of look-up tables and of tensors that never change."""


@dataclass(slots=True, kw_only=True)
class Tables:
    """The tables that instructions point into, filled as actions name their entries."""

    cores: int
    spaces: tuple[Space, ...]
    tokens: tuple[Token, ...]
    channels: tuple[str, ...]
    runs: dict[Runs, int] = field(default_factory=dict[Runs, int])
    maths: dict[MathOp, int] = field(default_factory=dict[MathOp, int])
    posts: dict[PostOp, int] = field(default_factory=dict[PostOp, int])

    def space(self, name: str) -> int:
        return next(i for i, space in enumerate(self.spaces) if space.name == name)

    def token(self, name: str) -> int:
        return next(i for i, token in enumerate(self.tokens) if token.name == name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Nests of kernels, run `count` times by a loop over `var`; the marks of a loop around the whole network stand for
    no kernel."""

    nests: tuple[tuple[int, Nest], ...]
    var: str = ""
    count: int = 1
    whole: bool = False


def emit_queues(groups: Sequence[Group], tables: Tables) -> tuple[Queue, ...]:
    """One queue per unit from (kernel, nest) pairs in order; units that do nothing get an empty queue."""
    return tuple(_queue(unit, groups, tables) for unit in UNITS)


def _queue(unit: Unit, groups: Sequence[Group], tables: Tables) -> Queue:
    code: list[Instruction] = []
    kernels: list[int] = []
    for group in groups:
        levels = ("core", group.var) if group.count > 1 else ("core",)
        inner: list[Instruction] = []
        owners: list[int] = []
        for kernel, nest in group.nests:
            before = len(inner)
            for statement in nest:
                _emit(unit, statement, levels, tables, inner)
            owners += [kernel] * (len(inner) - before)
        if inner and group.count > 1:
            inner = [Loop(count=group.count), *inner, End()]
            owners = [NO_KERNEL, *owners, NO_KERNEL] if group.whole else [owners[0], *owners, owners[-1]]
        code += inner
        kernels += owners
    return Queue(unit=unit, code=tuple(code), kernels=tuple(kernels))


def _emit(unit: Unit, statement: Statement, levels: tuple[str, ...], tables: Tables, code: list[Instruction]) -> None:
    """Append what `unit` does of a statement; a loop of one pass needs no loop, one without work for the unit none."""
    match statement:
        case Do():
            if statement.unit == unit:
                code.append(_instruction(statement.action, levels, tables))
        case For():
            inner: list[Instruction] = []
            around = (*levels, statement.var) if statement.count > 1 else levels
            for part in statement.body:
                _emit(unit, part, around, tables, inner)
            if inner and statement.count > 1:
                code += [Loop(count=statement.count), *inner, End()]
            else:
                code += inner if statement.count else []
        case On():
            inner = []
            for part in statement.body:
                _emit(unit, part, levels, tables, inner)
            if inner and (statement.first, statement.last) == (0, tables.cores):
                code += inner
            elif inner:
                code += [Cores(first=statement.first, last=statement.last), *inner, End()]
        case _:
            assert_never(statement)


def _address(affine: Affine, levels: tuple[str, ...]) -> Address:
    strides = [0] * len(levels)
    for var, stride in affine.terms:
        if var in levels:  # a variable of a loop with one pass is 0
            strides[levels.index(var)] += stride
    while strides and strides[-1] == 0:
        strides.pop()
    return Address(base=affine.base, strides=tuple(strides), phase=affine.phase, modulus=affine.modulus)


def _operand(access: Access, levels: tuple[str, ...], tables: Tables) -> Operand:
    runs = tables.runs.setdefault(join_runs(access.runs), len(tables.runs))
    return Operand(space=tables.space(access.space), address=_address(access.at, levels), runs=runs)


def _instruction(action: Action, levels: tuple[str, ...], tables: Tables) -> Instruction:
    match action:
        case Await():
            return Wait(token=tables.token(action.token))
        case Signal():
            return Post(token=tables.token(action.token))
        case Tell():
            return Send(peer=_address(action.peer, levels), channel=tables.channels.index(action.channel))
        case Hear():
            return Recv(peer=_address(action.peer, levels), channel=tables.channels.index(action.channel))
        case Copy():
            return Dma(src=_operand(action.src, levels, tables), dst=_operand(action.dst, levels, tables))
        case Set():
            return Fill(dst=_operand(action.dst, levels, tables), value=action.value)
        case Write():
            return WriteWeights(
                array=_address(action.array, levels),
                row=action.row,
                col=action.col,
                rows=action.rows,
                cols=action.cols,
                src=_operand(action.src, levels, tables),
            )
        case Fire():
            return Mvm(
                array=_address(action.array, levels),
                row=action.row,
                col=action.col,
                cols=action.cols,
                src=_operand(action.src, levels, tables),
                dst=_operand(action.dst, levels, tables),
                overwrite=0 if action.first else -1,
                math=tables.maths.setdefault(action.math, len(tables.maths)),
            )
        case Step():
            return Vector(
                post=tables.posts.setdefault(action.post, len(tables.posts)),
                dst=_operand(action.dst, levels, tables),
                a=_operand(action.a, levels, tables),
                b=_operand(action.b, levels, tables) if action.b else None,
                c=_operand(action.c, levels, tables) if action.c else None,
                parameters=_operand(action.parameters, levels, tables) if action.parameters else None,
            )
        case Pick():
            return Take(
                space=tables.space(TABLES),
                base=action.base,
                rows=action.rows,
                row_bytes=action.row_bytes,
                src=_operand(action.src, levels, tables),
                dst=_operand(action.dst, levels, tables),
            )
        case Give():
            return HostCall(
                call=action.call,
                src=_operand(action.src, levels, tables),
                dst=_operand(action.dst, levels, tables),
            )
        case _:
            assert_never(action)
