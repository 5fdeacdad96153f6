"""One Chromium for all tests of the pages.

Screenshots lie in pytest's temporary folder, `pages0`.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from harness.browser import Open
from harness.drivers import PROGRAMS
from harness.hub import Hub

# Without these Chromium looks up hosts of its maker at every start.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=PROGRAMS["browser"], args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser, hub: Hub) -> Iterator[Open]:
    """Opens pages of the hub in a window of their own, and afterwards looks for complaints and foreign requests."""
    complaints: list[str] = []
    contexts = []

    def open_page(path: str, *, width: int = 1280, scheme: str = "light", script: bool = True) -> Page:
        context = browser.new_context(
            base_url=hub.url,
            viewport={"width": width, "height": 900},
            color_scheme=scheme,  # type: ignore[arg-type]
            java_script_enabled=script,
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: complaints.extend(foreign(request.url, hub)))
        response = page.goto(path)
        assert response is not None and response.status == 200, path
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not complaints


def foreign(url: str, hub: Hub) -> list[str]:
    """The address, if it leads away from the hub."""
    return [] if url.startswith((hub.url + "/", "data:")) else [f"asks {url}"]


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go."""
    return tmp_path_factory.mktemp("pages")
