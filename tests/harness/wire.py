"""Raw requests, for what the tests say about status codes and headers, and to fill a repository without a client."""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Answer:
    """One response, read whole."""

    status: int
    headers: Message
    body: bytes

    def json(self) -> Any:
        """The body, which must be JSON."""
        assert self.headers.get_content_type().endswith("json"), (
            self.status,
            self.headers.get_content_type(),
            self.body[:200],
        )
        return json.loads(self.body)

    @property
    def code(self) -> str | None:
        """`X-Error-Code`, by which clients tell errors apart."""
        return self.headers["X-Error-Code"]


@dataclass(frozen=True)
class Wire:
    """A hub, and who asks it."""

    url: str
    token: str | None = None

    def ask(
        self,
        method: str,
        target: str,
        *,
        data: Any = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Sends one request (`data` as JSON, or `body` as it is) and follows no redirect."""
        place = urlsplit(target if target.startswith("http") else self.url + target)
        sent = dict(headers or {})
        if self.token is not None and not target.startswith("http"):
            sent.setdefault("Authorization", f"Bearer {self.token}")
        if data is not None:
            body = json.dumps(data).encode()
            sent.setdefault("Content-Type", "application/json")
        connection = HTTPConnection(place.netloc, timeout=60)
        try:
            path = f"{place.path}?{place.query}" if place.query else place.path
            connection.request(method, path, body=body, headers=sent)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def get(self, target: str, **headers: str) -> Answer:
        """A GET; header names are written with underscores."""
        return self.ask("GET", target, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def create(self, repo: str, *, private: bool = False) -> Answer:
        """Creates a model repository."""
        namespace, name = repo.split("/")
        visibility = "private" if private else "public"
        return self.ask(
            "POST", "/api/repos/create", data={"name": name, "organization": namespace, "visibility": visibility}
        )

    def commit(self, repo: str, *lines: dict[str, Any], revision: str = "main", **header: str) -> Answer:
        """Commits operations, each a line of the NDJSON body as `{key: value}`."""
        first = {"header": {"summary": "Commit by the tests", "description": "", **header}}
        parsed = [{"key": key, "value": value} for line in (first, *lines) for key, value in line.items()]
        body = b"".join(json.dumps(line).encode() + b"\n" for line in parsed)
        content_type = {"Content-Type": "application/x-ndjson"}
        return self.ask("POST", f"/api/models/{repo}/commit/{revision}", body=body, headers=content_type)

    def upload_lfs(self, repo: str, content: bytes) -> dict[str, Any]:
        """Uploads one object by git-LFS (basic transfer) and returns the line that commits it, less its path."""
        oid = hashlib.sha256(content).hexdigest()
        batch = self.ask(
            "POST",
            f"/{repo}.git/info/lfs/objects/batch",
            body=json.dumps(
                {
                    "operation": "upload",
                    "transfers": ["basic"],
                    "objects": [{"oid": oid, "size": len(content)}],
                    "hash_algo": "sha256",
                }
            ).encode(),
            headers={"Content-Type": "application/vnd.git-lfs+json", "Accept": "application/vnd.git-lfs+json"},
        )
        assert batch.status == 200, (batch.status, batch.body)
        actions = batch.json()["objects"][0].get("actions")
        if actions:
            put = self.ask("PUT", actions["upload"]["href"], body=content)
            assert put.status == 200, (put.status, put.body)
        return {"algo": "sha256", "oid": oid, "size": len(content)}


def regular(path: str, content: bytes) -> dict[str, Any]:
    """The commit line of a regular file."""
    return {"file": {"path": path, "content": base64.b64encode(content).decode(), "encoding": "base64"}}
