"""Beside the pipeline, fit_codebook: fit the kinds of local features by which near-duplicates are looked for.

Reads   nothing: the images are generated
Writes  stages/graft/duplicates/codebook.safetensors
Run     python -m stages.pretraining.fit_codebook (a minute)
"""

import numpy as np
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

from stages.graft.core.stage import run
from stages.graft.data.synthetic.plates import PlatesSpec, num_plates, plate
from stages.graft.data.synthetic.strangers import stranger_files
from stages.graft.duplicates.codebook import FILE, MIRRORED, NUM_CENTRES, NUM_COMPONENTS
from stages.graft.duplicates.description import local_descriptors
from stages.graft.storage.arrays import write_arrays

NUM_STRANGERS, SIZE_PX, SEED = 288, 200, 1
"""Images of nothing in particular, and their seed: not those of the pipeline."""

PLATES = PlatesSpec(kind="plates", per_class=24, size_px=SIZE_PX, seed=1, difficulty=0.5)

NUM_DESCRIPTORS = 20_000
"""Drawn of all, before they are mirrored."""


def main() -> None:
    """Generate images, fit components and centres to their local features, save them."""
    files = stranger_files(NUM_STRANGERS, SIZE_PX, SEED) + [plate(PLATES, k)[2] for k in range(num_plates(PLATES))]
    descriptors = np.concatenate([local_descriptors(file) for file in files])
    drawn = descriptors[np.random.default_rng(SEED).permutation(len(descriptors))[:NUM_DESCRIPTORS]]
    both = np.concatenate([drawn, drawn[:, MIRRORED]])
    pca = PCA(NUM_COMPONENTS, svd_solver="full").fit(both)
    kmeans = KMeans(NUM_CENTRES, n_init=1, random_state=SEED).fit(pca.transform(both))
    arrays = {"mean": pca.mean_, "components": pca.components_.T, "centres": kmeans.cluster_centers_}
    write_arrays({name: array.astype(np.float32) for name, array in arrays.items()}, FILE)
    print(f"fit_codebook: {FILE}, from {len(drawn)} of {len(descriptors)} local features of {len(files)} images")


if __name__ == "__main__":
    run("fit_codebook", main, again="python -m stages.pretraining.fit_codebook")
