"""The page that compares two revisions."""

import json
import random
import re
import struct
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from harness.browser import Open
from harness.hub import Account, Hub
from harness.wire import Wire, regular

pytestmark = pytest.mark.browser

LAYERS = 6
MODULES = ("self_attn.q_proj", "self_attn.k_proj", "mlp.up_proj", "mlp.down_proj")


def checkpoint(trained: float) -> bytes:
    """A stack of layers; `trained` is how far the deepest layer has moved, and none of the first two has."""
    source, noise = random.Random(3), random.Random(4)
    header, data = {}, b""
    for layer in range(LAYERS):
        for module in MODULES:
            values = [source.gauss(0, 0.1) for _ in range(24 * 16)]
            step = trained * max(0, layer - 1) / LAYERS
            values = [value + noise.gauss(0, step) if step else value for value in values]
            end = len(data) + 4 * len(values)
            name = f"model.layers.{layer}.{module}.weight"
            header[name] = {"dtype": "F32", "shape": [24, 16], "data_offsets": [len(data), end]}
            data += struct.pack(f"<{len(values)}f", *values)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.fixture(scope="module")
def tuned(hub: Hub, alice: Account) -> str:
    """A model whose second commit trained its upper layers."""
    wire = Wire(hub.url, alice.token)
    repo = f"{alice.name}/tuned"
    assert wire.create(repo).status == 200
    for trained, line in ((0.0, "Before."), (0.05, "After <b>training</b>.")):
        card = regular("README.md", f"# Tuned\n\n{line}\n".encode())
        assert wire.commit(repo, regular("model.safetensors", checkpoint(trained)), card).status == 200
    return repo


def log_in(page: Page, account: Account) -> None:
    """Fills the form that the page leads to."""
    page.get_by_label("token").fill(account.token)
    page.get_by_role("button", name="Log in").click()


def test_a_reader_sees_what_a_commit_trained(open_page: Open, tuned: str, alice: Account, pictures: Path) -> None:
    """From the history by two clicks, without script; the deeper the layer, the darker its cell."""
    page = open_page(f"/login?next={quote(f'/{tuned}/commits/main', safe='')}", script=False)
    log_in(page, alice)
    page.get_by_role("link", name=re.compile("^Compare .* with the commit before it$")).first.click()
    page.get_by_role("button", name="Compare the weights").click()
    expect(page.locator(".verdict")).to_be_visible(timeout=60_000)
    page.screenshot(path=pictures / "compare.png", full_page=True)
    table = page.locator(".heatmap").first
    assert table.locator("tbody tr").count() == LAYERS
    cells = table.locator("tbody tr td:nth-of-type(1)")
    steps = [int(re.sub(r"\D", "", cells.nth(at).get_attribute("class") or "")) for at in range(LAYERS)]
    assert steps[:2] == [0, 0] and steps[2] > 0 and steps == sorted(steps), steps
    assert cells.first.inner_text() == "=" and re.match(r"0\.\d+", cells.last.inner_text())
    expect(page.locator(".lines del")).to_have_text("− Before.")
    expect(page.locator(".lines ins")).to_have_text("+ After <b>training</b>.")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download as CSV").click()
    lines = Path(download.value.path()).read_text().splitlines()
    assert len(lines) == 1 + LAYERS * len(MODULES) and sum(",changed," in line for line in lines[1:]) == 16


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [380, 1280])
def test_the_page_fits_its_window(
    width: int, scheme: str, open_page: Open, hub: Hub, tuned: str, alice: Account, pictures: Path
) -> None:
    """Wide tables scroll in themselves; the numbers can be read on their colours."""
    wire = Wire(hub.url, alice.token)
    commits = [commit["id"] for commit in wire.get(f"/api/models/{tuned}/commits/main").json()][:2]
    path = f"/compare?a={quote(f'{tuned}@{commits[1]}', safe='')}&b={quote(f'{tuned}@{commits[0]}', safe='')}"
    page = open_page(path, width=width, scheme=scheme)
    page.screenshot(path=pictures / f"compare-{width}-{scheme}.png", full_page=True)
    expect(page.locator(".verdict")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("h1").count() == 1
