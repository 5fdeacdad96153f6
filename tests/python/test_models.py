"""Real models, byte-exact both ways, and the same numbers out of a forward pass."""

from collections.abc import Iterator

import pytest

from harness.drivers import Client, Outcome, Session
from harness.hub import Hub

CLIENT = Client("models", "models", "models", "python/models_driver.py", xet=True)
FAMILIES = [
    "bert",
    "gpt2",
    "t5",
    "resnet",
    "whisper",
    "sharded",
    "diffusion",
    "reinforcement",
    "minilm",
    "two_gigabytes",
]


@pytest.fixture(scope="module")
def session(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """One process with the heavy libraries, which take seconds to import."""
    modeller = hub.add("modeller")
    session = Session(CLIENT, hub, modeller, tmp_path_factory.mktemp("models"), HF_HUB_DISABLE_PROGRESS_BARS="1")
    yield session
    session.close()


@pytest.mark.models
@pytest.mark.parametrize("family", FAMILIES)
def test_family(session: Session, family: str) -> None:
    """`push_to_hub` and `hf upload`, then `from_pretrained` and `hf download`."""
    cell = session.run(family, timeout_s=600)
    assert cell.outcome is Outcome.PASSED, cell.detail
