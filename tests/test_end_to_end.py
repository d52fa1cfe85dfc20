"""Whole networks, ONNX file to verified program to numbers: what the project is for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bitline import api
from bitline.numerics.stored import to_bytes, to_stored
from bitline.quant.calibration import Samples
from bitline.quant.options import QuantOptions
from tests import networks
from tests.networks import TARGETS, Source

MACS = {  # of one input, counted by hand or by the models' own tables
    "mnist": 14_827_488,
    "resnet20": 40_813_184,
    "ds_cnn": 2_656_768,
    "mobilenet_v2_224": 300_774_272,
    "resnet18_224": 1_814_073_344,
}
SHARED = ("resnet20", "ds_cnn", "mobilenet_v2_224", "resnet18_224")


def source_of(name: str, request: pytest.FixtureRequest, folder: Path) -> Source:
    if name == "mnist":
        return networks.example()
    shared: Path = request.getfixturevalue("shared")
    return networks.resnet20(shared) if name == "resnet20" else networks.filled(shared, name, folder)


def compiled(source: Source, target: str, overrides: tuple[str, ...] = ()) -> tuple[api.Package, Samples]:
    model = api.load(source.model)
    calibration = networks.samples(source, "calib", model, 16)
    package = api.compile(model, target=target, calib=calibration.feeds, overrides=overrides)
    return package, networks.samples(source, "test", package.model, 2)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", ["mnist", *SHARED])
def test_a_network_is_verified_and_exact(
    name: str, target: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    package, data = compiled(source_of(name, request, tmp_path), target)
    verified = package.verify()
    assert verified.ok, [str(e) for e in verified.errors]
    ran = package.run(data.feeds, check_samples=1)
    assert ran.checked is not None
    exact = ran.checked.exact
    assert exact.against_reference.equal == exact.against_reference.values > 0
    assert exact.against_golden.equal == exact.against_golden.values > 0
    figures = package.figures()
    assert figures["macs_on_arrays"] == figures["macs"] == MACS[name]
    assert ran.clipped == 0
    # ONNX Runtime's own integers into every kernel; the only differences left are ties of float rounding
    assert ran.checked.teacher_forced.within_one_share == 1.0
    assert ran.checked.teacher_forced.equal_share >= 0.995
    if name == "resnet18_224" and target == "reram-tile":
        static = figures["instructions_static"]
        assert isinstance(static, int)
        assert static <= 20_000


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", ["mnist", "ds_cnn"])
def test_whole_loops_at_once_equal_single_steps(
    name: str, target: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    package, data = compiled(source_of(name, request, tmp_path), target)
    network = package.contents.network
    port = next(p for p in network.ports if p.direction == "input")
    stored = {
        port.tensor: to_bytes(
            to_stored(data.feeds[port.name][:1], port, network.tensor(port.tensor)), network.tensor(port.tensor)
        )
    }
    at_once, stepped = package.runner.run(stored), package.runner.step(stored)
    assert (at_once.instructions, at_once.conversions) == (stepped.instructions, stepped.conversions)
    for tensor, data_ in stepped.outputs.items():
        np.testing.assert_array_equal(at_once.outputs[tensor], data_)


@pytest.mark.parametrize("name", ["ds_cnn", "resnet20"])
def test_a_converter_that_clips_is_exact_too(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    package, data = compiled(source_of(name, request, tmp_path), "reram-tile", ("adc.bits=6",))
    assert package.verify().ok
    ran = package.run({key: value[:1] for key, value in data.feeds.items()}, check_samples=1)
    assert ran.checked is not None
    exact = ran.checked.exact
    assert ran.clipped > 0
    assert exact.clipped == ran.clipped  # the reference clips just as often
    assert exact.against_reference.equal == exact.against_reference.values
    assert exact.against_golden.equal == exact.against_golden.values


@pytest.mark.parametrize(("weight_bits", "activation_bits"), [(4, 8), (8, 5), (3, 4)])
def test_narrow_numbers_are_exact_too(weight_bits: int, activation_bits: int) -> None:
    source = networks.example()
    model = api.load(source.model)
    options = QuantOptions(weight_bits=weight_bits, activation_bits=activation_bits)
    samples = networks.samples(source, "calib", model, 16)
    package = api.compile(model, target="reram-tile", calib=samples.feeds, options=options)
    assert package.verify().ok
    ran = package.run({key: 4 * value[:2] for key, value in samples.feeds.items()}, check_samples=2)
    assert ran.checked is not None
    assert ran.checked.exact.against_golden.equal == ran.checked.exact.against_golden.values
    assert ran.checked.teacher_forced.within_one_share == 1.0
    assert max(len(np.unique(v)) for v in ran.outputs.values()) <= 2**activation_bits


@pytest.mark.parametrize("target", TARGETS)
def test_a_trained_network_keeps_its_accuracy(target: str) -> None:
    source = networks.example()
    model = api.load(source.model)
    package = api.compile(model, target=target, calib=networks.samples(source, "calib", model, 64).feeds)
    digits = networks.samples(source, "test", package.model, 200)
    assert digits.labels is not None
    scores = package.run(digits.feeds).outputs["logits"].reshape(200, 10)
    assert float((scores.argmax(axis=1) == digits.labels).mean()) >= 0.98


def test_cifar_accuracy_stays_near_float(shared: Path) -> None:
    source = networks.resnet20(shared)
    model = api.load(source.model)
    package = api.compile(model, target="sram-dcim", calib=networks.samples(source, "calib", model, 256).feeds)
    images = networks.samples(source, "test", package.model, 500)
    assert images.labels is not None
    scores = package.run(images.feeds).outputs["logits"].reshape(500, 10)
    # float: 79.62 % on all 5,000; the benchmark runs them all, paired noise on 500 is about 0.5 points
    assert float((scores.argmax(axis=1) == images.labels).mean()) >= 0.775


@pytest.mark.parametrize("target", TARGETS)
def test_the_same_inputs_give_the_same_bytes(target: str, tmp_path: Path) -> None:
    source = networks.example()
    packages: list[dict[str, bytes]] = []
    for seed in ("1", "77"):
        place = tmp_path / seed
        arguments = [str(source.model), "--target", target, "--calib", source.calib, "-o", str(place)]
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", "from bitline.cli.main import main; main()", "compile", *arguments]
        command += ["--preprocess", networks.DIGITS]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        packages.append({file.name: file.read_bytes() for file in sorted(place.iterdir())})
    assert packages[0] == packages[1]
    assert len(packages[0]) >= 20
