"""The description of an exported model's input and outputs, for programs that prepare images without Graft."""

from collections.abc import Mapping
from typing import Any

from stages.graft.images.crop import fill_colour, least_px
from stages.graft.images.formats import ALL_FORMATS
from stages.graft.images.preprocessing import Preprocessing
from stages.graft.model.decision import DecisionRule
from stages.graft.model.whole_model import INPUT, OUTPUTS


def recipe(p: Preprocessing, rule: DecisionRule, outputs: Mapping[str, str] = OUTPUTS) -> dict[str, Any]:
    """Describe an exported model with these outputs to its callers, as JSON values."""
    return {
        "classes": list(rule.classes),
        "input": {
            "name": INPUT,
            "type": "uint8",
            "shape": ["n", p.crop_px, p.crop_px, 3],
            "meaning": "n squares in RGB, channels last, 0 to 255; scaling and normalisation are in the graph",
        },
        "prepare": _steps(p),
        "white_level": p.white_level,
        "fit": p.fit,
        "resize_px": p.resize_px,
        "crop_px": p.crop_px,
        "interpolation": p.interpolation,
        "fill": list(fill_colour(p)),
        "outputs": dict(outputs),
        "unsure_below": rule.threshold.confidence,
        "unknown_above": rule.unknown_above,
    }


def _steps(p: Preprocessing) -> list[str]:
    return [
        f"Decode the file ({', '.join(ALL_FORMATS)}; of several pages or frames the first) to 8-bit RGB: "
        f"{_depth(p.white_level)}, transparent pixels over white, unless the whole image is transparent.",
        *_fit_steps(p),
        "Turn it upright as its EXIF orientation says (where the file is no JPEG, right after decoding).",
        f"Of a large JPEG, Graft's own pixels: where {'max' if p.fit == 'pad' else 'min'}(h, w) is at least 2, 4 or 8 "
        f"times {least_px(p)}, libjpeg decodes it at a half, a quarter or an eighth of its size, and the steps begin "
        "from there.",
    ]


def _depth(white_level: float | None) -> str:
    """How more than 8 bits become 8, as in `white_level.to_8_bits`."""
    if white_level is None:
        return "16-bit grey divided by 257 without remainder, of 16-bit colours the upper 8 bits"
    return (
        f"a value of more than 8 bits (in grey, or in each colour) times 255, divided by {white_level:.10g}, rounded "
        "down, at least 0 and at most 255 (DICOM files are windowed instead)"
    )


def _fit_steps(p: Preprocessing) -> list[str]:
    """From the decoded image to the square, as in `crop.decode_square`."""
    px = p.crop_px
    if p.fit == "squash":
        return [f"Scale the whole image to {px} x {px} pixels, whatever its shape, {_scaling(p)}"]
    if p.fit == "pad":
        return [
            f"Let h and w be its height and width; a = max(1, round({px} * h / max(h, w))), b = max(1, round({px} * w "
            "/ max(h, w))), a half rounded to the even number.",
            f"Scale the whole image to a rows and b columns {_scaling(p)}",
            f"Put it into a square of {px} x {px} pixels of the colour {list(fill_colour(p))}, its first row in row "
            f"({px} - a) // 2 and its first column in column ({px} - b) // 2.",
        ]
    return [
        f"Let h and w be its height and width, s = max(1, round({px} * min(h, w) / {p.resize_px})), a half "
        "rounded to the even number; top = (h - s) // 2, left = (w - s) // 2.",
        "Cut out rows top to top + s and columns left to left + s.",
        f"Scale this square to {px} x {px} pixels {_scaling(p)}",
    ]


def _scaling(p: Preprocessing) -> str:
    exception = "by OpenCV's INTER_LINEAR where neither side shrinks; " if p.interpolation == "bilinear" else ""
    return (
        f"by antialiased {p.interpolation} interpolation, as Pillow's Image.resize does; {exception}one that has the "
        "size already stays as it is."
    )
