"""LLaDA's Monte-Carlo log-likelihood: the product's own against the official function, with the masks that it drew."""

import pytest
import torch

from harness.diffusion import elbo
from harness.evaluation import likelihood
from harness.evaluation.likelihood import LikelihoodOptions, Question, log_likelihoods


@pytest.mark.parametrize("number", [0, 1])
def test_the_estimate_is_the_official_one(golden, golden_json, golden_model, monkeypatch, number):
    meta, tensors = golden_json("loss/llada_log_likelihood.json"), golden("loss/llada_log_likelihood.safetensors")
    prompt_length = len(tensors["prompt_ids"])
    perturbed = tensors[f"cfg{number}_perturbed_ids"]
    is_masked_DC = (perturbed == meta["mask_id"]).flatten(0, 1)[:, prompt_length:]
    context, answer = tuple(tensors["prompt_ids"].tolist()), tuple(tensors["answer_ids"].tolist())
    model = golden_model("llada_tiny")

    def ours(masks_DC):
        monkeypatch.setattr(likelihood, "masks", lambda question, draws: masks_DC)
        question = Question(key="golden", context_ids=context, answer_ids=answer, seed=0)
        options = LikelihoodOptions(draws=len(masks_DC), guidance_scale=meta["cfg_scales"][number])
        ((_, found),) = log_likelihoods(model, [question], options)
        return torch.tensor(found.logprob, dtype=torch.float64)

    by_batch = torch.stack([ours(masks_DC) for masks_DC in is_masked_DC.split(meta["batch_size"])])
    torch.testing.assert_close(by_batch, -tensors[f"cfg{number}_batch_loss"].double(), atol=1e-4, rtol=1e-6)
    whole = ours(is_masked_DC)
    torch.testing.assert_close(whole, tensors[f"cfg{number}_log_likelihood"][0].double(), atol=1e-4, rtol=1e-6)


def test_masked_fractions_are_the_official_ones(golden, golden_json):
    meta, tensors = golden_json("loss/llada_log_likelihood.json"), golden("loss/llada_log_likelihood.f64.safetensors")
    fractions = tensors["cfg0_p_mask"][:, :, -1]
    length = len(golden("loss/llada_log_likelihood.safetensors")["answer_ids"])
    for batch in fractions:
        counts = (batch * length).round().long()
        assert elbo.likelihood_counts(meta["batch_size"], length, int(counts[0])).tolist() == counts.tolist()
