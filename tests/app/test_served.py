"""Evaluations of a model that a server runs: the folder of a local one, graded alike, and taken up where they were."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import harness
from harness import ComparisonRequest, EvaluationRequest, Server
from harness.cli.main import main
from harness.data.sources import DataSource
from harness.errors import UserError
from harness.generators.programs import mbpp_rows
from harness.records.description import EVALUATED_FILE, read_description
from harness.records.jsonl import read_lines, read_samples
from harness.records.schema import EvalRecord
from harness.report.read.records import read_verdicts
from harness.report.read.runs import collect
from harness.scoring.sandbox.client import missing
from harness.task.base import Task

from .fake_server import FakeServer, Reply, Request, completion, serving

BUILTIN = DataSource(kind="builtin")
ITEMS = 6
RIGHT = "<answer>\\boxed{{{}}}</answer>"
PREFILLED = "gsm8k:\n- {role: user, content: '{question}'}\n- {role: assistant, content: '<reasoning>'}\n"
needs_sandbox = pytest.mark.skipif(bool(missing()), reason=missing() or "-")


def gsm8k() -> Task:
    return harness.load_task("gsm8k", bare_answers=False)


def questions() -> list[str]:
    return [one.question for one in gsm8k().examples("test", BUILTIN)[:ITEMS]]


def asked_of(fake: FakeServer) -> list[str]:
    """The questions of all requests, once each: one that was given up may arrive later than its repetition."""
    return sorted({request.asked.partition("\n\n")[0] for request in fake.requests})


@pytest.fixture
def server() -> Iterator[FakeServer]:
    """Solves the items of GSM8K's built-in test split with an even number, and counts three tokens each."""
    examples = gsm8k().examples("test", BUILTIN)[:ITEMS]
    texts = {one.question: RIGHT.format(one.target["answer"]) for one in examples[::2]}

    def answer(request: Request) -> Reply:
        question = request.asked.partition("\n\n")[0]
        return completion(texts.get(question, "I do not know."), tokens=3, chat="messages" in request.payload)

    with serving(answer) as fake:
        yield fake


def evaluated(fake: FakeServer, out: Path | None = None, task: str | Task = "gsm8k", **options: Any) -> Any:
    how = {name: options.pop(name) for name in ("endpoint", "concurrency", "retries") if name in options}
    asked = Server(url=fake.url, pause=0.0, **how)
    return harness.evaluate(
        "org/m", task, **{"server": asked, "data": "builtin", "items": ITEMS, "out": out, **options}
    )


def untimed(record: EvalRecord) -> EvalRecord:
    return replace(record, eval_seconds=0.0, tokens_per_second=None)


