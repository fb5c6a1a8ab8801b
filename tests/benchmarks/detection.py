"""How well every detector and control finds labels that are known to be wrong, in sample and out of fold, on real data.

    python -m tests.benchmarks.detection --out DIR [--seeds 5] [--sets yoruba,…]

Every run is scored by the program as a user would score it, with a starter model; one JSON file a set and seed is left in
DIR, and a set that has its file is not scored again. Prints a Markdown table: AUC and average precision, and before it what was
recommended.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score

from oga_core import Workspace
from oga_core.experiments.noise import flip_by_class, flip_uniformly
from oga_core.scoring import do_run, prepare

DATA = Path(__file__).parents[3] / "shared" / "data"
SCORES = (
    "l1",
    "l2",
    "iforest",
    "ocsvm",
    "noise",
    "random",
    "loss",
    "low_confidence",
    "margin",
    "confidence_entropy",
    "el2n",
    "cleanlab",
    "by_class:l1",
    "by_class:l2",
    "by_class:iforest",
    "by_class:ocsvm",
)
DRAWN = 4500
"""Sentences of SST-2 a seed, as in the paper."""
Made = tuple[np.ndarray, np.ndarray, pd.DataFrame | np.ndarray]
"""Given labels, true labels (empty where unknown, but wrong they are), and the samples."""


def news(language: str, data: Path, seed: int) -> Made:
    """Titles with labels by a rule."""
    table = pd.read_csv(data / f"newsclass_{language}" / "train.csv", keep_default_na=False)
    return table["label"].to_numpy(str), table["clean_label"].to_numpy(str), table[["text"]]


def newsgroups(data: Path, seed: int) -> Made:
    """Posts with labels of which people have found some wrong; the others were not all looked at."""
    table = pd.read_csv(data / "newsgroups20_test" / "test.csv.gz", keep_default_na=False)
    judged = pd.read_csv(data / "newsgroups20_test" / "test_verified_errors.csv")
    true = table["label"].to_numpy(str).copy()
    true[judged.loc[judged["verdict"] != "not_an_error", "id"]] = ""
    return table["label"].to_numpy(str), true, table[["text"]]


def flipped(name: str, data: Path, seed: int) -> Made:
    """Sentences or pairs, a fifth of their labels flipped."""
    rng = np.random.default_rng(seed)
    table = pd.read_csv(data / name / ("train.csv.gz" if name == "sst2" else "train.csv"), keep_default_na=False)
    if name == "sst2":
        table = table.iloc[np.sort(rng.choice(len(table), DRAWN, replace=False))].reset_index(drop=True)
    true = table["label"].to_numpy(int)
    given = flip_uniformly(true, 2, 0.2, rng)
    return given.astype(str), true.astype(str), table.drop(columns="label")


def labelme(data: Path, seed: int) -> Made:
    """Features of scenes, labelled by one annotator each."""
    with np.load(data / "labelme_crowd" / "labelme_vgg.npz") as found:
        given, true = found["y_train_random_annotator"].astype(int), found["y_train_true"].astype(int)
        return given.astype(str), true.astype(str), found["X_train"].astype(np.float32)


def cifar(noise: float | None, data: Path, seed: int) -> Made:
    """Images labelled by one person each, or with class-dependent noise."""
    with np.load(data / "cifar10_jpeg" / "test.npz") as found:
        jpeg, offsets, true, human = (found[k] for k in ("jpeg", "offsets", "label", "human_label_draw"))
    images = np.stack([np.asarray(Image.open(io.BytesIO(jpeg[a:b].tobytes())).convert("RGB")) for a, b in pairwise(offsets)])
    true = true.astype(np.int64)
    given = human.astype(np.int64) if noise is None else flip_by_class(true, 10, noise, np.random.default_rng(seed))
    return given.astype(str), true.astype(str), images


SETS: dict[str, Callable[[Path, int], Made]] = {
    "yoruba": lambda data, seed: news("yoruba", data, seed),
    "hausa": lambda data, seed: news("hausa", data, seed),
    "labelme": labelme,
    "newsgroups": newsgroups,
    "sst2_20": lambda data, seed: flipped("sst2", data, seed),
    "mrpc_20": lambda data, seed: flipped("mrpc", data, seed),
    "cifar_human": lambda data, seed: cifar(None, data, seed),
    "cifar_20": lambda data, seed: cifar(0.2, data, seed),
    "cifar_40": lambda data, seed: cifar(0.4, data, seed),
}

RESTORED_ELSEWHERE = ("cifar_20", "cifar_40")
"""Sets that are the same as another once their true labels are restored."""


def measured(name: str, seed: int, data: Path, restored: bool = False) -> dict[str, Any]:
    """Score a set; AUC and average precision by score, and the recommendation beside the truth.

    With ``restored`` the true labels are given, samples without one left out: nothing is to be trimmed then.
    """
    given, true, samples = SETS[name](data, seed)
    if restored:
        known = true != ""
        given, true, samples = true[known], true[known], samples[known]
    wrong = given != true
    names = [*SCORES, *(f"oof:{n}" for n in SCORES if n != "random")]
    with tempfile.TemporaryDirectory() as folder:
        inputs = None
        if isinstance(samples, pd.DataFrame):
            path = Path(folder) / "train.csv"
            samples.assign(label=given).to_csv(path, index=False)
            inputs = ",".join(samples.columns)
        else:
            path = Path(folder) / "train.npz"
            np.savez(path, x=samples, y=given)
        run = prepare(
            Workspace(Path(folder) / "workspace"),
            path,
            inputs=inputs,
            label="label" if inputs else None,
            detectors=names,
            seed=seed,
        )
        do_run(run)
        table, found = run.table, run.recommendation
        assert found is not None
        truth = wrong[table["index"]]
        first = run.flag("recommended", round(found.budget * len(table))) if found.budget else table.iloc[:0]
        return {
            "set": name,
            "seed": seed,
            "restored": restored,
            "samples": len(table),
            "wrong": float(truth.mean()),
            "held_out_accuracy": run.summary.held_out_accuracy,
            "scores": {}
            if not truth.any()
            else {
                d.name: {
                    "auc": float(roc_auc_score(truth, table[d.name])),
                    "ap": float(average_precision_score(truth, table[d.name])),
                }
                for d in run.detectors
            },
            "recommendation": found.to_dict(),
            "precision_at_suggested": float(wrong[first["index"]].mean()) if len(first) else None,
        }


def table_of(results: list[dict[str, Any]]) -> str:
    """Markdown: a row a score, mean AUC and average precision a set."""
    rows = pd.DataFrame([{"set": r["set"], "score": name, **values} for r in results for name, values in r["scores"].items()])
    means = rows.groupby(["score", "set"], sort=False).mean().unstack("set")
    sets = list(dict.fromkeys(rows["set"]))
    lines = ["| score | " + " | ".join(sets) + " | mean AP |", "|-" * (len(sets) + 2) + "|"]
    for score, row in means.iterrows():
        cells = [f"{row['auc', s]:.3f}, {row['ap', s]:.3f}" for s in sets]
        lines.append(f"| {score} | " + " | ".join(cells) + f" | {np.mean([row['ap', s] for s in sets]):.3f} |")
    return "\n".join(lines)


def told(result: dict[str, Any]) -> str:
    """One line on what was recommended."""
    found = result["recommendation"]
    at = found["at_budget"]
    precision = (
        f"expected {at['precision']['value']:.2f}, true {result['precision_at_suggested']:.2f}" if at else "nothing to trim"
    )
    return (
        f"{result['set']}{' (restored)' if result['restored'] else ''} seed {result['seed']}: "
        f"{' + '.join(found['detectors'])}; wrong {found['wrong']['value']:.3f} "
        f"[{found['wrong']['low']:.3f}, {found['wrong']['high']:.3f}], true {result['wrong']:.3f}; "
        f"budget {found['budget']:.4f}: {precision}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sets", default=",".join(SETS))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    results = []
    for seed in range(options.seeds):
        for name in options.sets.split(","):
            for restored in (False,) if name in RESTORED_ELSEWHERE else (False, True):
                path = options.out / f"{name}-{seed}{'-restored' if restored else ''}.json"
                if not path.exists():
                    path.write_text(json.dumps(measured(name, seed, options.data, restored)), "utf-8")
                results.append(json.loads(path.read_text("utf-8")))
                print(told(results[-1]), flush=True)
    print(table_of([r for r in results if r["scores"]]))


if __name__ == "__main__":
    main()
