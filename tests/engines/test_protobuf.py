"""A model that protobuf cannot hold in one piece runs with its weights beside it, or is refused before it is tried."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from bitline.core.diagnostics import Refusal
from bitline.engines import ort, protobuf
from bitline.engines.ort import HANDED_OVER, Session
from tests.graph.build import parsed

WIDE = np.random.default_rng(1).normal(0, 1, (64, HANDED_OVER // 64)).astype(np.float32)
FEEDS = {"x": np.random.default_rng(2).normal(0, 1, (2, 64)).astype(np.float32)}


def small() -> onnx.ModelProto:
    return parsed("float[1,3] x) => (float[1,3] y", "y = Relu(x)")


def wide() -> onnx.ModelProto:
    return parsed("float[2,64] x) => (float[2,M] y", "h = MatMul(x, w) y = Add(h, b)", {"w": WIDE, "b": WIDE[:1]})


def test_the_bytes_are_the_model() -> None:
    assert onnx.ModelProto.FromString(protobuf.serialised(small(), place="net.onnx")) == small()


@pytest.mark.parametrize("optimise", [True, False])
def test_the_weights_beside_the_model_give_the_same(optimise: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = Session(wide(), optimise=optimise).run(FEEDS)["y"]
    monkeypatch.setattr(protobuf, "MESSAGE_BYTES", 200_000)
    assert not protobuf.fits(wide())
    np.testing.assert_array_equal(Session(wide(), optimise=optimise).run(FEEDS)["y"], expected)


@pytest.mark.parametrize("optimise", [True, False])
def test_many_weights_are_never_in_a_message(optimise: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are much, the message is without them though it would hold them; the numbers stay."""
    expected = Session(wide(), optimise=optimise).run(FEEDS)["y"]
    monkeypatch.setattr(ort, "MUCH", protobuf.constant_bytes(wide()))
    sent: list[int] = []
    whole = protobuf.serialised

    def watched(model: onnx.ModelProto, *, place: str) -> bytes:
        sent.append(model.ByteSize())
        return whole(model, place=place)

    monkeypatch.setattr(ort, "serialised", watched)
    np.testing.assert_array_equal(Session(wide(), optimise=optimise).run(FEEDS)["y"], expected)
    assert max(sent) < WIDE.nbytes // 2


def test_bytes_of_constants() -> None:
    assert protobuf.constant_bytes(wide()) == WIDE.nbytes + WIDE[:1].nbytes
    assert protobuf.constant_bytes(small()) == 0


def test_without_large_constants() -> None:
    light = protobuf.without_large_constants(wide(), WIDE.size)
    assert light.ByteSize() < 20_000
    first, second = light.graph.initializer
    assert (first.name, list(first.dims), first.HasField("raw_data")) == ("w", list(WIDE.shape), False)
    assert second == wide().graph.initializer[1]
    assert protobuf.without_large_constants(wide(), WIDE.size + 1) == wide()


def test_too_large_for_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protobuf, "MESSAGE_BYTES", 20)
    with pytest.raises(Refusal, match="protobuf ends at 20") as refused:
        Session(small(), optimise=False, place="net.onnx")
    (diagnostic,) = refused.value.diagnostics
    assert (diagnostic.code, diagnostic.place) == ("BL0203", "net.onnx")
    assert diagnostic.help
