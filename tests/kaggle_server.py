"""A server on this machine that answers as Kaggle does, to which `kagglehub` talks for real.

It answers `GetModelInstance`, `ListModelInstanceVersionFiles` and `DownloadModelInstanceVersion`, which sends people
elsewhere for the bytes, and does wrong what a test wants.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

SIGNATURE = "X-Goog-Signature=5ec2e7"  # of the addresses of files: nobody may show it
TOKEN = "KGAT_5ec2e7"


class Kaggle:
    """The server.

    Attributes:
        url: where it is.
        models: "OWNER/MODEL/VARIATION" -> version -> its files.
        licence: of all of them.
        asked: what was asked for -> how often.
        tokens: what came as credentials.
        status: what every request is answered with instead; None: what is asked for.
        page: whether every request is answered with a page for people.
        cut: file -> the bytes of it after which the connection is closed.
        damaged: files whose hash is another.
    """

    def __init__(self) -> None:
        self.url = ""
        self.forget()

    def forget(self) -> None:
        """Be as at the beginning."""
        self.models: dict[str, dict[int, Mapping[str, bytes]]] = {}
        self.licence = "Apache 2.0"
        self.asked: Counter[str] = Counter()
        self.tokens: set[str | None] = set()
        self.status: int | None = None
        self.page = False
        self.cut: dict[str, int] = {}
        self.damaged: set[str] = set()


@contextmanager
def kaggle_server() -> Iterator[Kaggle]:
    """Run the server while the block runs."""
    kaggle = Kaggle()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("_Handler", (_Answers,), {"kaggle": kaggle}))
    kaggle.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield kaggle
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def use_kaggle(patch: pytest.MonkeyPatch, url: str, cache: Path) -> None:
    """Let `kagglehub` ask this server, keep what it fetches in `cache`, and find no credentials but a made-up token."""
    from kagglesdk import kaggle_env

    patch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, url)
    for name in ("KAGGLE_API_ENVIRONMENT", "KAGGLE_USERNAME", "KAGGLE_KEY"):
        patch.delenv(name, raising=False)
    patch.setenv("KAGGLEHUB_CACHE", str(cache))
    patch.setenv("KAGGLE_CONFIG_DIR", str(cache / "config"))
    patch.setenv("KAGGLE_API_TOKEN", TOKEN)


class _Answers(BaseHTTPRequestHandler):
    kaggle: Kaggle

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        what = self.path.rpartition("/")[2]
        self.kaggle.asked[what] += 1
        self.kaggle.tokens.add(self.headers["Authorization"])
        name = "/".join(asked[key] for key in ("ownerSlug", "modelSlug", "instanceSlug"))
        versions = self.kaggle.models.get(name, {})
        files = versions.get(asked.get("versionNumber", max(versions, default=0)))
        if self.kaggle.page:
            self._say(200, b"<html>Log in to this network</html>", "text/html")
        elif self.kaggle.status is not None or files is None:
            self._say(self.kaggle.status or 404, {"message": f"no, see {self.kaggle.url}/?{SIGNATURE}"})
        elif what == "GetModelInstance":
            self._say(200, {"versionNumber": max(versions), "licenseName": self.kaggle.licence})
        elif what == "ListModelInstanceVersionFiles":
            self._say(200, {"files": [{"name": file} for file in files]})
        else:
            self.send_response(302)
            self.send_header("Location", f"/{name}/{asked['versionNumber']}/{asked['path']}?{SIGNATURE}")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def do_GET(self) -> None:
        owner, model, variation, version, file = self.path.partition("?")[0].strip("/").split("/", 4)
        content = self.kaggle.models[f"{owner}/{model}/{variation}"][int(version)][file]
        hashed = content + b"?" if file in self.kaggle.damaged else content
        md5 = base64.b64encode(hashlib.md5(hashed, usedforsecurity=False).digest()).decode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("x-goog-hash", f"crc32c=AAAAAA==,md5={md5}")
        self.end_headers()
        self.wfile.write(content[: self.kaggle.cut.get(file, len(content))])

    def _say(self, status: int, answer: dict[str, Any] | bytes, kind: str = "application/json") -> None:
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
