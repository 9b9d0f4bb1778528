"""Published checkpoints and prompts on a random model in LLaDA's layout, as the hub's cache would hold it."""

from __future__ import annotations

import csv
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from harness import registry
from harness.app.checkpoints import published_checkpoint
from harness.app.models import load_model
from harness.cli.main import main
from harness.config.published import protocols
from harness.config.published.checkpoints import published_checkpoints
from harness.config.published.prompt_hashes import check_prompts
from harness.data.sources import DataSource
from harness.records.description import EVALUATED_FILE, read_description
from harness.records.jsonl import read_lines, read_samples
from harness.records.schema import EvalRecord
from harness.report.labels import task_name
from harness.task.base import TaskOptions
from harness.task.prompts import read_prompts, set_prompts

TOKENS = torch.tensor([[5, 80, 13, 201, 7, 44]])


REVISION = "0" * 40


def snapshot_folder(cache: Path, hub: str) -> Path:
    return cache / f"models--{hub.replace('/', '--')}" / "snapshots" / REVISION


def snapshot(cache: Path, hub: str) -> Path:
    """The folder of a repository's files in a cache, made with its reference."""
    folder = snapshot_folder(cache, hub)
    folder.parent.mkdir(parents=True)
    (folder.parents[1] / "refs").mkdir()
    (folder.parents[1] / "refs" / "main").write_text(REVISION)
    return folder


def logits(model):
    with torch.no_grad():
        return model.logits(TOKENS, None, torch.arange(6).expand(1, -1))


