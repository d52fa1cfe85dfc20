"""A model that protobuf cannot hold in one piece is refused before it is tried."""

from __future__ import annotations

import onnx
import pytest

from bitline.core.diagnostics import Refusal
from bitline.engines import protobuf
from bitline.engines.ort import Session
from tests.graph.build import parsed


def small() -> onnx.ModelProto:
    return parsed("float[1,3] x) => (float[1,3] y", "y = Relu(x)")


def test_the_bytes_are_the_model() -> None:
    assert onnx.ModelProto.FromString(protobuf.serialised(small(), place="net.onnx")) == small()


def test_too_large_for_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protobuf, "MESSAGE_BYTES", 20)
    with pytest.raises(Refusal, match="protobuf ends at 20") as refused:
        Session(small(), optimise=False, place="net.onnx")
    (diagnostic,) = refused.value.diagnostics
    assert (diagnostic.code, diagnostic.place) == ("BL0203", "net.onnx")
    assert diagnostic.help
