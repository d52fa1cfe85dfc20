"""The code blocks of a page of Markdown, and a person who types them one after another.

    ```console            lines behind `$ ` are commands, those after them what is shown; `...` stands for anything
    ```python             runs; blocks of a page share their names. Output may be shown in a ```text block right after
    ```python no-run      is only shown; a console block likewise

`follows: PAGE` in the front matter: the page begins in the folder in which that page ended.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

from bitline.cli.main import main

_FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=indent)```\s*$", re.MULTILINE | re.DOTALL)
_FOLLOWS = re.compile(r"\A---\n(?:.*\n)*?follows: *(\S+)\n", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One block to run; `expected` is the text block behind a Python one."""

    language: str
    body: str
    line: int
    expected: str | None = None


def blocks(text: str) -> Iterator[Block]:
    """The `python` and `console` blocks of a page that are not marked `no-run`."""
    found = list(_FENCE.finditer(text))
    for place, match in enumerate(found):
        language, *marks = match["info"].split() or [""]
        if language not in ("python", "console") or "no-run" in marks:
            continue
        following = found[place + 1] if place + 1 < len(found) else None
        shown = (
            following is not None
            and following["info"].strip() == "text"
            and not text[match.end() : following.start()].strip()
        )
        yield Block(
            language=language,
            body=_unindented(match),
            line=text.count("\n", 0, match.start()) + 1,
            expected=_unindented(following) if shown and following is not None else None,
        )


def _unindented(match: re.Match[str]) -> str:
    return "\n".join(line.removeprefix(match["indent"]) for line in match["body"].splitlines())


def follows(text: str) -> str:
    """The page in whose folder this one begins, empty for none."""
    match = _FOLLOWS.match(text)
    return match[1] if match else ""


def commands(body: str) -> Iterator[tuple[str, str]]:
    """(command, what is shown after it) of a console block; a command goes on behind a backslash."""
    command = ""
    shown: list[str] = []
    open_line = False
    for line in body.splitlines():
        if open_line:
            command += "\n" + line
        elif line.startswith("$ "):
            if command:
                yield command, "\n".join(shown)
            command, shown = line[2:], []
        else:
            shown.append(line)
        open_line = (open_line or line.startswith("$ ")) and line.endswith("\\")
    if command:
        yield command, "\n".join(shown)


def agrees(shown: str, printed: str) -> bool:
    """Whether `printed` is what the page shows: `...` stands for any text, a line `...` for any lines."""
    wanted = [" ".join(line.split()) for line in shown.strip().splitlines()]
    got = "\n".join(" ".join(line.split()) for line in printed.strip().splitlines())
    pattern = ""
    for place, line in enumerate(wanted):
        end = "" if place == len(wanted) - 1 else r"\n"
        pattern += (
            r"(?:.*\n)*(?:.*)??"
            if line == "..."
            else r"[^\n]*?".join(re.escape(part.strip()) for part in line.split("...")) + end
        )
    return re.fullmatch(pattern, got) is not None


@dataclass(slots=True)
class Reader:
    """Somebody who follows a page in a folder."""

    folder: Path
    names: dict[str, object] = field(default_factory=lambda: {"__name__": "__page__"})

    def follow(self, block: Block) -> list[tuple[str, str, str]]:
        """Run a block; (command, shown, printed) of everything whose output is not what is shown."""
        if block.language == "python":
            printed = self._python(block.body)
            wrong = block.expected is not None and not agrees(block.expected, printed)
            return [(f"python block in line {block.line}", block.expected or "", printed)] if wrong else []
        found: list[tuple[str, str, str]] = []
        for command, shown in commands(block.body):
            printed = self._command(command)
            if shown.strip() and not agrees(shown, printed):
                found.append((command, shown, printed))
        return found

    def _python(self, source: str) -> str:
        out = io.StringIO()
        with contextlib.chdir(self.folder), contextlib.redirect_stdout(out):
            exec(compile(source, "<page>", "exec", dont_inherit=True), self.names)
        return out.getvalue()

    def _command(self, command: str) -> str:
        """What a terminal shows of it, stdout and stderr together."""
        words = _split(command)
        if words[0] == "bitline":
            return self._bitline(words[1:])
        finished = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "PYTHON": sys.executable},
            check=False,
        )
        assert finished.returncode == 0, f"{command}: {finished.stderr}"
        return finished.stdout + finished.stderr

    def _bitline(self, words: list[str]) -> str:
        shown = io.StringIO()
        with (
            contextlib.chdir(self.folder),
            patch.object(sys, "argv", ["bitline", *words]),
            patch.object(sys, "path", [str(self.folder), *sys.path]),
            contextlib.redirect_stdout(shown),
            contextlib.redirect_stderr(shown),
            contextlib.suppress(SystemExit),
        ):
            main()
        return shown.getvalue()


def _split(command: str) -> list[str]:
    import shlex

    return shlex.split(command.replace("\\\n", " "), comments=True)
