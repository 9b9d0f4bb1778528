"""LLaDA's Monte-Carlo log-likelihood against the official function, with the masks that it drew."""

import pytest
import torch

from harness.diffusion import elbo


@pytest.mark.parametrize("number", [0, 1])
def test_the_estimate_is_the_official_one(golden, golden_json, golden_model, number):
    meta, tensors = golden_json("loss/llada_log_likelihood.json"), golden("loss/llada_log_likelihood.safetensors")
    prompt_length = len(tensors["prompt_ids"])
    perturbed = tensors[f"cfg{number}_perturbed_ids"]
    is_masked_NC = (perturbed == meta["mask_id"]).flatten(0, 1)[:, prompt_length:]
    ours = [
        elbo.log_likelihood(
            golden_model("llada_tiny"),
            tensors["prompt_ids"],
            tensors["answer_ids"],
            masks,
            cfg_scale=meta["cfg_scales"][number],
        )
        for masks in (*is_masked_NC.split(meta["batch_size"]), is_masked_NC)
    ]
    batches = -tensors[f"cfg{number}_batch_loss"]
    torch.testing.assert_close(torch.stack(ours[:-1]), batches, atol=1e-4, rtol=1e-6)
    torch.testing.assert_close(ours[-1].double(), tensors[f"cfg{number}_log_likelihood"][0], atol=1e-4, rtol=1e-6)


def test_masked_fractions_are_the_official_ones(golden, golden_json):
    meta, tensors = golden_json("loss/llada_log_likelihood.json"), golden("loss/llada_log_likelihood.f64.safetensors")
    fractions = tensors["cfg0_p_mask"][:, :, -1]
    length = len(golden("loss/llada_log_likelihood.safetensors")["answer_ids"])
    for batch in fractions:
        counts = (batch * length).round().long()
        assert elbo.likelihood_counts(meta["batch_size"], length, int(counts[0])).tolist() == counts.tolist()


def test_the_pure_estimate_divides_by_the_masked_fraction():
    logprob_NC = torch.tensor([[-1.0, -2.0, -4.0, -8.0], [-1.0, -2.0, -4.0, -8.0]], dtype=torch.float64)
    is_masked_NC = torch.tensor([[True, False, False, True], [False, False, True, False]])
    assert elbo.likelihood_terms(logprob_NC, is_masked_NC).tolist() == [-18.0, -16.0]
