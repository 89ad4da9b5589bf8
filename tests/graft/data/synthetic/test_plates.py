"""The generated plates: the same bytes everywhere, six classes, a difficulty that means something."""

import hashlib
import io
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from stages.graft.core.errors import ParamsError
from stages.graft.core.params import load_spec
from stages.graft.data.synthetic.defects import DEFECTS, Defect
from stages.graft.data.synthetic.plates import (
    CLASSES,
    PlatesSpec,
    encode_png,
    num_plates,
    photograph,
    plate,
)
from stages.graft.data.synthetic.surfaces import Sheet
from stages.graft.data.synthetic.textures import Canvas, Direction, cells
from tests.conftest import REPOSITORY

DEFAULT = REPOSITORY / "data" / "plates.yaml"


def make_spec(per_class=1, size_px=48, seed=3, difficulty=0.5):
    return PlatesSpec(kind="plates", per_class=per_class, size_px=size_px, seed=seed, difficulty=difficulty)


def pixels_of(data):
    return np.asarray(Image.open(io.BytesIO(data)))


def all_plates(spec):
    return [plate(spec, index) for index in range(num_plates(spec))]


def digest(spec):
    return hashlib.sha256(b"".join(data for _, _, data in all_plates(spec))).hexdigest()


def test_default_spec_is_what_the_issue_asks_for():
    spec = load_spec(DEFAULT, PlatesSpec)
    assert (spec.per_class, spec.size_px, num_plates(spec)) == (150, 200, 900)
    assert len(CLASSES) == 6
    assert {"inclusion", "scratch", "hole"} <= set(CLASSES)


@pytest.mark.parametrize(
    ("key", "value"), [("kind", "dishes"), ("per_class", 0), ("size_px", 31), ("seed", -1), ("difficulty", 1.5)]
)
def test_a_value_out_of_range_is_named(tmp_path, key, value):
    path = tmp_path / "plates.yaml"
    values = {"kind": "plates", "per_class": 1, "size_px": 32, "seed": 0, "difficulty": 0.5, key: value}
    path.write_text("".join(f"{name}: {setting}\n" for name, setting in values.items()))
    with pytest.raises(ParamsError, match=key):
        load_spec(path, PlatesSpec)


def test_names_labels_and_files():
    plates = all_plates(make_spec(per_class=2))
    assert Counter(label for _, label, _ in plates) == dict.fromkeys(CLASSES, 2)
    assert plates[-1][0] == "scratch/scratch_002.png"
    assert all(file.startswith(f"{label}/{label}_") for file, label, _ in plates)
    assert len({data for _, _, data in plates}) == len(plates) == num_plates(make_spec(per_class=2))


@pytest.mark.parametrize("size_px", [32, 33, 200, 300])
def test_every_size_gives_a_grey_png_with_some_contrast(size_px):
    for index in range(len(CLASSES)):
        image = Image.open(io.BytesIO(plate(make_spec(size_px=size_px), index)[2]))
        assert (image.format, image.mode, image.size) == ("PNG", "L", (size_px, size_px))
        assert np.asarray(image).std() > 2


def test_png_holds_the_very_pixels_over_more_than_one_block():
    pixels = np.random.default_rng(0).integers(0, 256, (300, 301), dtype=np.uint8)
    image = Image.open(io.BytesIO(encode_png(pixels)))
    image.verify()
    assert np.array_equal(pixels_of(encode_png(pixels)), pixels)


def test_bytes_are_the_same_on_every_machine():
    # A change of this hash changes every user's plates: make it on purpose only.
    assert digest(make_spec()) == "66adf880037b5ec34c2ab4d6482e3ff6983b3bbe651517f271d7525ecb2fcac9"


def test_bytes_are_the_same_in_another_process():
    code = (
        "import hashlib; from stages.graft.data.synthetic.plates import PlatesSpec, num_plates, plate; "
        f"spec = PlatesSpec(**{make_spec().model_dump()}); "
        "print(hashlib.sha256(b''.join(plate(spec, k)[2] for k in range(num_plates(spec)))).hexdigest())"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == digest(make_spec())


def test_more_plates_keep_the_old_ones_and_one_alone_is_the_same():
    few, many = all_plates(make_spec(per_class=1)), all_plates(make_spec(per_class=3))
    assert set(few) <= set(many)
    assert plate(make_spec(per_class=3), 7) == many[7]


@pytest.mark.parametrize("change", [{"seed": 4}, {"difficulty": 0.6}, {"size_px": 49}])
def test_every_setting_changes_every_plate(change):
    changed = {data for _, _, data in all_plates(make_spec(**change))}
    assert not changed & {data for _, _, data in all_plates(make_spec())}


def visibility(label, difficulty):
    """Mean difference in grey levels between plates and the same plates without their defect."""
    spec, differences = make_spec(difficulty=difficulty), []
    for seed in range(4):
        shots = []
        for sound in (False, True):
            rng = np.random.default_rng(seed)
            canvas = Canvas(size_px=spec.size_px)
            sheet = Sheet(canvas=canvas, rng=rng, rolling=Direction.at(20), scale=spec.scale)
            defect = DEFECTS[label](sheet)
            if sound:
                defect = Defect(tone=canvas.zeros(), cover=canvas.zeros(), relief=canvas.zeros())
            shots.append(photograph(sheet, defect, spec.contrast, spec.clutter).astype(float))
        differences.append(np.abs(shots[0] - shots[1]).mean())
    return np.mean(differences)


@pytest.mark.parametrize("label", CLASSES)
def test_defects_fade_as_difficulty_grows(label):
    easy, usual, hard, hardest = (visibility(label, difficulty) for difficulty in (0, 0.5, 0.8, 1))
    assert easy > usual > hard > hardest > 0


def test_every_class_has_the_same_brightness_within_a_few_grey_levels():
    means = {label: [] for label in CLASSES}
    for _, label, data in all_plates(make_spec(per_class=30, size_px=32)):
        means[label].append(pixels_of(data).mean())
    spread = np.mean([np.std(values) for values in means.values()])
    assert np.ptp([np.mean(values) for values in means.values()]) < spread


def test_grey_pixels_alone_do_not_tell_the_classes():
    plates = all_plates(make_spec(per_class=50, size_px=64))
    small = [Image.open(io.BytesIO(data)).resize((32, 32), Image.Resampling.BILINEAR) for _, _, data in plates]
    x, y = np.stack([np.asarray(image).ravel() for image in small]), np.array([label for _, label, _ in plates])
    x, train = StandardScaler().fit_transform(x), np.arange(len(y)) < 240  # classes take turns
    fit = LogisticRegression(C=0.001, max_iter=3000).fit(x[train], y[train])
    assert fit.score(x[~train], y[~train]) < 0.6


def test_cells_find_the_nearest_points():
    rng = np.random.default_rng(1)
    u, v = rng.uniform(3, 6, (2, 50))
    nearest, second, owned = cells(np.random.default_rng(2), u, v)
    x, y, own = np.random.default_rng(2).random((3, 64, 64))
    rows, columns = np.mgrid[:64, :64]
    distance = np.hypot(u[:, None] - (columns + x).ravel(), v[:, None] - (rows + y).ravel())
    ranked = np.sort(distance, axis=1)
    assert np.allclose(nearest, ranked[:, 0])
    assert np.all(nearest <= second)
    assert np.allclose(owned, own.ravel()[distance.argmin(axis=1)])
