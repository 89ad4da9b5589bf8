import io

import pytest

from stages.graft.core import progress
from stages.graft.core.progress import Progress, bar


class Clock:
    """Moves one second with every look at it."""

    def __init__(self) -> None:
        self.seconds = -1.0

    def __call__(self) -> float:
        self.seconds += 1
        return self.seconds


def test_bar_gives_the_items_and_a_step_of_no_time_leaves_nothing(capsys):
    assert list(bar("abc", desc="letters", unit="letters")) == ["a", "b", "c"]
    assert list(bar([], desc="letters", unit="letters")) == []
    assert capsys.readouterr() == ("", "")


def test_a_long_step_ends_with_a_line(capsys, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0)
    assert list(bar("abc", desc="letters", unit="letters")) == ["a", "b", "c"]
    assert capsys.readouterr().err.splitlines()[-1].startswith("letters: 3/3 letters, ")


def test_lines_say_done_total_rate_and_time_left(capsys, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 2)
    with Progress(600, desc="extract", unit="images", clock=Clock()) as shown:
        shown.advance(10)  # second 1: too early for a line
        shown.advance(20)  # second 2, and the line's own look makes it 3
    assert capsys.readouterr().err.splitlines() == [
        "extract: 30/600 images, 10.0 images/s, 0:57 left",
        "extract: 30/600 images, 6.0 images/s, in 0:05",
    ]


def test_bytes_are_shown_as_megabytes_and_what_was_there_before_is_not_fast(capsys, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 2)
    with Progress(10_000_000, desc="download", unit="B", done=4_000_000, clock=Clock()) as shown:
        shown.advance(6_000_000)
    assert capsys.readouterr().err == "download: 10.0/10.0 MB, 2.0 MB/s, in 0:03\n"


def test_an_unknown_total_is_left_out(capsys, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0)
    assert list(bar(iter("ab"), desc="letters", unit="letters")) == ["a", "b"]
    assert capsys.readouterr().err.splitlines()[-1].startswith("letters: 2 letters, ")


def test_an_error_inside_is_not_the_end(capsys):
    def stop() -> None:
        for item in bar("ab", desc="letters", unit="letters"):
            if item == "b":
                raise KeyError(item)

    with pytest.raises(KeyError):
        stop()
    assert " in 0:" not in capsys.readouterr().err


def test_a_terminal_gets_a_bar_that_goes_away_at_the_end(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    assert list(bar("abc", desc="letters", unit="letters")) == ["a", "b", "c"]
    first, *_, last = terminal.getvalue().strip("\r").split("\r")
    assert first.startswith("letters:   0%")
    assert "0/3" in first
    assert last.strip() == ""


@pytest.mark.parametrize(("seconds", "shown"), [(0.2, "0:00"), (61, "1:01"), (3599.6, "1:00:00"), (7325, "2:02:05")])
def test_times(seconds, shown):
    assert progress._clock_face(seconds) == shown
