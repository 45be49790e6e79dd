"""A server on this machine in the layout of the Hugging Face Hub, to which `huggingface_hub` talks for real.

It answers `/api/models/ORG/NAME[/revision/REV]` and `/ORG/NAME/resolve/REV/FILE`, which sends large files elsewhere, as
the Hub does; it counts what is asked for and sent, and does wrong what a test wants.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from tests.conftest import PATIENCE

LARGE = ".onnx", ".safetensors", ".bin"  # what lies in Git LFS
SIGNATURE = "X-Amz-Signature=5ec2e7"  # of the addresses of large files: nobody may show it


@dataclass
class Hosted:
    """A repository.

    Attributes:
        commits: commit -> its files.
        refs: branch or tag -> commit.
        licence: what its card says.
        gated: whether its files are for those alone who asked.
        private: the token that reads it; None: everybody does.
        lfs: whether large files lie in Git LFS.
    """

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    licence: str | None = "apache-2.0"
    gated: bool = False
    private: str | None = None
    lfs: bool = True

    def commit(self, files: Mapping[str, bytes], branch: str = "main") -> str:
        """Commit these files, which are all that there are, and move a branch to them; return the commit."""
        said = json.dumps([len(self.commits), {name: git_hash(each) for name, each in files.items()}])
        commit = hashlib.sha1(said.encode()).hexdigest()
        self.commits[commit] = dict(files)
        self.refs[branch] = commit
        return commit

    def find(self, revision: str) -> str | None:
        """Return the commit of a branch, a tag or a commit."""
        return revision if revision in self.commits else self.refs.get(revision)


class Hub:
    """The server.

    Attributes:
        url: what HF_ENDPOINT is set to.
        repositories: "ORG/NAME" -> what it holds.
        asked: (method, path without its query) -> how often.
        sent: file of a repository -> bytes of it that were sent.
        tokens: the tokens that came with the requests, "" where none did.
        status: what every request is answered with instead; None: what is asked for.
        cut: file -> the bytes of it that are sent, as if there were no more.
        broken: file -> the bytes of it after which the connection is closed, once.
        answers: cleared, nothing is answered until it is set.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Hosted] = {}
        self.asked: Counter[tuple[str, str]] = Counter()
        self.sent: Counter[str] = Counter()
        self.tokens: list[str] = []
        self.status: int | None = None
        self.cut: dict[str, int] = {}
        self.broken: dict[str, int] = {}
        self.answers = threading.Event()
        self.answers.set()
        self.url = ""

    def add(self, name: str, files: Mapping[str, bytes], **said: Any) -> Hosted:
        """Host a repository of one commit, on its branch `main`."""
        hosted = self.repositories[name] = Hosted(**said)
        hosted.commit(files)
        return hosted

    def forget(self) -> None:
        """Count from nothing again."""
        self.asked.clear()
        self.sent.clear()
        self.tokens.clear()


def git_hash(content: bytes) -> str:
    """Return the name that git gives to a file of this content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@contextmanager
def hub_server() -> Iterator[Hub]:
    """Run a server on a free port until the block ends."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.answers.set()
        server.shutdown()
        server.server_close()
        thread.join()


