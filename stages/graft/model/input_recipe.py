"""The description of an exported model's input and outputs, for programs that prepare images without Graft."""

from typing import Any

from stages.graft.images.crop import REDUCING_GAP
from stages.graft.images.decode import FORMATS
from stages.graft.images.preprocessing import Preprocessing
from stages.graft.model.decision import DecisionRule
from stages.graft.model.whole_model import INPUT, OUTPUTS


def recipe(p: Preprocessing, rule: DecisionRule) -> dict[str, Any]:
    """Describe an exported model to its callers, as JSON values."""
    return {
        "classes": list(rule.classes),
        "input": {
            "name": INPUT,
            "type": "uint8",
            "shape": ["n", p.crop_px, p.crop_px, 3],
            "meaning": "n squares in RGB, channels last, 0 to 255; scaling and normalisation are in the graph",
        },
        "prepare": _steps(p),
        "resize_px": p.resize_px,
        "crop_px": p.crop_px,
        "interpolation": p.interpolation,
        "outputs": OUTPUTS,
        "unsure_below": rule.threshold.confidence,
        "unknown_above": rule.unknown_above,
    }


def _steps(p: Preprocessing) -> list[str]:
    exception = "a smaller one by OpenCV's INTER_LINEAR; " if p.interpolation == "bilinear" else ""
    return [
        f"Decode the file ({', '.join(FORMATS)}; of an animated one the first frame) to 8-bit RGB: 16-bit grey divided "
        "by 257 without remainder, transparent pixels over white.",
        f"Let h and w be its height and width, s = max(1, round({p.crop_px} * min(h, w) / {p.resize_px})), a half "
        "rounded to the even number; top = (h - s) // 2, left = (w - s) // 2.",
        "Cut out rows top to top + s and columns left to left + s.",
        f"Scale this square to {p.crop_px} x {p.crop_px} pixels by antialiased {p.interpolation} interpolation, as "
        f"Pillow's Image.resize does; {exception}a square of {p.crop_px} pixels stays as it is.",
        "Turn it upright as its EXIF orientation says (where the file is no JPEG, right after decoding).",
        f"Of a large JPEG, Graft's own pixels: where min(h, w) is at least 2, 4 or 8 times {REDUCING_GAP * p.resize_px}"
        ", libjpeg decodes it at a half, a quarter or an eighth of its size, and the steps begin from there.",
    ]
