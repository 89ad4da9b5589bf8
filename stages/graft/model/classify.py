"""Classify images with the model beside this file: python classify.py IMAGE ...

It needs numpy, Pillow and openvino (for model.xml) or onnxruntime (for model.onnx). README.json describes each step."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

FOLDER, ORIENTATION = Path(__file__).parent, 0x0112


def open_model(about: dict[str, Any]) -> Any:
    """Give a function from images (n, h, w, 3), uint8, to the outputs by name."""
    name = about["input"]["name"]
    if (FOLDER / "1/model.xml").exists():
        import openvino

        network = openvino.Core().compile_model(FOLDER / "1/model.xml", "CPU")
        return lambda images: {output.any_name: value for output, value in network({name: images}).items()}
    import onnxruntime

    session = onnxruntime.InferenceSession(FOLDER / "1/model.onnx", providers=["CPUExecutionProvider"])
    return lambda images: dict(zip(about["outputs"], session.run(list(about["outputs"]), {name: images}), strict=True))


def prepare(path: str, about: dict[str, Any]) -> Any:
    """Give the square that the network sees, shape (px, px, 3), uint8."""
    px, fit = about["crop_px"], about["fit"]
    image: Any = Image.open(path)
    deciding, least = (max if fit == "pad" else min)(image.size), 2 * (about["resize_px"] if fit == "crop" else px)
    scale = max(k for k in (1, 2, 4, 8) if k == 1 or deciding >= k * least)
    image.draft(None, (image.width // scale, image.height // scale))  # decodes a large JPEG at a part of its size
    orientation = image.getexif().get(ORIENTATION, 1)
    if image.mode.startswith("I"):  # more than 8 bits
        grey = np.asarray(image).astype(float) * 255 // (about["white_level"] or 65535)
        image = Image.fromarray(grey.clip(0, 255).astype(np.uint8))
    if image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema()[1]:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    if fit == "crop":
        s = max(1, round(px * min(image.size) / about["resize_px"]))
        image = image.crop(tuple((length + side) // 2 for side in (-s, s) for length in image.size))
    size = [max(1, round(px * length / max(image.size))) if fit == "pad" else px for length in image.size]
    scaled = image.convert("RGB").resize((size[0], size[1]), Image.Resampling[about["interpolation"].upper()])
    square = Image.new("RGB", (px, px), tuple(about["fill"]))
    square.paste(scaled, ((px - size[0]) // 2, (px - size[1]) // 2))
    square.getexif()[ORIENTATION] = orientation
    return np.asarray(ImageOps.exif_transpose(square))


if __name__ == "__main__":
    about = json.loads((FOLDER / "README.json").read_text(encoding="utf-8"))
    model = open_model(about)
    for path in sys.argv[1:]:
        found = {name: value[0] for name, value in model(prepare(path, about)[None]).items()}
        best = found["probabilities"].argmax()
        print(path, about["classes"][best], found["probabilities"][best], found["unsure"], found["unknown"], sep="\t")
