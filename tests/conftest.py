"""Fixtures of all suites."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from harness import formats, matrix
from harness.drivers import PROGRAMS, TESTS, Cell
from harness.hub import Account, Hub
from harness.seed import Seed, plant
from harness.wire import Wire

FORMATS = pytest.StashKey[formats.Cells]()
CELLS = pytest.StashKey[dict[tuple[str, str], Cell]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the flag that `cargo xtask test --write-matrix` hands on."""
    parser.addoption(
        "--write-matrix", type=Path, metavar="FILE", help="write the table of clients here, that of formats beside it"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Makes room for the cells of the tables."""
    config.stash[CELLS] = {}
    config.stash[FORMATS] = formats.Cells()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Writes the tables whose tests ran, if asked to."""
    path = session.config.getoption("--write-matrix")
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if cells := session.config.stash[CELLS]:
        path.write_text(matrix.render(cells))
    if found := session.config.stash[FORMATS]:
        path.with_name("formats.md").write_text(formats.render(found))


@pytest.fixture(scope="session")
def cells(pytestconfig: pytest.Config) -> dict[tuple[str, str], Cell]:
    """Every cell of the matrix so far, by client and operation."""
    return pytestconfig.stash[CELLS]


@pytest.fixture(scope="session")
def format_cells(pytestconfig: pytest.Config) -> formats.Cells:
    """Every answer about a fixture so far."""
    return pytestconfig.stash[FORMATS]


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """One running hub for the whole run."""
    hub = Hub(tmp_path_factory.mktemp("hub"))
    hub.start()
    yield hub
    hub.stop()


@pytest.fixture(scope="session")
def alice(hub: Hub) -> Account:
    """The user whom the clients speak for."""
    return hub.add("alice")


@pytest.fixture(scope="session")
def bob(hub: Hub) -> Account:
    """Somebody else."""
    return hub.add("bob")


@pytest.fixture(scope="session")
def seed(hub: Hub, alice: Account, bob: Account, tmp_path_factory: pytest.TempPathFactory) -> Seed:
    """The repository that every client reads."""
    return plant(hub, alice, bob, tmp_path_factory.mktemp("seed"))


@pytest.fixture
def wire(hub: Hub, alice: Account) -> Wire:
    """Raw requests by alice."""
    return Wire(hub.url, alice.token)


@pytest.fixture
def anonymous(hub: Hub) -> Wire:
    """Raw requests by nobody."""
    return Wire(hub.url)


@pytest.fixture
def stranger(hub: Hub, bob: Account) -> Wire:
    """Raw requests by bob."""
    return Wire(hub.url, bob.token)


WRITERS = {
    "torch": ("models", "write_torch.py"),
    "tf": ("formats-tf", "write_tf.py"),
    "attack": ("formats-tf", "attack.py"),
}
"""Sets of files: which interpreter writes them, by which script."""


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Path]]:
    """Folders with the sets of files; `$WH_FIXTURES` names a folder of them that is there already."""
    if ready := os.environ.get("WH_FIXTURES"):
        yield {name: Path(ready) / name for name in WRITERS}
        return
    out = tmp_path_factory.mktemp("formats")
    running = {}
    for name, (program, script) in WRITERS.items():
        command = [PROGRAMS[program], TESTS / "formats" / script, out / name]
        with (out / f"{name}.log").open("w") as log:
            running[name] = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    for name, process in running.items():
        # Writers note in the oracle what went wrong with a fixture; this is about all of them.
        process.wait(timeout=1200)
        if not (out / name).exists():
            pytest.fail((out / f"{name}.log").read_text()[-4000:])
    yield {name: out / name for name in WRITERS}
