"""Every command and every piece of Python in the documentation and the README runs, and prints what is shown."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.docs.snippets import Reader, agrees, blocks, commands, follows

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(
    str(path.relative_to(DOCS).with_suffix(""))
    for path in DOCS.rglob("*.md")
    if path.relative_to(DOCS).parts[0] not in ("_build", "generated", "decisions", "reference")
)
"""Pages written by hand; those of the reference are made from the code."""


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By page, the folder in which it ended."""
    return {}


def follow(page: Path, name: str, folder: Path, ended: dict[str, Path], make: pytest.TempPathFactory) -> None:
    """Run all blocks of a page in an empty folder, or in a copy of the one in which the page before it ended."""
    text = page.read_text(encoding="utf-8")
    before = follows(text)
    if before:
        if before not in ended:
            start = make.mktemp(before.replace("/", "-"))
            follow(DOCS / f"{before}.md", before, start, ended, make)
        shutil.copytree(ended[before], folder, dirs_exist_ok=True)
    reader = Reader(folder)
    wrong = [f"{page.name}:{block.line}\n{_told(*one)}" for block in blocks(text) for one in reader.follow(block)]
    assert not wrong, "\n\n".join(wrong)
    ended[name] = folder


def _told(command: str, shown: str, printed: str) -> str:
    return f"$ {command}\n--- shown\n{shown}\n--- printed\n{printed}"


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.filterwarnings("default")
def test_a_page_can_be_followed_word_by_word(
    name: str, tmp_path: Path, ended: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    if name not in ended:
        follow(DOCS / f"{name}.md", name, tmp_path, ended, tmp_path_factory)
    assert name in ended


@pytest.mark.filterwarnings("default")
def test_the_readme_can_be_followed(
    tmp_path: Path, ended: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    if "tutorial" not in ended:
        follow(DOCS / "tutorial.md", "tutorial", tmp_path_factory.mktemp("tutorial"), ended, tmp_path_factory)
    shutil.copytree(ended["tutorial"], tmp_path, dirs_exist_ok=True)
    follow(ROOT / "README.md", "README", tmp_path, ended, tmp_path_factory)
    assert ended["README"] == tmp_path


def test_blocks_are_found_with_their_language_line_and_output() -> None:
    python = "# t\n\n```python\nprint(1)\n```\n\n```text\n1\n```\n\n"
    text = f"{python}```console no-run\n$ reboot\n```\n\n```console\n$ true\n```\n"
    first, second = blocks(text)
    assert (first.language, first.body, first.line, first.expected) == ("python", "print(1)", 3, "1")
    assert (second.language, second.body, second.line, second.expected) == ("console", "$ true", 15, None)


def test_a_command_goes_on_behind_a_backslash() -> None:
    assert list(commands("$ a \\\n    b\nshown\n\n$ c\n")) == [("a \\\n    b", "shown\n"), ("c", "")]


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("a  b", "a b\n", True),
        ("a ... c", "a b c", True),
        ("a ... c", "a c", True),
        ("a ... c", "a b d", False),
        ("a\n...\nd", "a\nb\nc\nd", True),
        ("a\n...\nd", "a\nb\nc", False),
        ("...\nd", "a\nd", True),
        ("a\n...", "a\nb\nc", True),
        ("a", "a\nb", False),
        ("latency ... us", "latency 1.0 us\nenergy", False),
    ],
)
def test_dots_stand_for_anything(shown: str, printed: str, same: bool) -> None:
    assert agrees(shown, printed) is same


def test_output_that_is_not_shown_is_told(tmp_path: Path) -> None:
    (block,) = blocks("```console\n$ echo one\ntwo\n```\n")
    assert Reader(tmp_path).follow(block) == [("echo one", "two", "one\n")]


def test_a_page_says_which_one_it_follows() -> None:
    assert follows("---\nfollows: tutorial\n---\n# t\n") == "tutorial"
    assert follows("# t\n\nfollows: tutorial\n") == ""
