"""Groups of near-duplicates, and what the report says of them. Letters: n images."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from stages.graft.core.errors import DataError
from stages.graft.data.image_groups import PAIR_KINDS, SAME, STRICT, Method, connected
from stages.graft.duplicates.finding import Found

NUM_LISTED = 20
"""Groups and pairs in the report, at most; the table has all pairs."""

NUM_SHOWN = 10
"""Conflicts shown in an error, at most."""

LARGE_SHARE = 0.5
"""Share of all images in one group above which a fixed camera is likely."""


def group_names(pairs: pd.DataFrame, ids: Sequence[str]) -> "pd.Series[str]":
    """Name the group of each image after the first id in it; empty for an image without near-duplicate, shape (n,).

    Args:
        pairs: columns first and second, numbers of images.
        ids: of the images, n of them, ascending.
    """
    codes = connected(pairs["first"].to_numpy(), pairs["second"].to_numpy(), len(ids))
    _, first, counts = np.unique(codes, return_index=True, return_counts=True)
    names = [ids[int(row)] if count > 1 else "" for row, count in zip(first, counts, strict=True)]
    return pd.Series([names[code] for code in codes], dtype=str)


def among_labelled(pairs: pd.DataFrame, images: pd.DataFrame) -> pd.DataFrame:
    """Keep the pairs of two labelled images, with their numbers among the labelled ones.

    Args:
        pairs: columns first and second, numbers of images.
        images: column label, empty for none; ascending by id.
    """
    is_labelled = (images["label"] != "").to_numpy()
    kept = pairs[is_labelled[pairs["first"]] & is_labelled[pairs["second"]]]
    number = np.cumsum(is_labelled) - 1
    return kept.assign(first=number[kept["first"]], second=number[kept["second"]])


def labelled_likenesses(pairs: pd.DataFrame, images: pd.DataFrame) -> "pd.Series[str]":
    """Give, for each image without label, the id of a labelled one in its group of near-duplicates; empty for none.

    Args:
        pairs, images: as in `among_labelled`; images have the column id as well.
    """
    names = group_names(pairs, images["id"].to_list())
    is_labelled = (images["label"] != "").to_numpy()
    known = dict(zip(names[is_labelled], images["id"][is_labelled], strict=True))
    known[""] = ""
    return names[~is_labelled].map(known).fillna("").astype(str)


def pairs_table(pairs: pd.DataFrame, manifest: pd.DataFrame) -> pd.DataFrame:
    """Write ids in place of numbers, and the labels and files of both images; columns id, label, file in `manifest`."""
    table = pairs.assign(first=manifest["id"].to_numpy()[pairs["first"]])
    table["second"] = manifest["id"].to_numpy()[pairs["second"]]
    for name in ("label", "file"):
        for side in ("first", "second"):
            table[f"{side}_{name}"] = manifest[name].to_numpy()[pairs[side]]
    return table


def conflicts(table: pd.DataFrame) -> pd.DataFrame:
    """Choose the pairs under two labels that show the same picture, the surest first."""
    chosen = table[(table["first_label"] != table["second_label"]) & table["kind"].isin([SAME, STRICT])]
    return chosen.sort_values(["correlation", "points", "first", "second"], ascending=[False, False, True, True])


def check_conflicts(table: pd.DataFrame) -> None:
    """Refuse near-duplicates under two labels; `table` has the pairs of `conflicts`."""
    if table.empty:
        return
    rows = table.head(NUM_SHOWN).to_dict("records")
    shown = [
        f"  {row['first_file']} ({row['first_label']}) = {row['second_file']} ({row['second_label']}), "
        f"{row['kind']}, correlation {row['correlation']:.2f}"
        for row in rows
    ]
    if len(table) > NUM_SHOWN:
        shown.append(f"  and {len(table) - NUM_SHOWN} more")
    raise DataError(
        f"{len(table)} pairs of near-duplicates are there under two labels; correct them, or keep them and have them "
        "listed with `ingest.on_conflict: drop`; if all images show one fixed scene, set `duplicates.method: off`\n"
        + "\n".join(shown)
    )


def duplicates_record(method: Method, found: Found, table: pd.DataFrame, manifest: pd.DataFrame) -> dict[str, Any]:
    """Sum up what was found, for a report; `manifest` has the columns id, label, file and duplicates."""
    groups = manifest[manifest["duplicates"] != ""].groupby("duplicates", sort=False)
    sizes = groups.size().sort_values(ascending=False, kind="stable")
    across = conflicts(table)
    return {
        "method": method,
        "num_images": len(manifest),
        "num_in_groups": int(sizes.sum()),
        "num_groups": len(sizes),
        "largest_group": int(sizes.max()) if len(sizes) else 0,
        "num_pairs": {kind: int((table["kind"] == kind).sum()) for kind in PAIR_KINDS},
        "num_conflicts": len(across),
        "num_compared": found.num_compared,
        "num_plain": found.num_plain,
        "groups": [
            groups.get_group(name)[["id", "file", "label"]].head(NUM_LISTED).to_dict("records")
            for name in sizes.index[:NUM_LISTED]
        ],
        "conflicts": across.head(NUM_LISTED).to_dict("records"),
    }


def format_record(record: Mapping[str, Any]) -> str:
    """Describe in a line or two what was found."""
    if record["method"] == "off":
        return f"not looked for among {record['num_images']} images (`duplicates.method: off`)"
    text = f"none among {record['num_images']} images"
    if record["num_groups"]:
        text = (
            f"{record['num_in_groups']} of {record['num_images']} images show what another one shows, in "
            f"{record['num_groups']} groups, the largest of {record['largest_group']}"
        )
    if num_like := record.get("num_unlabelled_like_labelled"):
        text += f"; {num_like} images without labels show what a labelled one shows"
    if record["num_conflicts"]:
        text += f"; {record['num_conflicts']} pairs under two labels"
    if record["num_plain"]:
        text += f"\n  {record['num_plain']} images show too little to be compared by more than the hash of their pixels"
    if record["largest_group"] > LARGE_SHARE * record["num_images"]:
        text += "\n  most images show one scene: if a fixed camera took them, set `duplicates.method: off`"
    return text
