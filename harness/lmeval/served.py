"""Completions of a server with OpenAI's interface, over lm-eval's own client.

What is sent is lm-eval's: payload, key (OPENAI_API_KEY), connection. What comes back is read strictly, as lm-eval takes
an answer that it cannot read for an empty one: here it is a fault of the server, tried again and then an error.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from lm_eval.models.api_models import JsonChatStr
from lm_eval.models.openai_completions import LocalChatCompletion, LocalCompletionsAPI
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, wait_exponential

from harness.config.served import CHAT, Sampling, Server
from harness.errors import UserError
from harness.evaluation.served import ServedCompletion
from harness.records.values import is_count

FINISHED = ("stop", "length")
"""How a completion ends that is the model's own; others were cut off by a filter or by the server."""
MAY_PASS = (408, 409, 425, 429)
"""Refusals that a later request may not meet, beside all from 500."""
LONGEST_PAUSE = 60.0
SHOWN = 200
"""Characters of a server's own words."""
FIXES = {
    400: "Its model may have no room for prompt and completion; a shorter --length needs less.",
    401: "Put its key into the environment variable OPENAI_API_KEY.",
    403: "Put its key into the environment variable OPENAI_API_KEY.",
    404: "Give the server's address with --server and the name under which it serves the model with --model.",
}


class FaultError(RuntimeError):
    """What is wrong with a server or its answer. may_pass: whether to ask again. fix: what the user can do."""

    def __init__(self, what: str, *, may_pass: bool = True, fix: str = "") -> None:
        super().__init__(what)
        self.may_pass, self.fix = may_pass, fix


@dataclass(frozen=True, kw_only=True)
class Asking:
    """What is asked of a server. model: its name there. seed: of draws."""

    server: Server
    model: str
    sampling: Sampling
    seed: int

    def completions(
        self,
        prompts: Mapping[int, str],
        on_completion: Callable[[int, ServedCompletion], None],
        on_warning: Callable[[str], None],
    ) -> None:
        """Asks for one completion of each prompt and hands them on in the order in which they come.

        prompts: messages as JSON for the chat endpoint, otherwise texts. on_warning is told of the first failure of a
        kind. Raises UserError where a request fails for good.
        """
        heard = _Heard(on_warning, self.server)
        try:
            with _quiet():
                _run(self._all(prompts, on_completion, heard))
        except FaultError as fault:
            tried = f", after {self.server.retries} retries" if fault.may_pass and self.server.retries else ""
            fix = f" {fault.fix}" if fault.fix else ""
            raise UserError(f"Server {self.server.address} has failed{tried}: {fault}.{fix}") from fault

    async def _all(
        self, prompts: Mapping[int, str], on_completion: Callable[[int, ServedCompletion], None], heard: _Heard
    ) -> None:
        requests = _Requests(self, heard)
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self.server.concurrency),
            timeout=aiohttp.ClientTimeout(total=self.server.timeout),
            raise_for_status=_refused,
        ) as session:
            asked = [asyncio.create_task(requests.answered(session, *item)) for item in prompts.items()]
            try:
                for answered in asyncio.as_completed(asked):
                    on_completion(*await answered)
            finally:
                for one in asked:
                    one.cancel()
                await asyncio.gather(*asked, return_exceptions=True)

    @property
    def options(self) -> dict[str, Any]:
        """The options of a request, under lm-eval's names."""
        options = self.sampling.to_record()
        return {"max_gen_toks": options.pop("completion_length"), **options}


