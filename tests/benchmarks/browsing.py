"""Memory of the server while somebody looks at many images: ``python -m tests.benchmarks.browsing 20000``. Not a test.

Makes a run of that many JPEG images in a folder (kept in ``--folder`` for the next time), starts a real server on it, requests
every image at each size that the pages use, as a browser does over six connections, and prints the resident memory of the
server and of the processes that read for it. Linux only.
"""

from __future__ import annotations

import argparse
import http.client
import io
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import local
from urllib.parse import urlsplit

import numpy as np
import torch
from PIL import Image
from torch import nn

from oga_core import Run, Workspace, open_dataset, score
from oga_core.addresses import free_port
from oga_core.serving import serve

CLASSES = ("boat", "bridge", "street", "wood")
WIDTH, HEIGHT = 500, 375
"""Pixels, as most images of ImageNet have them."""
GROUNDS = 48
SIZES = (160, 480)
"""Longest sides that the pages ask for: in the gallery and on the map, and alone."""
CONNECTIONS = 6
"""Of a browser to one server."""
EVERY = 1000


def make_images(folder: Path, count: int) -> None:
    """Write `count` JPEG images of about 60 kB in class folders, no two of them the same."""
    rng = np.random.default_rng(0)
    grounds = []
    for _ in range(GROUNDS):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), np.float32)
        grounds.append((smooth + rng.normal(0, 12, smooth.shape)).clip(0, 255).astype(np.uint8))
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
    for i in range(count):
        pixels = np.roll(grounds[i % GROUNDS], (i // GROUNDS * 7, i // GROUNDS * 11), (0, 1))
        Image.fromarray(pixels).save(folder / CLASSES[i % len(CLASSES)] / f"{i:06}.jpg", quality=85, comment=str(i).encode())


def make_run(folder: Path, count: int) -> Run:
    """A run on that many images, scored with a linear layer on their mean colours; the one of the last time where it is there."""
    workspace = Workspace(folder / "workspace")
    if runs := workspace.runs():
        return workspace.run(runs[0].id)
    make_images(folder / "images", count)
    torch.manual_seed(0)
    return score(
        nn.Sequential(nn.Flatten(), nn.Linear(48, len(CLASSES))),
        open_dataset(folder / "images"),
        detectors="l1",
        workspace=workspace,
        transform=_encoded,
    )


def _encoded(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.asarray(image.resize((4, 4)), np.float32) / 255)


def resident(pid: int) -> int:
    """Bytes of a process that lie in memory."""
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    return int(status.split("VmRSS:")[1].split()[0]) << 10


def readers(server: int) -> Iterator[int]:
    """The processes that read for a server."""
    for entry in Path("/proc").iterdir():
        try:
            parent = entry.name.isdecimal() and (entry / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()[1]
            if parent == str(server) and b"oga_core.sandbox.server" in (entry / "cmdline").read_bytes():
                yield int(entry.name)
        except OSError:  # it has ended meanwhile
            continue


def browse(url: str, run: Run, pid: int) -> None:
    """Request all images, and print the memory after every thousand of them."""
    own, host = local(), urlsplit(url).netloc

    def fetch(path: str) -> int:
        if not hasattr(own, "connection"):
            own.connection = http.client.HTTPConnection(host, timeout=120)
        own.connection.request("GET", path)
        answer = own.connection.getresponse()
        data = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {data[:200]!r}")
        Image.open(io.BytesIO(data))
        return len(data)

    indices = run.table["index"].tolist()
    print(f"{'images':>8} {'server MB':>10} {'readers MB':>22} {'sent MB':>9} {'seconds':>8}")
    sent, start = 0, time.perf_counter()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for done in range(0, len(indices) + 1, EVERY):
            asked = [f"/oga/image/{run.id}/{i}/{size}" for i in indices[max(done - EVERY, 0) : done] for size in SIZES]
            sent += sum(pool.map(fetch, asked))
            reading = " ".join(str(resident(reader) >> 20) for reader in sorted(readers(pid)))
            seconds = time.perf_counter() - start
            print(f"{done:>8,} {resident(pid) >> 20:>10} {reading:>22} {sent >> 20:>9} {seconds:>8.0f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=int, nargs="?", default=20_000)
    parser.add_argument("--folder", type=Path, help="where the run is made, or lies from the last time")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        run = make_run(folder, given.images)
        dashboard = serve(run.workspace, port=free_port(), roots=[folder])
        try:
            browse(dashboard.url, run, dashboard.process.pid)
        finally:
            dashboard.stop()


if __name__ == "__main__":
    main()
