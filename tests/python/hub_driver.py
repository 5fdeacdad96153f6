"""Drives huggingface_hub, whichever version this interpreter has."""

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationCopy,
    CommitOperationDelete,
    HfApi,
    HfFileSystem,
    hf_hub_download,
    snapshot_download,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile, RepoFolder

from protocol import named, serve

ENDPOINT = os.environ["HF_ENDPOINT"]
USER = os.environ["WH_TEST_USER"]
REPO = os.environ["WH_TEST_REPO"]
WORK = Path(os.environ["WH_TEST_WORK"])
SEED = os.environ["WH_TEST_SEED"]
SEED_FILES = Path(os.environ["WH_TEST_SEED_FILES"])
SEED_COMMIT = os.environ["WH_TEST_SEED_COMMIT"]
PRIVATE = os.environ["WH_TEST_PRIVATE"]

GGUF = "weights/tiny-Q4_0.gguf"
LARGE_BYTES = 32 << 20

api = HfApi()


@contextmanager
def raises(kind: type[Exception], status: int | None = None) -> Iterator[None]:
    """Expects an exception, and the HTTP status behind it."""
    try:
        yield
    except kind as error:
        found = error.response.status_code if isinstance(error, HfHubHTTPError) else None
        assert status is None or found == status, f"{kind.__name__} with status {found}, not {status}"
    else:
        raise AssertionError(f"{kind.__name__} was not raised")


def seed_paths() -> set[str]:
    """Every file of the seed repository."""
    return {path.relative_to(SEED_FILES).as_posix() for path in SEED_FILES.rglob("*") if path.is_file()}


def assert_same_files(found: Path, wanted: Path) -> None:
    """Compares each file of `wanted`, byte for byte."""
    for path in sorted(path for path in wanted.rglob("*") if path.is_file()):
        relative = path.relative_to(wanted)
        assert (found / relative).read_bytes() == path.read_bytes(), relative


def fetch(repo: str, path: str, revision: str = "main") -> bytes:
    """Content of a file, fetched anew."""
    local = WORK / "fetched"
    got = hf_hub_download(repo, path, revision=revision, local_dir=local, force_download=True)
    return Path(got).read_bytes()


@cache
def large() -> bytes:
    """Weights that no other client uploads."""
    return random.Random(REPO).randbytes(LARGE_BYTES)


