"""What a user is told of a wrong target: every mistake at once, its line, a way out; what overrides and bases do."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bitline.core.diagnostics import Diagnostic, Refusal
from bitline.target.load import CATALOG, catalog_names, changed, load_target
from bitline.target.schema import KEYS, Chip, entry

RERAM = (CATALOG / "reram-tile.yaml").read_text(encoding="utf-8")


def written(folder: Path, text: str, name: str = "chip.yaml") -> str:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return str(file)


def refused(target: str, *overrides: str) -> tuple[Diagnostic, ...]:
    with pytest.raises(Refusal) as caught:
        load_target(target, overrides)
    return caught.value.diagnostics


def test_a_file_is_loaded_by_its_path(tmp_path: Path) -> None:
    assert load_target(written(tmp_path, RERAM)) == load_target("reram-tile")


def test_unknown_name_is_guessed() -> None:
    (found,) = refused("reram-til")
    assert (found.code, found.help) == ("BL0102", "did you mean reram-tile?")


def test_name_unlike_any_lists_the_catalog() -> None:
    (found,) = refused("somewhere/else.yaml")
    assert found.code == "BL0102"
    assert all(name in found.help for name in catalog_names())


@pytest.mark.parametrize("name", ["", "x" * 5000, "nul\0", "."])
def test_names_that_no_file_can_have_are_unknown_targets(name: str) -> None:
    assert refused(name)[0].code == "BL0102"


MISTAKES = """\
extends: reram-tile
name: mine
array:
  mvm_latency_us: {value: 1, source: x}
  step_us: {value: 1, source: x}
  rows: 64
  cols: {value: "64", source: x}
  write_row_ns: {value: -1, source: ' '}
  pipeline_steps: {valeu: 2, source: x}
adc: {bits: {value: 8}}
memoryy: {}
dma: 3
noc:
  adder: {value: 1, source: x}
