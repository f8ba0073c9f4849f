"""A server on this machine that speaks the protocol of the Hugging Face hub, as far as models need it."""

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


class Hub:
    """Repositories in memory, served on a free port; a context manager.

    Attributes:
        url: for ``HF_ENDPOINT``.
        commits: {(repository, commit): {file name: bytes}}.
        branches: {(repository, branch): commit}.
        token: the only token that is accepted; a request without a token may read everything that is not private.
        private: names of repositories that only the token opens.
        cut_off_after: how many bytes of a file are sent before the connection breaks; None is all of them.
        num_cuts: how often that happens.
        is_down: whether every request gets the answer 503.
        requests: "METHOD path" of every request.
    """

    def __init__(self):
        self.commits, self.branches, self.private, self.requests = {}, {}, set(), []
        self.token, self.cut_off_after, self.num_cuts, self.is_down = "hf_good", None, 0, False
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def commit(self, repository, files, branch="main"):
        """Adds files to a branch, which is made if there is none; returns the new commit."""
        before = self.commits.get((repository, self.branches.get((repository, branch))), {})
        files = {**before, **files}
        digest = hashlib.sha1(repr((repository, sorted(files.items()))).encode()).hexdigest()
        self.commits[repository, digest] = files
        self.branches[repository, branch] = digest
        return digest

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub = None

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self._get()

    def do_GET(self):
        self._get()

    def do_POST(self):
        self._record()
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = urlsplit(self.path).path
        if self._token() != self.hub.token:
            return self._refuse(401, None, "Invalid credentials in Authorization header")
        if path == "/api/repos/create":
            request = json.loads(body)
            name = "/".join(filter(None, (request.get("organization"), request["name"])))
            name = name if "/" in name else f"user/{name}"
            if any(repository == name for repository, _ in self.hub.branches):
                return self._json({"url": f"{self.hub.url}/{name}"}, 409)
            self.hub.commit(name, {})
            return self._json({"url": f"{self.hub.url}/{name}"})
        if path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        match = re.fullmatch(r"/api/models/([\w.-]+/[\w.-]+)/(preupload|commit)/([^/]+)", path)
        if not match:
            return self._refuse(404, None, "not found")
        repository, action, branch = match.groups()
        if action == "preupload":
            files = [file["path"] for file in json.loads(body)["files"]]
            keys = {"uploadMode": "regular", "shouldIgnore": False}
            return self._json({"files": [{"path": path, **keys} for path in files]})
        entries = [json.loads(line) for line in body.splitlines()]
        files = {e["value"]["path"]: base64.b64decode(e["value"]["content"]) for e in entries if e["key"] == "file"}
        digest = self.hub.commit(repository, files, unquote(branch))
        return self._json({"commitUrl": f"{self.hub.url}/{repository}/commit/{digest}", "commitOid": digest})

    def _get(self):
        self._record()
        path = urlsplit(self.path).path
        if self.hub.is_down:
            return self._refuse(503, None, "down")
        if self._token() not in (None, self.hub.token):
            return self._refuse(401, None, "Invalid credentials in Authorization header")
        match = re.fullmatch(r"/api/models/([\w.-]+/[\w.-]+)(?:/revision/([^/]+))?()", path)
        match = match or re.fullmatch(r"/([\w.-]+/[\w.-]+)/resolve/([^/]+)/(.+)", path)
        if not match:
            return self._refuse(404, None, "not found")
        repository, revision, file = match[1], unquote(match[2] or "main"), match[3]
        if repository in self.hub.private and self._token() is None:
            return self._refuse(401, "RepoNotFound", "Repository not found")
        if not any(name == repository for name, _ in self.hub.branches):
            return self._refuse(404, "RepoNotFound", "Repository not found")
        commit = self.hub.branches.get((repository, revision), revision)
        files = self.hub.commits.get((repository, commit))
        if files is None:
            return self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if not file:
            return self._json({"id": repository, "sha": commit, "siblings": [{"rfilename": name} for name in files]})
        if file not in files:
            return self._refuse(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": commit})
        return self._send_file(files[file], commit)

    def _send_file(self, content, commit):
        start = int(match[1]) if (match := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))) else 0
        self.send_response(206 if start else 200)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", commit)
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.hub.num_cuts and len(content) - start > self.hub.cut_off_after:
            self.hub.num_cuts -= 1
            self.wfile.write(content[start : start + self.hub.cut_off_after])
            self.close_connection = True
        else:
            self.wfile.write(content[start:])

    def _record(self):
        self.hub.requests.append(f"{self.command} {self.path}")

    def _token(self):
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None

    def _refuse(self, status, code, message, headers=()):
        self.send_response(status)
        for name, value in {"X-Error-Code": code, "X-Error-Message": message, **dict(headers)}.items():
            if value:
                self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _json(self, value, status=200):
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
