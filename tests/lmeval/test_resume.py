"""Answers are computed once: after a kill, by another process, in a second run; and never for another question."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.errors import UserError
from harness.lmeval.model import DiffusionEvalLM
from harness.records.jsonl import read_lines

PROMPTS = [f"{number} + {number} = " for number in range(6)]
SHORT = {"until": [], "max_gen_toks": 8}
PAIRS = [(f"{number} plus one is", f" {number + 1}0") for number in range(6)]
BLOCKS, WIDTH = 2, 64

KILLED = """
import json, os, signal, sys
from lm_eval.api.instance import Instance
from harness.lmeval.model import DiffusionEvalLM
from harness.evaluation import store

left = int(sys.argv[3])

def append_and_die(path, record):
    global left
    left -= 1
    if left:
        append(path, record)
        return
    with open(path, "ab") as stream:
        stream.write(json.dumps(record).encode()[:40])
    os.kill(os.getpid(), signal.SIGKILL)

append, store.append_line = store.append_line, append_and_die
lm = DiffusionEvalLM(sys.argv[1], device="cpu", cache=sys.argv[2], batch_size=2, likelihood_draws=4)
for kind, arguments in json.loads(sys.argv[4]):
    requests = [Instance(kind, {}, tuple(one), 0, ("local", n, 1)) for n, one in enumerate(arguments)]
    getattr(lm, kind)(requests, disable_tqdm=True)
