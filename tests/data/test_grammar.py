"""--preprocess: every key is understood, every mistake has a sentence of its own, and all are told at once."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bitline.core.diagnostics import Refusal
from bitline.data.grammar import KEYS, Preprocess, parse_preprocess
from tests.data.pictures import said

WHOLE = "resize=256 crop=224 filter=bicubic color=bgr layout=nhwc scale=1/128 mean=1,0.5,0 std=0.5,0.25,1"


def test_every_key() -> None:
    assert parse_preprocess(WHOLE) == Preprocess(
        resize=256,
        crop=(224, 224),
        filter="bicubic",
        color="BGR",
        layout="NHWC",
        scale=(1.0, 128.0),
        mean=(1.0, 0.5, 0.0),
        std=(0.5, 0.25, 1.0),
    )
    assert parse_preprocess("fit=letterbox") == Preprocess(fit="letterbox")
    assert {word.partition("=")[0] for word in WHOLE.split()} | {"fit"} == set(KEYS)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("resize=240x320", Preprocess(resize=(240, 320))),
        ("crop=200x100", Preprocess(crop=(200, 100))),
        ("scale=1", Preprocess(scale=(1.0, 1.0))),
        ("scale=0.0078125", Preprocess(scale=(0.0078125, 1.0))),
        ("scale=1 mean=123.675,116.28,103.53", Preprocess(scale=(1.0, 1.0), mean=(123.675, 116.28, 103.53))),
        ("color=grey", Preprocess(color="GRAY")),
        ("fit=COVER", Preprocess(fit="cover")),
        ("mean=-1", Preprocess(mean=(-1.0,))),
        ("crop=224 resize=256", Preprocess(resize=256, crop=(224, 224))),
    ],
)
def test_forms(text: str, rule: Preprocess) -> None:
    assert parse_preprocess(text) == rule


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ("nothing is given",)),
        ("   ", ("nothing is given",)),
        ("men=1", ("'men' is unknown", "did you mean `mean`?")),
        ("Mean=1", ("'Mean' is unknown", "did you mean `mean`?")),
        ("zzz=1", ("'zzz' is unknown", "known are resize, crop")),
        ("mean", ("'mean' has no value", "KEY=VALUE")),
        ("mean=", ("'mean' has no value",)),
        ("mean = 0.5", ("'mean' has no value", "no space around `=`")),
        ("mean=0.5, 0.5", ("mean=0.5, is not understood", "commas between them and no spaces", "'0.5' is unknown")),
        ("mean=1 mean=1", ("'mean' is given twice",)),
        ("mean=a", ("'a' is no number",)),
        ("mean=nan", ("finite",)),
        ("mean=1,,2", ("commas",)),
        ("std=inf", ("finite",)),
        ("std=0", ("std=0 is not understood", "above 0")),
        ("std=0.5,-1", ("above 0",)),
        ("mean=1,2,1 std=1,2", ("3 values of mean, 2 of std",)),
        ("mean=123.7,116.3,103.5", ("mean=123.7,116.3,103.5 is outside of pixels", "scale=1")),
        ("scale=0", ("above 0",)),
        ("scale=1/0", ("above 0",)),
        ("scale=1/", ("'' is no number",)),
        ("scale=1/2/3", ("'2/3' is no number",)),
        ("resize=0", ("1 to 16384",)),
        ("resize=99999", ("1 to 16384",)),
        ("resize=-5", ("224x320",)),
        ("resize=1x2x3", ("224x320",)),
        ("resize=²", ("224x320",)),
        ("crop=big", ("224x320",)),
        ("resize=100 crop=224", ("crop=224x224 is larger than what resize leaves, 100x100",)),
        ("resize=300x200 crop=224", ("crop=224x224 is larger",)),
        ("fit=cover crop=5", ("`fit` stands for `resize` and `crop`",)),
        ("fit=huge", ("stretch, cover or letterbox",)),
        ("filter=magic", ("bilinear, bicubic or nearest",)),
        ("color=CMYK", ("RGB, BGR or GRAY",)),
        ("layout=CHW", ("NCHW or NHWC",)),
    ],
)
def test_every_mistake_is_told(text: str, words: tuple[str, ...]) -> None:
    with pytest.raises(Refusal) as refusal:
        parse_preprocess(text)
    assert {d.code for d in refusal.value.diagnostics} == {"BL0101"}
    assert all(d.message.startswith("--preprocess: ") and d.help for d in refusal.value.diagnostics)
    for word in words:
        assert word in said(refusal.value)


def test_all_mistakes_at_once() -> None:
    with pytest.raises(Refusal) as refusal:
        parse_preprocess("men=1 std=0 resize=x color=blue layout=NCHW")
    assert len(refusal.value.diagnostics) == 4


def test_the_grammar_imports_nothing_heavy() -> None:
    """The command line asks it for its keys before it knows what to do."""
    program = "import sys, bitline.data.grammar; print([m for m in ('numpy', 'onnx', 'PIL') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
