"""Every client, every operation: one test per cell of `docs/reference/clients.md`.

The operations run in the order of the rows, against one repository per client: the later ones build on the earlier.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from harness.drivers import Cell, Client, Outcome, Session
from harness.hub import Account, Hub
from harness.seed import Seed


@dataclass(frozen=True)
class Row:
    """An operation, and what it may cost at most."""

    operation: str
    sent_below: int | None = None
    """Bytes to the hub, for clients that use Xet."""
    stored_below: int | None = None
    """Bytes that the hub's data folder grows by, for all clients."""


LARGE_BYTES = 32 << 20
PERCENT = LARGE_BYTES // 100

HUB = "python/hub_driver.py"
CLIENTS = [
    Client("huggingface_hub 2.4.0, hf-xet 1.8.0", "python", "hub-2.4", HUB, xet=True),
    Client("huggingface_hub 2.4.0", "python", "hub-2.4-plain", HUB),
    Client("huggingface_hub 1.33.0, hf-xet 1.6.0", "python", "hub-1.33", HUB, xet=True),
    Client("huggingface_hub 1.33.0", "python", "hub-1.33-plain", HUB),
    Client("huggingface_hub 1.10.2, hf-xet 1.4.3", "python", "hub-1.10", HUB, xet=True),
    Client("huggingface_hub 1.10.2", "python", "hub-1.10-plain", HUB),
    Client("huggingface_hub 0.36.2, hf-xet 1.1.10", "python", "hub-0.36", HUB, xet=True),
    Client("huggingface_hub 0.36.2", "python", "hub-0.36-plain", HUB),
    Client("hf-hub 1.0.0 (Rust)", "hf_hub", "hf-hub", xet=True),
    Client("@huggingface/hub 2.17.5 (JavaScript)", "js", "js", "js/driver.mjs", xet=True),
    Client("llama.cpp", "python", "harness", "python/llama_driver.py"),
]

ROWS = [
    Row("whoami"),
    Row("login"),
    Row("model info"),
    Row("file exists"),
    Row("download file"),
    Row("download revision"),
    Row("download snapshot"),
    Row("read range"),
    Row("safetensors metadata"),
    Row("list files"),
    Row("paths info"),
    Row("list refs"),
    Row("list commits"),
    Row("search models"),
    Row("missing things"),
    Row("private of another"),
    Row("create repository"),
    Row("upload file"),
    Row("upload folder"),
    Row("upload large file"),
    Row("upload with 18 bytes inserted", sent_below=2 * PERCENT, stored_below=2 * PERCENT),
    Row("upload identical file elsewhere", sent_below=PERCENT, stored_below=PERCENT),
    Row("download large files"),
    Row("delete and copy"),
    Row("stale parent commit"),
    Row("branches"),
    Row("tags"),
    Row("private repository"),
    Row("move repository"),
    Row("delete repository"),
    Row("command line"),
]


@pytest.fixture(scope="module")
def session_of(
    hub: Hub, alice: Account, seed: Seed, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[Client], Session]]:
    """The running driver of a client; the tests go client by client, so one runs at a time."""
    running: dict[Client, Session] = {}

    def session(client: Client) -> Session:
        if client not in running:
            for other in running.values():
                other.close()
            running.clear()
            folder = tmp_path_factory.mktemp(client.slug[:40])
            running[client] = Session(client, hub, alice, folder, **seed.settings())
        return running[client]

    yield session
    for last in running.values():
        last.close()


def cases() -> Iterator[object]:
    """Cells, client by client."""
    for client in CLIENTS:
        marks = [getattr(pytest.mark, client.part)]
        for row in ROWS:
            yield pytest.param(client, row, marks=marks, id=f"{client.slug}-{row.operation.replace(' ', '-')}")


@pytest.mark.parametrize(("client", "row"), list(cases()))
def test_cell(
    client: Client,
    row: Row,
    session_of: Callable[[Client], Session],
    cells: dict[tuple[str, str], Cell],
) -> None:
    """The client carries out the operation, within its cost."""
    if not client.available():
        pytest.skip(f"`cargo xtask test` made no `{client.program}`")
    cell = priced(client, row, session_of(client).run(row.operation))
    cells[client.name, row.operation] = cell
    if cell.outcome is Outcome.NOT_APPLICABLE:
        pytest.skip(cell.detail)
    assert cell.outcome is Outcome.PASSED, cell.detail


def priced(client: Client, row: Row, cell: Cell) -> Cell:
    """The cell, failed if it cost too much."""
    costs = [("stored", cell.stored_bytes, row.stored_below)]
    if client.xet:
        costs.append(("sent", cell.sent_bytes, row.sent_below))
    for verb, cost_bytes, below in costs:
        if cell.outcome is Outcome.PASSED and below is not None and cost_bytes >= below:
            return Cell(Outcome.FAILED, f"{verb} {cost_bytes} bytes; the limit is {below}")
    return cell
