"""The instruction set: what is stored, what it does, what it costs."""

from __future__ import annotations

import inspect
from textwrap import dedent

from bitline.ir import program
from bitline.ir.kernels import ArrayMath
from bitline.isa.table import MAGIC, TABLE
from bitline.target import costs
from docs.generate.markdown import code, page, prose, table

COSTS = {
    "dma": "_dma",
    "fill": "_fill",
    "write_weights": "_write",
    "mvm": "mvm_ns",
    "vector": "_vector",
    "take": "_take",
    "host_call": "_host",
}
"""The function of `target.costs` whose docstring is the formula."""


def instructions_page() -> str:
    """Model of execution, table, one section for each instruction."""
    rows = [
        (
            str(form.opcode),
            f"[`{form.mnemonic}`](#{form.mnemonic})",
            ", ".join(f"`{name}` {kind}" for name, kind in form.fields),
        )
        for form in TABLE
    ]
    parts: list[str] = []
    for form in TABLE:
        parts.append(f"## {form.mnemonic}\n")
        parts += [
            prose(" ".join(text.split())) + "\n" for text in inspect.cleandoc(form.noun.__doc__ or "").split("\n\n")
        ]
        if form.mnemonic in COSTS:
            formula = inspect.getdoc(vars(costs)[COSTS[form.mnemonic]]) or ""
            parts.append(f"*Cost.* {prose(' '.join(formula.split()))}\n")
    array, formula, widths = inspect.cleandoc(ArrayMath.__doc__ or "").split("\n\n")
    _, execution, addresses = (" ".join(p.split()) for p in inspect.cleandoc(program.__doc__ or "").split("\n\n"))
    return page(
        "Instruction set",
        f"`program.bin` begins with the bytes `{MAGIC[:-1].decode()}` and the version of the format, {MAGIC[-1]}. It "
        "holds one queue for each unit: "
        + ", ".join(f"`{unit}`" for unit in program.UNITS)
        + ". `program.asm` is the same as text.\n",
        _marked(execution) + "\n",
        _marked(addresses) + "\n",
        table(["opcode", "mnemonic", "fields, as stored"], rows),
        "`int` is a whole number, `address` an address with its strides, `operand` a memory, an address and runs of "
        "bytes, `optional` an operand that may be absent.\n",
        *parts,
        "## What an array computes\n",
        prose(array) + "\n",
        code(dedent(formula)),
        prose(" ".join(widths.split())) + "\n",
    )


def _marked(text: str) -> str:
    """Prose that keeps its `**bold**` words."""
    return "**".join(part if place % 2 else prose(part) for place, part in enumerate(text.split("**")))
