"""Token ids from text files: padded, cut, masked; every bad line is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bitline.core.diagnostics import Refusal
from bitline.data.grammar import Preprocess
from bitline.data.load import Rules, load_data, load_source
from bitline.data.sources import find_sources
from bitline.graph.model import Model
from tests.data.pictures import said
from tests.graph.build import as_model, parsed

BERT = as_model(
    parsed(
        "int64[1,4] input_ids, int64[1,4] attention_mask, int64[1,4] token_type_ids, int32[1,4] position_ids) => "
        "(float[1,4,2] y, int64[1,4] a, int64[1,4] b, int32[1,4] c",
        "y = Gather(table, input_ids) a = Identity(attention_mask) b = Identity(token_type_ids) "
        "c = Identity(position_ids)",
        {"table": np.zeros((100, 2), np.float32)},
    )
)
LONE = as_model(parsed("int32[1,3] words) => (int32[1,3] y", "y = Identity(words)"))
FLAT = as_model(
    parsed(
        "int64[3] input_ids, float[3] mask) => (int64[3] y, float[3] z", "y = Identity(input_ids) z = Identity(mask)"
    )
)


def written(folder: Path, text: str) -> str:
    (folder / "ids.txt").write_text(text, encoding="utf-8")
    return str(folder / "ids.txt")


def refused(spec: str, model: Model = BERT) -> str:
    with pytest.raises(Refusal) as refusal:
        load_data(spec, model)
    return said(refusal.value)


def test_lines_are_cut_padded_and_masked(tmp_path: Path) -> None:
    samples = load_data(written(tmp_path, "5 6\n\n1,2, 3, 4 9 9\r\n7\n"), BERT)
    assert samples.feeds["input_ids"].tolist() == [[5, 6, 0, 0], [1, 2, 3, 4], [7, 0, 0, 0]]
    assert samples.feeds["attention_mask"].tolist() == [[1, 1, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0]]
    assert samples.feeds["token_type_ids"].tolist() == [[0] * 4] * 3
    assert samples.feeds["position_ids"].tolist() == [[0, 1, 2, 3]] * 3
    assert samples.feeds["position_ids"].dtype == np.int32
    assert samples.remark == "3 samples of ids.txt, 4 ids each; 1 cut, 2 padded with 0"


def test_a_lone_integer_input_takes_ids_whatever_its_name(tmp_path: Path) -> None:
    samples = load_data(written(tmp_path, "1 2\n3 4 5"), LONE, limit=1)
    assert samples.feeds["words"].tolist() == [[1, 2, 0]]


def test_inputs_without_a_batch_axis_and_float_masks(tmp_path: Path) -> None:
    samples = load_data(written(tmp_path, "1 2\n3 4 5"), FLAT)
    assert samples.feeds["mask"].dtype == np.float32
    assert samples.feeds["mask"].tolist() == [[1, 1, 0], [1, 1, 1]]
    assert samples.feeds["input_ids"].tolist() == [[1, 2, 0], [3, 4, 5]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ("no token ids in the file",)),
        ("\n \n", ("no token ids in the file",)),
        ("1 2\nhello 3\n4 -5\n6 1.5", ("ids.txt:2", "'hello'", "ids.txt:3", "'-5'", "ids.txt:4", "'1.5'")),
        ("1\n1 100", ("sequence 2 holds the id 100", "has 100 rows", "tokenizer")),
        ("1" * 40, ("is no token id",)),
        ("²", ("is no token id",)),
    ],
)
def test_bad_lines(tmp_path: Path, text: str, words: tuple[str, ...]) -> None:
    for word in words:
        assert word in refused(written(tmp_path, text))


def test_binary_files_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_bytes(b"\xff\xfe\x00")
    assert "it is no UTF-8 text" in refused(str(tmp_path / "ids.txt"))


def test_models_that_take_no_text(tmp_path: Path) -> None:
    spec = written(tmp_path, "1 2")
    image = as_model(parsed("float[1,3,2,2] x) => (float[1,3,2,2] y", "y = Identity(x)"))
    assert "nobody knows what token ids mean for input 'x'" in refused(spec, image)
    odd = as_model(
        parsed(
            "int64[1,4] input_ids, float[1,2] extra) => (int64[1,4] y, float[1,2] z",
            "y = Identity(input_ids) z = Identity(extra)",
        )
    )
    assert "input 'extra', float32 [1, 2]" in refused(spec, odd)
    masks = as_model(parsed("int64[1,4] a_mask, int64[1,4] b_mask) => (int64[1,4] y", "y = Add(a_mask, b_mask)"))
    assert "no input of the model takes token ids" in refused(spec, masks)


def test_images_options_are_refused(tmp_path: Path) -> None:
    (source,) = find_sources([written(tmp_path, "1 2")])
    with pytest.raises(Refusal, match="--preprocess is for images"):
        load_source(source, BERT, Rules(preprocess=Preprocess()))
    with pytest.raises(Refusal, match="--hop cuts streams"):
        load_source(source, BERT, Rules(hop=2))
