"""Two processes under accelerate: each its share of the items, one result, the same as that of one process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.distributed import processes
from harness.distributed.shard import ALONE, join

CHECKOUT = Path(__file__).resolve().parents[2]
ITEMS = 7

EVALUATION = """
import json, sys
from pathlib import Path
from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager
import harness.lmeval.model

folder = Path(sys.argv[1])
results = simple_evaluate(
    model="diffusion_lm",
    model_args={"pretrained": "tiny", "tiny_task": "sudoku", "likelihood_draws": 4, "cache": str(folder / "cache")},
    tasks=["harness_sudoku", "choice"],
    task_manager=TaskManager(include_path=sys.argv[2], include_defaults=False, metadata={"pretrained": "tiny"}),
    gen_kwargs=json.loads(sys.argv[3]),
    batch_size=2,
    limit=7,
    bootstrap_iters=0,
)
if results is not None:
    (folder / "results.json").write_text(json.dumps(results, default=str))
"""

CHOICE = """
task: choice
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/test.jsonl}}, cache_dir: {folder}/datasets}}
output_type: multiple_choice
test_split: test
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: label
num_fewshot: 0
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
"""


def evaluate(folder: Path, tasks: Path, kwargs: dict, launcher: list[str]) -> dict:
    folder.mkdir(exist_ok=True)
    script = folder / "evaluation.py"
    script.write_text(EVALUATION)
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, str(script), str(folder), str(tasks), json.dumps(kwargs)]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "results.json").read_text())


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    folder = tmp_path / "tasks"
    folder.mkdir()
    rows = [{"question": f"{n} + 1 is", "choices": [str(n), str(n + 1)], "label": 1} for n in range(ITEMS)]
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "choice.yaml").write_text(CHOICE.format(folder=folder))
    return folder


def by_item(results: dict, task: str) -> list[dict]:
    """Samples in the items' order; lm-eval notes the copies that make the processes' shares equal as more answers."""
    samples = sorted(results["samples"][task], key=lambda sample: sample["doc_id"])
    return [{**sample, "resps": [answers[:1] for answers in sample["resps"]]} for sample in samples]


@pytest.mark.slow
def test_two_processes_give_the_result_of_one(tmp_path, tasks):
    """With draws, which are of every request and not of its place; the choices are scored without."""
    kwargs = {"num_steps": 8, "do_sample": True, "temperature": 1.0}
    two_processes = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    one = evaluate(tmp_path / "one", tasks, kwargs, [])
    two = evaluate(tmp_path / "two", tasks, kwargs, two_processes)
    assert two["results"] == one["results"]
    assert two["n-samples"]["harness_sudoku"]["effective"] == ITEMS
    for task in ("harness_sudoku", "choice"):
        assert by_item(two, task) == by_item(one, task)
    costs = [results["config"]["cost"] for results in (one, two)]
    for kind in ("generate_until", "loglikelihood", "greedy"):
        for name in ("requests", "computed_now", "forwards", "nfe"):
            assert costs[0][kind][name] == costs[1][kind][name]
    assert [results["config"]["processes"] for results in (one, two)] == [1, 2]

    resumed = evaluate(tmp_path / "two", tasks, kwargs, [])
    assert resumed["results"] == one["results"]
    assert resumed["config"]["cost"]["generate_until"]["computed_now"] == 0


def test_a_launcher_that_started_one_process_instead_of_two_is_noticed(monkeypatch):
    for name in processes.SIZE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    assert join("cpu") is ALONE
    assert not processes.was_started_alone_by_mistake()
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    assert join("cpu") is ALONE
    assert processes.was_started_alone_by_mistake()
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert not processes.was_started_alone_by_mistake()
