"""Status codes and headers by which clients tell situations apart, over real HTTP.

The clients' own suites rely on each of these; a HEAD has no body, so the headers carry everything.
"""

from urllib.parse import quote

import pytest

from harness.hub import Account, Hub
from harness.seed import Seed
from harness.wire import Answer, Wire, regular

pytestmark = pytest.mark.python

GGUF = "weights/tiny-Q4_0.gguf"


def said(answer: Answer) -> str:
    """The message, which header and body must both carry."""
    message: str = answer.json()["error"]
    assert answer.headers["X-Error-Message"] == message
    return message


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/{user}/absent/resolve/main/config.json", "RepoNotFound"),
        ("/{private}/resolve/main/config.json", "RepoNotFound"),
        ("/{seed}/resolve/absent/config.json", "RevisionNotFound"),
        ("/{seed}/resolve/main/absent.json", "EntryNotFound"),
        ("/{seed}/resolve/main/data", "EntryNotFound"),
        ("/api/models/{user}/absent", "RepoNotFound"),
        ("/api/models/{private}", "RepoNotFound"),
        ("/api/models/{seed}/revision/absent", "RevisionNotFound"),
        ("/api/models/{seed}/tree/absent", "RevisionNotFound"),
        ("/api/models/{seed}/tree/main/absent", "EntryNotFound"),
    ],
)
def test_each_absence_has_its_code(method: str, path: str, code: str, wire: Wire, seed: Seed, alice: Account) -> None:
    """404 to whoever has a token, also where the repository is somebody else's."""
    answer = wire.ask(method, path.format(user=alice.name, seed=seed.repo, private=seed.private))
    assert (answer.status, answer.code) == (404, code)
    assert answer.headers["X-Request-Id"] and answer.headers["X-Error-Message"]
    if code == "EntryNotFound" and "/resolve/" in path:
        assert answer.headers["X-Repo-Commit"] == seed.commit


def test_nobody_learns_whether_a_private_repository_exists(anonymous: Wire, seed: Seed, alice: Account) -> None:
    """The same answer, but for the name and the request's own id."""
    answers = [anonymous.get(f"/api/models/{repo}") for repo in (seed.private, f"{alice.name}/absent")]
    assert {(answer.status, answer.code) for answer in answers} == {(401, "RepoNotFound")}
    own = {"date", "x-request-id", "content-length"}
    names = [{name.lower() for name in answer.headers} - own for answer in answers]
    assert names[0] == names[1]


def test_a_wrong_token_is_named_even_on_public_content(hub: Hub, seed: Seed) -> None:
    """By the sentence that keeps clients from reporting a missing repository."""
    answer = Wire(hub.url, "hf_" + "x" * 34).get(f"/api/models/{seed.repo}")
    assert answer.status == 401 and answer.code is None
    assert said(answer) == "Invalid credentials in Authorization header"


def test_only_members_write(stranger: Wire, anonymous: Wire, seed: Seed) -> None:
    """403 with a token, 401 without."""
    for who, status in ((stranger, 403), (anonymous, 401)):
        assert who.commit(seed.repo, regular("a.txt", b"a")).status == status


def test_creating_twice_tells_the_address(wire: Wire, seed: Seed, hub: Hub) -> None:
    """Clients read `url` from the 409, whatever the case of the name."""
    for repo in (seed.repo, seed.repo.upper()):
        namespace, name = repo.split("/")
        answer = wire.create(f"{namespace.lower()}/{name}")
        assert answer.status == 409
        assert answer.json()["url"] == f"{hub.url}/{seed.repo}"


def test_names_are_found_in_any_case(wire: Wire, seed: Seed) -> None:
    """And answered as they were written first."""
    target = f"/api/models/{seed.repo.upper()}"
    answer = wire.get(target)
    if answer.status == 307:
        answer = wire.get(answer.headers["Location"])
    assert answer.json()["id"] == seed.repo


def test_a_stale_parent_gets_the_sentence_that_clients_know(wire: Wire, alice: Account) -> None:
    """412, and the branch stays where it is."""
    repo = f"{alice.name}/stale"
    wire.create(repo)
    first = wire.get(f"/api/models/{repo}").json()["sha"]
    second = wire.commit(repo, regular("a.txt", b"a"), parentCommit=first).json()["commitOid"]
    answer = wire.commit(repo, regular("b.txt", b"b"), parentCommit=first)
    assert answer.status == 412
    assert said(answer).startswith("The branch was updated since you opened this page.")
    assert wire.get(f"/api/models/{repo}").json()["sha"] == second


def test_deleting_what_is_not_there_says_so(wire: Wire, seed: Seed) -> None:
    """Clients add a hint when they see these words."""
    answer = wire.commit(seed.repo, {"deletedFile": {"path": "absent.txt"}})
    assert (answer.status, answer.code) == (404, "EntryNotFound")
    assert "A file with this name doesn't exist" in said(answer)


@pytest.mark.parametrize("path", ["..\\ddd", "../a", "/a", "a/../b", ".git/config", "a\x00b", "a//b"])
def test_an_illegal_path_is_refused(path: str, wire: Wire, seed: Seed) -> None:
    """With 422, as the clients' tests expect, and nothing is written."""
    assert wire.commit(seed.repo, regular(path, b"a")).status == 422
    assert wire.get(f"/api/models/{seed.repo}").json()["sha"] == seed.commit


