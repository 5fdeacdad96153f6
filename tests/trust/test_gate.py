"""The gate, as stock clients meet it: a poisoned upload is quarantined, and they say why."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.drivers import PROGRAMS
from harness.hub import Account, Hub

DRIVER = Path(__file__).with_name("gate_driver.py")
CLIENTS = ["hub-0.36", "hub-1.10", "hub-1.33", "hub-2.4", "models"]
LIMIT_S = 180

Ask = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def ask(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Ask:
    """Carries an operation out with a client, as a user or as nobody."""

    def run(client: str, operation: str, repo: str, account: Account | None) -> dict[str, Any]:
        home = tmp_path_factory.mktemp("client")
        settings = {"HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")} | settings
        if account is not None:
            environment["HF_TOKEN"] = account.token
        command = [PROGRAMS[client], str(DRIVER), operation, repo]
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, cwd=home, env=environment)
        assert done.returncode == 0, done.stderr[-4000:]
        assert not (home / "pwned").exists(), "the payload ran"
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found | {"stderr": done.stderr}

    return run


@pytest.fixture(scope="module")
def mallory(hub: Hub) -> Account:
    """Whoever uploads the poison."""
    return hub.add("mallory")


@pytest.fixture(scope="module")
def victim(hub: Hub) -> Account:
    """Whoever would load it."""
    return hub.add("victim")


@pytest.fixture(scope="module")
def poisoned(ask: Ask, mallory: Account) -> str:
    """A public repository with a poisoned file."""
    repo = f"{mallory.name}/poisoned"
    done = ask("hub-2.4", "upload", repo, mallory)
    assert "error" not in done, done
    return repo


@pytest.mark.trust
@pytest.mark.parametrize("client", CLIENTS[:-1])
def test_status_is_read(client: str, ask: Ask, poisoned: str, victim: Account) -> None:
    """`securityFileStatus` and `securityRepoStatus` are what the client expects."""
    if client not in PROGRAMS:
        pytest.skip(f"{client} was not made")
    found = ask(client, "status", poisoned, victim)
    assert "error" not in found, found
    answer = found["answer"]
    assert answer["paths"]["pytorch_model.bin"] == ["unsafe", False]
    assert answer["paths"]["config.json"] == ["caution", False]
    assert answer["tree"] == {".gitattributes": "safe", "config.json": "caution", "pytorch_model.bin": "unsafe"}
    assert {"module": "posix", "name": "mkdir", "safety": "dangerous"} in answer["imports"], answer
    assert answer["virus"] == "safe"
    assert answer["repo"]["scansDone"] is True
    assert {"path": "pytorch_model.bin", "level": "unsafe"} in answer["repo"]["filesWithIssues"]


@pytest.mark.trust
@pytest.mark.parametrize("operation", ["download", "snapshot"])
@pytest.mark.parametrize("who", ["mallory", "victim", "nobody"])
@pytest.mark.parametrize("client", CLIENTS[:-1])
def test_download_fails_with_the_reason(
    client: str, who: str, operation: str, ask: Ask, poisoned: str, mallory: Account, victim: Account
) -> None:
    """Nobody gets the bytes, and the client shows what the hub says of them."""
    if client not in PROGRAMS:
        pytest.skip(f"{client} was not made")
    account = {"mallory": mallory, "victim": victim, "nobody": None}[who]
    found = ask(client, operation, poisoned, account)
    assert found.get("error") == "HfHubHTTPError", found
    assert "403" in found["message"] and "posix.mkdir" in found["message"], found
    assert "unsafe" in found["message"], found


@pytest.mark.trust
@pytest.mark.parametrize("client", CLIENTS[:-1])
def test_a_client_prints_the_warning(client: str, ask: Ask, poisoned: str, victim: Account) -> None:
    """`X-HF-Warning` about a file that is worth a look reaches the terminal, where the client knows it."""
    if client not in PROGRAMS:
        pytest.skip(f"{client} was not made")
    found = ask(client, "warned", poisoned, victim)
    assert "error" not in found, found
    if client != "hub-0.36":
        assert "caution" in found["answer"]["log"] + found["stderr"], found


@pytest.mark.trust
def test_from_pretrained_fails_with_the_reason(ask: Ask, poisoned: str, victim: Account) -> None:
    """transformers says what the hub says, and nothing is loaded."""
    if "models" not in PROGRAMS:
        pytest.skip("the models environment was not made")
    found = ask("models", "from_pretrained", poisoned, victim)
    assert "error" in found, found
    assert "posix.mkdir" in found["message"] and "unsafe" in found["message"], found