@pytest.fixture
def hub(tmp_path, monkeypatch, published_llada, copy_of, write_adapter, every_layer):
    """A cache that holds the base and one adapter of EGSPO's repository, and no network; the adapter's own folder."""
    cache = tmp_path / "home" / "hub"
    copy_of(published_llada).rename(snapshot(cache, "GSAI-ML/LLaDA-8B-Instruct"))
    adapter = write_adapter(every_layer)
    place = snapshot(cache, "fatemehdoudi97/egspo-llada-8b") / "math" / "egspo-sa"
    place.mkdir(parents=True)
    for file in adapter.iterdir():
        (place / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return adapter


def test_a_registered_adapter_is_loaded_from_its_subfolder_onto_its_base(hub, published_llada):
    found = published_checkpoint("egspo-sa", "math500")
    model = load_model(found.model, device="cpu", adapter=found.adapter, adapter_subfolder=found.subfolder)
    assert torch.equal(logits(model), logits(load_model(published_llada, device="cpu", adapter=str(hub))))
    assert not torch.allclose(logits(model), logits(load_model(found.model, device="cpu")), atol=0.1)


@pytest.mark.parametrize(("phase", "task"), [("evaluation", "gsm8k"), ("evaluation", "sudoku"), ("training", "gsm8k")])
def test_the_prompts_of_a_real_clone_reach_the_model_as_published(published_llada, data_folder, tmp_path, phase, task):
    clone = Path(os.environ.get("HARNESS_CLONES", "")) / "d1"
    if not os.environ.get("HARNESS_CLONES") or not clone.is_dir():
        pytest.skip("no clone of dllm-reasoning/d1; set HARNESS_CLONES to a folder of clones")
    out = tmp_path / "prompts.yaml"
    assert main(["data", "prompts", "--protocol", "d1", "--from", str(clone), "--out", str(out)]) == 0
    chosen, source = registry.get_task(task)(TaskOptions()), DataSource(kind="dir", folder=data_folder)
    train = chosen.examples("train", source) if phase == "training" else []
    left = set_prompts(chosen, read_prompts(out, registry.names("task")), train, 0)
    examples = left or chosen.examples("test", source)
    model = load_model(published_llada, device="cpu")
    found = check_prompts("d1", chosen, examples, model.prompt_text, phase=phase)
    assert found.state == "as published", found.reason
    assert (
        check_prompts("d1", registry.get_task(task)(TaskOptions()), examples, model.prompt_text).state != "as published"
    )


def test_a_registered_checkpoint_is_evaluated_under_a_paper_s_protocol(hub, tmp_path, capsys):
    options = ["--data", "builtin", "--device", "cpu", "--items", "2", "--out", str(tmp_path / "evals")]
    command = ["eval", "--checkpoint", "egspo-sa", "--task", "math500", "--protocol", "egspo", "--length", "128"]
    assert main([*command, *options]) == 0
    assert "Protocol egspo; prompts: unverified" in capsys.readouterr().out
    folder = tmp_path / "evals" / "math500" / "egspo-sa--math500"
    (line,) = read_lines(folder / "eval.jsonl")
    record = EvalRecord.from_json(line)
    assert record.protocol == "egspo"
    sizes = [record.decoding[name] for name in ("completion_length", "block_length", "num_steps", "eos_policy")]
    assert sizes == [128, 32, 64, "run"]
    identity = read_description(folder, EVALUATED_FILE).identity
    assert (identity.method, identity.model, identity.recipe) == ("egspo-sa", "GSAI-ML/LLaDA-8B-Instruct", "published")


def test_a_registered_checkpoint_is_compared_with_its_base_under_a_paper_s_protocol(hub, tmp_path):
    places = ["--evaluations", str(tmp_path / "evals"), "--out", str(tmp_path / "out")]
    options = ["--data", "builtin", "--device", "cpu", "--items", "2", "--protocol", "egspo", "--length", "128"]
    command = ["compare", "--task", "math500", "--against", "egspo-sa,GSAI-ML/LLaDA-8B-Instruct"]
    assert main([*command, *options, *places]) == 0
    evaluated = sorted(str(place.relative_to(tmp_path)) for place in tmp_path.rglob("eval.jsonl"))
    assert evaluated == [
        f"evals/math500/{name}/eval.jsonl" for name in ("GSAI-ML--LLaDA-8B-Instruct", "egspo-sa--math500")
    ]
    line = (tmp_path / "out" / "comparison.csv").read_text().splitlines()[1]
    assert line.startswith("math500,128,accuracy,2,egspo-sa,GSAI-ML/LLaDA-8B-Instruct,0,0,0,-1,1,0,0,1,1,,,")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--checkpoint", "egspo-sa", "--protocol", "egspo", "--length", "64"], "at length 128, 256, 512, not at 64"),
        (["--checkpoint", "egspo-sa", "--protocol", "egspo", "--set", "num_steps=64"], "leave out --set"),
        (["--checkpoint", "egspo-sa", "--adapter", "a/b"], "has an adapter of its own"),
        (["--checkpoint", "egspo-sb"], "Did you mean 'egspo-sa"),
        (["--task", "gsm8k", "--protocol", "egspo"], "evaluates 1319 items of gsm8k, but 'builtin' has 512; name"),
        (["--protocol", "d2"], "Unknown protocol 'd2'. Choices: agrpo, d1"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(hub, tmp_path, capsys, options, words):
    task = [] if "--task" in options else ["--task", "math500"]
    assert main(["eval", *task, "--data", "builtin", "--out", str(tmp_path / "evals"), *options]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert not (tmp_path / "evals").exists()


@pytest.fixture
def all_adapters(hub, tmp_path):
    """The cache with an adapter in every subfolder of EGSPO's repository."""
    place = snapshot_folder(tmp_path / "home" / "hub", "fatemehdoudi97/egspo-llada-8b")
    for found in published_checkpoints():
        if found.hub == "fatemehdoudi97/egspo-llada-8b":
            shutil.copytree(hub, place / found.subfolder, dirs_exist_ok=True)


@pytest.fixture
def an_eighth_of_the_steps(monkeypatch):
    """The paper has two tokens per step; here there are sixteen."""

    def faster(protocol, task, values, training_folder):
        found = read(protocol, task, values, training_folder)
        decodings = tuple(replace(one, num_steps=one.num_steps // 8) for one in found.decodings)
        return replace(found, decodings=decodings) if protocol == "egspo" else found

    read = protocols._task
    monkeypatch.setattr(protocols, "_task", faster)
    protocols.load_protocol.cache_clear()
    yield
    protocols.load_protocol.cache_clear()


@pytest.mark.slow
def test_a_paper_is_reproduced_from_published_weights_item_by_item_as_harness_eval_has_them(
    all_adapters, an_eighth_of_the_steps, tmp_path
):
    prompts, paper = tmp_path / "prompts.yaml", tmp_path / "paper"
    tasks = ("gsm8k", "math500", "countdown", "sudoku", "mbpp", "humaneval")
    prompts.write_text("".join(f"{task}: [{{role: user, content: '{{question}}'}}]\n" for task in tasks))
    options = ["--data", "builtin", "--device", "cpu", "--items", "2", "--prompts", str(prompts)]
    assert main(["reproduce", "2603.12554", "--with", "published", *options, "--out", str(paper)]) == 0
    text = (paper / "reproduction.md").read_text()
    assert text.count("it needs training curves, which evaluations of published weights do not have") == 6
    assert "](figures/bars-gsai-ml-llada-8b-instruct.png)" in text
    rows = table_rows(paper / "tables" / "table-1.csv") | table_rows(paper / "tables" / "table-2.csv")
    ours = {key: row for key, row in rows.items() if row["Verdict"] == "not comparable: builtin data"}
    assert sorted(ours) == sorted(
        (task_name(task), method, "LLaDA-8B-Instruct") for task in tasks for method in ("EGSPO", "EGSPO-SA", "base")
    )
    assert all("[" in row[length] for row in ours.values() for length in ("128", "256", "512"))
    for method, task, length, metric in (
        ("egspo-sa", "mbpp", "256", "pass@1"),
        ("egspo", "sudoku", "128", "official_cell_accuracy"),
    ):
        name = f"{method}--{task}"
        single = ["eval", "--checkpoint", f"{method}/{task}", "--task", task, "--protocol", "egspo", "--length", length]
        assert main([*single, *options, "--out", str(tmp_path / "single")]) == 0
        (expected,) = evaluations(tmp_path / "single" / task / name)
        (same,) = (one for one in evaluations(paper / "evals" / task / name) if one.identity == expected.identity)
        assert same.metrics == expected.metrics
        files = [folder / task / name / str(same.samples_file) for folder in (paper / "evals", tmp_path / "single")]
        assert list(read_samples(files[0])) == list(read_samples(files[1]))
        cell = ours[task_name(task), method.upper(), "LLaDA-8B-Instruct"][length]
        assert cell.split()[0] == f"{100 * expected.metrics[metric].value:.1f}"


def evaluations(folder):
    return [EvalRecord.from_json(line) for line in read_lines(folder / "eval.jsonl")]


def table_rows(path):
    with open(path, newline="") as stream:
        return {(row["Task"], row["Method"], row["Model of the paper"]): row for row in csv.DictReader(stream)}