precision: {value: int4, source: x}
"""

EXPECTED = {
    ("4:array.mvm_latency_us", "unknown key 'array.mvm_latency_us'", "keys here are per_core, rows,"),
    ("5:array.step_us", "unknown key 'array.step_us'", "did you mean step_ns?"),
    ("6:array.rows", "array.rows needs a value and a source", "write rows: {value: 64, source: a paper"),
    ("7:array.cols", "array.cols: input should be a valid integer, not '64'", "outputs of one array"),
    ("8:array.write_row_ns", "array.write_row_ns: input should be greater than 0, not -1", "time to write"),
    ("8:array.write_row_ns", "array.write_row_ns has no source", "name a paper"),
    ("9:array.pipeline_steps", "array.pipeline_steps needs a value and a source", "write pipeline_steps:"),
    ("9:array.pipeline_steps.valeu", "unknown key 'array.pipeline_steps.valeu'", "did you mean value?"),
    ("10:adc.bits", "adc.bits needs a value and a source", "write bits: {value: 8,"),
    ("11:memoryy", "unknown key 'memoryy'", "did you mean memory?"),
    ("12:dma", "dma is a section of keys, not 3", "keys are setup_ns,"),
    ("14:noc.adder", "noc.adder: input should be a valid boolean, not 1", "whether sums"),
    ("15:precision", "precision: input should be 'int8', 'fp16' or 'fp32', not 'int4'", "arithmetic"),
}


def test_all_mistakes_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    target = written(tmp_path, MISTAKES)
    found = refused(target)
    assert {d.code for d in found} == {"BL0103"}
    told = {(d.place.removeprefix(f"{target}:"), d.message) for d in found}
    assert told == {(place, message) for place, message, _ in EXPECTED}
    for place, message, way_out in EXPECTED:
        assert all(d.help.startswith(way_out) for d in found if (d.place, d.message) == (f"{target}:{place}", message))


def test_a_missing_key_is_explained(tmp_path: Path) -> None:
    text = "".join(line for line in RERAM.splitlines(keepends=True) if "setup_ns: {value: 29" not in line)
    target = written(tmp_path, text)
    (found,) = refused(target)
    assert found.message == "dma.setup_ns is missing"
    assert found.place.startswith(f"{target}:")
    assert found.place.endswith(":dma")
    assert "start-up of one transaction" in found.help


def test_a_rule_between_keys_names_the_line(tmp_path: Path) -> None:
    target = written(tmp_path, "extends: reram-tile\narray:\n  group_rows: {value: 128, source: test}\n")
    (found,) = refused(target)
    assert (found.code, found.place) == ("BL0103", f"{target}:3:array.group_rows")
    assert found.message.endswith("(array.group_rows = 128, array.rows = 64)")


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("a: b: c\n", "not valid YAML", 1),
        ("name: x\nname: y\n", "not valid YAML", 2),
        ("a: &x {value: 1}\nb: *x\n", "aliases", 2),
        ("a: !!python/object:os.system {}\n", "not valid YAML", 1),
        ("- 1\n- 2\n", "not a mapping", 1),
        ("", "not a mapping", 1),
        ("a: " + "[" * 5000, "nested deeper", 1),
        ("a: \x00\n", "not valid YAML", None),
    ],
)
def test_text_that_is_no_target(tmp_path: Path, text: str, message: str, line: int | None) -> None:
    target = written(tmp_path, text)
    (found,) = refused(target)
    assert found.code == "BL0103"
    assert found.message.startswith(message)
    assert found.place == (f"{target}:{line}" if line else target)


def test_files_too_large_or_not_text(tmp_path: Path) -> None:
    assert refused(written(tmp_path, "#" * 300_000))[0].message.startswith("more than")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    assert refused(str(tmp_path / "binary.yaml"))[0].message == "not a text file in UTF-8"


def test_a_base_is_merged_deeply_and_values_keep_their_own_source(tmp_path: Path) -> None:
    text = "extends: reram-tile\nname: wide\ndescription: d\narray:\n  cols: {value: 128, source: here}\n"
    chip, base = load_target(written(tmp_path, text)), load_target("reram-tile")
    assert (chip.array.cols.value, chip.array.cols.source) == (128, "here")
    changed = {key for key in KEYS if entry(chip, key) != entry(base, key)}
    assert changed == {"array.cols"}


def test_a_base_may_lie_beside_the_file(tmp_path: Path) -> None:
    written(tmp_path, "extends: sram-dcim\nname: one\ncores: {value: 7, source: s}\n", "base.yaml")
    chip = load_target(written(tmp_path, "extends: base.yaml\nname: two\n"))
    assert (chip.name, chip.cores.value) == ("two", 7)


def test_a_value_without_source_does_not_inherit_one(tmp_path: Path) -> None:
    target = written(tmp_path, "extends: reram-tile\narray:\n  cols: {value: 128}\n")
    (found,) = refused(target)
    assert (found.place, found.message) == (f"{target}:3:array.cols", "array.cols needs a value and a source")


@pytest.mark.parametrize(("base", "code"), [("chip.yaml", "BL0103"), ("[a]", "BL0103"), ("sram-dcm", "BL0102")])
def test_wrong_bases(tmp_path: Path, base: str, code: str) -> None:
    assert refused(written(tmp_path, f"extends: {base}\n"))[0].code == code


def test_overrides_apply_in_order_and_say_so() -> None:
    chip = load_target("reram-tile", ["cores=2", "cores = 8", "noc.adder=true", "precision=fp16", "array.step_ns=1.5"])
    assert (chip.cores.value, chip.cores.source) == (8, "set by the user")
    assert (chip.noc.adder.value, chip.precision.value, chip.array.step_ns.value) == (True, "fp16", 1.5)


def test_all_wrong_overrides_are_told_at_once() -> None:
    found = refused("reram-tile", "rows=3", "cores", "arry.rows=3", "memory.sum_bytes=1", "zzz=1")
    assert {d.code for d in found} == {"BL0101"}
    assert [d.place for d in found] == [
        "--set rows=3",
        "--set cores",
        "--set arry.rows=3",
        "--set memory.sum_bytes=1",
        "--set zzz=1",
    ]
    helps = [d.help for d in found]
    assert helps[0] == "did you mean array.rows?"
    assert helps[1] == "write `--set key.path=value`"
    assert helps[2].startswith("did you mean array.rows")
    assert helps[3].startswith("did you mean memory.psum_bytes")
    assert helps[4].startswith("keys are cores, precision, array.per_core")


@pytest.mark.parametrize("override", ["array.rows=many", "array.rows=0", "cores=1.5", "noc.adder=1", "dma.run_ns=inf"])
def test_an_override_of_a_wrong_kind_is_an_option_error(override: str) -> None:
    (found,) = refused("reram-tile", override)
    assert (found.code, found.place) == ("BL0101", f"--set {override}")


@pytest.mark.parametrize(
    ("chip", "overrides", "group_rows", "follows"),
    [
        ("reram-tile", ["array.rows=32"], 32, True),
        ("reram-tile", ["array.rows=128"], 64, False),  # its converter is made for 64 rows
        ("sram-dcim", ["array.rows=128"], 128, True),
        ("sram-dcim", ["array.rows=512"], 512, True),
        ("reram-tile", ["array.rows=128", "array.group_rows=128"], 128, False),
        ("reram-tile", ["array.group_rows=16", "array.rows=32"], 16, False),
        ("reram-tile", ["array.group_rows=16"], 16, False),
    ],
)
def test_row_groups_follow_rows_where_they_can(chip: str, overrides: list[str], group_rows: int, follows: bool) -> None:
    group = load_target(chip, overrides).array.group_rows
    assert group.value == group_rows
    assert group.source.startswith("follows array.rows") == follows


def test_a_smaller_row_group_stays_when_rows_grow(tmp_path: Path) -> None:
    target = written(tmp_path, "extends: reram-tile\narray:\n  group_rows: {value: 16, source: s}\n")
    assert load_target(target, ["array.rows=128"]).array.group_rows.value == 16


ALPHABET = string.ascii_lowercase + "{}[]:,&*!|>-#\"' \n\t0123456789_."


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(text=st.text(ALPHABET, max_size=60), line=st.integers(0, 70))
def test_any_text_gives_a_chip_or_a_refusal(tmp_path: Path, text: str, line: int) -> None:
    lines = RERAM.splitlines()
    lines.insert(line, text)
    codes: set[str] = set()
    chip: Chip | None = None
    try:
        chip = load_target(written(tmp_path, "\n".join(lines)))
    except Refusal as refusal:
        codes = {d.code for d in refusal.diagnostics}
    assert codes <= {"BL0102", "BL0103", "BL0201"}
    assert (chip is None) == bool(codes)


@settings(deadline=None, max_examples=60)
@given(key=st.sampled_from(KEYS), value=st.text(string.printable, max_size=8))
def test_any_override_gives_a_chip_or_a_refusal(key: str, value: str) -> None:
    codes: set[str] = set()
    source = ""
    try:
        found = entry(load_target("reram-tile", [f"{key}={value}"]), key)
        source = found.source if found is not None else ""
    except Refusal as refusal:
        codes = {d.code for d in refusal.diagnostics}
    assert (codes, source) in (({"BL0101"}, ""), (set(), "set by the user"))


def test_a_section_that_may_be_left_out_can_be_set(tmp_path: Path) -> None:
    target = written(tmp_path, RERAM.partition("\nhost:")[0])
    host = load_target(target, ["host.call_ns=7"]).host
    assert (host.call_ns.value, host.call_ns.source) == (7, "set by the user")
    assert host.macs_per_ns == load_target(target).host.macs_per_ns


def test_a_wrong_host_is_told_with_its_line(tmp_path: Path) -> None:
    target = written(tmp_path, "extends: reram-tile\nhost:\n  macs_per_us: {value: 1, source: s}\n")
    (found,) = refused(target)
    assert found.place == f"{target}:3:host.macs_per_us"
    assert found.help.startswith("did you mean macs_per_ns")


def test_a_chip_is_changed_like_a_file() -> None:
    chip = load_target("wtm2101")
    assert changed(chip, []) == chip
    other = changed(chip, ["memory.psum_bytes=16384", "array.rows=64"])
    assert other == load_target("wtm2101", ["memory.psum_bytes=16384", "array.rows=64"])
    with pytest.raises(Refusal) as caught:
        changed(chip, ["array.rows=64", "array.group_rows=128"])
    assert [d.code for d in caught.value.diagnostics] == ["BL0101"]
    with pytest.raises(Refusal):
        changed(chip, ["memory.psum=1"])
