"""What is sent to a server of completions and what comes back: order, concurrency, and every way of failing."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from harness.config.served import Sampling, Server, samplings
from harness.errors import UserError
from harness.evaluation.served import ServedCompletion
from harness.lmeval.served import Asking

from .fake_server import FakeServer, Reply, Request, completion, serving

GREEDY = Sampling(completion_length=32)
ERROR = {"error": {"message": "No room for\n it.", "type": "x"}}
PASSING = {
    "no longer there": (Reply(silent=True), "it broke off in the middle of an answer"),
    "cut": (Reply(body=completion("half").body, cut=True), "it broke off in the middle of an answer"),
    "500": (Reply(status=500, body="<html>down</html>"), "it answers 500 Internal Server Error, '<html>down</html>'"),
    "503": (Reply(status=503, body=ERROR), "it answers 503 Service Unavailable, 'No room for it'"),
    "429": (Reply(status=429), "it answers 429 Too Many Requests"),
    "not JSON": (Reply(body='{"choices": ['), "its answer is no JSON (JSONDecodeError)"),
    "a list": (Reply(body=[1]), "its answer is not one completion with a finish_reason"),
    "no choice": (Reply(body={"choices": []}), "its answer is not one completion with a finish_reason"),
    "no text": (Reply(body={"choices": [{"finish_reason": "stop"}]}), "its answer is not one completion with a"),
    "no end": (completion("half", finish=None), "a completion ended with finish_reason 'None'"),
    "filtered": (completion("", finish="content_filter"), "a completion ended with finish_reason 'content_filter'"),
    "aborted": (completion("half", finish="abort"), "a completion ended with finish_reason 'abort'"),
    "empty": (completion("", tokens=0), "a completion is empty, and it counts no token that the model wrote"),
    "nothing": (completion(None, tokens=None), "a completion is empty, and it counts no token that the model wrote"),
    "a number": (completion(7), "its answer holds something else than text"),
    "half a character": (completion("\ud800"), "its answer holds something else than text"),
}
"""What may pass, by name, with the words for it."""


@pytest.fixture
def server() -> Iterator[FakeServer]:
    """Answers with what it is asked, in capitals."""
    with serving(lambda request: completion(request.asked.upper())) as fake:
        yield fake


def asked(
    fake: FakeServer, *texts: str, warnings: list[str] | None = None, sampling: Sampling = GREEDY, **options: Any
) -> dict[int, ServedCompletion]:
    """The completions by number, in the order in which they came."""
    found: dict[int, ServedCompletion] = {}
    server = Server(**{"url": fake.url, "pause": 0.0, "retries": 2, **options})
    said = [] if warnings is None else warnings
    prompts = {
        number: f'[{{"role": "user", "content": "{text}"}}]' if server.endpoint == "chat" else text
        for number, text in enumerate(texts)
    }
    asking = Asking(server=server, model="org/m", sampling=sampling, seed=3)
    asking.completions(prompts, found.__setitem__, said.append)
    return found


def test_the_chat_endpoint_is_sent_messages_and_the_key_of_the_environment(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    assert asked(server, "hello") == {0: ServedCompletion(text="HELLO", tokens=4, finish="stop")}
    (request,) = server.requests
    assert (request.path, request.key) == ("/v1/chat/completions", "Bearer secret")
    assert request.payload == {
        "messages": [{"role": "user", "content": "hello"}],
        "model": "org/m",
        "max_tokens": 32,
        "temperature": 0.0,
        "seed": 3,
    }


def test_the_other_endpoint_is_sent_text_and_what_truncates_is_sent_where_it_is_set() -> None:
    sampling = Sampling(completion_length=8, temperature=0.7, top_p=0.9, top_k=20)
    with serving(lambda request: completion("b", finish="length", tokens=None, chat=False)) as fake:
        found = asked(fake, "a", endpoint="completions", sampling=sampling)
    assert found == {0: ServedCompletion(text="b", tokens=None, finish="length")}
    (request,) = fake.requests
    assert request.path == "/v1/completions"
    assert request.payload == {
        "prompt": "a",
        "model": "org/m",
        "max_tokens": 8,
        "temperature": 0.7,
        "top_p": 0.9,
        "top_k": 20,
        "seed": 3,
    }


def test_answers_come_in_any_order_and_no_more_requests_than_asked_for_are_under_way() -> None:
    last_is_asked = threading.Event()

    def answer(request: Request) -> Reply:
        if request.asked == "slow":
            assert last_is_asked.wait(60)
        if request.asked == "e":
            last_is_asked.set()
        return completion(request.asked)

    with serving(answer) as fake:
        found = asked(fake, "slow", *"abcde", concurrency=2)
    assert [one.text for one in found.values()][:4] == [*"abcd"]
    assert {number: one.text for number, one in found.items()} == dict(enumerate(["slow", *"abcde"]))
    assert fake.most == 2


@pytest.mark.parametrize(("fault", "words"), PASSING.values(), ids=PASSING)
def test_a_fault_that_passes_changes_nothing_and_is_told_once(server: FakeServer, fault: Reply, words: str) -> None:
    server.faults += [fault, fault]
    warnings: list[str] = []
    found = asked(server, "a", "b", "c", concurrency=1, warnings=warnings)
    assert {number: one.text for number, one in sorted(found.items())} == {0: "A", 1: "B", 2: "C"}
    assert len(server.requests) == 5
    (warning,) = warnings
    assert warning.startswith(f"Server {server.url}/v1/chat/completions has failed: {words}")
    assert warning.endswith("; asking again, 2 times at most.")


@pytest.mark.parametrize(("fault", "words"), PASSING.values(), ids=PASSING)
def test_a_fault_that_does_not_pass_is_no_completion(server: FakeServer, fault: Reply, words: str) -> None:
    server.faults += [fault] * 3
    with pytest.raises(UserError) as raised:
        asked(server, "a", concurrency=1)
    assert str(raised.value).startswith(f"Server {server.url}/v1/chat/completions has failed, after 2 retries: {words}")
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "has failed: it answers 400 Bad Request, 'No room for it'. Its model may have no room"),
        (401, "has failed: it answers 401 Unauthorized, 'No room for it'. Put its key into the environment variable"),
        (404, "has failed: it answers 404 Not Found, 'No room for it'. Give the server's address with --server and"),
        (422, "has failed: it answers 422 Unprocessable"),
    ],
)
def test_what_is_refused_is_not_asked_again(server: FakeServer, status: int, words: str) -> None:
    server.faults.append(Reply(status=status, body=ERROR))
    with pytest.raises(UserError, match=words.replace("(", r"\(")):
        asked(server, "a", concurrency=1)
    assert len(server.requests) == 1


def test_an_answer_that_does_not_come_in_time_is_a_fault(server: FakeServer) -> None:
    server.faults.append(Reply(silent=True, after=5.0))
    with pytest.raises(UserError, match=r"has failed: no answer within 0\.1 s \(--timeout\)\.$"):
        asked(server, "a", timeout=0.1, retries=0)


def test_a_server_that_is_not_there_is_said_to_be_out_of_reach() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        fake = FakeServer(url=f"http://127.0.0.1:{closed.getsockname()[1]}", answer=lambda request: Reply())
        with pytest.raises(UserError, match=r"has failed, after 2 retries: it cannot be reached \(.*\)\.$"):
            asked(fake, *"abcdefgh")


def test_a_notebook_which_has_an_event_loop_of_its_own_can_ask(server: FakeServer) -> None:
    async def cell() -> None:
        assert asked(server, "a")[0].text == "A"
        server.faults.append(Reply(status=404))
        with pytest.raises(UserError, match="404"):
            asked(server, "a")

    asyncio.run(cell())


def test_all_requests_that_fail_at_once_are_one_error_and_nothing_is_logged(
    server: FakeServer, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    server.faults += [Reply(status=500)] * 24
    with pytest.raises(UserError, match="after 2 retries: it answers 500"):
        asked(server, *"abcdefgh")
    assert caplog.records == []
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("text", ["", None], ids=["empty", "null"])
def test_an_empty_completion_of_tokens_is_the_model_s_own(text: str | None) -> None:
    with serving(lambda request: completion(text, finish="length", tokens=32)) as fake:
        assert asked(fake, "a") == {0: ServedCompletion(text="", tokens=32, finish="length")}


@pytest.mark.parametrize(
    ("url", "endpoint", "address", "place"),
    [
        ("http://localhost:8000", "chat", "http://localhost:8000/v1/chat/completions", "localhost-8000"),
        ("http://localhost:8000/v1/", "chat", "http://localhost:8000/v1/chat/completions", "localhost-8000"),
        ("https://Host/v1/completions", "completions", "https://Host/v1/completions", "host-443"),
        ("http://[::1]:9/v1", "chat", "http://[::1]:9/v1/chat/completions", "--1-9"),
        ("http://h/a/v2", "completions", "http://h/a/v2/completions", "h-80-a-v2"),
    ],
)
def test_an_address_may_be_short_or_whole(url: str, endpoint: str, address: str, place: str) -> None:
    server = Server(url=url, endpoint=endpoint)
    server.check()
    assert (server.address, server.place) == (address, place)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"url": "localhost:8000"}, "--server 'localhost:8000' is not an address such as http://localhost:8000"),
        ({"url": "http://h:x"}, "is not an address"),
        ({"url": "http://[h"}, "is not an address"),
        ({"url": "http://me:hunter2@h"}, "has a user name, a password or options in its address"),
        ({"url": "http://h?key=hunter2"}, "has a user name, a password or options in its address"),
        ({"url": "http://h/v1/completions"}, "--server ends in /completions, and --endpoint is chat; end it in /v1"),
        ({"url": "http://h", "endpoint": "chats"}, "Did you mean 'chat'?"),
        ({"url": "http://h", "retries": -1}, "--retries -1 is negative"),
        ({"url": "http://h", "timeout": 0.0}, "server.timeout=0.0 must be above 0"),
    ],
)
def test_what_is_wrong_with_a_server_is_refused_and_no_secret_is_repeated(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as raised:
        Server(**options).check()
    assert words in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_settings_and_lengths_are_a_grid_at_the_length_of_the_task_s_protocol() -> None:
    assert samplings("gsm8k", [{}], ()) == (Sampling(completion_length=256),)
    assert samplings("gsm8k", [{"temperature": 0.5}, {}], (64, 128)) == (
        Sampling(completion_length=64, temperature=0.5),
        Sampling(completion_length=128, temperature=0.5),
        Sampling(completion_length=64),
        Sampling(completion_length=128),
    )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"cache": "dual"}, "--set cache=dual does not go with --server, which decodes as it was started"),
        ({"num_steps": 8}, "--set num_steps=8 does not go with --server"),
        ({"temprature": 1}, "Did you mean 'temperature'?"),
        ({"temperature": -1}, "evaluation.decoding.temperature=-1.0 is negative"),
        ({"completion_length": 0}, "evaluation.decoding.completion_length=0 must be above 0"),
    ],
)
def test_what_a_server_cannot_be_asked_for_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as raised:
        samplings("gsm8k", [settings], ())
    assert words in str(raised.value)
