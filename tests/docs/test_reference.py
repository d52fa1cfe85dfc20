"""The reference says everything that the code knows, and no link of any page leads nowhere."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bitline import examples
from bitline.cli.main import COMMANDS
from bitline.core.diagnostics import CODES
from bitline.isa.table import TABLE
from bitline.lower.kernels import BUILDERS, INTEGER_OPERATORS
from bitline.lower.layout import VIEWS
from bitline.package import FILES
from bitline.quant.kinds import OPERATORS
from bitline.report.glossary import BLOCKS, ERROR, EVERY, GLOSSARY
from bitline.report.html.columns import COLUMNS
from bitline.target.load import catalog_names, load_target
from bitline.target.schema import CHECKS, KEYS, entry
from docs.generate.chips import chip_page
from docs.generate.diagnostics import messages, spaced
from docs.generate.markdown import plain, prose, table
from docs.generate.operators import on_host, rows
from docs.generate.site import PAGES, write
from docs.generate.svg import Picture
from tests.cli.invoke import bitline

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
UNSAID = {"BL0402"}
"""Codes that nothing prints: weights that do not fit the arrays are reloaded."""


def text(name: str) -> str:
    return PAGES[f"reference/{name}.md"]()


def test_every_operator_with_a_rule_has_a_row() -> None:
    found = rows()
    assert found.keys() >= BUILDERS.keys() | VIEWS.keys()
    assert found.keys() | set(on_host()) >= set(OPERATORS)
    assert all(said for _, _, said in found.values())
    page = text("operators")
    missing = [name for name in (*found, *on_host(), *INTEGER_OPERATORS) if f"`{name}`" not in page]
    assert not missing


def test_an_operator_says_where_it_runs() -> None:
    assert rows()["Conv"][:2] == ("arrays", "`MatMul`")
    assert rows()["Softmax"][0] == "vector unit"
    assert rows()["Reshape"][0] == "addresses"
    assert rows()["Concat"][0] == "copied (DMA)"
    assert "TopK" not in rows()


def test_every_code_has_a_section_and_every_message_a_row() -> None:
    page = text("diagnostics")
    assert all(f"### {code}: {title}" in page for code, title in CODES.items())
    told = messages()
    assert CODES.keys() - told.keys() == UNSAID
    assert all(help == "compile the package again" for help in told["BL0502"].values())
    assert "there is no package here" in told["BL0201"]
    assert told["BL0201"]["there is no package here"] == "give the folder that `bitline compile -o` wrote"


def test_dots_of_values_side_by_side_are_told_apart() -> None:
    assert (
        spaced("holds ........, is ......, steps 0.....; a, ...") == "holds ... to ..., is ..., steps 0 to ...; a, ..."
    )


def test_every_command_and_option_is_listed() -> None:
    page = text("commands")
    assert all(f"## bitline {name}\n" in page for name in COMMANDS)
    for name in (*COMMANDS, "targets list", "targets show", "targets new"):
        if name == "targets":
            continue
        section = page.split(f"# bitline {name}\n")[1].split("\n## ")[0]
        options = re.findall(r"(?<=\s)--[a-z-]+", bitline(f"{name} --help").out)
        missing = [option for option in options if option != "--help" and f"`{option}`" not in section]
        assert not missing, (name, missing)


def test_every_key_of_a_target_is_explained_and_every_rule_told() -> None:
    page = text("target-files")
    assert all(f"| `{key}` |" in page for key in KEYS)
    assert all(prose(" ".join((rule.__doc__ or "").split())) in page for _, rule in CHECKS)
    assert "| `array.cell_bits` | bit | whole, 1 to 16 |" in page
    assert "| `dma.setup_ns` | ns | 0 to 1e12 |" in page
    assert "| `control.issue_ns` | ns |" in page
    assert "`half_even`, `half_up`" in page


@pytest.mark.parametrize("name", catalog_names())
def test_a_chip_page_holds_every_value_with_its_source(name: str) -> None:
    page, chip = chip_page(name), load_target(name)
    for key in KEYS:
        found = entry(chip, key)
        if found is not None:
            assert re.search(rf"\| `{re.escape(key)}` \| .+ \| {re.escape(prose(found.source))} \|", page), key


def test_every_instruction_file_and_column_is_there() -> None:
    assert all(f"## {form.mnemonic}\n" in text("instructions") for form in TABLE)
    assert all(f"| `{name}` |" in text("package") for name in (*FILES, "manifest.json"))
    assert all(f"| {column.heading} |" in PAGES["generated/columns.md"]() for column in COLUMNS)


def keys(command: str, line: str) -> set[str]:
    return set(json.loads(bitline(f"{line} --json").out)) - {term.key for term in EVERY}


def test_every_key_of_every_command_is_in_the_glossary(tmp_path: Path) -> None:
    model, data = examples.path("mnist_cnn.onnx"), examples.path("mnist_calib_64.npz")
    package, calib = tmp_path / "package", f"--calib {data} --preprocess 'mean=0.1307 std=0.3081'"
    test = f"--preprocess 'mean=0.1307 std=0.3081' --check 1 --limit 2 --top 1 -o {tmp_path / 'results.npz'}"
    lines = {
        "compile": f"compile {model} --target sram-dcim {calib} -o {package}",
        "check": f"check {model} --target sram-dcim",
        "explain": f"explain {package} /conv2/Conv --no-levers",
        "place": f"place {model} --target sram-dcim",
        "quantize": f"quantize {model} {calib} -o {tmp_path / 'q.onnx'} --test {examples.path('mnist_test_200.npz')}",
        "report": f"report {package}",
        "run": f"run {package} {examples.path('mnist_test_200.npz')} {test}",
        "schedule": f"schedule {model} --target sram-dcim",
        "verify": f"verify {package}",
        "doctor": "doctor",
    }
    may_be_absent = {"run": {"interrupted"}}
    for command, line in lines.items():
        said = {term.key for term in GLOSSARY[command]}
        printed = keys(command, line)
        assert printed <= said, (command, printed - said)
        assert said - printed <= may_be_absent.get(command, set()), (command, said - printed)
    targets = keys("targets", "targets list") | keys("targets", "targets show puma")
    targets |= keys("targets", f"targets new {tmp_path / 'chip.yaml'} --from puma")
    assert targets == {term.key for term in GLOSSARY["targets"]}
    assert keys("error", "targets show no-such-chip") == {term.key for term in ERROR}
    blocks = json.loads((package / "summary.json").read_text())["blocks"]
    assert set(blocks[0]) == {term.key for term in BLOCKS}
    assert set(GLOSSARY) == set(COMMANDS)


def test_pages_are_the_same_every_time_and_only_written_when_they_change(tmp_path: Path) -> None:
    write(tmp_path)
    made = {name: (tmp_path / name).read_bytes() for name in PAGES}
    first = (tmp_path / "reference/commands.md").stat().st_mtime_ns
    write(tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in PAGES} == made
    assert (tmp_path / "reference/commands.md").stat().st_mtime_ns == first


def test_words_of_the_code_are_no_markup() -> None:
    assert plain("a_b * c <d>") == "a\\_b \\* c \\<d\\>"
    assert prose("`a_b` * c_d") == "`a_b` \\* c\\_d"
    assert table(["x"], [["a|b\nc"]]) == "| x |\n| --- |\n| a\\|b c |\n"


def test_a_picture_says_what_it_shows_and_escapes_words() -> None:
    picture = Picture(10, 10, "a & b")
    picture.text(1, 1, "<x>")
    picture.line((0, 0), (5, 0), arrow=True)
    drawn = picture.svg()
    assert 'aria-label="a &amp; b"' in drawn
    assert "&lt;x&gt;" in drawn
    assert 'points="5,0 ' in drawn


def test_no_link_and_no_path_leads_nowhere(tmp_path: Path) -> None:
    shutil.copytree(DOCS, tmp_path / "docs", ignore=shutil.ignore_patterns("_build", "generate", "__pycache__"))
    write(tmp_path / "docs")
    pages = [path for path in (tmp_path / "docs").rglob("*.md") if "decisions" not in path.parts]
    anchors = {page: {_slug(h) for h in re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)} for page in pages}
    wrong: list[str] = []
    for page in pages:
        found = page.read_text(encoding="utf-8")
        for link in re.findall(r"\]\(([^)\s]+)\)", found):
            if link.startswith("http"):
                continue
            file, _, anchor = link.partition("#")
            target = (page.parent / file).resolve() if file else page
            if not target.exists() or (anchor and anchor not in anchors.get(target, set())):
                wrong.append(f"{page.name}: {link}")
        wrong += [
            f"{page.name}: {p}" for p in re.findall(r"`((?:src|examples)/[\w/.]+)`", found) if not (ROOT / p).exists()
        ]
    assert not wrong


def _slug(heading: str) -> str:
    """The anchor that MyST gives a heading, as GitHub does."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("sphinx", reason="the extra `docs` is not installed")
    pytest.importorskip("furo")
    built = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-b", "html", "-W", "--keep-going", str(DOCS), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    pages = [page.read_text(encoding="utf-8") for page in tmp_path.rglob("*.html")]
    assert len(pages) > len(PAGES) // 2
    fetched = re.compile(r"<(?:script|link|img)[^>]*(?:src|href)=[\"']https?://[^>]*>")
    assert not [found for page in pages for found in fetched.findall(page)], "a page works without a network"