"""


def evaluate(folder, ask, cache, **options):
    """All answers, and how many of each kind were computed."""
    lm = DiffusionEvalLM(str(folder), **{"device": "cpu", "likelihood_draws": 4, **options}, cache=str(cache or ""))
    texts = lm.generate_until(ask("generate_until", [(prompt, SHORT) for prompt in PROMPTS]), disable_tqdm=True)
    values = lm.loglikelihood(ask("loglikelihood", PAIRS), disable_tqdm=True)
    computed = {kind: cost["computed_now"] for kind, cost in lm.get_model_info()["cost"].items()}
    lm.close()
    return (texts, values), computed


@pytest.mark.slow
@pytest.mark.parametrize("kill_at", [4, 9])
def test_after_kill_9_nothing_is_computed_twice_and_nothing_differs(llada, ask, tmp_path, kill_at):
    calls = [("generate_until", [(prompt, SHORT) for prompt in PROMPTS]), ("loglikelihood", PAIRS)]
    command = [sys.executable, "-c", KILLED, str(llada), str(tmp_path), str(kill_at), json.dumps(calls)]
    killed = subprocess.run(command, capture_output=True, cwd=Path(__file__).parents[2])
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    path = tmp_path / "answers-0.jsonl"
    assert len(path.read_bytes().splitlines()) == kill_at
    assert len(list(read_lines(path))) == kill_at - 1

    answers, computed = evaluate(llada, ask, tmp_path)
    expected, in_all = evaluate(llada, ask, None)
    assert answers == expected
    assert sum(computed.values()) == sum(in_all.values()) - (kill_at - 1)
    keys = [line["key"] for line in read_lines(path)]
    assert len(keys) == len(set(keys)) == sum(in_all.values())


def test_a_second_run_computes_nothing_and_reports_the_cost_of_the_first(llada, ask, tmp_path):
    first, computed = evaluate(llada, ask, tmp_path)
    assert computed == {"generate_until": 6, "loglikelihood": 6, "greedy": 6}
    content = (tmp_path / "answers-0.jsonl").read_bytes()
    again, computed = evaluate(llada, ask, tmp_path, batch_size=4)
    assert again == first
    assert computed == {"generate_until": 0, "loglikelihood": 0, "greedy": 0}
    assert (tmp_path / "answers-0.jsonl").read_bytes() == content
    stored = sum(line["answer"]["seconds"] for line in read_lines(tmp_path / "answers-0.jsonl"))
    lm = DiffusionEvalLM(str(llada), device="cpu", likelihood_draws=4, cache=str(tmp_path))
    lm.generate_until(ask("generate_until", [(prompt, SHORT) for prompt in PROMPTS]), disable_tqdm=True)
    assert 0 < lm.get_model_info()["cost"]["generate_until"]["seconds"] < stored


def write_adapter(folder: Path, *, alpha: int = 8, seed: int = 0) -> str:
    generator = torch.Generator().manual_seed(seed)
    names = [f"base_model.model.model.transformer.blocks.{block}.q_proj" for block in range(BLOCKS)]
    weights = {
        f"{name}.lora_{part}.weight": torch.randn(shape, generator=generator)
        for name in names
        for part, shape in (("A", (4, WIDTH)), ("B", (WIDTH, 4)))
    }
    folder.mkdir()
    save_file(weights, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": alpha, "target_modules": ["q_proj"], "bias": "none"}
    config |= {"base_model_name_or_path": "LLaDA-Tiny-Instruct", "lora_dropout": 0.0, "task_type": "CAUSAL_LM"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return str(folder)


def generated(folder, ask, cache, *, prompt="2 + 2", **options):
    """How many of the one request were computed."""
    kwargs = {**SHORT, **options.pop("kwargs", {})}
    lm = DiffusionEvalLM(str(folder), device="cpu", cache=str(cache), **options)
    lm.generate_until(ask("generate_until", [(prompt, kwargs)]), disable_tqdm=True)
    lm.close()
    return lm.get_model_info()["cost"]["generate_until"]["computed_now"]


@pytest.fixture
def cache(llada, ask, tmp_path):
    """A cache that holds the answer to `generated` without options."""
    folder = tmp_path / "cache"
    assert generated(llada, ask, folder) == 1
    assert generated(llada, ask, folder) == 0
    return folder


def test_another_prompt_is_another_question(llada, ask, cache):
    assert generated(llada, ask, cache, prompt="2 + 3") == 1


@pytest.mark.parametrize(
    "kwargs",
    [{"num_steps": 8}, {"eos_policy": "run"}, {"block_length": 4}, {"max_gen_toks": 9}, {"temperature": 1.0}],
    ids=str,
)
def test_another_decoding_is_another_question(llada, ask, cache, kwargs):
    assert generated(llada, ask, cache, kwargs=kwargs) == 1


def test_other_stop_texts_are_cut_from_the_same_answer(llada, ask, cache):
    assert generated(llada, ask, cache, kwargs={"until": ["\n"]}) == 0


def test_another_seed_is_another_question_for_samples_alone(llada, ask, cache):
    assert generated(llada, ask, cache, seed=1) == 0
    assert generated(llada, ask, cache, kwargs={"temperature": 1.0}) == 1
    assert generated(llada, ask, cache, kwargs={"temperature": 1.0}) == 0
    assert generated(llada, ask, cache, kwargs={"temperature": 1.0}, seed=1) == 1


def test_other_weights_under_the_same_name_are_another_model(llada, ask, tmp_path):
    copy = tmp_path / "model"
    shutil.copytree(llada, copy)
    cache = tmp_path / "cache"
    assert generated(copy, ask, cache) == 1
    weights = load_file(copy / "model.safetensors")
    name = next(name for name in weights if "q_proj" in name)
    save_file({**weights, name: weights[name] + 0.01}, copy / "model.safetensors", metadata={"format": "pt"})
    assert generated(copy, ask, cache) == 1


def test_a_copy_of_the_model_is_the_same_model(llada, ask, cache, tmp_path):
    shutil.copytree(llada, tmp_path / "copy")
    assert generated(tmp_path / "copy", ask, cache) == 0


def test_another_configuration_of_the_same_weights_is_another_model(llada, ask, cache, tmp_path):
    copy = tmp_path / "model"
    shutil.copytree(llada, copy)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"rope_theta": 10000.0}))
    assert generated(copy, ask, cache) == 1


def test_another_dtype_is_another_model(llada, ask, cache):
    assert generated(llada, ask, cache, dtype="float64") == 1


def test_adapters_are_told_apart_by_weights_and_by_scale(llada, ask, cache, tmp_path):
    first = write_adapter(tmp_path / "first")
    assert generated(llada, ask, cache, peft=first) == 1
    assert generated(llada, ask, cache, peft=first) == 0
    assert generated(llada, ask, cache, peft=write_adapter(tmp_path / "other", seed=1)) == 1
    assert generated(llada, ask, cache, peft=write_adapter(tmp_path / "stronger", alpha=16)) == 1


def test_likelihoods_are_told_apart_by_draws_guidance_and_seed(llada, ask, tmp_path):
    def computed(**options):
        lm = DiffusionEvalLM(
            str(llada),
            **{"device": "cpu", "cache": str(tmp_path), "likelihood_draws": 4, "greedy_check": False, **options},
        )
        lm.loglikelihood(ask("loglikelihood", PAIRS[:1]), disable_tqdm=True)
        lm.close()
        return lm.get_model_info()["cost"]["loglikelihood"]["computed_now"]

    assert [computed(), computed(), computed(batch_size=4)] == [1, 0, 0]
    assert [computed(likelihood_draws=5), computed(likelihood_guidance_scale=0.5), computed(seed=1)] == [1, 1, 1]


def test_lm_eval_s_own_cache_is_warned_about(llada, ask, tmp_path, caplog):
    from lm_eval.api.model import CachingLM

    lm = CachingLM(DiffusionEvalLM(str(llada), device="cpu"), str(tmp_path / "lm_eval.db"))
    assert "it hands out old answers" in caplog.text
    requests = ask("generate_until", [("2 + 2", SHORT)])
    assert lm.generate_until(requests) == lm.generate_until(requests)


def test_a_cache_that_cannot_be_used_is_said_before_the_model_is_loaded(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="Choose another cache=DIR"):
        DiffusionEvalLM("no/such-model", device="cpu", cache=str(tmp_path / "file"))
