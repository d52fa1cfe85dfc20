"""The best classes, how their scores come about, and files of labels in the forms that people have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitline.core.diagnostics import Refusal
from bitline.graph.passes import simplify
from bitline.inference.answers import Box, Classes, Prediction
from bitline.inference.classes import Scoring, best_classes, check_labels, named, read_labels, scoring
from tests.data.pictures import said
from tests.graph.build import as_model, parsed
from tests.inference.models import images

SOFTMAX = Scoring(output="y", classes=4, rule="softmax")
PLAIN = Scoring(output="y", classes=4, rule="as it is")


def test_the_best_come_first_and_of_equal_ones_the_first() -> None:
    found = best_classes(np.array([[1.0, 3.0, 3.0, -1.0]]), PLAIN, 3, ("a", "b"))
    assert [(p.number, p.label, p.title, p.score) for p in found.best] == [
        (1, "b", "b", 3.0),
        (2, "", "class 2", 3.0),
        (0, "a", "a", 1.0),
    ]


@given(st.lists(st.floats(-1000, 1000, width=32), min_size=2, max_size=20), st.integers(1, 25))
def test_softmax_is_a_distribution_in_the_order_of_the_logits(values: list[float], top: int) -> None:
    x = np.array(values, np.float32)
    found = best_classes(x, SOFTMAX, top, ()).best
    assert len(found) == min(top, len(values))
    scores = [p.score for p in found]
    assert scores == sorted(scores, reverse=True)
    assert found[0].number == int(x.argmax())
    whole = sum(p.score for p in best_classes(x, SOFTMAX, len(values), ()).best)
    assert whole == pytest.approx(1.0)


def test_logits_get_a_softmax_and_probabilities_do_not() -> None:
    assert scoring(as_model(images())) == Scoring(output="scores", classes=10, rule="softmax")
    soft = scoring(simplify(as_model(images(softmax=True))))
    assert soft == Scoring(output="scores", classes=10, rule="as it is")
    assert str(soft) == "'scores' as it is"
    reshaped = parsed(
        "float[1,4] x) => (float[4,1] y", "s = Softmax(x) y = Reshape(s, shape)", {"shape": np.array([4, 1])}
    )
    assert scoring(as_model(reshaped)) == Scoring(output="y", classes=4, rule="as it is")


def test_outputs_that_are_no_classes() -> None:
    for shape in ("1,2,3", "1,1", "1,3,8,8"):
        assert scoring(as_model(parsed(f"float[{shape}] x) => (float[{shape}] y", "y = Relu(x)"))) is None


@pytest.mark.parametrize("kind", ["int64", "int32", "bool"])
def test_whole_numbers_are_no_scores(kind: str) -> None:
    signature = f"{kind}[1,4] x) => ({kind}[1,4] y"
    assert scoring(as_model(parsed(signature, "y = Identity(x)"))) is None


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("cat\ndog\n", ("cat", "dog")),
        ("\ufeffcat\r\n dog \r\n\r\n", ("cat", "dog")),
        ("cat\n\ndog", ("cat", "", "dog")),
        ("n02123045 tabby, tabby cat\nn02123159 tiger cat", ("tabby, tabby cat", "tiger cat")),
        ("0: cat\n1: dog", ("cat", "dog")),
        ("1 dog\n0 cat", ("cat", "dog")),
        ("0,cat\n2,bird", ("cat", "", "bird")),
        ("101 dalmatians\ncat", ("101 dalmatians", "cat")),
        ("7 up\n7 eleven", ("7 up", "7 eleven")),
        ("1000000 lire\n2 euro", ("1000000 lire", "2 euro")),
    ],
)
def test_files_of_labels(tmp_path: Path, text: str, labels: tuple[str, ...]) -> None:
    (tmp_path / "labels.txt").write_text(text, encoding="utf-8")
    assert read_labels(tmp_path / "labels.txt") == labels


def test_files_that_are_no_labels(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n\n")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\xfa")
    for name, word in (("empty.txt", "no labels"), ("binary.txt", "no UTF-8"), ("gone.txt", "No such file")):
        with pytest.raises(Refusal) as refusal:
            read_labels(tmp_path / name)
        assert refusal.value.diagnostics[0].code == "BL0206"
        assert word in said(refusal.value)


def test_as_many_labels_as_classes() -> None:
    check_labels(("a", "b", "c", "d"), PLAIN, "l.txt")
    for labels, how, word in ((("a",), PLAIN, "1 labels for 4 classes"), (("a",), None, "no list of classes")):
        with pytest.raises(Refusal, match=word):
            check_labels(labels, how, "l.txt")


def test_numbers_of_a_hook_get_names() -> None:
    box = Box(x0=0, y0=0, x1=1, y1=1, label="1", score=1)
    boxes = named((box, Box(x0=0, y0=0, x1=1, y1=1, label="7", score=1)), ("cat", "dog"))
    assert isinstance(boxes, tuple)
    assert [b.label for b in boxes] == ["dog", "7"]
    classes = named(
        Classes(best=(Prediction(number=0, label="", score=1), Prediction(number=1, label="x", score=0))), ("cat",)
    )
    assert isinstance(classes, Classes)
    assert [p.label for p in classes.best] == ["cat", "x"]
