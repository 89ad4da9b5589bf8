"""The page in a real browser, where there is one: no complaint, no request, no sideways scrolling, prints."""

from configparser import ConfigParser

import pytest
from dvc_render.html import HTML

from tests.conftest import REPOSITORY
from tests.support.browser import CHROMIUM, chromium
from tests.support.commands import graft
from tests.support.reports import NASTY, commit_all, write_reports

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")

WIDTHS = "[document.documentElement.scrollWidth, document.documentElement.clientWidth, window.innerWidth]"
LONG = tuple(f"a class with a name as long as no engineer would ever give to one {k} {NASTY}" for k in range(30))
MOST_PX = {1280: 6 * 800, 390: 12 * 800}
"""Height of the folded page, at most, by its width: screens of 800 pixels."""

CUT = """
[...document.querySelectorAll('main *')].filter(one => one.scrollWidth > one.clientWidth + 1
  && getComputedStyle(one).overflowX !== 'visible' && !one.matches('.box')).map(one => one.className || one.tagName)
"""
"""What is wider than its place, cut, and cannot be scrolled."""

CONTRAST = """
[...document.querySelectorAll('h1, p, td, th, figcaption, small, a, .good, .bad')].map(element => {
  const parts = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
  let ground = element;
  while (ground && parts(getComputedStyle(ground).backgroundColor)[3] === 0) ground = ground.parentElement;
  const [a, b] = [getComputedStyle(element).color, getComputedStyle(ground).backgroundColor].map(parts).map(light);
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
}).reduce((least, one) => Math.min(least, one), 21)
"""


@pytest.fixture(params=[("good", "bad"), LONG], ids=["two classes", "many long names"])
def page(request, project):
    folder = project(ingest={"source": f"/a/very/long/path/{'to/images/' * 12}{NASTY}"})
    write_reports(folder, request.param, curves=("train_head", "finetune"))
    commit_all(folder)
    (folder / "reports/metrics.json").write_text((folder / "reports/metrics.json").read_text().replace("0.05", "0.06"))
    graft("report")
    return folder / "reports/report.html"


def test_the_page_in_chromium(page, tmp_path):
    with chromium(tmp_path / "profile") as browser:
        for width in (1280, 390):
            for scheme in ("light", "dark"):
                browser.open(page, width, scheme=scheme)
                assert browser.value("document.documentElement.scrollHeight") <= MOST_PX[width]
                browser.value("document.querySelectorAll('details').forEach(one => one.open = true)")
                content, room, window = browser.value(WIDTHS)
                assert content <= room <= window == width
                assert browser.value(CUT) == []
                assert (
                    browser.value("[...document.images].every(image => image.complete && image.naturalWidth)") is True
                )
                assert browser.value(CONTRAST) >= 4.5
        browser.pdf(tmp_path / "page.pdf")
        assert browser.value("document.scripts.length") == 0
    assert browser.complaints == []
    assert {address for address in browser.requests if not address.startswith("data:")} == {page.resolve().as_uri()}
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(
    ("library", "drawn", "told"), [("", "", True), ("vegaEmbed = id => drawn = id", "#plot", False)]
)
def test_the_page_of_dvcs_plots_says_so_when_the_library_cannot_be_fetched(tmp_path, library, drawn, told):
    config = ConfigParser()
    config.read(REPOSITORY / ".dvc/config")
    page = HTML((REPOSITORY / ".dvc" / config["plots"]["html_template"]).read_text(encoding="utf-8"))
    page.with_scripts(f"<script>var drawn = ''; {library}</script>")
    page.with_element("<div id='plot'><script>vegaEmbed('#plot', {})</script></div>")
    page.with_element("<div><img src='figure.png'></div>")
    (tmp_path / "index.html").write_text(page.embed(), encoding="utf-8")
    with chromium(tmp_path / "profile") as browser:
        browser.open(tmp_path / "index.html", 1280)
        assert browser.value("drawn") == drawn
        assert browser.value("document.getElementById('missing').checkVisibility()") is told
        assert browser.value("document.images.length") == 1
