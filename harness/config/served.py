"""A server that completes prompts over OpenAI's interface, and what it is asked for, as plain values. No torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from harness.config.build import build
from harness.config.decoding import Decoding
from harness.config.recipes import evaluation_decoding
from harness.errors import UserError, require_choice, require_positive, unknown_choice

CHAT, COMPLETIONS = ENDPOINTS = ("chat", "completions")
PATHS = {CHAT: "/chat/completions", COMPLETIONS: "/completions"}
VERSION = "/v1"
"""What stands before the endpoint's path where an address has no path of its own."""
PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, kw_only=True)
class Server:
    """Where completions come from, and how they are asked for.

    url: the server's address, `http://localhost:8000`, with or without /v1 and the endpoint's path behind it. endpoint:
    chat is sent a task's messages, completions their text without a template. concurrency: requests at once. retries:
    of a request that has failed in a way that may pass. timeout: seconds for one answer. pause: seconds before the
    first retry; each further one waits twice as long, a minute at most.
    """

    url: str
    endpoint: str = CHAT
    concurrency: int = 16
    retries: int = 5
    timeout: float = 600.0
    pause: float = 1.0

    def check(self) -> None:
        """Raises UserError for values outside their range, and for an address that is none or holds a secret."""
        require_choice("--endpoint", self.endpoint, ENDPOINTS)
        require_positive("server", concurrency=self.concurrency, timeout=self.timeout)
        if self.retries < 0:
            raise UserError(f"--retries {self.retries} is negative; 0 asks once.")
        if any(sign in self.url for sign in "@?#"):
            raise UserError(
                "--server has a user name, a password or options in its address, which would be seen by all; leave "
                "them out, and put a key into the environment variable OPENAI_API_KEY."
            )
        if not _is_address(self.url):
            raise UserError(f"--server '{self.url}' is not an address such as http://localhost:8000.")
        named = next((name for name, path in PATHS.items() if self._path.endswith(path)), self.endpoint)
        if named != self.endpoint:
            raise UserError(f"--server ends in {PATHS[named]}, and --endpoint is {self.endpoint}; end it in {VERSION}.")

    @property
    def address(self) -> str:
        """The URL of the endpoint."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}{self._base}{PATHS[self.endpoint]}"

    @property
    def place(self) -> str:
        """For a folder's name: `localhost-8000`, and a path that is not the usual one."""
        parts = urlsplit(self.url)
        own = "" if self._base == VERSION else self._base
        return f"{parts.hostname}-{parts.port or PORTS[parts.scheme]}{own}".replace("/", "-").replace(":", "-")

    @property
    def _path(self) -> str:
        return urlsplit(self.url).path.rstrip("/")

    @property
    def _base(self) -> str:
        """The path without that of the endpoint."""
        own = PATHS[self.endpoint]
        return self._path.removesuffix(own) if self._path.endswith(own) else self._path or VERSION


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in PORTS and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """What a server is asked for. completion_length: tokens at most. temperature: 0 is greedy. top_p, top_k: truncate
    the distribution, 1 and 0 for none and then not sent."""

    completion_length: int
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0

    def check(self) -> None:
        """Raises UserError for values outside their range."""
        require_positive("evaluation.decoding", completion_length=self.completion_length)
        Decoding(
            completion_length=self.completion_length,
            block_length=self.completion_length,
            num_steps=self.completion_length,
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
        ).check("evaluation.decoding")

    def to_record(self) -> dict[str, Any]:
        """Plain values for the record of an evaluation, without what is not sent."""
        unused = {"top_p": 1.0, "top_k": 0}
        return {name: value for name, value in vars(self).items() if unused.get(name) != value}


def samplings(task: str, settings: Sequence[Mapping[str, Any]], lengths: Sequence[int]) -> tuple[Sampling, ...]:
    """Each of the settings at each of the lengths, once; by default at the length at which `task` is evaluated here.

    Raises UserError for options that a server does not have, and values outside their range.
    """
    length = evaluation_decoding(task, tiny=False).completion_length
    chosen = [_sampling({"completion_length": length, **one}) for one in settings or [{}]]
    if lengths:
        chosen = [replace(one, completion_length=each) for one in chosen for each in lengths]
    for one in chosen:
        one.check()
    return tuple(dict.fromkeys(chosen))


def _sampling(options: Mapping[str, Any]) -> Sampling:
    known = [one.name for one in dataclasses.fields(Sampling)]
    for name, value in options.items():
        if name in known:
            continue
        if name in {one.name for one in dataclasses.fields(Decoding)}:
            raise UserError(
                f"--set {name}={value} does not go with --server, which decodes as it was started and is asked for "
                f"{', '.join(known)} alone; leave it out."
            )
        raise unknown_choice("option of --set with --server", name, known)
    made: Sampling = build(Sampling, options, "evaluation.decoding")
    return made
