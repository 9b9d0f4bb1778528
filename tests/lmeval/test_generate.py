"""generate_until: batches, stop texts, templates, devices; among them what other adapters are known to get wrong."""

import json
import random

import pytest
import torch
from lm_eval import simple_evaluate

from harness.cli.lm_eval import with_device
from harness.cli.main import main
from harness.errors import UserError
from harness.lmeval.model import DiffusionEvalLM
from harness.models.diffusion_lm import MaskedPredictor
from harness.records.jsonl import read_lines

PROMPTS = ["1", "What is 3 plus 4?", "Natalia has " + "many " * 12 + "apples.", "2 + 2", "x" * 40, "Why?", "7", "end"]
SHORT = {"until": [], "max_gen_toks": 12}


def texts(folder, ask, prompts, *, kwargs=SHORT, **options):
    lm = DiffusionEvalLM(str(folder), device="cpu", **options)
    return lm.generate_until(ask("generate_until", [(prompt, kwargs) for prompt in prompts]), disable_tqdm=True)


@pytest.fixture(scope="module")
def alone(llada):
    """Every prompt completed by itself, in a batch of one."""

    def complete(ask, **options):
        return [texts(llada, ask, [prompt], **options)[0] for prompt in PROMPTS]

    return complete


@pytest.mark.parametrize("batch_size", [3, 8, "auto"])
def test_batch_size_and_order_change_no_text(llada, ask, alone, batch_size):
    expected = alone(ask)
    assert len(set(expected)) > 4, "equal texts would prove nothing"
    order = random.Random(1).sample(range(len(PROMPTS)), len(PROMPTS))
    found = texts(llada, ask, [PROMPTS[index] for index in order], batch_size=batch_size)
    assert found == [expected[index] for index in order]


@pytest.mark.parametrize("batch_size", [3, 8])
def test_batch_size_and_order_change_no_draw(llada, ask, alone, batch_size):
    kwargs = {**SHORT, "do_sample": True, "temperature": 1.5}
    expected = alone(ask, kwargs=kwargs)
    assert expected != alone(ask)
    found = texts(llada, ask, PROMPTS[::-1], batch_size=batch_size, kwargs=kwargs)
    assert found[::-1] == expected


def test_a_row_is_not_changed_by_a_longer_one_beside_it(llada, ask):
    """Padding on the left has to be masked out, and positions with it."""
    (by_itself,) = texts(llada, ask, ["What is 3 plus 4?"])
    beside = texts(llada, ask, ["What is 3 plus 4?", "y" * 200], batch_size=2)
    assert beside[0] == by_itself


def test_every_request_is_cut_at_its_own_stop_texts(llada, ask):
    (whole,) = texts(llada, ask, ["2 + 2"])
    early, late = whole[2], whole[5]
    lm = DiffusionEvalLM(str(llada), device="cpu", batch_size=4)
    arguments = [("2 + 2", {**SHORT, "until": until}) for until in ([], [early], [late], early)]
    cut_early, cut_late = whole[: whole.index(early)], whole[: whole.index(late)]
    expected = [whole, cut_early, cut_late, cut_early]
    assert lm.generate_until(ask("generate_until", arguments), disable_tqdm=True) == expected
    assert lm.get_model_info()["cost"]["generate_until"]["computed_now"] == 1


def test_requests_of_one_call_may_have_different_lengths(llada, ask):
    lm = DiffusionEvalLM(str(llada), device="cpu", batch_size=4)
    lengths = [4, 12, 7, 12]
    arguments = [("2 + 2", {"until": [], "max_gen_toks": length, "eos_policy": "run"}) for length in lengths]
    lm.generate_until(ask("generate_until", arguments), disable_tqdm=True)
    assert lm.get_model_info()["cost"]["generate_until"]["requests"] == 3


def test_samples_of_one_request_differ_and_come_again(llada, ask):
    arguments = [("2 + 2", {**SHORT, "do_sample": True, "temperature": 1.5})]
    requests = ask("generate_until", arguments, repeats=3)
    lm = DiffusionEvalLM(str(llada), device="cpu")
    first = lm.generate_until(requests * 3, disable_tqdm=True)
    assert len(set(first)) == 3
    again = DiffusionEvalLM(str(llada), device="cpu", batch_size=8)
    assert again.generate_until(requests * 3, disable_tqdm=True) == first
    other = DiffusionEvalLM(str(llada), device="cpu", seed=1)
    assert other.generate_until(requests * 3, disable_tqdm=True) != first


