"""What people's folders look like, each in one line, and how it is read."""

from collections import Counter

import pytest

from stages.graft.core.errors import DataError
from stages.graft.data.label_rules import label_contents
from tests.support.trees import contents

FIRST = r"ingest\.label_pattern: '\^\(\?P<label>\[\^/\]\+\)/'"


def read(tree):
    return label_contents("plates", contents(tree))


@pytest.mark.parametrize(
    ("tree", "splits"),
    [
        ("{train,val,test}/{a,b}/1.png", "train val test"),
        ("{Train,VALIDATION}/{a,b}/1.png", "train val"),
        ("{train_set,test_set}/{a,b}/1.png", "train test"),
        ("{training,testing}/{a,b}/1.png", "train test"),
        ("{01_train,02_valid,03_test}/{a,b}/1.png", "train val test"),
        ("{neu_train,neu_test}/{a,b}/1.png", "train test"),
        ("{TrainData,TestData}/{a,b}/1.png", "train test"),
        ("{train,eval}/{a,b}/1.png", "train val"),
        ("{train,hold-out}/{a,b}/1.png", "train test"),
        ("train/{a,b}/1.png", "train"),
        ("dataset/{train,test}/{a,b}/1.png", "train test"),
        ("dataset/dataset/{train,test}/{a,b}/1.png", "train test"),
        ("data/{train,test}/{a,b}/1.png data/README.md docs/how.txt notes.md", "train test"),
        ("{train,test}/{a,b}/{batch1,batch2}/1.png", "train test"),
        ("{a,b}/{train,test}/1.png", "train test"),
        ("data/{a,b}/{Training,valid}/1.png", "train val"),
        ("{train,test}/{a,b}/1.png {train,test}/docs/notes.txt", "train test"),
        ("{train,test}/{a,b}/1.png .git/x @eaDir/1.png train/@eaDir/1.png", "train test"),
    ],
)
def test_splits_that_come_as_folders(tree, splits):
    images = [candidate for candidate in read(tree).candidates if candidate.file.endswith(".png")]
    expected = {(label, split) for label in "ab" for split in splits.split()}
    assert {(image.label, image.split) for image in images} == expected


def test_two_folders_of_one_split_are_joined():
    counts = Counter(candidate.split for candidate in read("{train_1,train_2,test}/{a,b}/1.png").candidates)
    assert counts == {"train": 4, "test": 2}


@pytest.mark.parametrize(
    ("tree", "classes"),
    [
        ("{a,b}/1.png", "a b"),
        ("{a,b}/{batch1,batch2}/1.png", "a b"),
        ("a/{batch1,batch2}/1.png b/batch1/1.png", "a b"),
        ("{a,b}/{2024-05-01,2024-05-02}/1.png", "a b"),
        ("{a,b}/{01,02}/1.png", "a b"),
        ("{a,b}/{patient_7,patient_9}/1.png", "a b"),
        ("{a,b}/images/1.png", "a b"),
        ("{a,b}/left/1.png", "a b"),
        ("{a,b}/{left,right}/1.png a/2.png", "a b"),
        ("a/{x,y}/1.png b/{v,w}/1.png", "a b"),
        ("{bus,car,train}/1.png", "bus car train"),
        ("{bullet_train,steam_train,bus}/1.png", "bullet_train bus steam_train"),
        ("{bus,train}/{local,express}/1.png bus/1.png", "bus train"),
        ("plates/{a,b}/1.png", "a b"),
        ("plates/{a,b}/1.png cover.png", "a b"),
        ("one/two/three/{a,b}/1.png", "a b"),
        ("hole/{batch1,batch2}/1.png", "hole"),
        ("{a,b}/1.png pit/", "a b pit"),
    ],
)
def test_folders_that_are_classes(tree, classes):
    source = read(tree)
    assert source.classes == tuple(classes.split())
    assert {candidate.split for candidate in source.candidates} == {""}


def test_a_folder_around_all_others_is_left_out_of_the_names():
    source = read("plates/{a,b}/1.png README.md")
    assert [(candidate.file, candidate.label) for candidate in source.candidates] == [
        ("README.md", ""),
        ("a/1.png", "a"),
        ("b/1.png", "b"),
    ]


def test_composed_and_decomposed_names_are_one_class():
    assert read("{train,test}/a/1.png train/caf\u00e9/1.png test/cafe\u0301/1.png").classes == ("a", "caf\u00e9")


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ("{train,test,predict}/{a,b}/1.png", f"`test`, `train` are splits, and `predict` is not; move .*{FIRST}"),
        (
            "{train,test}/{1,2,3}.png",
            "`test`, `train` are splits, and hold 6 images and no class folder; .*`ingest.label_pattern`",
        ),
        ("train/{a,b}/1.png test/{1,2}.png", "`test` is a split, and holds 2 images and no class folder"),
        ("train/{1,2}.png train.csv", r"`train` is a split, .*; if train\.csv has the labels, make it the source"),
        ("{train,test}/{a,b}/1.png train/c/1.png", "do not hold the same classes: `c` not in test; add"),
        ("{train,val}/{a,b}/1.png val/c/1.png", "do not hold the same classes: `c` not in train; add"),
        ("a/{train,test}/1.png b/train/1.png", "do not hold the same classes: `b` not in test"),
        ("{train,val,eval}/{a,b}/1.png", "`eval`, `val` mean the same split, val; rename or join them"),
        ("{val,test}/{a,b}/1.png", "`test`, `val` are splits, and there is none to train on"),
        ("{a,b}/{train,test}/1.png a/2.png", "are splits, and `a/…` is not; put every image"),
        ("{a,b}/{train,test,more}/1.png", "are splits, and `a/more`, `b/more` are not"),
        ("train/Cat/1.png val/cat/1.png {train,val}/a/1.png", "`Cat` and `cat` differ in case only"),
        ("{color,grayscale}/{cat,dog}/1.png", f"`color`, `grayscale` hold folders .* `cat`, `dog`, .*{FIRST}` takes"),
        ("camera1/{ok,scratch}/1.png camera2/ok/1.png", "hold folders of the same names, `ok`, and either"),
        ("{color,grey}/{0,1,2}/1.png", "hold folders of the same names, `0`, `1`, `2`"),
        ("data/{color,grey}/{cat,dog}/1.png", r"'\^data/\(\?P<label>\[\^/\]\+\)/'` takes the first"),
        ("images/{1,2}.png labels/{1,2}.txt", "`images` beside `labels`, as data sets for detection"),
        ("{train,valid}/images/1.png {train,valid}/labels/1.txt", "`train/images` beside `train/labels`"),
        ("{covid,normal}/{images,masks}/1.png", "`covid/images` beside `covid/masks`"),
        ("VOC/JPEGImages/1.jpg VOC/Annotations/1.xml", "`VOC/JPEGImages` beside `VOC/Annotations`"),
        ("{cat,dog,unlabeled}/1.png", "`unlabeled` holds images without a label, which is no class"),
        ("{train,test}/{cat,dog,unlabelled}/1.png", "`test/unlabelled`, `train/unlabelled` hold images without"),
    ],
)
def test_folders_that_only_their_owner_can_read_are_refused(tree, message):
    with pytest.raises(DataError, match=f"^plates: .*{message}") as caught:
        read(tree)
    assert "\n" not in str(caught.value)
