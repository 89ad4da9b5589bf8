import unicodedata

import pytest

from stages.graft.core.errors import DataError
from stages.graft.data.class_names import check_names, normal_form


def test_the_normal_form_is_composed():
    assert normal_form(unicodedata.normalize("NFD", "café")) == "café"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("Cat", "cat", "dog"), "`Cat` and `cat` differ in case only"),
        (("cat", "cat "), "`cat` and `cat ` differ in spaces only"),
        (("big cat", "big\u00a0cat"), "differ in spaces only"),
        (("cat", "\u200bcat"), r"`cat` and `\\u200bcat` differ in invisible characters only"),
        (("cat", "ca\u00adt"), r"`cat` and `ca\\xadt` differ in invisible"),
        (("ÉTÉ", "été"), "differ in case only"),
        (("Cat", " cat", "dog", "Dog"), "`Dog` and `dog` differ in case only; "),
    ],
)
def test_names_that_a_person_takes_for_one(names, message):
    with pytest.raises(DataError, match=f"^plates: .*{message}"):
        check_names(names, "plates")


def test_names_that_differ_for_a_person():
    check_names(("cat", "cats", "c at", "CATS2", "1", "01", "cat-1", "cat_1", "ｃat"), "plates")