def test_the_record_says_what_was_asked_and_nothing_that_a_server_does_not_tell(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "hunter2")
    done = evaluated(server, tmp_path)
    record, place = done.record, server.url.removeprefix("http://").replace(":", "-")
    assert done.folder == tmp_path / "gsm8k" / f"org--m@{place}"
    assert record == EvalRecord.from_json(*read_lines(done.folder / "eval.jsonl"))
    assert record.metrics["accuracy"].value == record.metrics["official_accuracy"].value == 0.5
    assert (record.nfe, record.eval_flops, record.checkpoint) == (None, None, "served")
    assert (record.batch_size, record.dtype, record.weights) == (0, "", "")
    assert record.decoding == {"completion_length": 256, "temperature": 0.0}
    client = record.served["client"]
    assert client.keys() == {"harness", "lm_eval", "aiohttp"}
    address = f"{server.url}/v1/chat/completions"
    assert record.served == {"server": address, "endpoint": "chat", "model": "org/m", "client": client}
    assert record.tokens_per_second == pytest.approx(3 * ITEMS / record.eval_seconds)
    kept = list(read_samples(done.folder / str(record.samples_file)))
    assert kept == list(done.samples)
    assert [(one["correct"], one["tokens"], one["finish"]) for one in kept[:2]] == [
        (True, 3, "stop"),
        (False, 3, "stop"),
    ]
    assert not {"steps", "forwards", "ids"} & kept[0].keys()
    assert server.requests[0].key == "Bearer hunter2"
    assert not any(b"hunter2" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_grade_and_report_read_what_it_wrote(server: FakeServer, tmp_path: Path) -> None:
    done = evaluated(server, tmp_path, concurrency=2)
    samples = done.folder / str(done.record.samples_file)
    graded = harness.grade(samples, task="gsm8k", data="builtin", out=tmp_path / "verdicts.jsonl")
    assert graded.totals["robust"] == done.record.metrics["accuracy"]
    assert graded.totals["official"] == done.record.metrics["official_accuracy"]
    verdicts = [json.loads(line)["correct"] for line in (tmp_path / "verdicts.jsonl").read_text().splitlines()]
    assert verdicts == [sample["correct"] for sample in done.samples] == [True, False] * 3
    (run,) = collect([tmp_path]).runs
    assert (run.identity.model, run.identity.method) == (done.folder.name, "none")
    assert [one.checkpoint for one in run.evals] == ["last"]
    assert list(read_verdicts(done.folder, done.record.samples_file, "accuracy").values()) == verdicts
    description = read_description(done.folder, EVALUATED_FILE)
    assert description is not None
    assert description.config["model"] == {"name": "org/m", "server": f"{server.url}/v1/chat/completions"}


@pytest.mark.slow
def test_the_report_is_written_and_shows_no_cost_as_none(server: FakeServer, tmp_path: Path) -> None:
    evaluated(server, tmp_path / "evals", items=2)
    assert main(["report", str(tmp_path / "evals"), "--out", str(tmp_path / "report")]) == 0
    text = (tmp_path / "report" / "report.md").read_text()
    assert "org--m@127.0.0.1" in text
    assert "nfe" not in text.lower()


def test_messages_are_those_of_the_task_with_worked_examples_and_prompts_of_one_s_own(
    server: FakeServer, tmp_path: Path
) -> None:
    first = gsm8k().examples("test", BUILTIN)[0]
    evaluated(server, items=1)
    assert server.requests[-1].payload["messages"] == gsm8k().messages(first)
    (tmp_path / "mine.yaml").write_text(
        "gsm8k:\n- {role: system, content: Go.}\n- {role: user, content: '{question}?'}\n"
    )
    record = evaluated(server, items=1, prompts=tmp_path / "mine.yaml", few_shot=1).record
    sent = server.requests[-1].payload["messages"]
    assert [one["role"] for one in sent] == ["system", "user", "assistant", "user"]
    assert sent[-1]["content"] == f"{first.question}?"
    assert (record.prompts["few_shot"], len(record.prompts["sha256"])) == (1, 64)


def test_text_without_a_template_may_begin_the_answer_and_messages_may_not(server: FakeServer, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(PREFILLED)
    with pytest.raises(UserError, match="The prompt of 'gsm8k' ends in the beginning of an answer"):
        evaluated(server, items=1, prompts=tmp_path / "mine.yaml")
    assert server.requests == []
    first = gsm8k().examples("test", BUILTIN)[0]
    done = evaluated(server, items=1, prompts=tmp_path / "mine.yaml", endpoint="completions")
    assert server.requests[-1].payload["prompt"] == f"{first.question}\n\n<reasoning>"
    assert done.record.metrics["accuracy"].value == 1.0


def test_completions_in_another_order_and_after_faults_make_the_same_record(server: FakeServer, tmp_path: Path) -> None:
    plain = evaluated(server, tmp_path / "plain", concurrency=1)
    server.faults += [Reply(status=503), Reply(silent=True, after=0.05), Reply(body="?"), completion("", tokens=0)]
    with pytest.warns(UserWarning, match="asking again"):
        faulty = evaluated(server, tmp_path / "faulty", concurrency=6)
    assert untimed(faulty.record) == untimed(plain.record)
    assert faulty.samples == plain.samples


def test_a_server_that_fails_for_good_writes_no_record_and_the_same_command_goes_on(
    server: FakeServer, tmp_path: Path
) -> None:
    whole = evaluated(server, tmp_path / "whole")
    server.faults += [*[completion("I do not know.", tokens=3)] * 2, *[Reply(status=500)] * 20]
    options: dict[str, Any] = {"concurrency": 1, "retries": 1}
    with pytest.raises(UserError, match="2 of 6 completions are kept; the same command goes on from there"):
        evaluated(server, tmp_path / "cut", on_warning=lambda text: None, **options)
    assert list(tmp_path.glob("cut/**/eval.jsonl")) == []
    server.faults.clear()
    server.requests.clear()
    done = evaluated(server, tmp_path / "cut", **options)
    assert asked_of(server) == sorted(questions()[2:])
    assert done.record.metrics["accuracy"].part == whole.record.metrics["accuracy"].part - 1
    assert [sample["id"] for sample in done.samples] == [sample["id"] for sample in whole.samples]
    assert list(tmp_path.glob("cut/**/.partial-*")) == []


class StoppedError(Exception):
    """Stands for a kill."""


def test_an_evaluation_that_was_cut_off_asks_for_what_is_missing_and_one_that_is_there_for_nothing(
    server: FakeServer, tmp_path: Path
) -> None:
    def stop(done: int, total: int) -> None:
        if done == 4:
            raise StoppedError

    with pytest.raises(StoppedError):
        evaluated(server, tmp_path, concurrency=1, on_progress=stop)
    counts: list[int] = []
    first = evaluated(server, tmp_path, concurrency=3, on_progress=lambda done, total: counts.append(done))
    assert counts == [5, 6]
    server.faults += [Reply(status=400)] * ITEMS
    again = evaluated(server, tmp_path)
    assert (again.known, again.record) == (True, first.record)
    server.faults.clear()
    server.requests.clear()
    assert not evaluated(server, tmp_path, fresh=True).known
    assert asked_of(server) == sorted(questions())


def test_another_temperature_seed_endpoint_or_server_is_a_record_of_its_own(server: FakeServer, tmp_path: Path) -> None:
    changes: list[dict[str, Any]] = [{}, {"decoding": {"temperature": 1.0}}, {"seed": 1}, {"endpoint": "completions"}]
    records = [evaluated(server, tmp_path, items=1, **change).record for change in changes]
    moved = replace(records[0], served={**records[0].served, "server": "http://elsewhere/v1/chat/completions"})
    upgraded = replace(records[0], served={**records[0].served, "client": {"lm_eval": "9"}})
    assert len({one.identity for one in (*records, moved)}) == 5
    assert upgraded.identity == records[0].identity
    assert [request.payload["seed"] for request in server.requests] == [0, 0, 1, 0]


def test_two_models_of_a_server_are_compared_item_by_item(tmp_path: Path) -> None:
    answers = {one.question: one.target["answer"] for one in gsm8k().examples("test", BUILTIN)}

    def answer(request: Request) -> Reply:
        knows = request.payload["model"] == "good"
        return completion(RIGHT.format(answers[request.asked.partition("\n\n")[0]]) if knows else "No.")

    with serving(answer) as fake:
        asked = Server(url=fake.url)
        request = EvaluationRequest(
            model="good", tasks=["gsm8k"], server=asked, data="builtin", items=ITEMS, out=tmp_path
        )
        (pair,) = harness.compare(ComparisonRequest(evaluation=request, against=["bad"])).pairs
    assert (pair.first.label, pair.second.label) == ("good", "bad")
    assert (pair.gap.difference, pair.gap.only_first, pair.gap.p) == (1.0, 6, 2 / 2**6)
    noisy = ComparisonRequest(evaluation=request, against=["bad"], noise=harness.NoiseSettings())
    with pytest.raises(UserError, match="--noise changes batch size and dtype"):
        harness.compare(noisy)


def test_the_command_says_what_is_unknown(
    server: FakeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--server", server.url, "--model", "org/m", "--task", "gsm8k", "--items", "2", "--data", "builtin"]
    assert main(["eval", *given, "--concurrency", "2", "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines()[0].split()[:2] == ["accuracy", "50.00%"]
    assert shown.out.splitlines()[-1].startswith("NFE unknown, ")
    assert shown.err == ""
    assert main(["eval", *given, "--out", str(tmp_path), "--json"]) == 0
    (known,) = json.loads(capsys.readouterr().out)
    assert (known["already_there"], known["metrics"]["accuracy"]["value"], known["record"]["nfe"]) == (True, 0.5, None)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--device", "cuda:1"],
            "--device cuda:1 says how a model is run here, and --server runs its own; leave it out.",
        ),
        (["--dtype", "bfloat16"], "--dtype bfloat16 says how a model is run here"),
        (["--adapter", "x"], "--adapter x says how a model is run here"),
        (["--checkpoint", "egspo-sa"], "--checkpoint egspo-sa says how a model is run here"),
        (["--checkpoints", "all"], "--checkpoints all says how a model is run here"),
        (["--batch-size", "8"], "leave it out, and set --concurrency for requests at once."),
        (["--protocol", "d1"], "leave it out, and set --length and --items."),
        (["--compile"], "--compile says how a model is run here"),
        (["--pack-weights"], "--pack-weights says how a model is run here"),
        (["--set", "cache=dual"], "--set cache=dual does not go with --server"),
        (["--set", "block_length=8"], "--set block_length=8 does not go with --server"),
        (["--model", "tiny"], "--server needs --model NAME, the name under which it serves the model."),
        (["--server", ""], "--concurrency 4 says how a server is asked; name one with --server, or leave it out."),
    ],
)
def test_what_does_not_go_with_a_server_is_refused_in_one_sentence(
    tmp_path: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    common = {"--server": "http://127.0.0.1:9", "--model": "m", "--task": "gsm8k", "--data": "builtin"}
    others = [word for pair in common.items() if pair[0] not in arguments for word in pair]
    assert main(["eval", *others, "--concurrency", "4", "--out", str(tmp_path), *arguments]) == 2
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_several_processes_do_not_ask_one_server(monkeypatch: pytest.MonkeyPatch, server: FakeServer) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="One process asks a server"):
        evaluated(server)


@needs_sandbox
@pytest.mark.slow
def test_programs_of_a_server_run_in_the_sandbox(tmp_path: Path) -> None:
    program = mbpp_rows("test")[0]["code"]

    def answer(request: Request) -> Reply:
        return completion(f"<answer>\n```python\n{program}\n```\n</answer>")

    with serving(answer) as fake:
        done = evaluated(fake, tmp_path, task="mbpp", items=2)
    samples = done.folder / str(done.record.samples_file)
    assert [sample["correct"] for sample in done.samples] == [True, False]
    assert harness.grade(samples, task="mbpp", data="builtin").correct["robust"] == 1
