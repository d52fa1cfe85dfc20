"""Real networks for end-to-end tests: the shipped example, and those of the shared folder with seeded weights."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path

import onnx

from bitline import api, examples
from bitline.data.grammar import parse_preprocess
from bitline.data.load import load_data
from bitline.quant.calibration import Samples

TARGETS = ("reram-tile", "sram-dcim")
DIGITS = "mean=0.1307 std=0.3081"
CIFAR = "mean=0.485,0.456,0.406 std=0.229,0.224,0.225"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A float model and its data; `prepare` as on the command line."""

    model: Path
    calib: str
    test: str
    prepare: str | None


def example() -> Source:
    """The digits, which travel with the package."""
    return Source(
        model=examples.path("mnist_cnn.onnx"),
        calib=str(examples.path("mnist_calib_64.npz")),
        test=str(examples.path("mnist_test_200.npz")),
        prepare=DIGITS,
    )


def filled(shared: Path, name: str, folder: Path) -> Source:
    """A topology with seed-0 weights, written to `folder`."""
    spec = importlib.util.spec_from_file_location("fill_weights", shared / "tools" / "fill_weights.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    stem = shared / "models" / "topologies" / name
    model = folder / f"{name}.onnx"
    if not model.exists():
        stripped = onnx.load(stem.with_suffix(".onnx"), format="protobuf")
        whole = module.fill(stripped, json.loads(stem.with_suffix(".weights.json").read_text()), 0)
        onnx.save(whole, model)
    return Source(model=model, calib="random:2", test="random:3", prepare=None)


def resnet20(shared: Path) -> Source:
    """The trained ResNet-20."""
    data = shared / "data" / "cifar10"
    return Source(
        model=shared / "models" / "resnet20_cifar10.onnx",
        calib=str(data / "calib_1024.npz"),
        test=str(data / "test_5000.npz"),
        prepare=CIFAR,
    )


def samples(source: Source, which: str, model: api.Model, limit: int) -> Samples:
    """The first `limit` calibration ("calib") or test ("test") samples."""
    spec = source.calib if which == "calib" else source.test
    return load_data(spec, model, parse_preprocess(source.prepare) if source.prepare else None, limit)
