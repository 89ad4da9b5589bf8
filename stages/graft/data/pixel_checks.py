"""What decoding does to the pixels of a whole set: values that end up dark or clipped, blank images, unread pages."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from stages.graft.images.inspection import ImageInfo
from stages.graft.images.white_level import WHITE_16, DeepRange

DARK = 0.25
"""An image of more than 8 bits is dark when its brightest value is at most this share of the white level."""

_WHITES = (1.0, 255.0, 1023.0, 4095.0, 16383.0, 65535.0, 2.0**31 - 1)
"""Usual whites: of floating-point numbers, and of 8, 10, 12, 14, 16 and 32 bits."""


@dataclass(frozen=True, kw_only=True)
class PixelChecks:
    """The images of a set with something to tell about their pixels."""

    notable: Mapping[str, ImageInfo]
    """By file: those that `is_notable`."""
    num_images: int
    """Images of the set."""
    white_level: float | None
    """The parameter `ingest.white_level`."""

    @property
    def deep(self) -> list[DeepRange]:
        """The values of the images with more than 8 bits."""
        return [info.deep for info in self.notable.values() if info.deep is not None]

    @property
    def dark(self) -> list[DeepRange]:
        """Those whose values reach only a small part of what is white."""
        return [deep for deep in self.deep if deep.bright <= DARK * (self.white_level or WHITE_16)]

    def suggested_white(self) -> float | None:
        """The usual white that fits the values when most of the images are dark; None when they are not."""
        if 2 * len(self.dark) <= len(self.deep):
            return None
        bright = max(deep.bright for deep in self.dark)
        return next((white for white in _WHITES if bright <= white and (white > 1 or self.dark[0].is_float)), None)

    def record(self) -> dict[str, Any]:
        """Give what the report of ingest has of it, as JSON values."""
        deep, clipped = self.deep, [deep.clipped for deep in self.deep if deep.clipped]
        files = {name: sorted(self._files(name)) for name in ("is_blank", "is_multipage", "lacks_window")}
        return {
            "white_level": self.white_level,
            "over_8_bits": {
                "num_images": len(deep),
                "largest_value": max((some.largest for some in deep), default=None),
                "num_dark": len(self.dark),
                "suggested_white_level": self.suggested_white(),
                "num_clipped": len(clipped),
                "clipped_share": round(sum(clipped) / len(clipped), 6) if clipped else 0.0,
            },
            "num_blank": len(files["is_blank"]),
            "num_multipage": len(files["is_multipage"]),
            "num_without_window": len(files["lacks_window"]),
            "blank": files["is_blank"],
            "multipage": files["is_multipage"],
        }

    def lines(self) -> Iterator[str]:
        """Give a line for the terminal on each thing that the user should know."""
        record = self.record()
        deep, blank, white = record["over_8_bits"], record["num_blank"], self.suggested_white()
        if white is not None:
            reached = max(some.bright for some in self.dark)
            yield (
                f"{deep['num_dark']} of {deep['num_images']} images with more than 8 bits reach {reached:.10g} of "
                f"{self.white_level or WHITE_16:.10g}, and come out dark (the largest value of all is "
                f"{deep['largest_value']:.10g}); if {white:.10g} is their white, set `ingest.white_level` to it"
            )
        if deep["num_clipped"]:
            yield (
                f"{deep['num_clipped']} images have values above the white level {self.white_level:g} (up to "
                f"{deep['largest_value']:g}) or below 0; {deep['clipped_share']:.2%} of their pixels are clipped"
            )
        if blank:
            yield (
                f"{blank} of {self.num_images} images are one colour, or nearly, when decoded (see reports/ingest.json)"
                + ("; a model of such a set can only guess" if 2 * blank > self.num_images else "")
            )
        if record["num_multipage"]:
            yield f"{record['num_multipage']} files have several pages or frames; the first one is read"
        if record["num_without_window"]:
            yield (
                f"{record['num_without_window']} DICOM files have no window; the smallest value of each becomes black, "
                "its largest white"
            )

    def _files(self, name: str) -> list[str]:
        return [file for file, info in self.notable.items() if getattr(info, name)]


def is_notable(info: ImageInfo) -> bool:
    """Say whether there is something to tell about an image."""
    return info.is_blank or info.is_multipage or info.lacks_window or info.deep is not None
