import unicodedata

import pytest

from stages.graft.core.errors import DataError
from stages.graft.data.class_names import check_label, check_names, normal_form


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


ACTING = ("</script><svg onload=x>", "a<b", "a>b", "a\x1b[31m", "a\0", "a\nb", "a\u2028b", "\ud800")


@pytest.mark.parametrize("label", ACTING)
def test_a_name_that_could_act_where_it_is_shown_is_refused(label):
    message = "^list.csv, line 3: the class `.*` has `<`, `>` or a control character; rename it"
    with pytest.raises(DataError, match=message) as caught:
        check_label(label, "list.csv, line 3")
    assert str(caught.value).isprintable()
    with pytest.raises(DataError, match="plates: the class"):
        check_names(("fine", label), "plates")


@pytest.mark.parametrize("label", ["a", "ü, light", "a b", "a & b", "'=1", "女", "a\u200db"])
def test_other_names_are_names(label):
    check_label(label, "x")