def use_hub(patch: pytest.MonkeyPatch, url: str, home: Path, *, offline: bool = False) -> None:
    """Let `huggingface_hub` of this process talk to a server, and keep its files below `home`.

    It reads the environment when it is imported, so its constants are what counts here; what a process of its own does
    by HF_ENDPOINT, HF_HOME, HF_TOKEN and HF_HUB_OFFLINE is tested in one.
    """
    from huggingface_hub import constants

    patch.setattr(constants, "ENDPOINT", url)
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
    patch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    patch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    patch.setattr(constants, "AGENT_HARNESSES_PATH", str(home / "harnesses.json"), raising=False)
    patch.setattr(constants, "HF_HUB_OFFLINE", offline)
    for name in ("HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT"):
        patch.setattr(constants, name, int(PATIENCE))
    patch.delenv("HF_TOKEN", raising=False)
    patch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def handle(self) -> None:
        with suppress(ConnectionError):  # who asked is gone: it waits no longer
            super().handle()

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if not path.startswith("/api/agent-"):  # the library asks once a day which programs call it
            self.hub.asked[self.command, path] += 1
        self.hub.tokens.append(self.headers.get("Authorization", "").removeprefix("Bearer "))
        self.hub.answers.wait(PATIENCE)
        if self.hub.status is not None:
            self._refuse(self.hub.status)
        elif path.startswith("/api/models/"):
            self._tell(*path.removeprefix("/api/models/").partition("/revision/")[::2])
        elif path.startswith("/lfs/"):
            self._send_large(path.removeprefix("/lfs/"))
        else:
            name, _, rest = path.lstrip("/").partition("/resolve/")
            self._resolve(name, rest)

    def _hosted(self, name: str) -> Hosted | None:
        """Return a repository that may be read, or answer and return None: a private one is as if there were none."""
        hosted = self.hub.repositories.get(name)
        if hosted is None or hosted.private not in (None, self.hub.tokens[-1]):
            self._refuse(404 if self.hub.tokens[-1] else 401, "RepoNotFound")
            return None
        return hosted

    def _tell(self, name: str, revision: str) -> None:
        hosted = self._hosted(name)
        commit = hosted.find(revision or "main") if hosted else None
        if hosted and commit is None:
            self._refuse(404, "RevisionNotFound")
        elif hosted and commit:
            files = [_sibling(hosted, file, content) for file, content in hosted.commits[commit].items()]
            card = {"license": hosted.licence} if hosted.licence else {}
            told = {"id": name, "sha": commit, "siblings": files, "cardData": card, "gated": hosted.gated}
            self._send(200, json.dumps(told).encode(), {"Content-Type": "application/json"})

    def _resolve(self, name: str, rest: str) -> None:
        hosted = self._hosted(name)
        if hosted is None:
            return
        revision = next((each for each in (*hosted.refs, *hosted.commits) if rest.startswith(f"{each}/")), None)
        if revision is None:
            return self._refuse(404, "RevisionNotFound")
        commit, file = hosted.find(revision) or "", rest.removeprefix(f"{revision}/")
        content = hosted.commits[commit].get(file)
        if content is None:
            return self._refuse(404, "EntryNotFound")
        if hosted.gated:
            return self._refuse(403 if self.hub.tokens[-1] else 401, "GatedRepo")
        said = {"X-Repo-Commit": commit, "ETag": f'"{git_hash(content)}"'}
        if not _is_large(hosted, file):
            return self._send_file(f"{name}/{file}", content, said)
        digest = hashlib.sha256(content).hexdigest()
        linked = {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(content))}
        port = urlsplit(self.hub.url).port  # another host, as it is on the Hub
        place = f"http://localhost:{port}/lfs/{name}/{commit}/{file}?{SIGNATURE}"
        return self._send(302, b"", {**said, **linked, "Location": place})

    def _send_large(self, path: str) -> None:
        organisation, name, commit, file = path.split("/", 3)
        content = self.hub.repositories[f"{organisation}/{name}"].commits[commit][file]
        if SIGNATURE not in self.path:
            return self._refuse(403)
        return self._send_file(f"{organisation}/{name}/{file}", content, {})

    def _send_file(self, file: str, content: bytes, headers: Mapping[str, str]) -> None:
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        sent = content[start : self.hub.cut.get(file)]
        ranged = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if start else {}
        breaks = self.hub.broken.pop(file, None) if self.command == "GET" else None
        self.hub.sent[file] += len(sent) if self.command == "GET" else 0
        self._send(206 if start else 200, sent, {**headers, **ranged, "Accept-Ranges": "bytes"}, breaks)

    def _refuse(self, status: int, code: str = "") -> None:
        said = {"X-Error-Code": code, "X-Error-Message": f"{code or status}"} if code else {}
        self._send(status, b"{}", {**said, "Content-Type": "application/json"})

    def _send(self, status: int, content: bytes, headers: Mapping[str, str], breaks: int | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content[:breaks])
        if breaks is not None:
            self.close_connection = True


def _is_large(hosted: Hosted, file: str) -> bool:
    return hosted.lfs and file.endswith(LARGE)


def _sibling(hosted: Hosted, file: str, content: bytes) -> dict[str, object]:
    told: dict[str, object] = {"rfilename": file, "size": len(content), "blobId": git_hash(content)}
    if _is_large(hosted, file):
        told["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
    return told
