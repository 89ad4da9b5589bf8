"""The comparison of int8 with bf16: the same features lose nothing, and others lose points."""

from pathlib import Path

import numpy as np
import pandas as pd

from stages.benchmarks.compare_int8 import NUM_SEEDS, Compared, compared_rows, sample_of
from stages.pretraining.transfer_accuracy import DatasetParams, LabelledSet
from tests.support.features import ids_of


def labelled_set(num: int) -> LabelledSet:
    labels = [("a", "b")[number % 2] for number in range(num)]
    table = pd.DataFrame({"id": ids_of(num), "file": "", "label": labels, "group": "", "split": ""})
    return LabelledSet(name="drawn", table=table, files=[str(number).encode() for number in range(num)])


def test_rows_have_the_difference_in_points(rng: np.random.Generator, monkeypatch):
    monkeypatch.setattr("stages.benchmarks.compare_int8.SHOTS", (10,))
    images, y = labelled_set(80), np.arange(80) % 2
    x = (rng.normal(size=(80, 4)) + 6 * y[:, None]).astype(np.float32)
    noise = rng.normal(size=(80, 4)).astype(np.float32)
    dataset = DatasetParams(source="", val_fraction=0.2, test_fraction=0.5)
    same, lost = (
        next(
            compared_rows(
                images, Compared(network="net", x={"fp32": x, "bf16": x, "int8": int8}, cosine=cosine), dataset
            )
        )
        for int8, cosine in ((x, {"mean": 1.0, "worst": 1.0}), (noise, {"mean": 0.5, "worst": 0.1}))
    )
    assert (same["bf16"], same["int8"], same["int8_difference"], same["used"]) == (1.0, 1.0, 0.0, True)
    assert lost["int8_difference"] == round(100 * (float(str(lost["int8"])) - 1), 2) < -20
    assert (lost["fp32_difference"], lost["seeds"], lost["used"]) == (0.0, NUM_SEEDS, False)


def test_the_sample_is_on_disk(tmp_path: Path):
    sample = sample_of(labelled_set(8), tmp_path)
    assert [path.read_bytes() for path in sample.locations] == [
        file for id_, file in zip(labelled_set(8).table["id"], labelled_set(8).files, strict=True) if id_ in sample.ids
    ]
    assert len(sample.ids) == 6
