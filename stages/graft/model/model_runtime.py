"""The runtime of a model's network: of a frozen one that which computed the features, of a fine-tuned one the best."""

import sys
from collections.abc import Callable
from pathlib import Path

from stages.graft.backbone.precision_check import ImageSample, sample_images
from stages.graft.backbone.runtime import Runtime
from stages.graft.backbone.runtime_choice import RuntimeChoice, as_extracted, choose_runtime
from stages.graft.backbone.weights import FINETUNED, Weights
from stages.graft.data.image_locations import ImageLocations
from stages.graft.heads.features import read_precision
from stages.graft.heads.head import read_calibrated_on
from stages.graft.storage.cache_folder import store_folder


def model_runtime(
    weights: Weights, choice: RuntimeChoice, computed: Path, locations: Callable[[], ImageLocations]
) -> Runtime:
    """Give the runtime of a model's network.

    Args:
        weights: the network's, fine-tuned or those that computed the features.
        choice: what the parameters ask for.
        computed: the file of the features, or of a head that was fitted to them.
        locations: gives the location of every image; called only if an image is needed.
    Raises:
        ParamsError: as in `choose_runtime`.
    """
    if weights.weights != FINETUNED:
        choice, sample = extracted_choice(choice, computed, locations)
        return choose_runtime(weights, choice, store_folder() / "networks", sample)
    if choice.precision == "int8":
        print("graft: the fine-tuned network does not run in int8, which is for pretrained ones", file=sys.stderr)
    locate = locations()
    sample = sample_images(locate.ids, locate)
    return choose_runtime(weights, as_extracted(choice, None), store_folder() / "networks", sample)


def extracted_choice(
    choice: RuntimeChoice, computed: Path, locations: Callable[[], ImageLocations]
) -> tuple[RuntimeChoice, ImageSample | None]:
    """Give the choice with which the features were computed, and the images that int8 was calibrated on, if it was.

    Arguments are as in `model_runtime`.
    """
    ids = read_calibrated_on(computed)
    if choice.precision != "int8" or not ids:
        return as_extracted(choice, read_precision(computed)), None
    locate = locations()
    return choice, ImageSample(ids=ids, locations=[locate(id_) for id_ in ids])
