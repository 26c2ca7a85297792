"""A fake Hugging Face Hub: the part of its HTTP API that creates and reads dataset repositories.

`serving` runs it in a thread on a free port of 127.0.0.1. It stores everything in memory, and
injects the faults of `Hub.faults` into its responses.
"""

import base64
import hashlib
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

from huggingface_hub.utils.sha import git_hash

__all__ = [
    "GOOD_TOKEN",
    "REPOSITORY",
    "ROUTES",
    "SIGNATURE",
    "Fault",
    "Handler",
    "Hub",
    "Repository",
    "serving",
]

GOOD_TOKEN = "hf_good"
SIGNATURE = "c4n4ry-signature"
"""A secret in the links of uploads."""
MAIN = "main"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault of the first request whose verb and path match the pattern, such as `PUT /lfs/.*`."""

    pattern: str
    status: int = 0
    """The status of the response; 0 closes the connection in the middle of the request."""
    headers: Mapping[str, str] = field(default_factory=dict)
    is_served: bool = False
    """Whether the request has its effect, and only the response is lost."""


@dataclass(frozen=True)
class Commit:
    """The files of a commit, and what it changed."""

    sha: str
    files: Mapping[str, bytes]
    operations: list[str]


@dataclass
class Repository:
    """The commits of a repository, its branches and its tags."""

    visibility: str
    commits: list[Commit] = field(default_factory=list)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def commit(self, branch: str, files: Mapping[str, bytes], operations: list[str]) -> str:
        """Add a commit to a branch, and return its name."""
        # Only uniqueness per commit matters.
        sha = hashlib.sha1(str(len(self.commits)).encode()).hexdigest()
        self.commits.append(Commit(sha, files, operations))
        self.branches[branch] = sha
        return sha

    def at(self, revision: str) -> Commit | None:
        """Return the commit of a branch, a tag or a name of a commit."""
        sha = self.branches.get(revision) or self.tags.get(revision) or revision
        for commit in self.commits:
            if commit.sha == sha:
                return commit
        return None

    def changes(self) -> list[list[str]]:
        """Return the operations of all commits but the first one, which creates the repository."""
        return [commit.operations for commit in self.commits[1:]]


@dataclass
class Hub:
    """The content of the server, and the requests that it received."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    """Verb and path of each request."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take_fault(self, request: str) -> Fault | None:
        """Remove and return the first fault that is meant for a request."""
        with self.lock:
            self.requests.append(request)
            for fault in self.faults:
                if re.fullmatch(fault.pattern, request):
                    self.faults.remove(fault)
                    return fault
        return None

    def count(self, pattern: str) -> int:
        """Return the number of received requests that match a pattern."""
        return sum(re.fullmatch(pattern, request) is not None for request in self.requests)


