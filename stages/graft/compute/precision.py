"""The precision in which a network runs: int8 if it is asked for and passes its checks, else as bf16's check says."""

import sys
from dataclasses import dataclass
from pathlib import Path

from stages.graft.backbone.precision_check import ImageSample, calibration_images, sample_images
from stages.graft.backbone.runtime_choice import ExtractParams
from stages.graft.backbone.weights import Weights
from stages.graft.compute.settings import load_compute
from stages.graft.core.errors import ParamsError
from stages.graft.data.image_locations import ImageLocations
from stages.graft.heads.head import CALIBRATED_ON
from stages.graft.storage.cache_folder import store_folder
from stages.graft.storage.files import read_json


@dataclass(frozen=True, kw_only=True)
class Settled:
    """How a network is run, after the checks."""

    choice: ExtractParams
    """As asked for, but precision auto in place of int8 where that falls short."""
    sample: ImageSample
    """Images that int8 is calibrated on, or that precision auto is checked on."""
    calibrated_on: tuple[str, ...] = ()
    """Ids of the images that int8 was calibrated on, whether it is used or not; none if it is not asked for."""

    def report_record(self) -> dict[str, list[str]]:
        """Give what the report says of it, for the next extraction."""
        return {CALIBRATED_ON: list(self.calibrated_on)} if self.calibrated_on else {}

    def features_record(self) -> dict[str, list[str]]:
        """Give what the features say of it."""
        return self.report_record() if self.choice.precision == "int8" else {}


def check_engine() -> None:
    """Check that int8 is to run on this machine; raises a ParamsError otherwise."""
    if load_compute().engine != "local":
        raise ParamsError("`extract.precision: int8` is for one machine; set `compute.engine: local`, or it to auto")


def settle_precision(
    weights: Weights, choice: ExtractParams, locate: ImageLocations, splits: Path, report: Path
) -> Settled:
    """Check int8 if it is asked for, and say in a line what was found.

    Args:
        weights: the network's.
        choice: what the parameters ask for.
        locate: gives the location of every image that is about to be extracted.
        splits: the splits table; of its images, those of training and validation are used with their labels.
        report: the report of the last extraction, if there is one; it says what int8 was calibrated on.
    Raises:
        ParamsError: int8 is asked for and cannot be used on this machine, as in `int8_runtime`, or on a cluster.
        DataError: an image cannot be decoded.
    """
    sample = sample_images(locate.ids, locate)
    if choice.precision != "int8":
        return Settled(choice=choice, sample=sample)
    check_engine()
    from stages.graft.compute.int8_check import Candidate, check_int8  # heads, which extraction needs for nothing else

    earlier = read_json(report).get(CALIBRATED_ON, []) if report.exists() else []
    calibration = calibration_images(locate.ids, locate, earlier)
    networks = store_folder() / "networks"
    candidate = Candidate(weights=weights, choice=choice, locate=locate, calibration=calibration, networks=networks)
    is_good, found = check_int8(candidate, splits)
    print(f"extract: {weights.name} {'runs' if is_good else 'does not run'} in int8: {found}", file=sys.stderr)
    return Settled(
        choice=choice if is_good else choice.model_copy(update={"precision": "auto"}),
        sample=calibration if is_good else sample,
        calibrated_on=tuple(calibration.ids),
    )
