"""The section `explain` of params.yaml."""

from typing import Annotated

from pydantic import Field

from stages.graft.core.params import Params


class ExplainParams(Params):
    """The section `explain`."""

    num_images: Annotated[int, Field(ge=0)]
    """Validation images on which heat maps are compared with those of other images, at most; 0: none."""
