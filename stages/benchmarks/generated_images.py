"""JPEG files of generated plates, as many as a benchmark needs."""

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from stages.graft.core.params import load_spec
from stages.graft.core.progress import bar
from stages.graft.data.synthetic.plates import PlatesSpec, plate

PLATES = Path("data/plates.yaml")

NUM_CLASSES, NUM_PLATES = 6, 300


def jpeg_plates() -> list[bytes]:
    """Generate NUM_PLATES different plates and encode them as JPEG; grey ones as RGB, as cameras do."""
    spec = load_spec(PLATES, PlatesSpec).model_copy(update={"per_class": NUM_PLATES // NUM_CLASSES})
    files = []
    for index in bar(range(NUM_PLATES), desc="bench: plates", unit="plates"):
        buffer = io.BytesIO()
        Image.open(io.BytesIO(plate(spec, index)[2])).convert("RGB").save(buffer, "JPEG", quality=90)
        files.append(buffer.getvalue())
    return files


def write_images(folder: Path, plates: Sequence[bytes], num_images: int) -> dict[str, Path]:
    """Write a class folder of JPEG files that all differ; bytes behind the end of a JPEG make another file of it.

    Args:
        folder: the class folder.
        plates: JPEG files, fewer than `num_images`.
        num_images: number of files to write.
    Returns:
        The path of each file by its SHA-256, in the order of the paths.
    """
    paths = {}
    for index in range(num_images):
        path = folder / f"class{index % NUM_CLASSES}" / f"{index:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        copy = index // len(plates)
        data = plates[index % len(plates)] + (str(copy).encode() if copy else b"")
        path.write_bytes(data)
        paths[path] = hashlib.sha256(data).hexdigest()
    return {paths[path]: path for path in sorted(paths)}
