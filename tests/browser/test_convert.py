"""The page "Download as", from the button to the file."""

import hashlib
import json
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


def safetensors(tensors: dict[str, list[float]]) -> bytes:
    """A file of vectors in single precision."""
    header, data = {}, b""
    for name, values in tensors.items():
        end = len(data) + 4 * len(values)
        header[name] = {"dtype": "F32", "shape": [len(values)], "data_offsets": [len(data), end]}
        data += struct.pack(f"<{len(values)}f", *values)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.fixture(scope="module")
def shards(hub: Hub, alice: Account) -> str:
    """A model in two files with an index."""
    wire = Wire(hub.url, alice.token)
    repo = f"{alice.name}/two-shards"
    assert wire.create(repo).status == 200
    names = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    index = {"metadata": {"total_size": 20}, "weight_map": {"a": names[0], "b": names[1]}}
    assert (
        wire.commit(
            repo,
            regular(names[0], safetensors({"a": [1.0, 2.0, 3.0]})),
            regular(names[1], safetensors({"b": [4.0, 5.0]})),
            regular("model.safetensors.index.json", json.dumps(index).encode()),
        ).status
        == 200
    )
    return repo


def log_in(page: Page, account: Account) -> None:
    """Fills the form that the page leads to."""
    page.get_by_label("token").fill(account.token)
    page.get_by_role("button", name="Log in").click()


def test_a_reader_has_one_file_made(open_page: Open, shards: str, alice: Account, pictures: Path) -> None:
    """By the button, without script, with nothing to do but wait; the file is what its SHA-256 says."""
    page = open_page(f"/{shards}", script=False)
    page.get_by_role("link", name="Download as", exact=True).click()
    expect(page.get_by_role("heading", name="Download as")).to_be_visible()
    expect(page.get_by_role("button", name="Make safetensors")).to_have_count(0)
    page.get_by_role("link", name="Log in").last.click()
    log_in(page, alice)
    page.screenshot(path=pictures / "convert-before.png", full_page=True)
    page.get_by_role("button", name="Make safetensors").click()
    expect(page).to_have_url(re.compile(r"/convert/main#safetensors$"))
    # Without script the page loads itself again.
    download_link = page.locator("#safetensors").get_by_role("link", name="Download two-shards.safetensors")
    expect(download_link).to_be_visible(timeout=30_000)
    with page.expect_download() as download:
        download_link.click()
    assert download.value.suggested_filename == "two-shards.safetensors"
    sent = Path(download.value.path()).read_bytes()
    expect(page.locator("#safetensors .long")).to_have_text(hashlib.sha256(sent).hexdigest())
    length = struct.unpack("<Q", sent[:8])[0]
    header = json.loads(sent[8 : 8 + length])
    values = {}
    for name in ("a", "b"):
        begin, end = (8 + length + offset for offset in header[name]["data_offsets"])
        values[name] = struct.unpack(f"<{(end - begin) // 4}f", sent[begin:end])
    assert values == {"a": (1.0, 2.0, 3.0), "b": (4.0, 5.0)}
    page.get_by_text("Record", exact=True).click()
    expect(page.locator(".record")).to_contain_text(hashlib.sha256(sent).hexdigest())
    expect(page.locator("meta[http-equiv=refresh]")).to_have_count(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [380, 1280])
def test_the_page_fits_its_window(
    width: int, scheme: str, open_page: Open, shards: str, alice: Account, pictures: Path
) -> None:
    """Nothing beyond the right edge, with what is there, what could be made, and what cannot."""
    page = open_page(f"/login?next={quote(f'/{shards}/convert/main', safe='')}", width=width, scheme=scheme)
    log_in(page, alice)
    page.screenshot(path=pictures / f"convert-{width}-{scheme}.png", full_page=True)
    expect(page.get_by_role("heading", name="Not possible here")).to_be_visible()
    expect(page.get_by_role("button", name="Make NumPy .npz")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for detail in page.locator("main details").all():
        detail.locator("summary").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_hostile_names_stay_names(open_page: Open, hub: Hub, alice: Account) -> None:
    """A file that is called like markup is offered under a plain name."""
    wire = Wire(hub.url, alice.token)
    repo = f"{alice.name}/hostile-convert"
    assert wire.create(repo).status == 200
    path = "<img src=x onerror=window.hacked=1>.safetensors"
    assert wire.commit(repo, regular(path, safetensors({"a": [1.0]}))).status == 200
    page = open_page(f"/{repo}/convert/main/{quote(path)}", width=380)
    assert page.evaluate("window.hacked") is None
    assert page.locator("main img").count() == 0
    expect(page.get_by_text("_img_src_x_onerror_window.hacked_1_.npz")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 380
