"""Equal values give equal bytes, and what was written comes back; what was altered is refused with its field."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitline.core.canonical import SPARSE, dumps, from_json, sha256, to_json
from bitline.core.diagnostics import Refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    x: int
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    points: tuple[Point, ...]
    weight: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rare:
    """What few of many values have is left out where they have it not."""

    x: int
    more: tuple[Point, ...] = field(default=(), metadata=SPARSE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Many:
    found: dict[str, tuple[Rare, ...]]


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
points = st.builds(Point, x=st.integers(-(2**60), 2**60), name=names)
paths = st.builds(
    Path,
    points=st.lists(points, max_size=4).map(tuple[Point, ...]),
    weight=st.none() | st.floats(allow_nan=False, allow_infinity=False),
)


def test_one_form() -> None:
    assert to_json(Path(points=(Point(x=1, name="é\x7f"),))) == (
        '{"points":[{"name":"\\u00e9\\u007f","x":1}],"weight":null}\n'
    )
    assert dumps({"b": 1, "a": [1, 2]}) == dumps({"a": [1, 2], "b": 1}) == '{"a":[1,2],"b":1}\n'


def test_what_few_have_is_left_out_of_the_others() -> None:
    many = Many(found={"a": (Rare(x=1), Rare(x=2, more=(Point(x=3),))), "more": ()})
    text = to_json(many)
    assert text == '{"found":{"a":[{"x":1},{"more":[{"name":"","x":3}],"x":2}],"more":[]}}\n'
    assert from_json(Many, text, place="m.json") == many


@given(paths)
def test_round_trip(path: Path) -> None:
    text = to_json(path)
    assert from_json(Path, text, place="p.json") == path
    assert text == dumps(json.loads(text))


def test_nan_has_no_place_in_it() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        dumps({"a": float("nan")})


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('{"points":[{"x":"one"}]}', "points.0.x"),
        ('{"points":[{"name":"a"}]}', "points.0.x"),
        ("{", "file"),
        ("[]", "file"),
    ],
)
def test_altered_text_is_refused_with_its_field(text: str, field: str) -> None:
    with pytest.raises(Refusal) as refusal:
        from_json(Path, text, place="placement.json")
    (diagnostic,) = refusal.value.diagnostics
    assert (diagnostic.code, diagnostic.place) == ("BL0205", "placement.json")
    assert diagnostic.message.startswith(f"{field}: ")


def test_sha256() -> None:
    assert sha256(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
