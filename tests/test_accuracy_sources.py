"""The instruments of `benchmarks/accuracy.py`: what they measure with has to be right itself."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import accuracy_sources as sources


@pytest.mark.parametrize(
    ("left", "right", "distance"),
    [("", "", 0), ("abc", "abc", 0), ("abc", "", 3), ("kitten", "sitting", 3), ("ab", "ba", 2), ("x", "xyz", 2)],
)
def test_edit_distance(left: str, right: str, distance: int) -> None:
    assert sources.edit_distance(left, right) == sources.edit_distance(right, left) == distance


def test_the_best_path_drops_repeats_before_blanks() -> None:
    path = [0, 1, 1, 0, 1, 2, 2, 2, 0, 0]  # blank a a blank a b b b blank blank
    assert sources.decoded(np.eye(3)[path], ["", "a", "b"]) == "aab"
    assert sources.decoded(np.eye(3)[[0, 0]], ["", "a", "b"]) == ""


def test_word_pieces_are_the_longest_known(tmp_path: Path) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "un", "##affable", "##aff", "##able", "a", ","]
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("\n".join(words))
    tokenizer = sources.WordPiece(vocabulary)
    ids, mask = tokenizer("Unaffable, a xyz", 10)
    assert [words[index] for index in ids[:7]] == ["[CLS]", "un", "##affable", ",", "a", "[UNK]", "[SEP]"]
    assert mask.tolist() == [1] * 7 + [0] * 3
    ids, mask = tokenizer("a a a a a a", 4)
    assert [words[index] for index in ids] == ["[CLS]", "a", "a", "[SEP]"]
    assert mask.tolist() == [1] * 4


def test_sentences_and_crops_are_the_same_every_time() -> None:
    texts = sources.sentences(40)
    assert texts == sources.sentences(60)[:40]
    assert len(set(texts)) == 40
    assert all(5 <= len(text.split()) <= 22 for text in texts)
    first, again, other = sources.crops(2, 1), sources.crops(2, 1), sources.crops(2, 2)
    np.testing.assert_array_equal(first, again)
    assert first.shape == (2, 3, 48, 320)
    assert np.abs(first).max() <= 1
    assert not np.array_equal(first, other)


def test_frames_begin_with_the_end_of_the_one_before() -> None:
    sound = np.arange(1, 21, dtype=np.float32)
    frames = sources.Speech(sound=sound).frames(6, 2)
    np.testing.assert_array_equal(frames[:, 2:], sound[:18].reshape(3, 6))
    np.testing.assert_array_equal(frames[1:, :2], frames[:-1, -2:])
    np.testing.assert_array_equal(frames[0, :2], 0)
