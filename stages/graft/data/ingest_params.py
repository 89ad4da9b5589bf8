"""The section `ingest` of params.yaml."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, field_validator

from stages.graft.core.params import Params
from stages.graft.data.label_rules import ColumnsParams, LabelRules, check_pattern
from stages.graft.images.pixel_limit import MaxMegapixels
from stages.graft.images.white_level import WhiteLevel


class IngestParams(Params):
    """The section `ingest`."""

    source: Annotated[str, Field(min_length=1)]
    """Path or http(s) address of the labelled images; a relative path counts from the repository's root."""
    sha256: Annotated[str, Field(pattern="^[0-9a-fA-F]{64}$")] | None
    """SHA-256 of the source's file, hex; a must for an address, null for a folder."""
    copy_: Annotated[bool, Field(alias="copy")]
    """Copy the images, or leave them in place and read them there."""
    unlabelled: Annotated[str, Field(min_length=1)]
    """Path of images without labels: a folder, which may be empty, an archive, a list or s3://…."""
    labels: Annotated[str, Field(min_length=1)]
    """File of labels given later, in `given_labels.COLUMNS`; they go before those of the source."""
    columns: ColumnsParams
    """Columns of a list."""
    label_pattern: str | None
    """Where the label is in an image's path; null: the name of its folder, or the column of a list."""
    group_pattern: str | None
    """Where the group is in an image's path; null: the column of a list, or none."""
    min_images_per_class: PositiveInt | None
    """Classes with fewer images are left out; null leaves none out."""
    on_conflict: Literal["error", "drop"]
    """Identical images under two labels: stop with an error, or drop all of them."""
    max_bad_fraction: Annotated[float, Field(ge=0, le=1)]
    """Share of images that may be damaged before the stage fails."""
    max_megapixels: MaxMegapixels
    """Larger images are bad ones, in millions of pixels."""
    white_level: WhiteLevel
    """Value that becomes white in images with more than 8 bits a colour; null: 65535."""

    @field_validator("label_pattern")
    @classmethod
    def _check_label_pattern(cls, pattern: str | None) -> str | None:
        return check_pattern(pattern, "label")

    @field_validator("group_pattern")
    @classmethod
    def _check_group_pattern(cls, pattern: str | None) -> str | None:
        return check_pattern(pattern, "group")

    @property
    def rules(self) -> LabelRules:
        """Where labels, groups and splits come from."""
        return LabelRules(columns=self.columns, label_pattern=self.label_pattern, group_pattern=self.group_pattern)

    @property
    def rules_of_unlabelled(self) -> LabelRules:
        """The same for images without labels."""
        return LabelRules(columns=self.columns, group_pattern=self.group_pattern, needs_labels=False)
