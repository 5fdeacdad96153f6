"""Makes the requests that llama.cpp makes for `-hf NAMESPACE/NAME:QUANT`, in its order."""

import json
import os
import urllib.error
import urllib.request
from http.client import HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import quote

from protocol import named, serve

ENDPOINT = os.environ["HF_ENDPOINT"]
SEED = os.environ["WH_TEST_SEED"]
SEED_COMMIT = os.environ["WH_TEST_SEED_COMMIT"]
SEED_FILES = Path(os.environ["WH_TEST_SEED_FILES"])

GGUF = "weights/tiny-Q4_0.gguf"


def ask(method: str, path: str, **headers: str) -> HTTPResponse:
    """One request, as llama.cpp heads it."""
    sent = {"User-Agent": "llama-cpp", "Authorization": f"Bearer {os.environ['HF_TOKEN']}", **headers}
    request = urllib.request.Request(f"{ENDPOINT}/{path}", method=method, headers=sent)
    response: HTTPResponse = urllib.request.urlopen(request, timeout=30)
    return response


def commit_of_main() -> str:
    """The commit that the branch main points at."""
    branches: list[dict[str, Any]] = json.load(ask("GET", f"api/models/{SEED}/refs"))["branches"]
    commit: str = next(branch["targetCommit"] for branch in branches if branch["name"] == "main")
    return commit


def list_refs() -> None:
    """Head of main, from the refs."""
    assert commit_of_main() == SEED_COMMIT


def list_files() -> None:
    """The first page of the tree at the commit holds everything."""
    tree = json.load(ask("GET", f"api/models/{SEED}/tree/{commit_of_main()}?recursive=true"))
    gguf = next(entry for entry in tree if entry["path"] == GGUF)
    assert gguf["type"] == "file" and gguf["size"] == (SEED_FILES / GGUF).stat().st_size
    assert len(gguf["lfs"]["oid"]) == 64


def download_file() -> None:
    """HEAD for tag, length and ranges; then the rest of a download that broke off."""
    url = f"{SEED}/resolve/{commit_of_main()}/{GGUF}"
    wanted = (SEED_FILES / GGUF).read_bytes()
    head = ask("HEAD", url)
    assert head.headers["ETag"] and head.headers["Accept-Ranges"] == "bytes"
    assert int(head.headers["Content-Length"]) == len(wanted)
    begun = 1_234_567
    rest = ask("GET", url, Range=f"bytes={begun}-")
    assert rest.status == 206 and rest.headers["ETag"] == head.headers["ETag"]
    assert rest.headers["Content-Range"] == f"bytes {begun}-{len(wanted) - 1}/{len(wanted)}"
    assert wanted[:begun] + rest.read() == wanted


def download_revision() -> None:
    """A branch whose name has a slash."""
    config = ask("GET", f"{SEED}/resolve/{quote('feat/x', safe='')}/config.json")
    assert config.read() == (SEED_FILES / "config.json").read_bytes()


def read_range() -> None:
    """A piece from the middle."""
    piece = ask("GET", f"{SEED}/resolve/main/{GGUF}", Range="bytes=1000000-1000999")
    assert piece.read() == (SEED_FILES / GGUF).read_bytes()[1_000_000:1_001_000]


def missing_things() -> None:
    """A HEAD tells apart what is missing by its status alone."""
    for path in (f"{SEED}/resolve/main/absent.gguf", f"{SEED}-absent/resolve/main/a.gguf"):
        try:
            ask("HEAD", path)
        except urllib.error.HTTPError as error:
            assert error.code == 404, (path, error.code)
        else:
            raise AssertionError(f"{path} was found")


if __name__ == "__main__":
    serve(named(list_refs, list_files, download_file, download_revision, read_range, missing_things))
