import hashlib

import numpy as np
import pytest

from stages.graft.data.synthetic.strangers import KINDS, NUM_STRANGERS, stranger_files, stranger_path, write_strangers
from stages.graft.images.decode import decode


def test_the_set_is_whole_and_the_same_every_time(tmp_path):
    folder = tmp_path / "strangers"
    folder.mkdir()
    (folder / "old.png").touch()
    ids = write_strangers(folder, size_px=48)
    assert len(ids) == NUM_STRANGERS == 8 * len(KINDS)
    assert ids == sorted(path.stem for path in folder.iterdir())
    assert all(hashlib.sha256(stranger_path(folder, id_).read_bytes()).hexdigest() == id_ for id_ in ids)
    assert write_strangers(tmp_path / "again", size_px=48) == ids


def test_more_strangers_begin_with_the_same_ones():
    assert stranger_files(30, 32, 0)[:5] == stranger_files(5, 32, 0)
    assert stranger_files(5, 32, 1) != stranger_files(5, 32, 0)


@pytest.mark.parametrize("number", range(len(KINDS)), ids=list(KINDS))
def test_every_kind_is_drawn_grey_and_in_colours(number):
    files = stranger_files(2 * len(KINDS), 64, 0)
    grey, coloured = (np.asarray(decode(files[k])).astype(int) for k in (number, number + len(KINDS)))
    assert grey.shape == coloured.shape == (64, 64, 3)
    assert np.ptp(grey, axis=2).max() == 0
    assert np.ptp(coloured, axis=2).max() > 20
    contrast = np.ptp(grey)
    assert contrast == 0 if list(KINDS)[number] == "flat" else contrast >= 84  # a third of 255
