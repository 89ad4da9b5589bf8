import threading
from pathlib import Path

import pytest

from stages.graft.core.errors import DataError
from stages.graft.maintenance import verification
from stages.graft.maintenance.verification import check_dvc


@pytest.fixture
def locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where DVC lists the commands that run."""
    monkeypatch.setattr(verification, "SECONDS_TO_WRITE", 0.3)
    path = tmp_path / ".dvc/tmp/rwlock"
    path.parent.mkdir(parents=True)
    return path


@pytest.mark.parametrize("content", ["", '{"read": '], ids=["empty", "cut off"])
def test_a_list_of_locks_that_a_killed_dvc_left_is_named_with_what_to_do(locks: Path, content: str):
    """DVC refuses both, and starts nothing."""
    locks.write_text(content)
    damage = next(check_dvc(locks.parents[2]))
    assert "rwlock is half-written" in damage.message
    assert damage.commands == (f"rm -f {locks}",)


def test_a_list_of_locks_that_dvc_is_writing_now_is_no_damage(locks: Path):
    locks.write_text("")
    writer = threading.Timer(0.1, locks.write_text, ["{}"])
    writer.start()
    with pytest.raises(DataError, match=r"dvc\.lock"):  # the next thing it looks at
        next(check_dvc(locks.parents[2]))
    writer.join()