def test_a_copy_beyond_the_repeats_is_computed_once(llada, ask):
    """lm-eval fills the requests of a process up with copies of the last one."""
    requests = ask("generate_until", [("2 + 2", {**SHORT, "temperature": 1.5})])
    lm = DiffusionEvalLM(str(llada), device="cpu")
    first, copy = lm.generate_until(requests * 2, disable_tqdm=True)
    assert first == copy
    assert lm.get_model_info()["cost"]["generate_until"]["requests"] == 1


@pytest.fixture
def local_task(tmp_path, manager):
    """A task of two questions on a file, by lm-eval's own YAML."""
    rows = [{"question": "2 + 2", "answer": "4"}, {"question": "Why?", "answer": "no"}]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "local.yaml").write_text(
        "task: local\n"
        "dataset_path: json\n"
        f"dataset_kwargs: {{data_files: {{test: {tmp_path}/test.jsonl}}, cache_dir: {tmp_path}/cache}}\n"
        "output_type: generate_until\n"
        "test_split: test\n"
        'doc_to_text: "{{question}}"\n'
        'doc_to_target: "{{answer}}"\n'
        "generation_kwargs: {until: [], max_gen_toks: 8, do_sample: false}\n"
        "num_fewshot: 0\n"
        "metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]\n"
    )
    return manager(tmp_path)


@pytest.mark.parametrize("flag", [True, False])
def test_the_chat_template_follows_the_flag_and_not_the_model_s_name(llada, local_task, flag):
    assert "Instruct" in llada.name
    results = simple_evaluate(
        model="diffusion_lm",
        model_args={"pretrained": str(llada)},
        tasks=["local"],
        task_manager=local_task,
        apply_chat_template=flag,
    )
    prompts = [sample["arguments"][0][0] for sample in results["samples"]["local"]]
    expected = "<|endoftext|>[user]{}<|eot_id|>[assistant]" if flag else "{}"
    assert prompts == [expected.format("2 + 2"), expected.format("Why?")]


def test_the_eos_policy_and_the_whole_decoding_stand_in_the_results(llada, local_task):
    results = simple_evaluate(
        model="diffusion_lm",
        model_args={"pretrained": str(llada)},
        tasks=["local"],
        task_manager=local_task,
        gen_kwargs={"eos_policy": "forbid", "num_steps": 8},
    )
    config = results["config"]
    assert config["decoding"]["local"]["eos_policy"] == "forbid"
    assert config["decoding"]["local"]["num_steps"] == 8
    assert config["model_dtype"] == "torch.float32"
    assert config["hardware"]["device"] == "cpu"
    cost = config["cost"]["generate_until"]
    assert (cost["requests"], cost["computed_now"], cost["nfe"], cost["forwards"]) == (2, 2, 8, 16)
    assert cost["tokens"] / cost["seconds"] == cost["tokens_per_second"]
    json.dumps(config)


def test_an_end_token_that_is_forbidden_never_ends_a_text(llada, ask, tmp_path):
    lm = DiffusionEvalLM(str(llada), device="cpu", cache=str(tmp_path))
    arguments = [(prompt, {**SHORT, "eos_policy": "forbid"}) for prompt in PROMPTS]
    lm.generate_until(ask("generate_until", arguments), disable_tqdm=True)
    turn_end = lm.tokenizer.get_vocab()["<|eot_id|>"]
    answers = [line["answer"] for line in read_lines(tmp_path / "answers-0.jsonl")]
    assert len(answers) == len(PROMPTS)
    assert all(answer["tokens"] == 12 or turn_end in answer["ids"] for answer in answers)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_an_error_or_by_option_the_cpu(llada):
    with pytest.raises(UserError, match=r"Device 'cuda:0' is not there.*cpu_fallback=true"):
        DiffusionEvalLM(str(llada), device="cuda:0")
    assert DiffusionEvalLM(str(llada), device="cuda:0", cpu_fallback=True).device == torch.device("cpu")
    assert DiffusionEvalLM(str(llada), device="auto").device == torch.device("cpu")


def test_the_command_line_lets_our_model_choose_its_device_and_leaves_others_alone():
    assert with_device(["run", "--model", "diffusion_lm"]) == ["run", "--device", "auto", "--model", "diffusion_lm"]
    assert with_device(["--model", "diffusion_lm"])[:2] == ["--device", "auto"]
    assert with_device(["run", "--model", "hf"]) == ["run", "--model", "hf"]
    given = ["run", "--config", "my.yaml", "--model", "diffusion_lm"]
    assert with_device(given) == given


