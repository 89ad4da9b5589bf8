"""Generated results of a run, for tests of the figures and the page: any number of classes, any names."""

import subprocess

import numpy as np
import pandas as pd

from stages.graft.advice.advice import give_advice, write_advice
from stages.graft.advice.read_facts import read_facts
from stages.graft.metrics.classification import wilson_interval
from stages.graft.storage.files import write_json
from stages.graft.storage.tables import write_csv
from tests.support.clones import IDENTITY
from tests.support.features import ids_of
from tests.support.pictures import png, write

NASTY = "<script>alert(1)</script>"
"""A name that must stay text."""

CLASSES = ("007", "NA", f"größe {NASTY} & $x^2$")

PREPROCESSING = {"resize_px": 8, "crop_px": 8, "interpolation": "bilinear", "mean": [0.5] * 3, "std": [0.5] * 3}

CURVE = "epoch,split,loss,accuracy\n"


def write_reports(folder, classes=CLASSES, per_class=6, wrong=3, curves=("finetune",)):
    """Write everything that `stages.report` reads but params.yaml: the first images of the first class are wrong."""
    y = np.repeat(np.arange(len(classes)), per_class)
    found = y.copy()
    found[:wrong] = 1
    ids, names = ids_of(len(y)), np.array(classes, dtype=object)
    files = [f"{names[k]}/{number} {NASTY}.png" for number, k in enumerate(y)]
    sure = np.linspace(0.4, 1, len(y)).round(6)
    images = pd.DataFrame({"id": ids, "file": files, "label": names[y]})
    answers = {"predicted": names[found], "confidence": sure, "unsure": sure < 0.5, "distance": 1.0, "unknown": False}
    write_csv(images.assign(**answers), folder / "reports/predictions.csv")
    doubt = images.assign(suggested=names[found], score=0.1, suspected=True, split="train")[y != found]
    write_csv(doubt, folder / "reports/label_errors.csv")
    for number, id_ in enumerate(ids[: min(len(ids), 12)]):
        write(folder / f"data/images/{id_}.png", png(number))
    _write_plots(folder / "reports/plots", names, y, found, sure)
    for stage in ("train_head", "finetune"):
        rows = "1,train,0.9,\n1,val,1.0,0.5\n2,train,0.5,\n2,val,0.8,0.75\n" if stage in curves else ""
        write(folder / f"reports/plots/{stage}_curve.csv", (CURVE + rows).encode())
    _write_records(folder, classes, per_class, found == y)


def commit_all(folder):
    """Make the folder a repository whose one commit holds it."""
    for command in (["init", "--quiet"], ["add", "--all"], [*IDENTITY, "commit", "--quiet", "--message", NASTY]):
        subprocess.run(["git", *command], cwd=folder, check=True, capture_output=True)


def _write_plots(folder, names, y, found, sure):
    write_csv(pd.DataFrame({"actual": names[y], "predicted": names[found]}), folder / "confusion.csv")
    rows = []
    for k, name in enumerate(names):
        of_class, called = int((y == k).sum()), int((found == k).sum())
        right = int(((y == k) & (found == k)).sum())
        precision = (right / called, *wilson_interval(right, called)) if called else (0.0, np.nan, np.nan)
        rows.append(
            (
                name,
                *precision,
                right / of_class,
                *wilson_interval(right, of_class),
                right / of_class,
                of_class,
                of_class,
            )
        )
    shares = ["precision", "precision_low", "precision_high", "recall", "recall_low", "recall_high", "f1"]
    table = pd.DataFrame(rows, columns=["class", *shares, "num_test", "num_train"])
    write_csv(table.assign(unseen_auroc=0.9, unseen_found=0.7), folder / "per_class.csv")
    points = {
        "confidence": [0.5, 0.95],
        "accuracy": [0.5, 1.0],
        "accuracy_low": [0.2, 0.8],
        "accuracy_high": [0.8, 1.0],
    }
    tables = [pd.DataFrame(points).assign(num_images=[2, 9], calibration=name) for name in ("before", "after")]
    tables[0]["confidence"] -= 0.1
    write_csv(pd.concat(tables), folder / "reliability.csv")
    order = np.argsort(-sure)
    risk = np.cumsum(found[order] != y[order]) / np.arange(1, len(y) + 1)
    coverage = np.arange(1, len(y) + 1) / len(y)
    write_csv(
        pd.DataFrame({"coverage": coverage, "risk": risk, "confidence": sure[order]}), folder / "risk_coverage.csv"
    )
    shots = {"train_per_class": [1, 5, 20], "num_train": 9.0, "accuracy": [0.5, 0.8, 0.9],
             "accuracy_low": [0.4, 0.7, 0.9], "accuracy_high": [0.6, 0.9, 0.9],
             "deviation": 0.1, "num_draws": [5, 5, 1]}  # fmt: skip
    write_csv(pd.DataFrame(shots), folder / "shots.csv")
    x = np.random.default_rng(0).normal(size=(len(y), 4)) + y[:, None]
    places = dict(zip(("tsne_x", "tsne_y", "pca_x", "pca_y"), x.T, strict=True))
    labels = {"id": ids_of(len(y)), "label": names[y], "predicted": names[found], "split": "test"}
    write_csv(pd.DataFrame(labels | places), folder / "map.csv")


