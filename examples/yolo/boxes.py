"""A post-processing hook for detectors of the YOLO family: raw heads into boxes on the user's image.

    bitline run package photos --preprocess fit=letterbox --labels coco.txt \\
        --postprocess examples/yolo/boxes.py:boxes --annotate -o found

It understands two forms of output:

    [1, A * (5 + C), H, W]   one head or more of YOLO v3: A anchors a cell; x, y, w, h, objectness, C classes, as logits
    [1, 4 + C, N]            YOLO v8 and later: N candidates; centre, width and height in input pixels, C scores

Labels are class numbers; `--labels` names them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from bitline.inference import Box, Frame

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

LEAST_SCORE = 0.25
MOST_OVERLAP = 0.45
MOST_BOXES = 100

ANCHORS = {13: ((81, 82), (135, 169), (344, 319)), 26: ((10, 14), (23, 27), (37, 58))}
"""Width and height in input pixels, by the height of the head: YOLOv3-tiny at 416 x 416 (darknet, cfg/yolov3-tiny.cfg).
Put those here that your network was trained with."""


def boxes(outputs: Mapping[str, Array], frame: Frame) -> list[Box]:
    """The hook: the surest boxes, none of which overlaps a surer one of its class by more than `MOST_OVERLAP`."""
    heads = [x for x in outputs.values() if x.ndim == 4]
    rows = [_head(x[0], frame) for x in heads] or [_candidates(x[0]) for x in outputs.values() if x.ndim == 3]
    found = np.concatenate(rows)  # x0, y0, x1, y1 in input pixels, class, score
    found = found[found[:, 5] >= LEAST_SCORE]
    found = found[np.argsort(-found[:, 5], kind="stable")]
    made: list[Box] = []
    for x0, y0, x1, y1, number, score in _without_overlaps(found)[:MOST_BOXES]:
        left, top = frame.to_image(x0, y0)
        right, bottom = frame.to_image(x1, y1)
        if left >= right or top >= bottom:  # wholly in the grey edges of the letterbox
            continue
        made.append(Box(x0=left, y0=top, x1=right, y1=bottom, label=str(int(number)), score=float(score)))
    return made


def _head(head: Array, frame: Frame) -> Floats:
    """One YOLO v3 head [A * (5 + C), H, W] as rows."""
    channels, high, wide = head.shape
    anchors = np.asarray(ANCHORS[high], np.float64)
    cells = head.reshape(len(anchors), channels // len(anchors), high, wide).astype(np.float64)
    down, across = np.mgrid[0:high, 0:wide]
    x = (_sigmoid(cells[:, 0]) + across) * frame.input_width / wide
    y = (_sigmoid(cells[:, 1]) + down) * frame.input_height / high
    width = np.exp(cells[:, 2]) * anchors[:, 0, None, None]
    height = np.exp(cells[:, 3]) * anchors[:, 1, None, None]
    scores = _sigmoid(cells[:, 4:5]) * _sigmoid(cells[:, 5:])
    return _rows(x, y, width, height, np.moveaxis(scores, 1, 0))


def _candidates(output: Array) -> Floats:
    """YOLO v8's [4 + C, N] as rows."""
    x, y, width, height = output[:4].astype(np.float64)
    return _rows(x, y, width, height, output[4:].astype(np.float64))


def _rows(x: Floats, y: Floats, width: Floats, height: Floats, scores: Floats) -> Floats:
    """Corners, best class and its score; `scores` has the classes on axis 0."""
    corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    return np.stack([part.reshape(-1) for part in (*corners, scores.argmax(axis=0), scores.max(axis=0))], axis=1)


def _without_overlaps(found: Floats) -> Floats:
    """Non-maximum suppression, class by class; `found` begins with the surest."""
    kept: list[int] = []
    for i, row in enumerate(found):
        others = found[kept]
        same = others[others[:, 4] == row[4]]
        high = np.minimum(same[:, 2:4], row[2:4])
        low = np.maximum(same[:, 0:2], row[0:2])
        shared = np.prod(np.maximum(high - low, 0), axis=1)
        joint = np.prod(same[:, 2:4] - same[:, 0:2], axis=1) + np.prod(row[2:4] - row[0:2]) - shared
        if not np.any(shared > MOST_OVERLAP * joint):
            kept.append(i)
    return found[kept]


def _sigmoid(x: Floats) -> Floats:
    return 1 / (1 + np.exp(-np.clip(x, -60, 60)))