def test_a_prompt_that_is_too_long_loses_its_beginning(llada, ask, caplog):
    long, tail = "a" * 50 + "2 + 2", "2 + 2"
    assert texts(llada, ask, [long], max_length=17) == texts(llada, ask, [tail], max_length=17)
    assert "cut to its last 5" in caplog.text
    with pytest.raises(UserError, match="12 tokens is longer than the model's 11 positions"):
        texts(llada, ask, [tail], max_length=11)


def test_the_tiny_model_asks_which_of_its_weights_a_foreign_task_gets(ask):
    requests = ask("generate_until", [("0300004002140000\n", SHORT)])
    with pytest.raises(UserError, match=r"no weights for task 'local'.*tiny_task=NAME"):
        DiffusionEvalLM("tiny", device="cpu").generate_until(requests)
    (text,) = DiffusionEvalLM("tiny", device="cpu", tiny_task="sudoku").generate_until(requests, disable_tqdm=True)
    assert len(text) == 12
    with pytest.raises(UserError, match="Unknown tiny_task 'chess'"):
        DiffusionEvalLM("tiny", device="cpu", tiny_task="chess")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batch_size": "many"}, "batch_size=many is neither a number above 0 nor 'auto'"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"num_step": 3}, "Did you mean 'num_steps'?"),
        ({"dtype": "float8"}, "model.dtype"),
        ({"likelihood_draws": 0}, "likelihood.draws=0 must be above 0"),
        ({"tiny_task": "sudoku"}, "tiny_task=sudoku goes with pretrained=tiny"),
    ],
)
def test_wrong_model_args_are_refused(llada, options, said):
    with pytest.raises(UserError) as caught:
        DiffusionEvalLM(str(llada), device="cpu", **options)
    assert said in str(caught.value)


def test_a_batch_that_does_not_fit_is_halved(llada, ask, monkeypatch, alone):
    real, sizes = MaskedPredictor.hidden, []

    def small_memory(self, tokens_BL, mask_BL, clean_BL):
        sizes.append(len(tokens_BL))
        if len(tokens_BL) > 2:
            raise torch.OutOfMemoryError
        return real(self, tokens_BL, mask_BL, clean_BL)

    expected = alone(ask)
    monkeypatch.setattr(MaskedPredictor, "hidden", small_memory)
    assert texts(llada, ask, PROMPTS, batch_size="auto", max_batch_size=8) == expected
    assert max(sizes) > 2
    with pytest.raises(torch.OutOfMemoryError):
        texts(llada, ask, PROMPTS, batch_size=8)


@pytest.mark.slow
@pytest.mark.usefixtures("tasks_indexed_once")
def test_the_command_line_writes_results_and_samples(tmp_path, capsys):
    arguments = ["lm-eval", "run", "--model", "diffusion_lm", "--model_args", "pretrained=tiny"]
    arguments += ["--tasks", "harness_sudoku", "--limit", "4", "--output_path", str(tmp_path), "--log_samples"]
    assert main(arguments) == 0
    assert "harness_sudoku" in capsys.readouterr().out
    (results,) = (tmp_path / "tiny").glob("results_*.json")
    config = json.loads(results.read_text())["config"]
    assert config["decoding"]["harness_sudoku"]["eos_policy"] == "stop"
    (samples,) = (tmp_path / "tiny").glob("samples_harness_sudoku_*.jsonl")
    assert len(samples.read_text().splitlines()) == 4


def test_the_help_and_the_refusals_of_a_subcommand_are_lm_eval_s_own(capsys):
    assert main(["lm-eval", "run", "--help"]) == 0
    assert "--include_path" in capsys.readouterr().out
    assert main(["lm-eval", "run", "--nonsense", "--model", "diffusion_lm"]) == 2
    assert "--nonsense" in capsys.readouterr().err


def test_what_lm_eval_refuses_is_one_sentence_and_other_errors_are_not_hidden(capsys, monkeypatch):
    arguments = ["lm-eval", "run", "--model", "diffusion_lm", "--tasks", "harness_sudoku", "--log_samples"]
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert "harness: Specify --output_path if providing --log_samples" in said
    assert "Traceback" not in said

    def broken() -> None:
        raise ValueError("a fault of ours")

    monkeypatch.setattr("lm_eval.__main__.cli_evaluate", broken)
    with pytest.raises(ValueError, match="a fault of ours"):
        main(arguments)
