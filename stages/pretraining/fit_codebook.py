"""Beside the pipeline, fit_codebook: fit the kinds of local features by which near-duplicates are looked for.

Reads   nothing: the images are generated
Writes  stages/graft/duplicates/codebook.safetensors
Run     python -m stages.pretraining.fit_codebook (a minute)
"""

import numpy as np
import numpy.typing as npt
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

from stages.graft.core.stage import run
from stages.graft.data.synthetic.plates import PlatesSpec, num_plates, plate
from stages.graft.duplicates.codebook import (
    FILE,
    MIRRORED,
    NUM_CENTRES,
    NUM_COMPONENTS,
    SUMMARY_DIM,
    Float32,
    sum_differences,
)
from stages.graft.duplicates.description import local_descriptors
from stages.graft.storage.arrays import write_arrays
from stages.pretraining.generated_pictures import picture_files

NUM_PICTURES, SIZE_PX, SEED = 900, 200, 1
"""Generated pictures, their side in pixels, and their seed."""

PLATES = PlatesSpec(kind="plates", per_class=70, size_px=SIZE_PX, seed=1, difficulty=0.5)

NUM_DESCRIPTORS = 20_000
"""Drawn of all, before they are mirrored."""


def main() -> None:
    """Generate images, fit the kinds of local features and the whitening of their sums to them, save both."""
    files = picture_files(NUM_PICTURES, SIZE_PX, SEED) + [plate(PLATES, k)[2] for k in range(num_plates(PLATES))]
    described = [descriptors for file in files if len(descriptors := local_descriptors(file))]
    kinds = fit_kinds(np.concatenate(described))
    arrays = kinds | fit_whitening(np.stack([sum_differences(descriptors, **kinds) for descriptors in described]))
    write_arrays(arrays, FILE)
    print(f"fit_codebook: {FILE}, {FILE.stat().st_size / 1e6:.1f} MB, from {len(described)} of {len(files)} images")


def fit_kinds(descriptors: Float32) -> dict[str, Float32]:
    """Fit mean, components and centres to descriptors, shape (n, 128), and those of the mirror images."""
    drawn = descriptors[np.random.default_rng(SEED).permutation(len(descriptors))[:NUM_DESCRIPTORS]]
    both = np.concatenate([drawn, drawn[:, MIRRORED]])
    pca = PCA(NUM_COMPONENTS, svd_solver="full").fit(both)
    kmeans = KMeans(NUM_CENTRES, n_init=1, random_state=SEED).fit(pca.transform(both))
    arrays = {"mean": pca.mean_, "components": pca.components_.T, "centres": kmeans.cluster_centers_}
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def fit_whitening(sums: Float32) -> dict[str, npt.NDArray[np.floating]]:
    """Fit the whitening to the sums of images, shape (n, NUM_CENTRES * NUM_COMPONENTS)."""
    pca = PCA(SUMMARY_DIM, svd_solver="full", whiten=True).fit(sums)
    columns = pca.components_.T / np.sqrt(pca.explained_variance_)
    return {"whitening_mean": pca.mean_.astype(np.float32), "whitening": columns.astype(np.float16)}


if __name__ == "__main__":
    run("fit_codebook", main, again="python -m stages.pretraining.fit_codebook")
