"""Image generators on Fashion-MNIST: distance to real images (FID), agreement with the class asked for, copies, cost.

    python -m benchmarks.images FOLDER classifier          train the classifier, print its accuracy and the floor
    python -m benchmarks.images FOLDER gan --set steps=6000

FOLDER holds the files of the Debian package dataset-fashion-mnist (MIT; `apt-get download dataset-fashion-mnist`).
The Fréchet distance (Heusel et al., 2017) is between the 128 features before the classes of a classifier of our own,
of 10,000 generated images (1,000 of each class) and the 10,000 test images, which nothing was trained on. Its floor
is the same distance between 10,000 training images and the test images. A figure of another classifier cannot be
compared with these.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from llmrec_cli.core.arrays import Floats, Ints
from llmrec_cli.core.progress import PlainProgress
from llmrec_cli.imaging.generators import Examples, Wanted, load_class
from llmrec_cli.imaging.image_files import save_image
from llmrec_cli.imaging.item_images import contact_sheet, nearest

Grey = npt.NDArray[np.uint8]
CLASSES = ("T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
SEED, EPOCHS, BATCH, RATE = 42, 4, 128, 2e-3
A_CLASS, BLOCK = 1000, 1000
RESULTS = Path(__file__).parent / "results" / "images.json"


def read_images(folder: Path, part: str) -> tuple[Grey, Ints]:
    """(n, 28, 28) images and (n,) labels of `train` or `t10k`."""
    images = gzip.decompress((folder / f"{part}-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((folder / f"{part}-labels-idx1-ubyte.gz").read_bytes())
    pixels = np.frombuffer(images, np.uint8, offset=16).reshape(-1, 28, 28)
    return pixels, np.frombuffer(labels, np.uint8, offset=8).astype(np.int64)


def layer(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU())


class Classifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        pool = nn.MaxPool2d(2)
        blocks = [layer(1, 32), layer(32, 32), pool, layer(32, 64), layer(64, 64), pool, nn.Flatten()]
        self.features = nn.Sequential(*blocks, nn.Linear(64 * 49, 128), nn.ReLU())
        self.classes = nn.Sequential(nn.Dropout(0.3), nn.Linear(128, len(CLASSES)))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.classes(self.features(images))
        return found


def as_tensor(images: Grey) -> torch.Tensor:
    return torch.from_numpy(images.copy())[:, None].float() / 255


def train_classifier(images: Grey, labels: Ints) -> Classifier:
    """Four epochs of AdamW with a one-cycle rate; half of the batches are mirrored."""
    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED)
    network = Classifier()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    steps = len(images) // BATCH
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps * EPOCHS)
    for _ in range(EPOCHS):
        order = rng.permutation(len(images))[: steps * BATCH].reshape(steps, BATCH)
        for rows in order:
            batch = as_tensor(images[rows])
            batch = batch.flip(3) if rng.random() < 0.5 else batch
            with torch.autocast("cpu", torch.bfloat16):
                scores = network(batch.contiguous(memory_format=torch.channels_last))
            loss = nn.functional.cross_entropy(scores.float(), torch.from_numpy(labels[rows]))
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    return network.eval()


@torch.inference_mode()
def look(network: Classifier, images: Grey) -> tuple[Floats, Ints]:
    """(n, 128) features and (n,) classes."""
    features, classes = [], []
    for block in as_tensor(images).split(BLOCK):
        found = network.features(block)
        features.append(found.double().numpy())
        classes.append(network.classes(found).argmax(1).numpy())
    return np.concatenate(features), np.concatenate(classes)


def frechet(a: Floats, b: Floats) -> float:
    """Squared Fréchet distance of two clouds of features, taken for normal."""
    variances, axes = np.linalg.eigh(np.cov(a.T))
    root = axes * np.sqrt(variances.clip(0)) @ axes.T
    eigenvalues = np.linalg.eigvalsh(root @ np.cov(b.T) @ root).clip(0)
    traces = np.trace(np.cov(a.T)) + np.trace(np.cov(b.T))
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + traces - 2 * np.sqrt(eigenvalues).sum())


def classifier(folder: Path, cache: Path) -> Classifier:
    """Trained once; kept in `cache`."""
    from safetensors.torch import load_file, save_file

    network, file = Classifier(), cache / f"classifier-{SEED}.safetensors"
    if file.exists():
        network.load_state_dict(load_file(file))
        return network.eval()
    network = train_classifier(*read_images(folder, "train"))
    cache.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, file)
    return network


def measure(name: str, settings: dict[str, Any], folder: Path, network: Classifier, sheet: Path) -> dict[str, Any]:
    """Train a generator on the 60,000 training images and compare what it makes."""
    images, labels = read_images(folder, "train")
    real, _ = look(network, read_images(folder, "t10k")[0])
    kind = load_class(name)
    config = kind.Config.model_validate(settings)
    examples = Examples(np.repeat(images[..., None], 3, axis=3), labels, len(CLASSES))
    wall, core = time.monotonic(), time.process_time()
    fitted = kind.fit(config, examples, seed=SEED, device="cpu", progress=PlainProgress())
    cost = {"wall_seconds": time.monotonic() - wall, "core_seconds": time.process_time() - core}
    asked = np.tile(np.arange(len(CLASSES)), A_CLASS)
    made = fitted.generate(Wanted(asked, [CLASSES[each] for each in asked]), SEED)
    features, classes = look(network, made[..., 0])
    compared = nearest(made[:2000], examples.images)
    save_image(contact_sheet(made[:80], examples.images, compared.places[:80]), sheet, name)
    figures = {"fid": frechet(features, real), "agreement": float((classes == asked).mean())}
    copies = float((compared.distances < compared.usual).mean())
    return {"settings": config.model_dump(), **figures, "copies": copies, **cost, "threads": torch.get_num_threads()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("what")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--cache", type=Path, default=Path("work/images"))
    given = parser.parse_args()
    network = classifier(given.folder, given.cache)
    kept = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    if given.what == "classifier":
        (images, _), (test, labels) = read_images(given.folder, "train"), read_images(given.folder, "t10k")
        rows = np.random.default_rng(1).permutation(len(images))[: len(test)]
        real, classes = look(network, test)
        floor = frechet(look(network, images[rows])[0], real)
        kept["classifier"] = {"seed": SEED, "accuracy": float((classes == labels).mean()), "floor": floor}
    else:
        settings = {name: json.loads(value) for name, _, value in (each.partition("=") for each in given.set)}
        kept[given.what] = measure(given.what, settings, given.folder, network, given.cache / f"{given.what}.png")
    print(json.dumps(kept[given.what], indent=1))
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
