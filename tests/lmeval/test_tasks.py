"""Our tasks inside lm-eval: the same items, prompts and verdicts as `harness eval`, for every model type."""

import glob
import gzip
import json
from pathlib import Path

import pytest
import torch
from lm_eval import simple_evaluate
from lm_eval.api.registry import model_registry
from lm_eval.tasks import TaskManager
from transformers import LlamaConfig, LlamaForCausalLM

from harness import registry
from harness.app.new import new
from harness.cli.main import main
from harness.data.sources import parse_source
from harness.errors import UserError
from harness.lmeval.model import DiffusionEvalLM
from harness.lmeval.tasks import prompt_style, ratio, ratio_error
from harness.models.tiny import tiny_tasks

ITEMS = 24
CODE_TASKS = ("humaneval", "mbpp")


def eval_samples(task: str, out: Path, *options: str, items: int = ITEMS) -> list[dict]:
    assert main(["eval", "--task", task, "--items", str(items), "--out", str(out), *options]) == 0
    (path,) = glob.glob(f"{out}/{task}/*/samples-*.jsonl.gz")
    return [json.loads(line) for line in gzip.open(path, "rt", encoding="utf-8")]


@pytest.mark.parametrize(
    "task",
    [pytest.param(task, marks=pytest.mark.slow if task in CODE_TASKS else ()) for task in sorted(tiny_tasks())],
)
def test_every_item_is_answered_and_judged_as_by_harness_eval(task, tmp_path, manager, monkeypatch):
    monkeypatch.delenv("HARNESS_DATA", raising=False)
    expected = eval_samples(task, tmp_path, "--unsafe-local-exec")
    results = simple_evaluate(
        model="diffusion_lm",
        model_args="pretrained=tiny",
        tasks=[f"harness_{task}"],
        task_manager=manager(pretrained="tiny", unsafe_local_exec=True),
        batch_size=5,
        limit=ITEMS,
    )
    samples = results["samples"][f"harness_{task}"]
    assert [sample["doc"]["id"] for sample in samples] == [sample["id"] for sample in expected]
    assert [sample["resps"] for sample in samples] == [[[sample["text"]]] for sample in expected]
    assert [sample["correct"] for sample in samples] == [float(sample["correct"]) for sample in expected]
    for name in registry.get_task(task).metrics:
        pairs = [[sample["metrics"][name]["part"], sample["metrics"][name]["whole"]] for sample in expected]
        assert [sample[name] for sample in samples] == pairs
        assert results["results"][f"harness_{task}"][f"{name},none"] == ratio(pairs)
        assert results["results"][f"harness_{task}"][f"{name}_stderr,none"] == ratio_error(pairs)
    cost = results["config"]["cost"]["generate_until"]
    assert cost["nfe"] == sum(sample["forwards"] for sample in expected) / ITEMS
    assert cost["tokens"] == sum(sample["tokens"] for sample in expected)


@pytest.mark.slow
def test_chat_prompts_in_the_template_are_those_of_harness_eval_too(llada, tmp_path, manager):
    sizes = ("--set", "completion_length=32", "--set", "block_length=32", "--set", "num_steps=16")
    expected = eval_samples("sudoku", tmp_path, "--model", str(llada), "--data", "builtin", *sizes, items=6)
    results = simple_evaluate(
        model="diffusion_lm",
        model_args={"pretrained": str(llada)},
        tasks=["harness_sudoku"],
        task_manager=manager(pretrained=str(llada), data="builtin"),
        apply_chat_template=True,
        gen_kwargs={"max_gen_toks": 32},
        batch_size=4,
        limit=6,
    )
    samples = results["samples"]["harness_sudoku"]
    assert [sample["arguments"][0][0] for sample in samples] == [sample["prompt"] for sample in expected]
    assert [sample["resps"][0][0] for sample in samples] == [sample["text"] for sample in expected]
    assert len({sample["text"] for sample in expected}) > 2, "equal texts would prove nothing"


def test_all_tasks_are_there_and_lm_eval_s_own_models_too():
    assert set(TaskManager(include_defaults=False).all_tasks) == {f"harness_{task}" for task in registry.names("task")}
    assert {"diffusion_lm", "hf", "dummy", "vllm"} <= set(model_registry.keys())


