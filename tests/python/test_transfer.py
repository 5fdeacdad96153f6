"""What goes over the wire when part of a file is known already."""

import random
from pathlib import Path

import pytest

from harness.drivers import Client, Outcome, Session
from harness.hub import Account, Hub
from harness.seed import Seed
from harness.wire import Wire

pytestmark = pytest.mark.python

LARGE_BYTES = 32 << 20
CLIENT = Client("huggingface_hub 2.4.0, hf-xet 1.8.0", "python", "hub-2.4", "python/hub_driver.py", xet=True)


def test_a_second_machine_sends_only_what_is_new(
    hub: Hub, alice: Account, seed: Seed, wire: Wire, tmp_path: Path
) -> None:
    """A client with an empty cache learns from the hub which chunks it need not send."""
    repo = f"{alice.name}/relay"
    sent_bytes = []
    for machine, operations in {
        "first": ["create repository", "upload large file"],
        "second": ["upload with 18 bytes inserted"],
    }.items():
        session = Session(CLIENT, hub, alice, tmp_path / machine, **seed.settings(), WH_TEST_REPO=repo)
        cells = [session.run(operation) for operation in operations]
        session.close()
        for cell in cells:
            assert cell.outcome is Outcome.PASSED, cell.detail
        sent_bytes.append(cells[-1].sent_bytes)
    first, second = sent_bytes
    assert first > LARGE_BYTES, "the meter counts the first upload whole"
    assert second < LARGE_BYTES // 50

    content = random.Random(repo).randbytes(LARGE_BYTES)
    half = LARGE_BYTES // 2
    plain = wire.get(f"/{repo}/resolve/main/large.bin")
    assert plain.body == content[:half] + b"eighteen new bytes" + content[half:]


def test_an_object_that_came_by_lfs_is_stored_once(hub: Hub, wire: Wire, alice: Account) -> None:
    """Content that one repository has costs another nothing, whatever road it takes."""
    content = random.Random("lfs").randbytes(8 << 20)
    stored_bytes = []
    for repo in (f"{alice.name}/lfs-one", f"{alice.name}/lfs-two"):
        before = hub.stored_bytes()
        assert wire.create(repo).status == 200
        pointer = wire.upload_lfs(repo, content)
        assert wire.commit(repo, {"lfsFile": {"path": "weights.bin", **pointer}}).status == 200
        assert wire.get(f"/{repo}/resolve/main/weights.bin").body == content
        stored_bytes.append(hub.stored_bytes() - before)
    first, second = stored_bytes
    assert first >= len(content) > 100 * second
