import numpy as np
import pytest

from stages.graft.images.decode import decode
from stages.pretraining.generated_pictures import KINDS, picture_files


def test_more_pictures_begin_with_the_same_ones():
    assert picture_files(30, 32, 0)[:5] == picture_files(5, 32, 0)
    assert picture_files(5, 32, 1) != picture_files(5, 32, 0)


@pytest.mark.parametrize("number", range(len(KINDS)), ids=list(KINDS))
def test_every_kind_is_drawn_grey_and_in_colours(number):
    files = picture_files(2 * len(KINDS), 64, 0)
    grey, coloured = (np.asarray(decode(files[k])).astype(int) for k in (number, number + len(KINDS)))
    assert grey.shape == coloured.shape == (64, 64, 3)
    assert np.ptp(grey, axis=2).max() == 0
    assert np.ptp(coloured, axis=2).max() > 20
    contrast = np.ptp(grey)
    assert contrast == 0 if list(KINDS)[number] == "flat" else contrast >= 84  # a third of 255
