"""Every command with its arguments and options, as click knows them."""

from __future__ import annotations

from collections.abc import Iterator

import click

from bitline.cli.main import COMMANDS, cli
from bitline.core.diagnostics import EXIT_BY_FAMILY
from docs.generate.markdown import code, page, prose, table

EXITS = {
    0: "done",
    1: "a check failed",
    2: "usage or configuration",
    3: "unsupported model",
    4: "does not fit",
    5: "malformed or refused input",
    70: "a bug of bitline",
    130: "interrupted",
}


def commands_page() -> str:
    """All commands, one section each."""
    families = {status: family for family, status in EXIT_BY_FAMILY.items()}
    exits = [
        (str(status), said, f"BL{families[status]}xx" if status in families else "") for status, said in EXITS.items()
    ]
    return page(
        "Commands",
        "Every command takes `--json`: one JSON object on stdout and nothing else there; progress and remarks go to\n"
        "stderr. The keys are listed in [JSON keys](json-keys.md).\n",
        table(["command", "what it does"], [(f"[`{name}`](#bitline-{name})", said) for name, said in COMMANDS.items()]),
        "## Exit status\n",
        table(["status", "meaning", "codes"], exits),
        *(text for name in sorted(COMMANDS) for text in _command(cli, name, "bitline")),
    )


def _command(group: click.Group, name: str, before: str) -> Iterator[str]:
    found = group.get_command(click.Context(group), name)
    assert found is not None, name
    path = f"{before} {name}"
    level = "##" if before == "bitline" else "###"
    yield f"{level} {path}\n"
    yield prose(found.help or "") + "\n"
    if isinstance(found, click.Group):
        for inner in found.list_commands(click.Context(found)):
            yield from _command(found, inner, path)
        return
    context = click.Context(found, info_name=path)
    yield code(" ".join([path, *found.collect_usage_pieces(context)]))
    rows = [_option(option, context) for option in found.params if isinstance(option, click.Option)]
    yield table(["option", "meaning", "default"], rows)


def _option(option: click.Option, context: click.Context) -> tuple[str, str, str]:
    """(how it is written, what it means, what it is when left out)."""
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    value = "" if option.is_flag else f" `{option.make_metavar(context)}`"
    given = option.get_default(context)
    shown = option.show_default and not option.is_flag and given is not None
    if option.is_flag and option.secondary_opts:
        shown, given = True, (option.opts if given else option.secondary_opts)[0]
    required = "required" if option.required else f"`{given}`" if shown else ""
    return names + value, prose(option.help or ""), required
