"""How far sketches are from the gradients: ``python -m tests.benchmarks.sketches`` (about 20 minutes on two cores).

A ResNet-18 trained on CIFAR-10 images, a transformer trained on AG News, and the adapters (r = 8) of one with BERT's
architecture, for which ``--width`` may be up to 4096; each sketch against the true gradients of samples that the model was
trained on. Prints a Markdown table: root mean square error of the norm (relative) and of the cosine of two gradients, rank
correlation of the cosines, and the share of the true ten nearest gradients that is kept; mean over seeds.
"""

from __future__ import annotations

import argparse
import io
import os
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.stats import spearmanr
from torch import Tensor, nn

from oga_core.benchmarks.models import MODELS
from oga_core.gradients import PerSampleGradients

WIDTHS = (128, 256, 512, 1024)
SAMPLES, NEAREST = 200, 10


def cifar(folder: Path, n: int) -> tuple[Tensor, Tensor]:
    """Images, normalised, and labels of CIFAR-10's first training images."""
    found = np.load(folder / "cifar10_jpeg" / "train_00000_09999.npz")
    jpeg, offsets = found["jpeg"], found["offsets"]
    images = [np.asarray(Image.open(io.BytesIO(jpeg[offsets[i] : offsets[i + 1]].tobytes()))) for i in range(n)]
    x = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
    return (x - x.mean((0, 2, 3), keepdim=True)) / x.std((0, 2, 3), keepdim=True), torch.from_numpy(found["label"][:n])


def ag_news(folder: Path, n: int) -> tuple[Tensor, Tensor]:
    """Texts as 64 hashed words, and labels."""
    table = pd.read_csv(folder / "ag_news_test" / "test.csv", keep_default_na=False)[:n]
    rows = [[1 + crc32(word.encode()) % 7999 for word in text.lower().split()[:64]] for text in table["text"]]
    padded = [row + [0] * (64 - len(row)) for row in rows]
    labels = torch.from_numpy(table["label"].to_numpy(np.int64))
    return torch.tensor(padded), labels - labels.min()


def fit(model: nn.Module, x: Tensor, y: Tensor, epochs: int, rate: float) -> nn.Module:
    """The model after a few epochs of AdamW, in eval mode."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.05)
    steps = epochs * (len(x) // 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps + 1)
    model.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(x))[: len(x) // 64 * 64].split(64):
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def cosines_of(model: nn.Module, x: Tensor, y: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Norms and inner products of the true gradients, one parameter at a time: together they would not fit in memory."""
    products = torch.zeros(len(x), len(x), dtype=torch.float64)
    groups: list[list[str]] = [[]]
    sizes = {name: p.numel() for name, p in model.named_parameters() if p.requires_grad}
    for name in sizes:
        if groups[-1] and sum(sizes[k] for k in groups[-1]) + sizes[name] > 3_000_000:
            groups.append([])
        groups[-1].append(name)
    for group in groups:
        parameters = [model.get_parameter(name) for name in group]
        rows = []
        for i in range(len(x)):
            loss = F.cross_entropy(model(x[i : i + 1]), y[i : i + 1])
            rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)]))
        stacked = torch.stack(rows)
        products += (stacked @ stacked.t()).double()
    norms = products.diagonal().sqrt()
    return norms.numpy(), (products / norms[:, None] / norms[None, :]).numpy()


def errors(sketch: np.ndarray, norms: np.ndarray, cosines: np.ndarray) -> list[float]:
    """Error of norms and cosines, rank correlation, neighbours kept."""
    lengths = np.linalg.norm(sketch, axis=1)
    unit = sketch / lengths[:, None]
    found = unit @ unit.T
    above = np.triu_indices(len(found), 1)

    def nearest(of: np.ndarray) -> np.ndarray:
        return np.argsort(-(of - 2 * np.eye(len(of))), axis=1)[:, :NEAREST]

    kept = np.mean([len(set(a) & set(b)) / NEAREST for a, b in zip(nearest(cosines), nearest(found), strict=True)])
    return [
        float(np.sqrt(np.mean((lengths / norms - 1) ** 2))),
        float(np.sqrt(np.mean((found - cosines)[above] ** 2))),
        float(spearmanr(found[above], cosines[above]).statistic),
        float(kept),
    ]


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--model", choices=["resnet18", "encoder", "adapters"], action="append")
    parser.add_argument("--width", type=int, action="append")
    beside = Path(__file__).parents[3] / "shared" / "data"
    parser.add_argument("--data", type=Path, default=os.environ.get("OGA_TEST_DATA", beside))
    options = parser.parse_args()
    torch.manual_seed(0)
    models: dict[str, Callable[[], tuple[nn.Module, Tensor, Tensor]]] = {
        "resnet18": lambda: _trained(MODELS["resnet18"].make(), *cifar(options.data, 5000), epochs=6, rate=3e-3),
        "encoder": lambda: _trained(MODELS["encoder"].make(), *ag_news(options.data, 7600), epochs=4, rate=1e-3),
        "adapters": lambda: _trained(MODELS["bert"].make(), *ag_news(options.data, 2000), epochs=2, rate=3e-3),
    }
    print("| model | sketch | width | norm | cosine | rank correlation | 10 nearest kept |\n|-|-|-|-|-|-|-|")
    for name in options.model or models:
        model, x, y = models[name]()
        if name == "adapters":
            model.get_submodule("fc").requires_grad_(False)
        norms, cosines = cosines_of(model, x, y)
        for kind in ("kronecker", "sign_fold"):
            for width in options.width or WIDTHS:
                found = []
                for seed in range(options.seeds):
                    engine = PerSampleGradients(model, l1=False, l2=False, width=width, seed=seed, kind=kind)
                    sketches = [engine(x[i : i + 50], y[i : i + 50]).sketch for i in range(0, len(x), 50)]
                    whole = np.concatenate([s for s in sketches if s is not None])
                    found.append(errors(whole.astype(np.float64), norms, cosines))
                norm, cosine, rank, kept = np.mean(found, axis=0)
                print(f"| {name} | {kind} | {width} | {norm:.3f} | {cosine:.3f} | {rank:.3f} | {kept:.2f} |", flush=True)


def _trained(model: nn.Module, x: Tensor, y: Tensor, epochs: int, rate: float) -> tuple[nn.Module, Tensor, Tensor]:
    fit(model, x, y, epochs, rate)
    with torch.no_grad():
        right = (torch.cat([model(part) for part in x[:1000].split(100)]).argmax(1) == y[:1000]).float().mean()
    print(f"<!-- fits {right:.1%} of its training labels -->", flush=True)
    return model, x[:SAMPLES], y[:SAMPLES]


if __name__ == "__main__":
    main()
