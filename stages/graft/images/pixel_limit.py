"""The parameter `ingest.max_megapixels`: larger images are refused before any pixel is decoded."""

from typing import Annotated

from pydantic import ConfigDict, Field

from stages.graft.core.params import Params
from stages.graft.images.decode import MAX_PIXELS

DEFAULT_MEGAPIXELS = 50.0
"""The limit of a model that was made without one."""

MaxMegapixels = Annotated[float, Field(gt=0, le=MAX_PIXELS / 1e6)]
"""Width times height, in millions of pixels."""


class PixelLimitParams(Params):
    """The value of the section `ingest` that a model keeps for the images it is asked about."""

    model_config = ConfigDict(extra="ignore")

    max_megapixels: MaxMegapixels
    """Larger images are refused, in millions of pixels."""


def in_pixels(megapixels: float) -> int:
    """Give a limit as a number of pixels."""
    return round(megapixels * 1e6)
