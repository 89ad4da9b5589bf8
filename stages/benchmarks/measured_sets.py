"""Sets of images with the network's features and groups of near-duplicates, small enough for memory."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from stages.graft.backbone.weights import BackboneParams, find_weights
from stages.graft.core.params import load_params
from stages.graft.data.image_groups import DUPLICATES
from stages.graft.duplicates.finding import find_duplicates
from stages.graft.duplicates.groups import group_names
from stages.graft.heads.head import Float32
from stages.graft.storage.cache_folder import feature_store_location
from stages.pretraining.transfer_accuracy import LabelledSet, network_features


@dataclass(frozen=True, kw_only=True)
class MeasuredSet:
    """A set with its features and near-duplicates."""

    table: pd.DataFrame
    """Columns id, label, group, split, duplicates, and plate for the line; n rows."""
    x: Float32
    """Features, shape (n, d)."""

    def rows(self, chosen: "pd.Series[bool]") -> "MeasuredSet":
        """Keep some of the images."""
        return MeasuredSet(table=self.table[chosen].reset_index(drop=True), x=self.x[chosen.to_numpy()])


def measure(labelled: LabelledSet, folder: Path) -> MeasuredSet:
    """Compute features, and find near-duplicates among files that are written to the folder."""
    x = network_features(labelled, find_weights(load_params("backbone", BackboneParams), Path("data/backbones")))
    ids = labelled.table["id"].to_list()
    for id_, data in zip(ids, labelled.files, strict=True):
        (folder / id_).write_bytes(data)
    pairs = find_duplicates(ids, lambda id_: folder / id_, feature_store_location(), folder).pairs
    return MeasuredSet(table=labelled.table.assign(**{DUPLICATES: group_names(pairs, ids)}), x=x)
