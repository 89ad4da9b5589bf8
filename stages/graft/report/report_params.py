"""The section `report` of params.yaml."""

from typing import Annotated

from pydantic import Field

from stages.graft.core.params import Params


class ReportParams(Params):
    """The section `report` of params.yaml."""

    gallery_images: Annotated[int, Field(ge=0, le=60)]
    """Images in each gallery, at most; 60 keep the page below 3 MB."""
