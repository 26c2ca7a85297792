"""The buckets of the fake Hub: files in Xet storage, which is a local folder.

The Xet client of the test's process stores the chunks of a file in the folder, as it would send
them to the Hub's storage.
"""

import json
import tempfile
from pathlib import Path
from typing import ClassVar

import hf_xet
from huggingface_hub.utils._xet import get_xet_session

from tests.storage.hub_server import REPOSITORY, ROUTES, Handler, Route

__all__ = ["BucketHandler"]

# In the year 2100.
EXPIRATION = 4102444800


class BucketHandler(Handler):
    """The routes of buckets; `/api/buckets/ORG/NAME` exists once a test adds it to `buckets`."""

    buckets: ClassVar[dict[str, dict[str, tuple[str, bytes]]]] = {}
    """The Xet hash and the content of the files by path, of each bucket."""
    store: ClassVar[Path]

    def bucket_info(self, name: str) -> None:
        if name not in self.buckets:
            return self._missing("RepoNotFound")
        info = {"id": name, "private": True, "size": 0, "totalFiles": len(self.buckets[name])}
        return self._json({**info, "createdAt": "2026-01-01T00:00:00.000Z"})

    def xet_token(self, _name: str) -> None:
        url = f"local://{self.store}"
        self._send(
            200,
            json.dumps({"casUrl": url, "exp": EXPIRATION, "accessToken": "x"}).encode(),
            {
                "X-Xet-Cas-Url": url,
                "X-Xet-Access-Token": "x",
                "X-Xet-Token-Expiration": str(EXPIRATION),
            },
        )

    def bucket_batch(self, name: str) -> None:
        files = self.buckets[name]
        for line in self.body.splitlines():
            operation = json.loads(line)
            if operation["type"] == "addFile":
                xet_hash = operation["xetHash"]
                files[operation["path"]] = (xet_hash, self._stored(xet_hash))
            else:
                del files[operation["path"]]
        self._json({"failed": []})

    def _stored(self, xet_hash: str) -> bytes:
        """Return the content that the client has stored."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "file")
            session = get_xet_session()  # type: ignore[no-untyped-call]
            with session.new_file_download_group(
                endpoint=f"local://{self.store}",
                token="x",
                token_expiry_unix_secs=EXPIRATION,
                token_refresh_url=f"http://{self.headers['Host']}/api/buckets/x/y/xet-read-token",
                token_refresh_headers={"authorization": self.headers["Authorization"]},
                custom_headers={},
            ) as group:
                group.start_download_file(hf_xet.XetFileInfo(xet_hash), str(path))
            return path.read_bytes()

    def bucket_tree(self, name: str, folder: str | None) -> None:
        prefix = f"{folder}/" if folder else ""
        entries: list[dict[str, object]] = []
        folders = set[str]()
        for path in sorted(self.buckets[name]):
            if not path.startswith(prefix):
                continue
            child, slash, _ = path.removeprefix(prefix).partition("/")
            if not slash:
                entries.append(self._bucket_file(name, path))
            folders.update({prefix + child} if slash else ())
        entries += [{"type": "directory", "path": path} for path in sorted(folders)]
        self._json(entries)

    def bucket_paths_info(self, name: str) -> None:
        paths = json.loads(self.body)["paths"]
        self._json([self._bucket_file(name, path) for path in paths if path in self.buckets[name]])

    def _bucket_file(self, name: str, path: str) -> dict[str, object]:
        xet_hash, content = self.buckets[name][path]
        return {"type": "file", "path": path, "size": len(content), "xetHash": xet_hash}

    def bucket_resolve(self, name: str, path: str) -> None:
        if path not in self.buckets[name]:
            return self._missing("EntryNotFound")
        return self._send_range(self.buckets[name][path][1], {})


BUCKET = f"/api/buckets/{REPOSITORY}"
BUCKET_ROUTES: list[Route] = [
    ({"GET"}, BUCKET, BucketHandler.bucket_info),
    ({"GET"}, f"{BUCKET}/xet-(?:write|read)-token", BucketHandler.xet_token),
    ({"POST"}, f"{BUCKET}/batch", BucketHandler.bucket_batch),
    ({"GET"}, f"{BUCKET}/tree(?:/([^/]+))?", BucketHandler.bucket_tree),
    ({"POST"}, f"{BUCKET}/paths-info", BucketHandler.bucket_paths_info),
    ({"GET"}, f"/buckets/{REPOSITORY}/resolve/(.+)", BucketHandler.bucket_resolve),
]
BucketHandler.routes = [*ROUTES, *BUCKET_ROUTES]