@pytest.mark.parametrize(
    ("wanted", "first", "last"), [("0-0", 0, 0), ("100-199", 100, 199), ("3000000-", 3_000_000, None), ("-5", -5, None)]
)
def test_ranges_are_exact(wanted: str, first: int, last: int | None, wire: Wire, seed: Seed) -> None:
    """206 with the place of the piece in the whole."""
    whole = (seed.files / GGUF).read_bytes()
    begin = first % len(whole)
    end = len(whole) - 1 if last is None else last
    answer = wire.get(f"/{seed.repo}/resolve/main/{GGUF}", Range=f"bytes={wanted}")
    assert answer.status == 206 and answer.body == whole[begin : end + 1]
    assert answer.headers["Content-Range"] == f"bytes {begin}-{end}/{len(whole)}"


def test_a_range_beyond_the_end_tells_the_size(wire: Wire, seed: Seed) -> None:
    """416, from which a client learns that its copy is whole."""
    size = (seed.files / GGUF).stat().st_size
    answer = wire.get(f"/{seed.repo}/resolve/main/{GGUF}", Range=f"bytes={size}-")
    assert answer.status == 416 and answer.headers["Content-Range"] == f"bytes */{size}"


@pytest.mark.parametrize("path", ["config.json", GGUF])
def test_a_file_says_what_it_is(path: str, wire: Wire, seed: Seed) -> None:
    """HEAD and GET agree; the tag is unchanged content's name."""
    target = f"/{seed.repo}/resolve/main/{quote(path)}"
    head, get = wire.ask("HEAD", target, headers={"Accept-Encoding": "identity"}), wire.get(target)
    for name in ("ETag", "X-Repo-Commit", "Content-Length", "Accept-Ranges", "Content-Disposition"):
        assert head.headers[name] == get.headers[name] is not None, name
    assert head.headers["X-Repo-Commit"] == seed.commit
    assert get.body == (seed.files / path).read_bytes() and head.body == b""
    assert len(head.headers["ETag"].strip('"')) == (64 if path == GGUF else 40)
    assert wire.get(target, If_None_Match=head.headers["ETag"]).status == 304


def test_a_revision_may_be_encoded_or_not(wire: Wire, seed: Seed) -> None:
    """A branch with a slash is one segment; full refs are understood too."""
    for revision in ("feat%2Fx", "refs%2Fheads%2Ffeat%2Fx", "refs%2Ftags%2Fv1.0", "v1.0", seed.commit):
        assert wire.get(f"/{seed.repo}/resolve/{revision}/config.json").status == 200, revision
        assert wire.get(f"/api/models/{seed.repo}/revision/{revision}").json()["sha"] == seed.commit, revision


def test_lists_come_in_pages_with_absolute_addresses(wire: Wire, seed: Seed, hub: Hub, alice: Account) -> None:
    """Following `Link` gives everything once."""
    for number in range(3):
        wire.create(f"{alice.name}/page-{number}")
    found, target = [], "/api/models?search=page-&limit=2&author=" + alice.name
    while target:
        answer = wire.get(target.removeprefix(hub.url))
        found += [model["id"] for model in answer.json()]
        link = answer.headers["Link"]
        assert link is None or link.startswith(f"<{hub.url}/")
        target = link[1 : link.index(">")] if link else ""
    assert sorted(found) == [f"{alice.name}/page-{number}" for number in range(3)]


def test_an_unknown_property_is_refused(wire: Wire, seed: Seed) -> None:
    """Known ones are answered alone, beside the id."""
    assert wire.get(f"/api/models/{seed.repo}?expand=weather").status == 400
    for query in ("expand=sha&expand=tags", "expand[]=sha&expand[]=tags"):
        answer = wire.get(f"/api/models/{seed.repo}?{query}").json()
        assert set(answer) == {"_id", "id", "sha", "tags"}, query


def test_a_card_is_judged_in_json(wire: Wire) -> None:
    """An HTML answer here would break every upload of a README."""
    for content, status in (
        ("---\nmodel-index: foo\n---\n# Hello", 400),
        ("---\nlicense: [\n---\n", 400),
        ("# No facts", 200),
    ):
        answer = wire.ask("POST", "/api/validate-yaml", data={"content": content, "repoType": "model"})
        assert answer.status == status, content
        assert set(answer.json()) >= {"errors", "warnings"}


@pytest.mark.parametrize(
    "path", ["/api/spaces/a/b", "/api/kernels/a/b", "/api/buckets/a/b", "/api/collections", "/api/nonsense"]
)
def test_what_is_not_served_answers_in_json(path: str, wire: Wire) -> None:
    """Clients parse the body of every API answer."""
    answer = wire.get(path)
    assert answer.status == 404 and answer.json()["error"]


def test_forwarded_addresses_are_the_readers_own(anonymous: Wire, wire: Wire, seed: Seed) -> None:
    """Absolute addresses name the host that the client asked, behind a proxy too."""
    answer = wire.ask("GET", f"/api/models/{seed.repo}/xet-read-token/main", headers={"Host": "weights.example:8080"})
    assert answer.json()["casUrl"].startswith("http://weights.example:8080/")
    assert answer.headers["X-Xet-Cas-Url"] == answer.json()["casUrl"]
