"""Beside the pipeline, bench_duplicates: how many planted near-duplicates are found, and what is found beside them.

Reads   the folders given, each a class folder
Writes  reports/duplicates_found.csv: set, kind, num_planted, and the shares found as strict and as related;
        reports/duplicates_beside.csv: what was found that was not planted
Run     python -m stages.benchmarks.bench_duplicates FOLDER... (a minute for a thousand images)
"""

import hashlib
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from stages.benchmarks.planted_duplicates import HARD, Picture, Plant, as_png, plant, plant_all
from stages.graft.core.errors import DataError
from stages.graft.core.stage import run
from stages.graft.data.image_groups import RELATED
from stages.graft.duplicates.finding import find_duplicates
from stages.graft.storage.tables import write_csv

FOUND, BESIDE = Path("reports/duplicates_found.csv"), Path("reports/duplicates_beside.csv")

NUM_PLANTS, NUM_HARD, SEED = 300, 25, 1
"""Plants in a set, plants of each kind that is hard, and the seed of both."""

TWO = "two together"

Key = tuple[int, int]
"""Numbers of two images, the smaller first; plants are numbered after the images."""


def main() -> None:
    """Plant, look, and count in each folder."""
    found, beside = list[pd.DataFrame](), list[dict[str, object]]()
    for folder in map(Path, sys.argv[1:]):
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
        pictures = [np.asarray(cv2.imread(str(file), cv2.IMREAD_COLOR), dtype=np.uint8) for file in files]
        if not pictures:
            raise DataError(f"{folder} has no image")
        for plants in (plant_all(pictures, min(NUM_PLANTS, len(pictures)), SEED), hard_plants(pictures)):
            kinds = look(pictures, plants)
            found.append(count_found(folder.name, kinds, plants, len(pictures)))
            beside.append(count_beside(folder.name, kinds, plants, [file.parent.name for file in files]))
    write_csv(pd.concat(found), FOUND)
    write_csv(pd.DataFrame(beside), BESIDE)
    print(pd.concat(found).to_string(index=False), pd.DataFrame(beside).to_string(index=False), sep="\n")


def hard_plants(pictures: Sequence[Picture]) -> list[Plant]:
    """Plant what may be missed, NUM_HARD of each kind."""
    rng = np.random.default_rng(SEED)
    kinds = [kind for kind in HARD for _ in range(NUM_HARD)][: len(pictures)]
    sources = rng.permutation(len(pictures))[: len(kinds)].tolist()
    return [plant(pictures[k], k, (kind,), rng, HARD) for k, kind in zip(sources, kinds, strict=True)]


def look(pictures: Sequence[Picture], plants: Sequence[Plant]) -> dict[Key, str]:
    """Look for near-duplicates in the pictures with the plants; give the kind of each pair found."""
    originals = {one.source: one.original for one in plants}
    files = [originals.get(number) or as_png(picture) for number, picture in enumerate(pictures)]
    files += [one.copy for one in plants]
    numbers = defaultdict[str, list[int]](list)
    with tempfile.TemporaryDirectory(prefix="graft-") as name:
        folder = Path(name)
        for number, data in enumerate(files):
            numbers[hashlib.sha256(data).hexdigest()].append(number)
        for id_, same in numbers.items():
            (folder / f"{id_}.png").write_bytes(files[same[0]])
        ids = sorted(numbers)
        pairs = find_duplicates(ids, lambda id_: folder / f"{id_}.png", folder / "store", folder).pairs
    first, second = ([numbers[ids[row]][0] for row in pairs[side]] for side in ("first", "second"))
    keys = [(min(key), max(key)) for key in zip(first, second, strict=True)]
    same_bytes = {(group[0], other): "same bytes" for group in numbers.values() for other in group[1:]}
    return dict(zip(keys, pairs["kind"].to_list(), strict=True)) | same_bytes


def count_found(name: str, kinds: dict[Key, str], plants: Sequence[Plant], num_pictures: int) -> pd.DataFrame:
    """Share of the plants of each kind that were found, and of all."""
    rows = []
    for number, one in enumerate(plants):
        kind = kinds.get((one.source, num_pictures + number))
        what = TWO if "+" in one.kind else one.kind
        rows.append((what, kind not in (None, RELATED), kind is not None))
    table = pd.DataFrame(rows, columns=["kind", "strict", "related"])
    table = pd.concat([table, table.assign(kind="all")])
    found = table.groupby("kind", sort=False).agg(
        num_planted=("strict", "size"), strict=("strict", "mean"), related=("related", "mean")
    )
    return found.round(4).reset_index().assign(set=name)[["set", "kind", "num_planted", "strict", "related"]]


def count_beside(name: str, kinds: dict[Key, str], plants: Sequence[Plant], labels: Sequence[str]) -> dict[str, object]:
    """Count the images in pairs that were not planted; a plant stands for its source."""
    source_of = [*range(len(labels)), *(one.source for one in plants)]
    strict, related, across = set[int](), set[int](), set[int]()
    for pair, kind in kinds.items():
        a, b = (source_of[number] for number in pair)
        if a == b:
            continue
        related |= {a, b}
        strict |= {a, b} if kind != RELATED else set()
        across |= {a, b} if kind != RELATED and labels[a] != labels[b] else set()
    nums = {"num_images": len(labels), "in_strict_pairs": len(strict), "in_related_pairs": len(related)}
    return {"set": name, **nums, "in_strict_pairs_across_labels": len(across)}


if __name__ == "__main__":
    run("bench_duplicates", main, again="python -m stages.benchmarks.bench_duplicates")
