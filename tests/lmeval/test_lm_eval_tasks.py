"""lm-eval's own tasks with our model type, without network: its YAML with the data replaced by local files."""

import json
import os
from importlib.metadata import version
from pathlib import Path

import evaluate
import lm_eval
import pytest
from lm_eval import simple_evaluate

from harness.lmeval import code_eval
from harness.scoring.sandbox.client import missing

LM_EVAL_TASKS = Path(lm_eval.__file__).parent / "tasks"
DATA = os.environ.get("HARNESS_DATA", "")
TEST = [
    {"question": "Ann has 2 pens and buys 5 more. How many has she?", "answer": "2 + 5 = 7.\n#### 7"},
    {"question": "A box holds 12 eggs. How many do 3 boxes hold?", "answer": "3 x 12 = 36.\n#### 36"},
    {"question": "Tom reads 4 pages a day. How many in a week?", "answer": "4 x 7 = 28.\n#### 28"},
]
TRAIN = [{"question": f"What is {n} plus {n}?", "answer": f"It is {2 * n}.\n#### {2 * n}"} for n in range(8)]


def write_rows(folder: Path, name: str, rows: list[dict]) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def override(folder: Path, original: str, files: dict[str, Path], *more: str) -> str:
    """A YAML file that takes one of lm-eval's over, with local files in place of the hub's; the task's name."""
    name = f"{Path(original).stem}_local"
    listed = ", ".join(f"{split}: {path}" for split, path in files.items())
    lines = [
        f"include: {LM_EVAL_TASKS / original}",
        f"task: {name}",
        "dataset_path: json",
        "dataset_name: null",
        f"dataset_kwargs: {{data_files: {{{listed}}}, cache_dir: {folder}/datasets}}",
        *more,
    ]
    (folder / f"{name}.yaml").write_text("\n".join(lines) + "\n")
    return name


@pytest.fixture(params=["written here", "published"])
def gsm8k_files(request, tmp_path):
    if request.param == "written here":
        return {
            name: write_rows(tmp_path, f"gsm8k/{name}.jsonl", rows) for name, rows in (("train", TRAIN), ("test", TEST))
        }
    folder = Path(DATA) / "gsm8k"
    if not DATA or not folder.is_dir():
        pytest.skip("HARNESS_DATA names no folder with gsm8k")
    return {name: folder / f"{name}.jsonl" for name in ("train", "test")}


def test_gsm8k_runs_as_lm_eval_has_it(llada, tmp_path, manager, gsm8k_files):
    name = override(tmp_path, "gsm8k/gsm8k.yaml", gsm8k_files)
    results = simple_evaluate(
        model="diffusion_lm",
        model_args={"pretrained": str(llada)},
        tasks=[name],
        task_manager=manager(tmp_path),
        num_fewshot=2,
        gen_kwargs={"max_gen_toks": 32},
        batch_size=2,
        limit=3,
    )
    samples = results["samples"][name]
    assert len(samples) == 6, "two filters, three items"
    assert samples[0]["arguments"][0][0].count("Question:") == 3
    assert not any("Question:" in sample["resps"][0][0] for sample in samples)
    assert results["results"][name]["exact_match,strict-match"] == 0
    assert results["config"]["decoding"][name]["num_steps"] == 16
    assert results["config"]["cost"]["generate_until"]["requests"] == 3


@pytest.mark.slow
@pytest.mark.skipif(
    not version("antlr4-python3-runtime").startswith("4.11"), reason="lm-eval's minerva_math asks for antlr 4.11"
)
def test_minerva_math500_runs_as_lm_eval_has_it(llada, tmp_path, manager):
    rows = [{"problem": "What is $1 + 1$?", "solution": "It is $\\boxed{2}$.", "answer": "2"}]
    files = {"test": write_rows(tmp_path, "math500.jsonl", rows)}
    name = override(tmp_path, "minerva_math/minerva_math500.yaml", files)
    results = simple_evaluate(
        model="diffusion_lm",
        model_args={"pretrained": str(llada)},
        tasks=[name],
        task_manager=manager(tmp_path),
        gen_kwargs={"max_gen_toks": 32},
    )
    assert results["results"][name]["math_verify,none"] == 0


HUMANEVAL = {
    "task_id": "local/0",
    "prompt": "def double(x):\n",
    "entry_point": "double",
    "canonical_solution": "    return 2 * x\n",
    "test": "def check(candidate):\n    assert candidate(2) == 4\n",
}
MBPP = {"text": "Double a number.", "code": "", "test_list": [f"assert double({n}) == {2 * n}" for n in range(3)]}


@pytest.mark.skipif(bool(missing()), reason=missing() or "-")
@pytest.mark.parametrize(
    ("original", "row", "metric"),
    [
        ("humaneval/humaneval.yaml", HUMANEVAL, "pass@1,create_test"),
        ("mbpp/mbpp.yaml", MBPP, "pass_at_1,none"),
    ],
)
def test_code_tasks_run_as_lm_eval_has_them_in_our_sandbox(
    llada, tmp_path, manager, monkeypatch, original, row, metric
):
    monkeypatch.setattr(evaluate, "load", evaluate.load)
    code_eval.install()
    name = override(tmp_path, original, {"test": write_rows(tmp_path, "test.jsonl", [row])})
    results = simple_evaluate(
        model="diffusion_lm",
        model_args={"pretrained": str(llada), "max_length": 512},
        tasks=[name],
        task_manager=manager(tmp_path),
        gen_kwargs={"max_gen_toks": 32},
        confirm_run_unsafe_code=True,
    )
    assert results["results"][name][metric] == 0
