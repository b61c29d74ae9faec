"""A small W&B server for the tests: runs, their history by lines, files; and the faults that a real one may have."""

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "k" * 40
HISTORY = "wandb-history.jsonl"
STATUSES = {"401": 401, "429": 429, "500": 500}
MODES = ("ok", "refuse", "hang", *STATUSES, "uploads")  # `uploads`: all but the upload of files works


@dataclass
class StoredRun:
    """What the server keeps of a run; `lines` by stream are those that arrived, in their order, doubled ones too."""

    name: str
    fields: dict[str, Any] = field(default_factory=dict)
    lines: dict[str, list[str]] = field(default_factory=dict)
    offsets: dict[str, int] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    exit_code: int | None = None

    @property
    def history(self) -> list[dict[str, Any]]:
        """The rows that were logged, as they arrived."""
        return [json.loads(line) for line in self.lines.get(HISTORY, [])]

    def take(self, stream: str, offset: int, content: list[str]) -> None:
        """Lines of a stream; those that were sent before, under the same numbers, are the same lines."""
        if stream == "wandb-summary.json":
            self.lines[stream] = content
            return
        known = self.lines.setdefault(stream, [])
        known[offset : offset + len(content)] = content


class WandbServer:
    """Listens on a port of this machine; `mode` may be changed at any time.

    Args:
        mode: of MODES.
        dies_after: history lines after which the mode becomes `then`, or None.
        then: the mode of a server that has died.
    """

    def __init__(self, mode: str = "ok", dies_after: int | None = None, then: str = "refuse") -> None:
        self.runs: dict[str, StoredRun] = {}
        self.requests: list[str] = []
        self.dies_after, self.then = dies_after, then
        self.seen = 0
        self._mode = "refuse"
        self._port = 0
        self._http: ThreadingHTTPServer | None = None
        self._listen()
        self.mode = mode

    @property
    def url(self) -> str:
        """For WANDB_BASE_URL."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables of a person who is logged in at this server."""
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": KEY}

    @property
    def mode(self) -> str:
        """How it answers."""
        return self._mode

    @mode.setter
    def mode(self, mode: str) -> None:
        assert mode in MODES, mode
        before, self._mode = self._mode, mode
        if mode == "refuse":
            self.close()
        elif before == "refuse" and self._http is None:
            self._listen()

    def _listen(self) -> None:
        server = self

        class Handler(_Handler):
            wandb = server

        self._http = _Server(("127.0.0.1", self._port), Handler)
        self._port = self._http.server_address[1]
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        """Stop to listen."""
        if self._http is not None:
            http, self._http = self._http, None
            http.shutdown()
            http.server_close()

    def count(self, lines: int) -> None:
        """Count lines of history, and die when there are enough."""
        self.seen += lines
        if self.dies_after is not None and self.seen >= self.dies_after and self._mode != self.then:
            self.dies_after = None
            self._mode = self.then
            if self.then == "refuse":  # not by a thread of the server itself
                threading.Thread(target=self.close, daemon=True).start()


@contextmanager
def wandb_server(*arguments: Any, **settings: Any) -> Iterator[WandbServer]:
    """A server that is closed at the end."""
    server = WandbServer(*arguments, **settings)
    try:
        yield server
    finally:
        server.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is none of the test's business."""


