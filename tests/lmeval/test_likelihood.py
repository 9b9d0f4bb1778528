"""loglikelihood: the Monte-Carlo bound, the same whatever is asked beside it."""

import json
import math
import random

import pytest
import torch
from lm_eval import simple_evaluate

from harness.diffusion.elbo import likelihood_counts
from harness.errors import UserError
from harness.evaluation.likelihood import LikelihoodOptions, Question, log_likelihoods, masks
from harness.lmeval.model import DiffusionEvalLM, windows
from harness.models.tiny import VOCABULARY
from harness.records.jsonl import read_lines

PAIRS = [
    ("2 + 2 =", " 4"),
    ("2 + 2 =", " five"),
    ("The capital of France is", " Paris"),
    ("", "no context at all"),
    ("a long context " * 6, " and an answer of many more tokens than the others"),
    ("Why?", "!"),
    ("x" * 25, "yyyyyyy"),
    ("Q", " a"),
]


def scores(folder, ask, pairs=PAIRS, **options):
    lm = DiffusionEvalLM(str(folder), device="cpu", **{"likelihood_draws": 12, "greedy_check": False, **options})
    return lm.loglikelihood(ask("loglikelihood", pairs), disable_tqdm=True)


@pytest.fixture
def uniform_model(random_model):
    """All logits are 0, so every token has log-probability -log V whatever is masked."""
    random_model.predictor.transformer.lm_head.weight.data.zero_()
    return random_model


def question(context=(1, 2, 3), answer=(4, 5, 6, 7), seed=5):
    return Question(key=f"{context}{answer}{seed}", context_ids=context, answer_ids=answer, seed=seed)


@torch.no_grad()
def textbook(model, one, mask_DC, scale=0.0):
    """log p(answer | context) as appendix B.5 writes it, without padding: masked log-probabilities times C / l."""
    context, answer_C = list(one.context_ids), torch.tensor(one.answer_ids)
    position_DC = torch.arange(len(context), len(context) + len(answer_C)).expand(len(mask_DC), -1)
    masked_DC = torch.where(mask_DC, model.special.mask_id, answer_C)

    def logits(seen):
        context_DP = torch.tensor(seen, dtype=torch.int64).expand(len(mask_DC), -1)
        return model.logits(torch.cat([context_DP, masked_DC], 1), None, position_DC)

    logits_DCV = logits(context)
    if scale:
        blind_DCV = logits([model.special.mask_id] * len(context))
        logits_DCV = blind_DCV + (scale + 1) * (logits_DCV - blind_DCV)
    logprob_DC = logits_DCV.log_softmax(-1).gather(-1, answer_C.expand_as(mask_DC)[:, :, None])[:, :, 0]
    return (torch.where(mask_DC, logprob_DC, 0.0).sum(1) * len(answer_C) / mask_DC.sum(1)).mean()


def test_a_uniform_model_gives_minus_c_log_v_without_error(uniform_model):
    ((_, found),) = log_likelihoods(uniform_model, [question()], LikelihoodOptions(draws=7))
    assert found.logprob == pytest.approx(-4 * math.log(VOCABULARY), abs=1e-5)
    assert found.standard_error == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("scale", [0.0, 0.5])
def test_it_is_the_estimate_of_one_request_alone(random_model, scale):
    asked = [question(), question(context=(9,), answer=tuple(range(20, 31))), question(context=())]
    options = LikelihoodOptions(draws=10, rows=4, guidance_scale=scale)
    for one, found in log_likelihoods(random_model, asked, options):
        assert found.logprob == pytest.approx(textbook(random_model, one, masks(one, 10), scale).item(), rel=1e-5)


def test_the_error_is_that_of_the_mean_of_the_draws(random_model):
    one = question()
    ((_, found),) = log_likelihoods(random_model, [one], LikelihoodOptions(draws=10))
    draws = [textbook(random_model, one, mask_C[None]) for mask_C in masks(one, 10)]
    assert found.standard_error == pytest.approx(torch.stack(draws).std().item() / math.sqrt(10), rel=1e-4)


def test_one_draw_has_no_error(random_model):
    ((_, found),) = log_likelihoods(random_model, [question()], LikelihoodOptions(draws=1))
    assert found.standard_error is None


def test_guidance_takes_two_forward_passes(random_model):
    options = LikelihoodOptions(draws=64, guidance_scale=0.5)
    ((_, found),) = log_likelihoods(random_model, [question(answer=(4, 5))], options)
    assert found.forwards == 2 * 3


def test_equal_masks_are_computed_once(random_model):
    ((_, one),) = log_likelihoods(random_model, [question(answer=(4,))], LikelihoodOptions(draws=64))
    assert (one.forwards, one.standard_error) == (1, 0)
    ((_, two),) = log_likelihoods(random_model, [question(answer=(4, 5))], LikelihoodOptions(draws=64))
    assert two.forwards == 3


def test_draws_mask_the_counts_of_an_even_grid():
    mask_DC = masks(question(answer=tuple(range(8))), 16)
    assert sorted(mask_DC.sum(1).tolist()) == sorted(likelihood_counts(16, 8, 1).tolist())
    assert torch.equal(mask_DC, masks(question(answer=tuple(range(10, 18))), 16))
    assert not torch.equal(mask_DC, masks(question(answer=tuple(range(8)), seed=6), 16))


