"""Damaged and odd CSV lists: refused in a line, or read."""

import pytest

from stages.graft.data.open_source import open_source
from tests.support.fuzzing import NUM_CASES, generator, mutations
from tests.support.ingestion import ingest_params
from tests.support.pictures import png, write

pytestmark = pytest.mark.fuzz

LISTS = (
    b"path,label\na.png,x\nb.png,y\n",
    "path;label;group;split\na.png;größe;1;train\nb.png;y;2;test\n".encode(),
    'path\tlabel\na.png\tx\n"b.png"\t"y"\n'.encode("utf-16"),
    b'path,label,group\r\n"a.png","x, y","1"\r\n"b.png","""y""",2\r\n',
)

CELLS = (
    "", " ", "a.png", "../a.png", "/dev/zero", "/proc/self/mem", "\0", "\x1b[31m", '"', ",", "x" * 5000, "a/" * 3000,
    "\ud7ff", "\u202ex", "=1+1", "</script>", "~", ".", "..", "C:\\a.png", "a.png\n", "%s", "{x}",
)  # fmt: skip


@pytest.fixture
def read_list(tmp_path):
    for name in ("a.png", "b.png"):
        write(tmp_path / name, png(1))
    params = ingest_params()

    def read(data: bytes) -> None:
        path = write(tmp_path / "list.csv", data)
        with open_source(path, tmp_path / "cache", rules=params.rules) as source:
            for candidate in source.candidates:
                candidate.read()

    return read


def test_damaged_lists(attack, read_list):
    attack("lists", mutations(LISTS, "lists", 4 * NUM_CASES), read_list)


def test_odd_cells(attack, read_list):
    attack("cells", _tables(), read_list)


def _tables():
    rng = generator("cells")
    for _ in range(2 * NUM_CASES):
        rows = [",".join([_cell(rng, "a.png"), _cell(rng, "x"), _cell(rng, "1"), _cell(rng, "")]) for _ in range(2)]
        yield "\n".join(["path,label,group,split", "a.png,x,1,", *rows]).encode("utf-8", "surrogatepass")


def _cell(rng, usual):
    """What is expected, or one of CELLS."""
    return usual if rng.random() < 0.7 else str(rng.choice(CELLS))