def _run(work: Coroutine[Any, Any, None]) -> None:
    """To its end; in a thread of its own where this one is in the middle of other such work, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(work)
        return
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, work).result()


class _Requests:
    """Makes requests, as many at once as the server is to have, and repeats those whose failure may pass."""

    def __init__(self, asking: Asking, heard: _Heard) -> None:
        server = asking.server
        self._asking, self._heard = asking, heard
        self._is_chat = server.endpoint == CHAT
        self._client = (_Chat if self._is_chat else _Text)(
            model=asking.model,
            base_url=server.address,
            tokenizer_backend=None,
            tokenized_requests=False,
            num_concurrent=server.concurrency,
            seed=asking.seed,
        )
        self._gate = asyncio.Semaphore(server.concurrency)

    async def answered(self, session: aiohttp.ClientSession, index: int, prompt: str) -> tuple[int, ServedCompletion]:
        """The completion of a prompt, with the number of its item."""
        server = self._asking.server
        again = AsyncRetrying(
            retry=retry_if_exception(lambda error: isinstance(error, FaultError) and error.may_pass),
            stop=stop_after_attempt(server.retries + 1),
            wait=wait_exponential(multiplier=server.pause, max=LONGEST_PAUSE),
            before_sleep=self._heard,
            reraise=True,
        )
        return index, await again(self._once, session, prompt)

    async def _once(self, session: aiohttp.ClientSession, prompt: str) -> ServedCompletion:
        message = JsonChatStr(prompt) if self._is_chat else prompt
        try:
            (completion,) = await self._client.amodel_call(
                session, self._gate, [message], gen_kwargs=self._asking.options
            )
        except TimeoutError as error:
            raise FaultError(f"no answer within {self._asking.server.timeout:g} s (--timeout)") from error
        except aiohttp.ClientConnectorError as error:
            raise FaultError(f"it cannot be reached ({error.strerror or error})") from error
        except (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError, ConnectionError) as error:
            raise FaultError("it broke off in the middle of an answer") from error
        except (aiohttp.ClientError, ValueError) as error:
            raise FaultError(f"its answer is no JSON ({type(error).__name__})") from error
        assert isinstance(completion, ServedCompletion)
        return completion


class _Chat(LocalChatCompletion):
    """lm-eval's client of the chat endpoint."""

    def parse_generations(self, outputs: Any, **kwargs: Any) -> list[ServedCompletion]:
        """The one completion of an answer. Raises FaultError where there is none."""
        return [_read(outputs, lambda choice: choice["message"].get("content"))]

    def _create_payload(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return _without_empty(super()._create_payload(*args, **kwargs))


class _Text(LocalCompletionsAPI):
    """lm-eval's client of the endpoint that continues a text."""

    def parse_generations(self, outputs: Any, **kwargs: Any) -> list[ServedCompletion]:
        """The one completion of an answer. Raises FaultError where there is none."""
        return [_read(outputs, lambda choice: choice["text"])]

    def _create_payload(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return _without_empty(super()._create_payload(*args, **kwargs))


def _without_empty(payload: dict[str, Any]) -> dict[str, Any]:
    """Without the list of stop texts, which some servers refuse where it is empty."""
    return {name: value for name, value in payload.items() if name != "stop" or value}


def _read(outputs: Any, text_of: Callable[[Any], Any]) -> ServedCompletion:
    try:
        (choice,) = outputs["choices"]
        text, finish, usage = text_of(choice), choice["finish_reason"], outputs.get("usage") or {}
        tokens = usage.get("completion_tokens")
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise FaultError("its answer is not one completion with a finish_reason") from error
    if finish not in FINISHED:
        raise FaultError(f"a completion ended with finish_reason {str(finish)[:SHOWN]!r}")
    tokens = tokens if is_count(tokens) else None
    if not (isinstance(text, str) or text is None) or not _is_text(text or ""):
        raise FaultError("its answer holds something else than text")
    if not text and not tokens:
        raise FaultError("a completion is empty, and it counts no token that the model wrote")
    return ServedCompletion(text=text or "", tokens=tokens, finish=finish)


def _is_text(text: str) -> bool:
    """Whether no half of a surrogate pair, which is no character, is in it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


async def _refused(response: aiohttp.ClientResponse) -> None:
    """Raises FaultError for an answer that is none, before lm-eval asks again whatever was refused."""
    if response.ok:
        return
    words = _words((await response.content.read(1 << 16)).decode(errors="replace"))
    raise FaultError(
        f"it answers {response.status} {response.reason}{f', {words!r}' if words else ''}",
        may_pass=response.status >= 500 or response.status in MAY_PASS,
        fix=FIXES.get(response.status, ""),
    )


def _words(body: str) -> str:
    """The server's own message, where it is in one of the usual places."""
    try:
        found = json.loads(body)
        while isinstance(found, dict):
            found = next((found[name] for name in ("error", "message", "detail") if name in found), "")
    except ValueError:
        found = body
    return " ".join(str(found).split())[:SHOWN].rstrip(".")


class _Heard:
    """Tells of each kind of failure once, when the request is made again."""

    def __init__(self, on_warning: Callable[[str], None], server: Server) -> None:
        self._on_warning, self._server = on_warning, server
        self._seen: set[str] = set()

    def __call__(self, state: RetryCallState) -> None:
        """Called by tenacity before it waits."""
        assert state.outcome is not None
        what = str(state.outcome.exception())
        if what not in self._seen:
            self._seen.add(what)
            times = f"{self._server.retries} times at most"
            self._on_warning(f"Server {self._server.address} has failed: {what}; asking again, {times}.")


@contextmanager
def _quiet() -> Iterator[None]:
    """Without lm-eval's log of every failure, which shows whole answers."""
    logger = logging.getLogger("lm_eval.models")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)
