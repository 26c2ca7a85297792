"""A fake Hugging Face Hub: the part of its HTTP API that creates and reads dataset repositories.

As a program it serves on a free port of 127.0.0.1, prints the address, and exits when its standard
input is closed. It stores everything in memory. `GET /log` returns the repositories and commits,
for assertions of tests.
"""

import base64
import hashlib
import json
import re
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

__all__ = ["main"]

GOOD_TOKEN = "hf_good"


@dataclass
class Repository:
    """The files of the last commit and the visibility."""

    visibility: str
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[list[str]] = field(default_factory=list)

    @property
    def sha(self) -> str:
        # Only uniqueness per commit matters.
        return hashlib.sha1(str(len(self.commits)).encode()).hexdigest()


@dataclass
class Hub:
    repositories: dict[str, Repository] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)


class Handler(BaseHTTPRequestHandler):
    """Dispatches requests to the routes, which respond with JSON or with the bytes of a file."""

    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: object) -> None:
        return

    def do_GET(self) -> None:
        self._route("GET")

    def do_HEAD(self) -> None:
        self._route("HEAD")

    def do_POST(self) -> None:
        self._route("POST")

    def do_PUT(self) -> None:
        self._route("PUT")

    def _route(self, verb: str) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        # Uploads of large files have their own links, and tests read the log without a token.
        public = path.startswith(("/lfs/", "/log"))
        if not public and self.headers.get("Authorization") != f"Bearer {GOOD_TOKEN}":
            return self._send(
                401, b'{"error": "Invalid credentials"}', {"X-Error-Message": "Invalid credentials"}
            )
        for verbs, pattern, act in ROUTES:
            match = re.fullmatch(pattern, path)
            if match and verb in verbs:
                return act(self, *match.groups())
        return self._missing("EntryNotFound")

    def _json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _missing(self, code: str) -> None:
        self._send(404, b"{}", {"X-Error-Code": code})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log(self) -> None:
        log = {}
        for name, repository in self.hub.repositories.items():
            log[name] = {"visibility": repository.visibility, "commits": repository.commits}
        self._json(log)

    def create(self) -> None:
        request = json.loads(self.body)
        name = f"{request['organization']}/{request['name']}"
        url = f"http://{self.headers['Host']}/datasets/{name}"
        if name in self.hub.repositories:
            error = {"error": "You already created this dataset repo", "url": url}
            return self._send(409, json.dumps(error).encode(), {})
        files = {".gitattributes": b"*.parquet filter=lfs\n"}
        self.hub.repositories[name] = Repository(request["visibility"], files)
        return self._json({"url": url})

    def validate_yaml(self) -> None:
        self._json({"errors": [], "warnings": []})

    def preupload(self, _name: str) -> None:
        files = []
        for file in json.loads(self.body)["files"]:
            mode = "lfs" if file["path"].endswith(".parquet") else "regular"
            files.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False})
        self._json({"files": files})

    def lfs_batch(self) -> None:
        url = f"http://{self.headers['Host']}/lfs"
        objects = []
        for item in json.loads(self.body)["objects"]:
            actions = {
                "upload": {"href": f"{url}/{item['oid']}"},
                "verify": {"href": f"{url}/verify"},
            }
            objects.append({**item, "actions": actions})
        self._json({"transfer": "basic", "objects": objects})

    def lfs_put(self, oid: str) -> None:
        self.hub.blobs[oid] = self.body
        self._send(200, b"", {})

    def lfs_verify(self) -> None:
        is_uploaded = json.loads(self.body)["oid"] in self.hub.blobs
        self._send(200 if is_uploaded else 404, b"", {})

    def commit(self, name: str) -> None:
        repository = self.hub.repositories[name]
        descriptions = []
        for line in self.body.splitlines():
            operation = json.loads(line)
            key = operation["key"]
            value = operation["value"]
            self._apply(repository, key, value)
            descriptions.append(f"{key} {value.get('path', '')}".strip())
        repository.commits.append(descriptions)
        url = f"http://{self.headers['Host']}/datasets/{name}/commit/{repository.sha}"
        self._json({"commitUrl": url, "commitOid": repository.sha})

    def _apply(self, repository: Repository, key: str, value: dict[str, Any]) -> None:
        if key == "file":
            repository.files[value["path"]] = base64.b64decode(value["content"])
        elif key == "lfsFile":
            repository.files[value["path"]] = self.hub.blobs[value["oid"]]
        elif key == "deletedFile":
            del repository.files[value["path"]]

    def info(self, name: str) -> None:
        repository = self.hub.repositories.get(name)
        if repository is None:
            return self._missing("RepoNotFound")
        siblings = [{"rfilename": path} for path in sorted(repository.files)]
        return self._json(
            {"id": name, "sha": repository.sha, "private": True, "siblings": siblings, "tags": []}
        )

    def tree(self, name: str, folder: str | None) -> None:
        files = self.hub.repositories[name].files
        prefix = f"{folder.strip('/')}/" if folder else ""
        paths = sorted(path for path in files if path.startswith(prefix))
        if not paths:
            return self._missing("EntryNotFound")
        folders = set()
        if "recursive=true" in self.path.lower():
            folders = {path.rpartition("/")[0] for path in paths} - {"", prefix.strip("/")}
        else:
            nested = [path for path in paths if "/" in path.removeprefix(prefix)]
            for path in nested:
                folders.add(prefix + path.removeprefix(prefix).partition("/")[0])
                paths.remove(path)
        entries = [_directory(path) for path in sorted(folders)]
        entries += [_file(path, files[path]) for path in paths]
        return self._json(entries)

    def paths_info(self, name: str) -> None:
        files = self.hub.repositories[name].files
        file_entries = []
        folder_entries = []
        for path in parse_qs(self.body.decode())["paths"]:
            if path in files:
                file_entries.append(_file(path, files[path]))
            if any(file.startswith(f"{path}/") for file in files):
                folder_entries.append(_directory(path))
        self._json(file_entries + folder_entries)

    def resolve(self, name: str, path: str) -> None:
        repository = self.hub.repositories[name]
        if path not in repository.files:
            return self._missing("EntryNotFound")
        content = repository.files[path]
        headers = {
            "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
            "X-Repo-Commit": repository.sha,
            "Accept-Ranges": "bytes",
        }
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if span:
            first = int(span[1])
            last = min(int(span[2] or len(content)), len(content) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
            return self._send(206, content[first : last + 1], headers)
        return self._send(200, content, headers)


def _file(path: str, content: bytes) -> dict[str, object]:
    return {
        "type": "file",
        "path": path,
        "size": len(content),
        "oid": hashlib.sha1(content).hexdigest(),
    }


def _directory(path: str) -> dict[str, object]:
    return {
        "type": "directory",
        "path": path,
        "oid": hashlib.sha1(path.encode()).hexdigest(),
        "size": 0,
    }


REPOSITORY = r"([\w.-]+/[\w.-]+)"
ROUTES: list[tuple[set[str], str, Callable[..., None]]] = [
    ({"GET"}, "/log", Handler.log),
    ({"POST"}, "/api/repos/create", Handler.create),
    ({"POST"}, "/api/validate-yaml", Handler.validate_yaml),
    ({"POST"}, rf"/api/datasets/{REPOSITORY}/preupload/[^/]+", Handler.preupload),
    ({"POST"}, rf"/datasets/{REPOSITORY[1:-1]}\.git/info/lfs/objects/batch", Handler.lfs_batch),
    ({"PUT"}, r"/lfs/(\w+)", Handler.lfs_put),
    ({"POST"}, "/lfs/verify", Handler.lfs_verify),
    ({"POST"}, rf"/api/datasets/{REPOSITORY}/commit/[^/]+", Handler.commit),
    ({"GET"}, rf"/api/datasets/{REPOSITORY}(?:/revision/[^/]+)?", Handler.info),
    ({"GET"}, rf"/api/datasets/{REPOSITORY}/tree/[^/]+(/.*)?", Handler.tree),
    ({"POST"}, rf"/api/datasets/{REPOSITORY}/paths-info/[^/]+", Handler.paths_info),
    ({"GET", "HEAD"}, rf"/datasets/{REPOSITORY}/resolve/[^/]+/(.+)", Handler.resolve),
]


def main() -> None:
    """Serve until standard input ends."""
    Handler.hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(f"http://127.0.0.1:{server.server_port}\n")
    sys.stdout.flush()
    sys.stdin.read()
    server.shutdown()


if __name__ == "__main__":
    main()
