from dataclasses import replace

import numpy as np
import pytest

from stages.graft.core.errors import DataError
from stages.graft.metrics.classification import softmax
from stages.graft.model.decision import RULE, answer, fit_rule, load_rule, save_rule
from stages.graft.model.model_folder import Model
from stages.graft.model.scoring import ScoredSet
from stages.graft.storage.files import read_json, write_json

CLASSES = ("a", "ü", "NA")
MODEL = Model(kind="frozen", classes=CLASSES, backbone={}, backbone_sha256=None)


def scored(rng, num_images, shift=0.0):
    y = rng.integers(0, 3, num_images)
    x = (np.eye(3, 8)[y] * 2 + rng.normal(size=(num_images, 8)) + shift).astype(np.float32)
    return ScoredSet(x=x, logits=4 * x[:, :3], y=y, groups=rng.integers(0, 2**40, num_images))


def answer_set(rule, images):
    return answer(rule, images.x, images.logits)


@pytest.fixture
def rule(rng):
    """Fitted to clouds of three classes; the logits are four times too large for their own good."""
    return fit_rule(MODEL, scored(rng, 300), scored(rng, 200), 0.95, 0.05)


def test_the_rule_says_when_it_is_unsure_and_when_it_does_not_know(rule, rng):
    test, far = scored(rng, 500), scored(rng, 50, shift=10)
    answers = answer_set(rule, test)
    assert rule.temperature > 1
    np.testing.assert_array_equal(answers.predicted, test.logits.argmax(axis=1))
    np.testing.assert_allclose(answers.probabilities, softmax(test.logits / rule.temperature), rtol=1e-4)
    assert (answers.unsure == (answers.confidence < rule.threshold.confidence)).all()
    assert (answers.predicted == test.y)[~answers.unsure].mean() > max(0.92, (answers.predicted == test.y).mean())
    assert answers.unknown.mean() < 0.12
    assert answer_set(rule, far).unknown.all()


def test_the_ranking_of_classes_is_the_models(rule, rng):
    test = scored(rng, 200)
    order = np.argsort(answer_set(rule, test).probabilities, axis=1, kind="stable")
    np.testing.assert_array_equal(order, np.argsort(softmax(test.logits), axis=1, kind="stable"))


def test_a_saved_rule_answers_the_same(rule, rng, tmp_path):
    save_rule(rule, tmp_path / "decision")
    again, test = load_rule(tmp_path / "decision"), scored(rng, 50)
    assert (again.classes, again.threshold, again.temperature) == (CLASSES, rule.threshold, rule.temperature)
    for name, value in vars(answer_set(rule, test)).items():
        np.testing.assert_array_equal(getattr(answer_set(again, test), name), value)
    save_rule(again, tmp_path / "copy")
    for name in ("decision.json", "novelty.safetensors"):
        assert (tmp_path / "copy" / name).read_bytes() == (tmp_path / "decision" / name).read_bytes()


def test_a_damaged_rule_is_named(rule, tmp_path):
    save_rule(rule, tmp_path)
    record = read_json(tmp_path / RULE)
    write_json({name: value for name, value in record.items() if name != "temperature"}, tmp_path / RULE)
    with pytest.raises(DataError, match=r"decision\.json: `temperature` is missing; .*`dvc repro`"):
        load_rule(tmp_path)
    (tmp_path / RULE).unlink()
    with pytest.raises(DataError, match=r"decision.json cannot be read"):
        load_rule(tmp_path)


def test_a_rule_of_an_earlier_version_answers_the_same(rule, rng, tmp_path):
    save_rule(rule, tmp_path)
    record = read_json(tmp_path / RULE)
    write_json({name: value for name, value in record.items() if name != "num_known_groups"}, tmp_path / RULE)
    test = scored(rng, 50)
    np.testing.assert_array_equal(answer_set(load_rule(tmp_path), test).unknown, answer_set(rule, test).unknown)


def test_with_too_few_images_none_is_unknown(rng, tmp_path):
    few, far = fit_rule(MODEL, scored(rng, 10), scored(rng, 8), 0.95, 0.05), scored(rng, 50, shift=100)
    assert (few.num_known_groups, few.unknown_above) == (18, None)
    save_rule(few, tmp_path)
    assert not answer_set(load_rule(tmp_path), far).unknown.any()
    enough = fit_rule(MODEL, scored(rng, 30), scored(rng, 8), 0.95, 0.05)
    assert enough.unknown_above is not None
    assert answer_set(enough, far).unknown.all()


def test_validation_alone_calibrates_a_fine_tuned_network(rng):
    finetuned = replace(MODEL, kind="finetuned", backbone_sha256="0" * 64)
    assert fit_rule(finetuned, scored(rng, 300), scored(rng, 40), 0.95, 0.05).num_known_groups == 40
    assert fit_rule(MODEL, scored(rng, 300), scored(rng, 40), 0.95, 0.05).num_known_groups == 340


def test_without_validation_there_is_no_rule(rng):
    with pytest.raises(DataError, match="no validation image"):
        fit_rule(MODEL, scored(rng, 30), scored(rng, 0), 0.95, 0.05)


def test_what_is_no_number_is_unsure_and_unknown(rule, rng):
    """Each comparison with NaN is false: a head or a detector with NaN must not look sure."""
    images = scored(rng, 3)
    broken = replace(images, x=images.x * np.nan, logits=images.logits * np.nan)
    answers = answer_set(rule, broken)
    assert answers.unsure.all()
    assert answers.unknown.all()


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999", "0", '"1"', "null"])
def test_a_temperature_that_is_no_usable_number_is_refused(rule, tmp_path, value):
    save_rule(rule, tmp_path)
    text = (tmp_path / RULE).read_text().replace(f'"temperature": {rule.temperature!r}', f'"temperature": {value}')
    (tmp_path / RULE).write_text(text)
    with pytest.raises(DataError, match=r"decision\.json"):
        load_rule(tmp_path)