@pytest.mark.parametrize("batch_size", [3, 8])
def test_batch_size_and_order_change_no_bit(llada, ask, batch_size):
    expected = [scores(llada, ask, [pair], batch_size=1)[0] for pair in PAIRS]
    assert len({value for value, _ in expected}) == len(PAIRS)
    assert scores(llada, ask, batch_size=1) == expected
    order = random.Random(2).sample(range(len(PAIRS)), len(PAIRS))
    found = scores(llada, ask, [PAIRS[index] for index in order], batch_size=batch_size)
    assert found == [expected[index] for index in order]


def test_another_seed_and_more_draws_are_another_estimate(llada, ask):
    first = scores(llada, ask)
    assert scores(llada, ask, seed=1) != first
    assert scores(llada, ask, likelihood_draws=24) != first


def test_nothing_is_certain_and_every_token_counts(llada, ask):
    assert scores(llada, ask, [("a", "")]) == [(0.0, True)]
    ((value, _),) = scores(llada, ask, [("", "a")])
    assert value < 0


def test_the_greedy_continuation_is_known_as_such(ask):
    lm = DiffusionEvalLM("tiny", device="cpu", tiny_task="sudoku", likelihood_draws=4)
    puzzle = "0300004002140000"
    kwargs = {"until": [], "max_gen_toks": 16, "num_steps": 16, "eos_policy": "run"}
    (answer,) = lm.generate_until(ask("generate_until", [(puzzle, kwargs)]), disable_tqdm=True)
    other = ("2" if answer[0] == "1" else "1") + answer[1:]
    requests = ask("loglikelihood", [(puzzle, answer), (puzzle, other)])
    (first, is_greedy), (second, is_not) = lm.loglikelihood(requests, disable_tqdm=True)
    assert (is_greedy, is_not) == (True, False)
    assert first > second


def test_a_text_is_scored_in_windows_after_the_text_before(llada, ask):
    assert windows([1, 2, 3], 3) == [([], [1, 2, 3])]
    assert windows([1, 2, 3, 4, 5], 4) == [([], [1, 2]), ([1, 2], [3, 4]), ([3, 4], [5])]
    lm = DiffusionEvalLM(str(llada), device="cpu", likelihood_draws=4, max_length=8)
    whole = "abcdefghij"
    found = lm.loglikelihood_rolling(ask("loglikelihood_rolling", [(whole,), ("",), ("abcd",)]), disable_tqdm=True)
    parts = lm.loglikelihood(ask("loglikelihood", [("", "abcd"), ("abcd", "efgh"), ("efgh", "ij")]), disable_tqdm=True)
    assert found == [sum(value for value, _ in parts), 0.0, parts[0][0]]


def test_an_answer_longer_than_the_model_is_refused_and_a_context_is_cut(llada, ask):
    with pytest.raises(UserError, match="A continuation of 9 tokens is longer than the model's 8 positions"):
        scores(llada, ask, [("a", "b" * 9)], max_length=8)
    assert scores(llada, ask, [("xyzab", "cde")], max_length=5) == scores(llada, ask, [("ab", "cde")], max_length=5)


def test_multiple_choice_on_local_data_takes_the_likeliest_choice(llada, ask, tmp_path, manager):
    rows = [
        {"question": "Is ice cold?", "choices": ["yes", "no", "perhaps"], "label": 0},
        {"question": "2 + 2 is", "choices": ["3", "4", "5"], "label": 1},
        {"question": "Cats are", "choices": ["plants", "stones", "animals"], "label": 2},
    ]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "choice.yaml").write_text(
        "task: choice\n"
        "dataset_path: json\n"
        f"dataset_kwargs: {{data_files: {{test: {tmp_path}/test.jsonl}}, cache_dir: {tmp_path}/cache}}\n"
        "output_type: multiple_choice\n"
        "test_split: test\n"
        'doc_to_text: "{{question}}"\n'
        'doc_to_choice: "{{choices}}"\n'
        "doc_to_target: label\n"
        "num_fewshot: 0\n"
        "metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]\n"
    )
    results = simple_evaluate(
        model="diffusion_lm",
        model_args={"pretrained": str(llada), "likelihood_draws": 12, "cache": str(tmp_path / "answers")},
        tasks=["choice"],
        task_manager=manager(tmp_path),
        batch_size=4,
    )
    best = []
    for row in rows:
        values = [value for value, _ in scores(llada, ask, [(row["question"], f" {one}") for one in row["choices"]])]
        best.append(values.index(max(values)))
    expected = sum(chosen == row["label"] for chosen, row in zip(best, rows, strict=True)) / 3
    assert results["results"]["choice"]["acc,none"] == expected
    cost = results["config"]["cost"]
    assert cost["loglikelihood"]["requests"] == 9
    assert 0 < cost["loglikelihood"]["standard_error_mean"] <= cost["loglikelihood"]["standard_error_max"]
    assert cost["greedy"]["requests"] == 6, "choices of one length share a decoding"
    answers = [line["answer"] for line in read_lines(tmp_path / "answers" / "answers-0.jsonl")]
    assert sum("standard_error" in answer for answer in answers) == 9
