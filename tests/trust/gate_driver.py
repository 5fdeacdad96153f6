"""What stock clients see of a repository with a poisoned file: one operation, one JSON object.

`python gate_driver.py OPERATION REPO` with `HF_ENDPOINT`, `HF_TOKEN` and `HF_HOME`; the payload is harmless.
"""

import io
import json
import logging
import pickle
import sys
import time
from collections.abc import Callable
from typing import Any

from huggingface_hub import CommitOperationAdd, HfApi, hf_hub_download, snapshot_download

REPO = sys.argv[2]
CONFIG = b'{"model_type": "bert", "architectures": ["BertModel"], "hidden_size": 8, "num_attention_heads": 2,' \
    b' "num_hidden_layers": 1, "intermediate_size": 16, "vocab_size": 30, "auto_map": {"AutoModel": "own.Model"}}'

api = HfApi()


class Poison:
    """Makes an empty folder when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        """What the pickle calls."""
        import os

        return os.mkdir, ("pwned",)


def upload() -> dict[str, Any]:
    """Puts the files into a new repository, and waits until they were judged."""
    api.create_repo(REPO)
    operations = [
        CommitOperationAdd("pytorch_model.bin", pickle.dumps({"weight": Poison()})),
        CommitOperationAdd("config.json", CONFIG),
    ]
    api.create_commit(REPO, operations, commit_message="poison")
    deadline = time.monotonic() + 60
    while not api.model_info(REPO, securityStatus=True).security_repo_status["scansDone"]:
        assert time.monotonic() < deadline, "the scan does not end"
        time.sleep(0.1)
    return {}


def status() -> dict[str, Any]:
    """What the listings say."""
    infos = {info.path: info for info in api.get_paths_info(REPO, ["pytorch_model.bin", "config.json"], expand=True)}
    tree = {info.path: info for info in api.list_repo_tree(REPO, expand=True)}
    repo = api.model_info(REPO, securityStatus=True).security_repo_status
    security = infos["pytorch_model.bin"].security
    return {
        "paths": {path: [info.security.status, info.security.safe] for path, info in infos.items()},
        "tree": {path: info.security.status for path, info in tree.items()},
        "imports": security.pickle_import_scan["pickleImports"],
        "virus": security.av_scan["status"],
        "repo": repo,
    }


def download() -> dict[str, Any]:
    """`hf_hub_download` of the poisoned file."""
    hf_hub_download(REPO, "pytorch_model.bin")
    return {}


def snapshot() -> dict[str, Any]:
    """`snapshot_download` of everything."""
    snapshot_download(REPO)
    return {}


def warned() -> dict[str, Any]:
    """What the client prints about a file that is worth a look."""
    out = io.StringIO()
    logging.getLogger("huggingface_hub").addHandler(logging.StreamHandler(out))
    hf_hub_download(REPO, "config.json")
    return {"log": out.getvalue()}


def from_pretrained() -> dict[str, Any]:
    """transformers, which finds the poisoned file by its name."""
    from transformers import BertModel

    BertModel.from_pretrained(REPO)
    return {}


if __name__ == "__main__":
    try:
        found = {"answer": globals()[sys.argv[1]]()}
    except Exception as error:  # the exception is what is looked at
        found = {"error": type(error).__name__, "message": str(error)}
    sys.stdout.write(json.dumps(found) + "\n")