def _write_records(folder, classes, per_class, right):
    low, high = wilson_interval(int(right.sum()), len(right))
    accuracy = float(right.mean())
    metrics = {
        "accuracy": accuracy, "accuracy_low": low, "accuracy_high": high, "balanced_accuracy": accuracy,
        "macro_f1": accuracy, "log_loss": 0.3, "log_loss_uncalibrated": 0.4, "ece": 0.05, "ece_uncalibrated": 0.06,
        "coverage": 0.8, "selective_accuracy": 0.9, "false_alarms": 0.04, "false_alarms_low": 0.01,
        "false_alarms_high": 0.09, "num_known_groups": 200, "num_test": len(right), "unseen_auroc": 0.99,
        "unseen_found": 0.95, "majority_accuracy": 0.3, "num_test_groups": len(right), "num_leaked": 0,
    }  # fmt: skip
    write_json(metrics, folder / "reports/metrics.json")
    counts = dict.fromkeys(("train", "val", "test", "unused"), per_class)
    split = {f"num_{name}": per_class * len(classes) for name in counts}
    split |= {"num_leaked": 0, "num_classes": len(classes), "classes": dict.fromkeys(classes, counts)}
    write_json(split, folder / "reports/split.json")
    images = [{"id": id_, "file": f"{NASTY}.png", "label": NASTY} for id_ in ids_of(2)]
    sides = {f"{side}_{name}": NASTY for side in ("first", "second") for name in ("file", "label")}
    pair = dict(zip(("first", "second"), ids_of(2), strict=True)) | sides
    counts = {"num_images": 3 * len(right), "num_in_groups": 2, "num_groups": 1, "num_plain": 1, "num_conflicts": 1}
    write_json(
        {"method": "related", **counts, "groups": [images], "conflicts": [pair]}, folder / "reports/duplicates.json"
    )
    bad = [{"file": f"{NASTY}.png", "label": NASTY, "reason": f"damaged: {NASTY}"}]
    ingest = {"num_images": 3 * len(right), "num_classes": len(classes), "num_quarantined": 1, "num_duplicates": 0}
    ingest |= {"num_conflicts": 0, "num_hidden": 0, "num_non_images": 0, "quarantined": bad}
    write_json(ingest, folder / "reports/ingest.json")
    backbone = {"name": "tiny", "weights": "bundled", "layers": ["a", "b"], "preprocessing": PREPROCESSING}
    write_json(
        {"backbone": backbone, "runtime": {"runtime": "torch", "batch_size": 16}}, folder / "reports/extract.json"
    )
    write_json({"strategy": "none"}, folder / "reports/finetune.json")
    baseline = {"baseline": "majority", "baseline_accuracy": 0.3, "baseline_num_gained": 9, "baseline_num_lost": 0}
    write_json(
        {"model": "frozen", **baseline, "baseline_p_value": 0.004, "beats_baseline": True},
        folder / "reports/verdict.json",
    )
    asked = {"min_accuracy": 0.5, "min_recall": None, "max_leaked": 0, "beat_baselines": True}
    write_json({"passed": True, "reasons": [], **asked}, folder / "reports/gate.json")
    explored = {"num_images": 3 * len(right), "num_suspected": int((~right).sum()), "splits_given": []}
    explored |= {"num_images_per_fit": 5000, "num_images_on_map": 3 * len(right)}
    write_json(explored, folder / "reports/explore.json")
    write_json({"num_train": len(right), "num_val": len(right)}, folder / "reports/train_head.json")
    rows = pd.DataFrame({"name": ["model", "majority"], "accuracy": [accuracy, 0.3]})
    rest = {
        "accuracy_low": 0.1,
        "accuracy_high": 0.95,
        "balanced_accuracy": 0.5,
        "macro_f1": 0.5,
        "num_test": len(right),
    }
    write_csv(rows.assign(**rest), folder / "reports/baselines.csv")
    threshold = {"confidence": 0.5, "coverage": 0.8, "accuracy": 0.95, "reached": True}
    write_json({"target_accuracy": 0.9, "threshold": threshold}, folder / "data/bundle/decision.json")
    write_advice(give_advice(read_facts(folder, NASTY, 0.95)), folder)