class _Handler(BaseHTTPRequestHandler):
    wandb: WandbServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """No line on the terminal for a request."""

    def do_GET(self) -> None:
        self._answer_with({})

    def do_PUT(self) -> None:
        body = self._body()
        if self._fails(is_upload=True):
            return
        _, _, run, name = self.path.removeprefix("/storage/").split("/", 3)
        self.wandb.runs[run].files[name] = body
        self._answer_with({})

    def do_POST(self) -> None:
        body = json.loads(self._body() or b"{}")
        if self._fails(is_upload=False):
            return
        if self.path == "/graphql":
            self._answer_with(self._graphql(body))
        else:
            self._answer_with(self._stream(body))

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _fails(self, is_upload: bool) -> bool:
        """Fail as the mode asks for; whether it did."""
        mode = self.wandb.mode
        if mode == "ok" or (mode == "uploads" and not is_upload):
            return False
        if mode in ("hang", "refuse"):
            while self.wandb.mode == mode:
                time.sleep(0.1)
            self.close_connection = True
        else:
            self._answer_with({"error": mode}, STATUSES.get(mode, 500))
        return True

    def _answer_with(self, answer: Any, status: int = 200) -> None:
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _graphql(self, request: dict[str, Any]) -> dict[str, Any]:
        operation = re.search(r"(?:query|mutation)\s+(\w+)", request["query"])[1]
        variables = request.get("variables") or {}
        self.wandb.requests.append(operation)
        answers = {
            "Viewer": lambda: {"viewer": _VIEWER},
            "UpsertBucket": lambda: self._upsert(variables),
            "RunResumeStatus": lambda: self._resume(variables),
            "CreateRunFiles": lambda: self._files(variables),
            "ServerFeaturesQuery": lambda: {"serverInfo": {"features": []}},
        }
        return {"data": answers.get(operation, dict)()}

    def _upsert(self, given: dict[str, Any]) -> dict[str, Any]:
        run = self.wandb.runs.setdefault(given["name"], StoredRun(given["name"]))
        is_new = not run.fields
        run.fields |= {name: value for name, value in given.items() if value is not None}
        return {"upsertBucket": {"bucket": _bucket(run), "inserted": is_new}}

    def _resume(self, given: dict[str, Any]) -> dict[str, Any]:
        run = self.wandb.runs.get(given["name"])
        bucket = None if run is None else {**_bucket(run), **_status(run)}
        return {"model": {"id": "project", "name": "project", "entity": {"id": "e", "name": "me"}, "bucket": bucket}}

    def _files(self, given: dict[str, Any]) -> dict[str, Any]:
        run = given["run"]
        files = [
            {"name": name, "uploadUrl": f"{self.wandb.url}/storage/me/project/{run}/{name}"} for name in given["files"]
        ]
        return {"createRunFiles": {"runID": run, "uploadHeaders": [], "files": files}}

    def _stream(self, given: dict[str, Any]) -> dict[str, Any]:
        name = self.path.split("/")[4]
        run = self.wandb.runs[name]
        for stream, chunk in (given.get("files") or {}).items():
            run.take(stream, chunk["offset"], chunk["content"])
            if stream == HISTORY:
                self.wandb.count(len(chunk["content"]))
        if given.get("complete"):
            run.exit_code = given.get("exitcode")
        return {"limits": {}}


_VIEWER = {"id": "me", "entity": "me", "username": "me", "email": "", "flags": "{}", "teams": {"edges": []}}


def _bucket(run: StoredRun) -> dict[str, Any]:
    project = {"id": "project", "name": run.fields.get("project", "project"), "entity": {"id": "e", "name": "me"}}
    return {
        "id": run.name,
        "name": run.name,
        "displayName": run.fields.get("displayName", run.name),
        "description": "",
        "config": run.fields.get("config", "{}"),
        "sweepName": None,
        "project": project,
        "historyLineCount": len(run.lines.get(HISTORY, [])),
    }


def _status(run: StoredRun) -> dict[str, Any]:
    """What a client that goes on with a run asks for."""
    summary = run.lines.get("wandb-summary.json", ["{}"])
    return {
        "summaryMetrics": summary[-1],
        "historyLineCount": len(run.lines.get(HISTORY, [])),
        "eventsLineCount": len(run.lines.get("wandb-events.jsonl", [])),
        "logLineCount": len(run.lines.get("output.log", [])),
        "historyTail": json.dumps(run.lines.get(HISTORY, [])[-1:]),
        "eventsTail": json.dumps(run.lines.get("wandb-events.jsonl", [])[-1:]),
        "tags": run.fields.get("tags", []),
        "wandbConfig": '{"t": 1}',
        "createdAt": "2026-01-01T00:00:00",
        "commit": None,
        "jobType": None,
        "notes": None,
        "groupName": run.fields.get("groupName"),
        "sweepName": None,
    }
