"""A small server with OpenAI's interface, on a port of its own in this process, that fails as it is told to."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What the server says. cut: the connection ends in the middle of it. silent: it ends without a word. after:
    seconds until then."""

    status: int = 200
    body: Any = ""
    cut: bool = False
    silent: bool = False
    after: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Request:
    """path: of the endpoint. key: what the header of the key says. payload: the JSON."""

    path: str
    key: str
    payload: dict[str, Any]

    @property
    def asked(self) -> str:
        """The last message, or the whole prompt."""
        return self.payload["messages"][-1]["content"] if "messages" in self.payload else self.payload["prompt"]


@dataclass(kw_only=True)
class FakeServer:
    """answer: the reply to a request. faults: said first, one for each request in the order in which they come. most:
    requests that were under way at one time."""

    url: str
    answer: Callable[[Request], Reply]
    faults: list[Reply] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    most: int = 0
    _busy: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def reply(self, request: Request) -> Reply:
        """Takes a request."""
        with self._lock:
            self.requests.append(request)
            self._busy += 1
            self.most = max(self.most, self._busy)
            fault = self.faults.pop(0) if self.faults else None
        found = fault or self.answer(request)
        time.sleep(found.after)
        with self._lock:
            self._busy -= 1
        return found


def completion(text: str | None, *, finish: str | None = "stop", tokens: int | None = 4, chat: bool = True) -> Reply:
    """A completion as servers write it. tokens: None for a server that counts none."""
    choice: dict[str, Any] = {"index": 0, "finish_reason": finish}
    choice |= {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
    usage = {} if tokens is None else {"usage": {"prompt_tokens": 9, "completion_tokens": tokens}}
    return Reply(body={"object": "x", "model": "m", "choices": [choice], **usage})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Any

    def do_POST(self) -> None:
        payload = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        request = Request(path=self.path, key=self.headers.get("Authorization", ""), payload=payload)
        reply = self.server.fake.reply(request)
        self.close_connection = reply.silent or reply.cut
        if reply.silent:
            return
        body = (reply.body if isinstance(reply.body, str) else json.dumps(reply.body)).encode()
        self.send_response(reply.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if reply.cut else body)

    def log_message(self, *words: Any) -> None:
        """Says nothing."""


class _Listening(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *about: Any) -> None:
        """A client that hangs up is no fault of the test."""


@contextmanager
def serving(answer: Callable[[Request], Reply]) -> Iterator[FakeServer]:
    """The server, while it runs."""
    with _Listening(("127.0.0.1", 0), _Handler) as listening:
        fake = FakeServer(url=f"http://127.0.0.1:{listening.server_port}", answer=answer)
        listening.fake = fake
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield fake
        finally:
            listening.shutdown()
            thread.join()
