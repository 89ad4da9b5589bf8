import dataclasses

import pytest
from matplotlib.text import Text

from stages.graft.report.confidence_figures import Choice, draw_reliability, draw_risk_coverage
from stages.graft.report.figure_style import style
from stages.graft.report.plot_tables import read_plot_tables
from tests.support.reports import write_reports

CHOICE = Choice(confidence=0.5, target_accuracy=0.9, coverage=0.8, risk=0.1)


@pytest.fixture
def tables(tmp_path):
    write_reports(tmp_path)
    with style():
        yield read_plot_tables(tmp_path / "reports/plots")


def notes(figure):
    return " ".join(text.get_text() for text in figure.axes[0].texts)


def legend(figure):
    return [text.get_text() for text in figure.legends[0].texts]


def test_before_and_after_calibration_are_two_lines_or_one(tables):
    assert legend(draw_reliability(tables.reliability)) == ["before calibration", "after calibration"]
    after = tables.reliability[tables.reliability["calibration"] == "after"]
    same = tables.reliability.copy()
    same["confidence"] = [*after["confidence"], *after["confidence"]]
    assert legend(draw_reliability(same)) == ["before and after calibration (no change needed)"]


def test_the_chosen_threshold_is_marked(tables):
    text = notes(draw_risk_coverage(tables.risk_coverage, CHOICE))
    assert "target: 10% wrong" in text
    assert "confidence ≥ 0.500" in text
    assert "answers 80%, 10% of them wrong" in text


@pytest.mark.parametrize("coverage", [0.0, 0.02, 0.45, 0.5, 0.98, 1.0])
@pytest.mark.parametrize("risk", [0.0, 0.02, 0.9])
def test_the_note_stays_inside_the_axis_and_above_the_curve(tables, coverage, risk):
    choice = Choice(confidence=0.123, target_accuracy=0.999, coverage=coverage, risk=risk)
    curve = tables.risk_coverage.assign(risk=min(1.0, risk + 0.01))
    figure = draw_risk_coverage(curve, choice)
    figure.draw_without_rendering()
    [axis] = figure.axes
    room, note = axis.get_window_extent(), Text.get_window_extent(axis.texts[-1])
    assert room.x0 <= note.x0 < note.x1 <= room.x1
    assert note.y1 <= room.y1
    assert note.y0 > axis.transData.transform((0, max(curve["risk"].max(), 0.001)))[1]
    assert note.y0 > axis.texts[0].get_window_extent().y1


def test_what_is_not_known_is_not_marked(tables):
    assert notes(draw_risk_coverage(tables.risk_coverage, None)) == ""
    without = dataclasses.replace(CHOICE, risk=None, coverage=0.0)
    assert "answers" not in notes(draw_risk_coverage(tables.risk_coverage, without))
    always = dataclasses.replace(CHOICE, confidence=0.0, coverage=1.0)
    assert "never unsure" in notes(draw_risk_coverage(tables.risk_coverage, always))
