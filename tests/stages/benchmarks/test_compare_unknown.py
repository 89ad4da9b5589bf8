import numpy as np
import pandas as pd
import pytest

from stages.benchmarks import compare_unknown
from stages.benchmarks.compare_unknown import set_rows
from stages.benchmarks.measured_sets import MeasuredSet
from stages.graft.core.params import load_params
from stages.graft.evaluation.evaluate_params import EvaluateParams
from tests.support.features import ids_of


@pytest.mark.rare
def test_every_split_has_a_row(project, rng, monkeypatch):
    project()
    y = np.repeat(np.arange(3), 60)
    x = np.eye(3, 20)[y] * 6 + rng.normal(size=(180, 20))
    labels = [f"class {k}" for k in y]
    table = pd.DataFrame({"id": ids_of(180), "file": "", "label": labels, "group": "", "split": "", "duplicates": ""})
    monkeypatch.setattr(compare_unknown, "NUM_SEEDS", 4)
    images = MeasuredSet(table=table, x=x.astype(np.float32))
    rows = pd.DataFrame(set_rows(images, load_params("evaluate", EvaluateParams)))
    assert rows["train_per_class"].to_list() == ["all"] * 4 + ["10"] * 4
    assert rows["num_known_groups"].to_list() == [153] * 4 + [57] * 4  # train and val
    assert rows["inside"].sum() >= 7
    assert rows["unseen_found"].isna().to_list() == [False, False, False, True] * 2
    assert rows["unseen_auroc"].min() > 0.9