def hf(*words: str, token: bool = True) -> str:
    """Runs the `hf` program of this environment."""
    environment = {name: value for name, value in os.environ.items() if token or name != "HF_TOKEN"}
    program = Path(sys.executable).with_name("hf")
    done = subprocess.run([str(program), *words], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"hf {' '.join(words)}: {done.stdout}{done.stderr}"
    return done.stdout


def whoami() -> None:
    """The token names its user."""
    assert api.whoami()["name"] == USER


def login() -> None:
    """`hf auth login` stores the token, and later commands use it."""
    hf("auth", "login", "--token", os.environ["HF_TOKEN"], token=False)
    assert USER in hf("auth", "whoami", token=False)
    hf("auth", "logout", token=False)


def model_info() -> None:
    """Commit, siblings with sizes and hashes, card."""
    info = api.model_info(SEED, files_metadata=True)
    assert info.sha == SEED_COMMIT
    siblings = {sibling.rfilename: sibling for sibling in info.siblings or []}
    assert seed_paths() <= set(siblings)
    assert siblings[GGUF].size == (SEED_FILES / GGUF).stat().st_size
    assert siblings[GGUF].lfs and siblings[GGUF].lfs.sha256
    assert info.card_data and info.card_data.license == "apache-2.0"
    assert "seed" in (info.tags or [])


def file_exists() -> None:
    """Files, revisions and repositories that are there, and that are not."""
    assert api.file_exists(SEED, "config.json")
    assert not api.file_exists(SEED, "absent.json")
    assert not api.file_exists(f"{USER}/absent", "config.json")
    assert api.revision_exists(SEED, "v1.0")
    assert not api.revision_exists(SEED, "absent")
    assert api.repo_exists(SEED)
    assert not api.repo_exists(f"{USER}/absent")


def download_file() -> None:
    """A regular and a large file, through the cache."""
    for path in ("config.json", "data/nested/deep name.txt", "data/empty.txt", GGUF):
        assert Path(hf_hub_download(SEED, path)).read_bytes() == (SEED_FILES / path).read_bytes(), path


def download_revision() -> None:
    """By tag, branch with a slash, full and short commit."""
    for revision in ("v1.0", "feat/x", SEED_COMMIT, SEED_COMMIT[:8]):
        assert fetch(SEED, "config.json", revision) == (SEED_FILES / "config.json").read_bytes(), revision


def download_snapshot() -> None:
    """The whole repository, then again from the cache alone."""
    assert_same_files(Path(snapshot_download(SEED)), SEED_FILES)
    assert_same_files(Path(snapshot_download(SEED, local_files_only=True)), SEED_FILES)


def read_range() -> None:
    """A piece from the middle of a large file."""
    with HfFileSystem().open(f"{SEED}/{GGUF}", "rb", block_size=4096) as file:
        file.seek(1_000_000)
        assert file.read(1000) == (SEED_FILES / GGUF).read_bytes()[1_000_000:1_001_000]


def safetensors_metadata() -> None:
    """The header of a checkpoint, without its data."""
    metadata = api.get_safetensors_metadata(SEED)
    assert metadata.parameter_count == {"F32": 50_000}


def list_files() -> None:
    """The tree, with the last commit of each entry."""
    assert seed_paths() <= set(api.list_repo_files(SEED))
    entries = {entry.path: entry for entry in api.list_repo_tree(SEED, recursive=True, expand=True)}
    assert isinstance(entries["data/nested"], RepoFolder)
    gguf = entries[GGUF]
    assert isinstance(gguf, RepoFile) and gguf.lfs and gguf.lfs.size == gguf.size
    assert gguf.last_commit and gguf.last_commit.oid == SEED_COMMIT
    inside = {entry.path for entry in api.list_repo_tree(SEED, "data")}
    assert inside == {"data/nested", "data/empty.txt"}


def paths_info() -> None:
    """Files and folders that exist; others are left out."""
    found = api.get_paths_info(SEED, ["config.json", "data", "absent"])
    assert {entry.path: type(entry) for entry in found} == {"config.json": RepoFile, "data": RepoFolder}


def list_refs() -> None:
    """Branches and tags with their commits."""
    refs = api.list_repo_refs(SEED)
    assert {"main", "feat/x"} <= {branch.name for branch in refs.branches}
    assert {tag.name: tag.target_commit for tag in refs.tags} == {"v1.0": SEED_COMMIT}


def list_commits() -> None:
    """History, newest first."""
    commits = api.list_repo_commits(SEED)
    assert commits[0].commit_id == SEED_COMMIT and USER in commits[0].authors
    assert commits[-1].title == "initial commit"


def search_models() -> None:
    """By words, author and tag."""
    for query in ({"search": "seed"}, {"author": USER}, {"filter": "license:apache-2.0"}):
        assert SEED in {model.id for model in api.list_models(**query)}, query
    assert PRIVATE not in {model.id for model in api.list_models()}


def missing_things() -> None:
    """Each kind of absence has its own exception."""
    with raises(RepositoryNotFoundError):
        hf_hub_download(f"{USER}/absent", "config.json")
    with raises(RevisionNotFoundError):
        hf_hub_download(SEED, "config.json", revision="absent")
    with raises(EntryNotFoundError):
        hf_hub_download(SEED, "absent.json")
    with raises(RepositoryNotFoundError):
        snapshot_download(f"{USER}/absent")


def private_of_another() -> None:
    """Looks as if it did not exist."""
    with raises(RepositoryNotFoundError):
        api.model_info(PRIVATE)
    with raises(RepositoryNotFoundError):
        hf_hub_download(PRIVATE, "config.json")


def create_repository() -> None:
    """Once; a second time only when told that it may exist."""
    assert api.create_repo(REPO).repo_id == REPO
    assert api.create_repo(REPO, exist_ok=True).repo_id == REPO
    with raises(HfHubHTTPError, 409):
        api.create_repo(REPO)
    assert ".gitattributes" in api.list_repo_files(REPO)


def upload_file() -> None:
    """A small text file, from memory."""
    commit = api.upload_file(path_or_fileobj=b"a line\n", path_in_repo="notes/a.txt", repo_id=REPO)
    assert api.model_info(REPO).sha == commit.oid
    assert fetch(REPO, "notes/a.txt") == b"a line\n"


def upload_folder() -> None:
    """Text, binary and empty files in one go, and the same again, which changes nothing."""
    api.upload_folder(repo_id=REPO, folder_path=SEED_FILES, path_in_repo="copy")
    again = WORK / "uploaded"
    snapshot_download(REPO, allow_patterns="copy/*", local_dir=again)
    assert_same_files(again / "copy", SEED_FILES)
    before = api.model_info(REPO).sha
    api.upload_folder(repo_id=REPO, folder_path=SEED_FILES, path_in_repo="copy")
    assert api.model_info(REPO).sha == before


def upload_large_file() -> None:
    """32 MiB of noise, and back."""
    path = WORK / "large.bin"
    path.write_bytes(large())
    api.upload_file(path_or_fileobj=path, path_in_repo="large.bin", repo_id=REPO)
    assert fetch(REPO, "large.bin") == large()


def upload_with_18_bytes_inserted() -> None:
    """The large file again, with something new in its middle."""
    half = LARGE_BYTES // 2
    path = WORK / "edited.bin"
    path.write_bytes(large()[:half] + b"eighteen new bytes" + large()[half:])
    api.upload_file(path_or_fileobj=path, path_in_repo="large.bin", repo_id=REPO)


def upload_identical_file_elsewhere() -> None:
    """The large file as it was, into another repository."""
    api.create_repo(f"{REPO}-elsewhere")
    path = WORK / "large.bin"
    api.upload_file(path_or_fileobj=path, path_in_repo="other.bin", repo_id=f"{REPO}-elsewhere")


def download_large_files() -> None:
    """The edited file and the one elsewhere."""
    assert fetch(f"{REPO}-elsewhere", "other.bin") == large()
    assert fetch(REPO, "large.bin") == (WORK / "edited.bin").read_bytes()


def delete_and_copy() -> None:
    """Additions, a copy of a regular and of a large file, and a deletion, in one commit."""
    api.create_commit(
        REPO,
        operations=[
            CommitOperationAdd("notes/b.txt", b"another line\n"),
            CommitOperationCopy("large.bin", "moved/large.bin"),
            CommitOperationCopy("copy/config.json", "moved/config.json"),
            CommitOperationDelete("notes/a.txt"),
            CommitOperationDelete("copy/", is_folder=True),
        ],
        commit_message="Move things",
    )
    files = set(api.list_repo_files(REPO))
    assert {"notes/b.txt", "moved/large.bin", "moved/config.json", "large.bin"} <= files
    assert not {path for path in files if path.startswith("copy/") or path == "notes/a.txt"}
    assert fetch(REPO, "moved/config.json") == (SEED_FILES / "config.json").read_bytes()
    assert fetch(REPO, "moved/large.bin") == (WORK / "edited.bin").read_bytes()


def stale_parent_commit() -> None:
    """A commit on an older head is refused with 412."""
    old = api.list_repo_commits(REPO)[-1].commit_id
    with raises(HfHubHTTPError, 412):
        api.upload_file(path_or_fileobj=b"late", path_in_repo="late.txt", repo_id=REPO, parent_commit=old)
    assert not api.file_exists(REPO, "late.txt")


def branches() -> None:
    """Made, written to, and deleted; main does not see it."""
    api.create_branch(REPO, branch="side/way")
    api.upload_file(path_or_fileobj=b"aside", path_in_repo="side.txt", repo_id=REPO, revision="side/way")
    assert fetch(REPO, "side.txt", "side/way") == b"aside"
    assert not api.file_exists(REPO, "side.txt")
    with raises(HfHubHTTPError, 409):
        api.create_branch(REPO, branch="side/way")
    api.create_branch(REPO, branch="side/way", exist_ok=True)
    api.delete_branch(REPO, branch="side/way")
    assert {branch.name for branch in api.list_repo_refs(REPO).branches} == {"main"}


def tags() -> None:
    """Made and deleted; a tag stays at its commit."""
    head = api.model_info(REPO).sha
    api.create_tag(REPO, tag="v0.1", tag_message="First")
    assert api.model_info(REPO, revision="v0.1").sha == head
    with raises(HfHubHTTPError, 409):
        api.create_tag(REPO, tag="v0.1")
    api.delete_tag(REPO, tag="v0.1")
    with raises(RevisionNotFoundError):
        api.model_info(REPO, revision="v0.1")


def private_repository() -> None:
    """Its owner reads and writes it; nobody else sees it."""
    repo = f"{REPO}-private"
    api.create_repo(repo, private=True)
    api.upload_file(path_or_fileobj=b"mine", path_in_repo="mine.txt", repo_id=repo)
    assert fetch(repo, "mine.txt") == b"mine"
    assert repo in {model.id for model in api.list_models(author=USER)}
    nobody = HfApi(token=False)
    with raises(RepositoryNotFoundError):
        nobody.model_info(repo)
    assert repo not in {model.id for model in nobody.list_models(author=USER)}
    api.update_repo_settings(repo, private=False)
    assert nobody.model_info(repo).id == repo


def move_repository() -> None:
    """The new id serves the content, and the old one leads there."""
    api.move_repo(f"{REPO}-private", f"{REPO}-moved")
    assert fetch(f"{REPO}-moved", "mine.txt") == b"mine"
    assert fetch(f"{REPO}-private", "mine.txt") == b"mine"


def delete_repository() -> None:
    """Afterwards it is missing."""
    api.delete_repo(REPO)
    assert not api.repo_exists(REPO)
    with raises(RepositoryNotFoundError):
        api.delete_repo(REPO)
    api.delete_repo(REPO, missing_ok=True)
    assert fetch(f"{REPO}-elsewhere", "other.bin") == large()


def command_line() -> None:
    """`hf upload` and `hf download` of a folder."""
    repo = f"{REPO}-command"
    hf("upload", repo, str(SEED_FILES))
    target = WORK / "by-command"
    hf("download", repo, "--local-dir", str(target))
    assert_same_files(target, SEED_FILES)


if __name__ == "__main__":
    serve(
        named(
            whoami,
            login,
            model_info,
            file_exists,
            download_file,
            download_revision,
            download_snapshot,
            read_range,
            safetensors_metadata,
            list_files,
            paths_info,
            list_refs,
            list_commits,
            search_models,
            missing_things,
            private_of_another,
            create_repository,
            upload_file,
            upload_folder,
            upload_large_file,
            upload_with_18_bytes_inserted,
            upload_identical_file_elsewhere,
            download_large_files,
            delete_and_copy,
            stale_parent_commit,
            branches,
            tags,
            private_repository,
            move_repository,
            delete_repository,
            command_line,
        )
    )