def test_a_user_s_own_task_is_there_too(manager, tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_included", [])
    new("task", "backwards", tmp_path / "own")
    registry.add_include_path(tmp_path / "own")
    assert "harness_backwards" in TaskManager(include_defaults=False).all_tasks
    task = manager(pretrained="tiny").load(["harness_backwards"])["tasks"]["harness_backwards"]
    docs = task.test_docs()
    assert (len(docs), task.fewshot_context(docs[0])) == (512, docs[0]["question"] + "\n")
    assert task.config.generation_kwargs["max_gen_toks"] == 16


def test_a_task_for_another_model_has_chat_messages_in_its_template_or_as_plain_text(manager):
    task = manager(data="builtin").load(["harness_sudoku"])["tasks"]["harness_sudoku"]
    doc = task.test_docs()[0]
    plain = task.fewshot_context(doc)
    (message,) = task.task.prompt(task.task.examples("test", parse_source("builtin"))[0])
    assert plain == message["content"].strip() + "\n\n"
    template = task.fewshot_context(doc, chat_template=lambda messages: f"<{messages[0]['content'][:4]}>")
    assert template == f"<{plain[:4]}>"
    system = task.fewshot_context(doc, system_instruction="Be brief.")
    assert system == f"Be brief.\n\n{plain}"


def test_the_tiny_model_gets_compact_prompts_with_and_without_a_template(manager):
    task = manager(pretrained="tiny").load(["harness_sudoku"])["tasks"]["harness_sudoku"]
    doc = task.test_docs()[0]
    assert task.fewshot_context(doc) == doc["question"] + "\n"
    assert task.fewshot_context(doc, chat_template=lambda messages: "chat") == doc["question"] + "\n"


def test_a_folder_with_the_tiny_model_s_tokenizer_gets_compact_prompts_too():
    assert prompt_style({"pretrained": str(tiny_tasks()["sudoku"])}) == "compact"
    assert prompt_style({"pretrained": "gpt2"}) == "chat"
    assert prompt_style({}) == "chat"
    assert prompt_style({"pretrained": "gpt2", "prompts": "compact"}) == "compact"
    with pytest.raises(UserError, match="prompts"):
        prompt_style({"prompts": "short"})


def test_a_model_object_without_metadata_is_told_what_is_missing(manager):
    with pytest.raises(UserError, match="add prompts=compact to --metadata"):
        simple_evaluate(
            model=DiffusionEvalLM("tiny"),
            tasks=["harness_sudoku"],
            task_manager=manager(data="builtin"),
            limit=1,
        )


def test_a_split_and_a_folder_can_be_chosen_and_a_missing_one_is_said(manager, tmp_path, monkeypatch):
    monkeypatch.delenv("HARNESS_DATA", raising=False)
    load = manager(data="builtin", split="validation").load
    assert len(load(["harness_sudoku"])["tasks"]["harness_sudoku"].test_docs()) == 256
    with pytest.raises(UserError, match="neither 'builtin' nor 'hub' nor an existing folder"):
        manager(data=str(tmp_path / "none")).load(["harness_sudoku"])
    with pytest.raises(UserError, match=r"gsm8k/test.jsonl"):
        manager(data=str(tmp_path)).load(["harness_gsm8k"])


def test_a_causal_model_of_lm_eval_s_own_type_is_graded_by_our_graders(tmp_path, llada, manager):
    (tmp_path / "gsm8k").mkdir()
    rows = [{"question": f"What is {n} plus 1?", "answer": f"It is {n + 1}.\n#### {n + 1}"} for n in range(3)]
    (tmp_path / "gsm8k" / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    folder = tmp_path / "causal"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=512, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
        )
        LlamaForCausalLM(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((llada / name).read_bytes())
    results = simple_evaluate(
        model="hf",
        model_args={"pretrained": str(folder)},
        device="cpu",
        tasks=["harness_gsm8k"],
        task_manager=manager(pretrained=str(folder), data=str(tmp_path)),
        gen_kwargs={"max_gen_toks": 4},
        apply_chat_template=True,
    )
    samples = results["samples"]["harness_gsm8k"]
    assert [sample["doc"]["question"] for sample in samples] == [row["question"] for row in rows]
    assert samples[0]["arguments"][0][0].startswith("<|endoftext|>[user]")
    assert results["results"]["harness_gsm8k"]["accuracy,none"] == 0


def test_the_ratio_of_sums_is_not_the_mean_of_ratios():
    assert ratio([[1, 1], [0, 3]]) == 0.25


def test_the_standard_error_of_a_ratio_is_that_of_a_mean_where_every_whole_is_one():
    # Residuals 1 - 0.25 and 0 - 0.75: sqrt(2 * (0.5625 + 0.5625)) / 4.
    assert ratio_error([[1, 1], [0, 3]]) == pytest.approx(0.375)
    assert ratio_error([[1, 1], [0, 1], [1, 1], [1, 1]]) == pytest.approx(0.25)
