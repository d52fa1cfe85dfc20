"""A model as bytes, where protobuf can hold it: messages end at 2 GiB."""

from __future__ import annotations

from typing import Final

import onnx

from bitline.core.diagnostics import refuse

MESSAGE_BYTES: Final = 2**31 - 1


def serialised(model: onnx.ModelProto, *, place: str) -> bytes:
    """The bytes of a model, the same for the same model. Raises `Refusal` (BL0203) where there are too many."""
    size = model.ByteSize()
    if size > MESSAGE_BYTES:
        raise refuse(
            "BL0203",
            f"this step needs the model in one piece of {size} bytes; protobuf ends at {MESSAGE_BYTES}",
            place=place,
            help="compile a part of the network, or store narrower weights (float16, or a QDQ model)",
        )
    return model.SerializeToString(deterministic=True)