class Handler(BaseHTTPRequestHandler):
    """Dispatches requests to the routes, which respond with JSON or with the bytes of a file."""

    protocol_version = "HTTP/1.1"
    hub: Hub
    routes: "ClassVar[list[Route]]"

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
        path = urlsplit(self.path).path
        fault = self.hub.take_fault(f"{verb} {unquote(path)}")
        size = int(self.headers.get("Content-Length") or 0)
        if fault is not None and not fault.is_served and not fault.status:
            self.rfile.read(size // 2)
            return self._drop()
        self.body = self.rfile.read(size)
        self.is_answered = fault is None or not fault.is_served
        if fault is None:
            return self._serve(verb, path)
        if fault.is_served:
            self._serve(verb, path)
            return self._drop()
        return self._send(fault.status, b"{}", fault.headers)

    def _drop(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _serve(self, verb: str, path: str) -> None:
        # Uploads of large files have their own links.
        public = path.startswith("/lfs/")
        if not public and self.headers.get("Authorization") != f"Bearer {GOOD_TOKEN}":
            return self._send(
                401, b'{"error": "Invalid credentials"}', {"X-Error-Message": "Invalid credentials"}
            )
        for verbs, pattern, act in self.routes:
            match = re.fullmatch(pattern, path)
            if match and verb in verbs:
                groups = [None if group is None else unquote(group) for group in match.groups()]
                return act(self, *groups)
        return self._missing("EntryNotFound")

    def _json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _missing(self, code: str) -> None:
        self._send(404, b"{}", {"X-Error-Code": code})

    def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        if not self.is_answered:
            return
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def create(self) -> None:
        request = json.loads(self.body)
        name = f"{request['organization']}/{request['name']}"
        url = f"http://{self.headers['Host']}/datasets/{name}"
        if name in self.hub.repositories:
            error = {"error": "You already created this dataset repo", "url": url}
            return self._send(409, json.dumps(error).encode(), {})
        repository = Repository(request["visibility"])
        repository.commit(MAIN, {".gitattributes": b"*.parquet filter=lfs\n"}, [])
        self.hub.repositories[name] = repository
        return self._json({"url": url})

    def validate_yaml(self) -> None:
        self._json({"errors": [], "warnings": []})

    def create_branch(self, name: str, branch: str) -> None:
        repository = self.hub.repositories[name]
        if branch in repository.branches:
            return self._send(409, b'{"error": "Reference already exists"}', {})
        repository.branches[branch] = repository.branches[MAIN]
        return self._json({})

    def create_tag(self, name: str, revision: str) -> None:
        repository = self.hub.repositories[name]
        tag = json.loads(self.body)["tag"]
        if tag in repository.tags:
            return self._send(409, b'{"error": "Reference already exists"}', {})
        commit = repository.at(revision)
        assert commit is not None
        repository.tags[tag] = commit.sha
        return self._json({})

    def references(self, name: str) -> None:
        repository = self.hub.repositories.get(name)
        if repository is None:
            return self._missing("RepoNotFound")
        branches = [_reference("heads", *item) for item in repository.branches.items()]
        tags = [_reference("tags", *item) for item in repository.tags.items()]
        return self._json({"branches": branches, "tags": tags, "converts": []})

    def preupload(self, name: str, revision: str) -> None:
        commit = self.hub.repositories[name].at(revision)
        assert commit is not None
        entries = []
        for file in json.loads(self.body)["files"]:
            path = file["path"]
            mode = "lfs" if path.endswith(".parquet") else "regular"
            entry = {"path": path, "uploadMode": mode, "shouldIgnore": False}
            content = commit.files.get(path)
            if content is not None:
                is_lfs = mode == "lfs"
                entry["oid"] = hashlib.sha256(content).hexdigest() if is_lfs else git_hash(content)
            entries.append(entry)
        self._json({"files": entries})

    def lfs_batch(self) -> None:
        url = f"http://{self.headers['Host']}/lfs"
        objects = []
        for item in json.loads(self.body)["objects"]:
            if item["oid"] in self.hub.blobs:
                objects.append(item)
                continue
            actions = {
                "upload": {"href": f"{url}/{item['oid']}?X-Amz-Signature={SIGNATURE}"},
                "verify": {"href": f"{url}/verify"},
            }
            objects.append({**item, "actions": actions})
        self._json({"transfer": "basic", "objects": objects})

    def lfs_put(self, oid: str) -> None:
        assert hashlib.sha256(self.body).hexdigest() == oid
        self.hub.blobs[oid] = self.body
        self._send(200, b"", {})

    def lfs_verify(self) -> None:
        is_uploaded = json.loads(self.body)["oid"] in self.hub.blobs
        self._send(200 if is_uploaded else 404, b"", {})

    def commit(self, name: str, branch: str) -> None:
        repository = self.hub.repositories[name]
        parent = repository.at(branch)
        assert parent is not None
        files = dict(parent.files)
        operations = []
        for line in self.body.splitlines():
            operation = json.loads(line)
            key = operation["key"]
            value = operation["value"]
            if key == "header" and value.get("parentCommit", parent.sha) != parent.sha:
                return self._send(412, b'{"error": "A commit has happened since"}', {})
            self._apply(files, key, value)
            if key != "header":
                operations.append(f"{key} {value['path']}")
        sha = repository.commit(branch, files, operations)
        url = f"http://{self.headers['Host']}/datasets/{name}/commit/{sha}"
        return self._json({"commitUrl": url, "commitOid": sha})

    def _apply(self, files: dict[str, bytes], key: str, value: dict[str, Any]) -> None:
        if key == "file":
            files[value["path"]] = base64.b64decode(value["content"])
        elif key == "lfsFile":
            files[value["path"]] = self.hub.blobs[value["oid"]]
        elif key == "deletedFile":
            del files[value["path"]]

    def _commit_at(self, name: str, revision: str | None) -> Commit | None:
        """Return the commit of a revision; without one, the response says what is missing."""
        repository = self.hub.repositories.get(name)
        if repository is None:
            self._missing("RepoNotFound")
            return None
        commit = repository.at(revision or MAIN)
        if commit is None:
            self._missing("RevisionNotFound")
        return commit

    def info(self, name: str, revision: str | None) -> None:
        commit = self._commit_at(name, revision)
        if commit is None:
            return None
        siblings = [{"rfilename": path} for path in sorted(commit.files)]
        return self._json(
            {"id": name, "sha": commit.sha, "private": True, "siblings": siblings, "tags": []}
        )

    def tree(self, name: str, revision: str, folder: str | None) -> None:
        commit = self._commit_at(name, revision)
        if commit is None:
            return None
        files = commit.files
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

    def paths_info(self, name: str, revision: str) -> None:
        commit = self._commit_at(name, revision)
        if commit is None:
            return None
        file_entries = []
        folder_entries = []
        for path in parse_qs(self.body.decode())["paths"]:
            if path in commit.files:
                file_entries.append(_file(path, commit.files[path]))
            if any(file.startswith(f"{path}/") for file in commit.files):
                folder_entries.append(_directory(path))
        return self._json(file_entries + folder_entries)

    def resolve(self, name: str, revision: str, path: str) -> None:
        commit = self._commit_at(name, revision)
        if commit is None:
            return None
        if path not in commit.files:
            return self._missing("EntryNotFound")
        content = commit.files[path]
        headers = {
            "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
            "X-Repo-Commit": commit.sha,
            "Accept-Ranges": "bytes",
        }
        return self._send_range(content, headers)

    def _send_range(self, content: bytes, headers: dict[str, str]) -> None:
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if span:
            first = int(span[1])
            last = min(int(span[2] or len(content)), len(content) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
            return self._send(206, content[first : last + 1], headers)
        return self._send(200, content, headers)


def _reference(kind: str, name: str, sha: str) -> dict[str, str]:
    return {"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": sha}


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
DATASET = f"/api/datasets/{REPOSITORY}"
# A branch, a tag or a commit; `/` in a name is quoted.
REVISION = "([^/]+)"
Route = tuple[set[str], str, Callable[..., None]]
"""The verbs and the pattern of the path of a request, and its handler."""
ROUTES: list[Route] = [
    ({"POST"}, "/api/repos/create", Handler.create),
    ({"POST"}, "/api/validate-yaml", Handler.validate_yaml),
    ({"POST"}, f"{DATASET}/branch/{REVISION}", Handler.create_branch),
    ({"POST"}, f"{DATASET}/tag/{REVISION}", Handler.create_tag),
    ({"GET"}, f"{DATASET}/refs", Handler.references),
    ({"POST"}, f"{DATASET}/preupload/{REVISION}", Handler.preupload),
    ({"POST"}, rf"/datasets/{REPOSITORY[1:-1]}\.git/info/lfs/objects/batch", Handler.lfs_batch),
    ({"PUT"}, r"/lfs/(\w+)", Handler.lfs_put),
    ({"POST"}, "/lfs/verify", Handler.lfs_verify),
    ({"POST"}, f"{DATASET}/commit/{REVISION}", Handler.commit),
    ({"GET"}, f"{DATASET}(?:/revision/{REVISION})?", Handler.info),
    ({"GET"}, f"{DATASET}/tree/{REVISION}(/.*)?", Handler.tree),
    ({"POST"}, f"{DATASET}/paths-info/{REVISION}", Handler.paths_info),
    ({"GET", "HEAD"}, f"/datasets/{REPOSITORY}/resolve/{REVISION}/(.+)", Handler.resolve),
]


Handler.routes = ROUTES


@contextmanager
def serving(handler_class: type[Handler] = Handler) -> Iterator[tuple[str, Hub]]:
    """Serve an empty Hub while the block runs; yield its address and its content."""
    hub = Hub()
    handler = type("BoundHandler", (handler_class,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", hub
        finally:
            server.shutdown()
            thread.join()
