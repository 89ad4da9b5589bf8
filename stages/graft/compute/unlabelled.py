"""Features of images without labels, in a file of their own; of none too."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from stages.graft.compute.extractors import Extractor
from stages.graft.data.image_locations import LOCATION_COLUMNS, ImageLocations
from stages.graft.data.manifest import read_unlabelled
from stages.graft.storage.arrays import write_arrays
from stages.graft.storage.cache_folder import feature_store_location
from stages.graft.storage.feature_store import FeatureStore


def pack_unlabelled(extractor: Extractor, table: Path, images: Path, origin: Mapping[str, Any], path: Path) -> int:
    """Compute the features that the store lacks, write all to a packed file, and give the number of images.

    Args:
        extractor: an open one.
        table: the images, none or more.
        images: folder of their copies.
        origin: record of the network under `backbone`, and what else belongs to the file.
        path: the file.
    """
    locate = ImageLocations(read_unlabelled(table, LOCATION_COLUMNS), images)
    record = {**origin["backbone"], **extractor.record, "decoder": locate.decoder}
    store = FeatureStore(feature_store_location(), record)
    if len(locate.ids):
        extractor.extract_missing(locate.ids, locate, store)
        store.pack(locate.ids, path, origin)
    else:
        write_arrays({"features": np.zeros((0, 0), np.float32), "ids": locate.ids.packed}, path, origin)
    return len(locate.ids)
