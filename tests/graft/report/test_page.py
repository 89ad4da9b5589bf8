"""The page as a browser's parser sees it: self-contained, harmless whatever things are called, complete, in order."""

import html.parser
import re
import shutil
from dataclasses import replace

import pytest

from stages.graft.advice.advice import read_advice, write_advice
from stages.graft.core.errors import DataError
from stages.graft.core.stage import run_stage
from stages.graft.report import page
from stages.graft.report.page import MAX_DAMAGED_FILES, _with_code, write_page
from stages.graft.report.past_results import read_present
from stages.graft.storage.files import read_json, write_json
from stages.graft.tracking.champion import Champion
from tests.support.pictures import encoded, pixels, png, write
from tests.support.reports import NASTY, commit_all, write_reports

VOID = {"meta", "link", "img", "br", "wbr", "hr", "input"}


class Reader(html.parser.HTMLParser):
    """Notes every tag, address and text, and that tags close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open, self.tags, self.addresses, self.ids, self.texts = [], set(), [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        values = dict(attributes)
        assert not [name for name in values if name.startswith("on")]
        self.addresses += [values[name] for name in ("src", "href", "action", "data") if name in values]
        self.ids += [values["id"]] if "id" in values else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


@pytest.fixture
def root(project, monkeypatch):
    folder = project(ingest={"source": NASTY})
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(folder.parent))
    write_reports(folder)
    return folder


def page_of(root, gallery_images=24):
    write(root / "figures/one_figure.png", png(0))
    write_page(root, root / "figures", lambda: {"one_figure.png": f"What it shows, {NASTY}"}, gallery_images)
    return (root / "reports/report.html").read_text(encoding="utf-8")


def read(root, gallery_images=24):
    reader = Reader()
    reader.feed(page_of(root, gallery_images))
    reader.close()
    assert reader.open == []
    return reader


@pytest.mark.parametrize(("seen", "told"), [(0.1649, True), (0.9, False), (1.0, False)])
def test_the_page_says_how_much_the_network_does_not_see(root, seen, told):
    path = root / "reports/extract.json"
    write_json(read_json(path) | {"seen_share": seen}, path)
    sentence = "The network sees the middle 16% of these images' pixels on average; backbone.fit: squash shows it all."
    assert (sentence in read(root).text) is told


def test_nothing_comes_from_outside_and_nothing_can_run(root):
    commit_all(root)
    params = (root / "params.yaml").read_text(encoding="utf-8")
    (root / "params.yaml").write_text(params.replace(NASTY, f"other {NASTY}"), encoding="utf-8")
    write_reports(root, wrong=2)
    write_advice(replace(read_advice(root), headline=NASTY), root)
    reader = read(root)
    assert "script" not in reader.tags
    assert all(address.startswith(("data:image/", "data:,", "#")) for address in reader.addresses)
    assert {address[1:] for address in reader.addresses if address[0] == "#"} <= set(reader.ids)
    assert len(reader.ids) == len(set(reader.ids))
    assert reader.text.count(NASTY) > 10  # as text: files, classes, commit, source, headline


def test_the_sections_stand_in_the_order_of_deciding(root):
    commit_all(root)
    sections = ["next", "changes", "baselines", "figures", "classes", "errors", "unsure", "labels", "duplicates"]
    reader = read(root)
    assert reader.ids == [*sections, "data", "parameters", "times", "versions"]
    assert "Usable: 83.3% of 18 test images are right, and every condition of evaluate.gate holds." in reader.text
    assert "There is no earlier result on these test images." in reader.text
    assert "3 wrong answers on test; of each class the most confident ones." in reader.text
    assert "007 3 of 6 wrong, mostly taken for NA" in reader.text
    assert "damaged: " in reader.text


def test_the_decision_stands_above_all_else_with_its_commands(root):
    text = read(root).text
    advice = read_advice(root)
    places = [text.index(words.split("`")[0]) for words in (advice.headline, *(check.text for check in advice.checks))]
    places += [text.index(step.command) for step in advice.next_steps]
    assert places == sorted(places)
    assert places[-1] < text.index("accuracy, 60.8% to 94.2%")
    (root / "reports/decision.json").unlink()
    with pytest.raises(DataError, match=r"decision\.json does not exist; `dvc repro` makes it"):
        page_of(root)


def test_what_became_right_and_wrong_is_shown_with_pictures(root):
    commit_all(root)
    write_reports(root, wrong=1)
    text = read(root).text
    assert "On the same 18 test images, accuracy went from 83.3% to 94.4%: 2 right only now, 0 only then" in text
    assert text.count("fixed 007 then NA, now 007") == 2
    assert "broken" not in text


def test_the_champion_is_compared_on_the_same_images_alone(root, monkeypatch):
    now = read_present(root).predictions
    worse = {id_: replace(answer, predicted="NA") for id_, answer in now.items()}
    champion = Champion(name="steel", version="7", predictions=worse)
    monkeypatch.setattr(page, "read_champion", lambda _: champion)
    text = read(root).text
    assert "Against the champion, version 7 of steel" in text
    assert "accuracy went from 33.3% to 83.3%" in text
    others = {f"{id_[:-1]}x": answer for id_, answer in worse.items()}
    monkeypatch.setattr(page, "read_champion", lambda _: replace(champion, predictions=others))
    assert "There is no earlier result on these test images." in read(root).text


def test_near_duplicates_are_shown_and_what_leaks_is_said(root):
    text = read(root).text
    assert "2 of 54 images (3.7%) show what another one shows: 1 groups." in text
    assert "None of the test images has a near-duplicate in train or validation." in text
    assert "The surest pairs under two labels" in text
    path = root / "reports/split.json"
    write_json(read_json(path) | {"num_leaked": 7}, path)
    assert "7 test images have a near-duplicate in train or validation." in read(root).text
    path = root / "reports/duplicates.json"
    write_json(read_json(path) | {"method": "off"}, path)
    assert "They were not looked for (" in read(root).text


def test_fine_tuning_shows_its_verdict_on_both_splits(root):
    one = {"accuracy_before": 0.9, "accuracy_after": 0.95, "difference": 0.05, "difference_low": 0.01,
           "difference_high": 0.09, "num_gained": 6, "num_lost": 1, "p_value": 0.0001, "log_loss_before": 0.3,
           "log_loss_after": 0.2}  # fmt: skip
    val, test = ({f"{split}_{name}": value for name, value in one.items()} for split in ("val", "test"))
    moved = {"weight_distance": 0.02, "cka": 0.9, "source_agreement": 0.8}
    write_json({"strategy": "full", "kept": "fine-tuned"} | moved | val, root / "reports/finetune.json")
    assert "test 90.0% 95.0%" not in read(root).text
    write_json({"model": "finetuned"} | test, root / "reports/verdict.json")
    text = read(root).text
    assert "The fine-tuned network is the model (strategy full)." in text
    for split in ("validation", "test"):
        assert f"{split} 90.0% 95.0% +5.0 (+1.0 to +9.0) 6 / 1 p < 0.001 0.3 → 0.2 a difference" in text
    assert "Weights moved by 2.0%; the features' linear CKA with the pretrained ones is 0.9, the old output" in text
    write_json({"strategy": "full", "kept": "head-only"} | val, root / "reports/finetune.json")
    assert (
        "The fine-tuned weights were not kept: the model is the head on the frozen network (strategy" in read(root).text
    )


def test_without_git_errors_doubts_or_images_the_page_says_so(root):
    write_reports(root, wrong=0)
    shutil.rmtree(root / "data/images")
    reader = read(root)
    assert "There is no earlier result on these test images." in reader.text
    assert "No test image was taken for another class." in reader.text
    assert "Every image looks like the class it is labelled as." in reader.text
    assert "not here" in reader.text
    assert "dvc pull" in reader.text


def test_times_are_those_of_this_folder(root):
    run_stage("split", lambda: None, root)
    text = read(root).text
    assert re.search(r"split 0\.0 \d+ 20", text)  # seconds, memory, and when it finished
    assert "ingest – no time yet" in text


def test_the_page_stays_small_with_many_noisy_images_and_bad_files(root):
    write_reports(root, tuple(f"k{k}" for k in range(100)), per_class=2, wrong=60)
    noise = encoded(pixels(0, 400, 400), "PNG")
    for row in (root / "reports/predictions.csv").read_text(encoding="utf-8").splitlines()[1:]:
        write(root / f"data/images/{row.split(',')[0]}.png", noise)
    record = read_json(root / "reports/ingest.json")
    bad = [{"file": f"bad {number}.png", "label": "x", "reason": "damaged"} for number in range(MAX_DAMAGED_FILES + 1)]
    write_json(record | {"quarantined": bad}, root / "reports/ingest.json")
    assert len(page_of(root)) < 1_600_000  # the figures take at most 0.4 MB more
    text = page_of(root, gallery_images=60)
    assert len(text) < 2_400_000
    assert f"bad {MAX_DAMAGED_FILES - 1}.png" in text
    assert f"bad {MAX_DAMAGED_FILES}.png" not in text


def test_only_the_worst_classes_are_open_and_what_few_need_is_folded(root):
    classes = tuple(f"k{k:02}" for k in range(15))
    write_reports(root, classes, per_class=2, wrong=0)
    path = root / "reports/predictions.csv"
    text = path.read_text(encoding="utf-8")
    for k in range(13):
        text = text.replace(f",k{k:02},k{k:02},", f",k{k:02},k14,", 1 + (k < 2))
    path.write_text(text, encoding="utf-8")
    page = page_of(root)
    assert re.findall(r"<details open><summary><b>(.*?)</b>", page) == ["k00", "k01"]
    assert re.findall(r"<summary><b>(.*?)</b>", page) == list(classes[:13])
    assert "<summary>7 other classes with errors</summary>" in page
    for name in ("parameters", "times", "versions"):
        assert f'<details class="fold" id="{name}"><summary>' in page


def test_what_the_network_does_not_see_is_said_to_be_grey(root):
    assert "Grey: what the network" not in read(root).text
    path = root / "reports/extract.json"
    write_json(read_json(path) | {"seen_share": 0.75}, path)
    assert "of each class the most confident ones. Grey: what the network does not see." in read(root).text


def test_with_two_classes_the_page_says_what_was_not_measured(root):
    write_reports(root, ("good", "bad"))
    path = root / "reports/plots/per_class.csv"
    path.write_text(path.read_text(encoding="utf-8").replace(",0.9,0.7\n", ",,\n"), encoding="utf-8")
    metrics = root / "reports/metrics.json"
    write_json(read_json(metrics) | {"unseen_auroc": None, "unseen_found": None}, metrics)
    text = read(root).text
    assert "with two classes, none can be held out to see whether images of another one are." in text
    assert "1 good 50.0% 18.8% to 81.2% 100.0% 50.0% – 6 6 6 6" in text


def test_the_page_is_the_same_a_second_time(root):
    run_stage("split", lambda: None, root)
    assert page_of(root) == page_of(root)


def test_no_gallery_is_fine_too(root):
    reader = read(root, gallery_images=0)
    assert "007 3 of 6 wrong, mostly taken for NA: none shown" in reader.text


def test_backticks_become_code_and_names_stay_text():
    assert _with_code("set `a.b` for <b>") == "set <code>a.b</code> for &lt;b&gt;"
    assert _with_code("one ` alone") == "one ` alone"


def test_samples_are_said_to_be_samples_and_only_they(root):
    assert "sample" not in read(root).text
    explored = read_json(root / "reports/explore.json")
    write_json(explored | {"num_images_per_fit": 4, "num_images_on_map": 10}, root / "reports/explore.json")
    text = read(root).text
    assert "Pixels and nearest images know a sample of 4 training images." in text
    assert f"The maps show a sample of 10 of {explored['num_images']} images" in text
    assert "Each head was fitted to a sample of 4 images." in text


def test_a_long_table_of_classes_is_cut(root, monkeypatch):
    num_classes = len(read_json(root / "reports/split.json")["classes"])
    assert "more in reports/plots/per_class.csv" not in read(root).text
    monkeypatch.setattr(page, "MAX_CLASSES", 1)
    assert f"And {num_classes - 1} more in reports/plots/per_class.csv" in read(root).text
