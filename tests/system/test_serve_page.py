"""The page of `graft serve` in a real browser, where there is one: on a desk, on a phone, by keyboard alone."""

import pytest

from tests.support.browser import CHROMIUM, chromium
from tests.support.bundles import picture
from tests.support.served import running_server, write_served_project

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")

WORDS = "document.querySelector('.answer h2')?.textContent"
LOADED = "[...document.images].filter(image => image.checkVisibility()).every(image => image.naturalWidth)"
PROBLEM = "document.getElementById('problem').textContent"
NAMED = """
[...document.querySelectorAll('img, input, button, a')].filter(one => one.checkVisibility()).every(one =>
  one.alt || one.ariaLabel || one.textContent || one.closest('label')?.textContent)
"""
FOCUS = "document.activeElement.id || document.activeElement.className || document.activeElement.textContent"


@pytest.fixture
def server(bundle_folder, tmp_path):
    project = write_served_project(bundle_folder, tmp_path / "served")
    with running_server(project) as server:
        yield server


def test_a_dropped_image_is_answered_on_a_desk_and_on_a_phone(server, tmp_path):
    picture(40, 1).save(tmp_path / "image.png")
    (tmp_path / "notes.png").write_text("no image")
    with chromium(tmp_path / "profile") as browser:
        for width, scheme in ((1280, "light"), (390, "dark")):
            browser.visit(server.address, width, scheme=scheme)
            browser.drop(tmp_path / "image.png", 100, 150)
            assert "dark" in browser.wait_for(WORDS)
            assert browser.wait_for(LOADED)
            assert browser.value("document.querySelector('.heat').checkVisibility()")
            assert browser.value("document.querySelectorAll('.bars li').length") == 3
            assert browser.value("document.querySelectorAll('.near li').length") == 6
            assert browser.value("document.documentElement.scrollWidth") <= width
            assert browser.value(NAMED)
        assert browser.complaints == []
        browser.drop(tmp_path / "notes.png", 100, 150, further=-130)
        assert browser.wait_for(PROBLEM).startswith("notes.png: not an image but a text file")
    assert all(address.startswith((server.address, "data:", "blob:")) for address in browser.requests)


def test_the_keyboard_alone_is_enough(server, tmp_path):
    picture(210, 1).save(tmp_path / "image.png")
    with chromium(tmp_path / "profile") as browser:
        browser.visit(server.address, 1280)
        for place in ("choose", "photo"):
            browser.press("Tab", 9)
            assert browser.value(FOCUS) == place
        document = browser.send("DOM.getDocument")["root"]["nodeId"]
        node = browser.send("DOM.querySelector", nodeId=document, selector="#choose")["nodeId"]
        browser.send("DOM.setFileInputFiles", nodeId=node, files=[str(tmp_path / "image.png")])  # as its dialog does
        browser.wait_for(WORDS)
        browser.press("Tab", 9)
        assert browser.value(FOCUS) == "show"
        browser.press(" ", 32, " ")
        assert not browser.value("document.querySelector('.heat').checkVisibility()")
        browser.press("Tab", 9)
        assert browser.value(FOCUS) == "label"
        browser.send("Input.insertText", text="shiny")
        browser.press("Enter", 13, "\r")
        assert "no class shiny" in browser.wait_for("document.querySelector('.said').textContent")
        for _ in range(2):
            browser.press("Tab", 9)
        assert browser.value(FOCUS) == "add"
        browser.press("Enter", 13, "\r")
        browser.wait_for("document.querySelector('.said').textContent.startsWith('Saved as shiny')")
    [saved] = (tmp_path / "served/corrections/shiny").iterdir()
    assert saved.read_bytes() == (tmp_path / "image.png").read_bytes()
