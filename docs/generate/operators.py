"""Which operators run where, and what each takes: the docstrings of their builders."""

from __future__ import annotations

import re
from textwrap import dedent

from bitline.graph import passes
from bitline.ir.kernels import Elementwise
from bitline.lower.elementwise import lower_unary
from bitline.lower.integers import FEWEST_BITS
from bitline.lower.kernels import BUILDERS, INTEGER_OPERATORS
from bitline.lower.layout import VIEWS
from bitline.lower.repeat import lower_scan
from bitline.quant.kinds import OPERATORS, UNARY_OPERATORS
from docs.generate.markdown import code, first_paragraph, page, prose, table

UNITS = {
    "MatMul": "arrays",
    "BatchMatMul": "vector unit",
    "Elementwise": "vector unit",
    "Pool": "vector unit",
    "Softmax": "vector unit",
    "Norm": "vector unit",
    "Lookup": "copied (DMA)",
    "Move": "copied (DMA)",
    "Repeat": "as its body",
}
"""Where the kernels run that docstrings name behind an arrow."""
MERGED = ("Relu", "Clip")
"""Part of the operator before them, where nothing else reads what that makes."""


def rows() -> dict[str, tuple[str, str, str]]:
    """By operator: (where it runs, kernel, what it takes)."""
    found: dict[str, tuple[str, str, str]] = {}
    for name, builder in BUILDERS.items():
        said = first_paragraph(builder)
        kernels = [kernel for kernel in re.findall(r"`(\w+)`", said) if kernel in UNITS]
        assert kernels, f"the docstring of the builder of {name} names no kernel"
        units = dict.fromkeys(UNITS[kernel] for kernel in kernels)
        found[name] = (" or ".join(units), " or ".join(f"`{kernel}`" for kernel in kernels), said)
    for name, rule in VIEWS.items():
        said = first_paragraph(rule)
        assert said, f"the rule of {name} has no docstring"
        if name in found:  # Gather: a view by constant indices, rows of a table by others
            unit, kernel, taken = found[name]
            found[name] = (f"addresses, or {unit}", kernel, f"{said} {taken}")
        else:
            found[name] = ("addresses", "`Move`" if "copied" in said else "", said)
    unary = first_paragraph(lower_unary)
    for name in UNARY_OPERATORS:
        found.setdefault(name, ("vector unit", "`Elementwise`", unary))
    for name in MERGED:
        found[name] = (
            "with the operator before it, or vector unit",
            "`Elementwise`",
            f"Free behind an operator whose output nothing else reads. {unary}",
        )
    found["Scan"] = (UNITS["Repeat"], "`Repeat`", first_paragraph(lower_scan))
    return found


def on_host() -> tuple[str, ...]:
    """Operators that quantisation knows and no unit does: the host runs them on the grids that they were given."""
    native = rows()
    return tuple(name for name in OPERATORS if name not in native)


def operators_page() -> str:
    """All of it."""
    alike: dict[tuple[str, str, str], list[str]] = {}
    for name, entry in sorted(rows().items()):
        alike.setdefault(entry, []).append(f"`{name}`")
    native = [(", ".join(names), *entry[:2], _taken(entry[2])) for entry, names in alike.items()]
    integers = ", ".join(f"`{name}`" for name in ("Cast", *INTEGER_OPERATORS))
    others = ", ".join(f"`{name}`" for name in on_host())
    order = (passes.__doc__ or "").partition("order:\n")[2].rpartition("\n`near_misses`")[0]
    names = re.findall(r"^    (\w+) ", order, re.MULTILINE)
    sections: list[str] = []
    for name in dict.fromkeys(names):
        module = __import__(f"bitline.graph.passes.{name}", fromlist=[name])
        first, _, rest = (module.__doc__ or "").strip().partition("\n\n")
        example, _, more = rest.partition("\n\n")
        arrows = "-->" in example
        text = " ".join(first.split())
        sections.append(f"### {name}\n\n{prose(text)}\n")
        sections.append(code(dedent(example)) if arrows else "")
        left = more if arrows else rest
        sections += [prose(" ".join(part.split())) + "\n" for part in left.split("\n\n") if part and "-->" not in part]
    return page(
        "Operators",
        "An operator of the model runs in one of five places. **Arrays**: its weights lie in arrays and multiply "
        "there. **Vector unit**: the unit of every core for everything else. **Copied**: DMA moves its result into "
        "place. **Addresses**: nothing runs, readers look elsewhere. **Host**: the processor beside the chip, which "
        "runs every operator and every form that is not in this table in ONNX Runtime, inside the same schedule; "
        "see [operators that the chip lacks](../howto/own-operator.md).\n",
        "`bitline check MODEL --target T` says for your model what runs where, and why something goes to the host.\n",
        table(["operators", "runs on", "kernel", "takes"], native),
        "## Integers and truth values\n",
        f"{integers} of integers and truth values, as masks and positions have them, run on vector units as they "
        "are, with 32 bits. Integers that the user gives, or that the host computes for them, are checked: a run whose "
        "numbers lie beyond 32 bits ends with their name (`BL0105`). Where Add, Sub or Mul follow, the limits are as "
        f"narrow as keeps their results within 32 bits, but hold {FEWEST_BITS} bits at least; what could leave 32 bits "
        "all the same is computed on the host, with 64. Shape arithmetic that depends on no data is computed before.\n",
        "## On the host\n",
        f"Quantisation knows these, so they cost no precision of their own, but no unit does them: {others}. All "
        "others run on the host in float.\n",
        "## What the kernels compute\n",
        "Element by element:\n",
        code((Elementwise.__doc__ or "").partition("\n\n")[0].replace("\n    ", "\n") + "\n" + _listing()),
        "## What becomes of other operators\n",
        "Before quantisation, passes bring the model into fewer and plainer operators, without changing what it "
        "computes. So BatchNormalization, LSTM, GRU, and GELU or LayerNorm in pieces need no rows above. In this "
        "order:\n",
        *sections,
    )


def _taken(said: str) -> str:
    """A docstring without its arrows: kernels have a column of their own."""
    return prose(re.sub(r" -> (`\w+`|kernels inside a `\w+`)", "", said))


def _listing() -> str:
    text = (Elementwise.__doc__ or "").partition("\n\n")[2]
    return "\n".join(line.removeprefix("    ") for line in text.splitlines())
