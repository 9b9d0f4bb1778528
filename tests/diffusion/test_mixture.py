"""Completions sampled from a mixture of the policy's and the reference policy's logits."""

import dataclasses

import pytest
import torch

from harness.config.decoding import Decoding
from harness.config.tree import LoraConfig
from harness.diffusion.sampler import generate
from harness.errors import UserError
from harness.models.attention import SEQUENCE, Attention
from harness.models.diffusion_lm import DiffusionLM
from harness.planning.rollouts import rollout_flops
from harness.randomness import row_seeds, stream
from harness.rollout import RolloutNeeds

PROMPTS = ["12+3=", "7*8=", "hello world:"]
DECODING = Decoding(completion_length=8, block_length=4, num_steps=4, temperature=1.0, eos_policy="run")
MIXED = RolloutNeeds(behaviour=True, reference_weight=0.4)


@pytest.fixture
def model(random_model):
    """A policy that has moved away from its reference policy."""
    random_model.keep_reference()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in random_model.predictor.parameters():
            weight.add_(0.2 * torch.randn(weight.shape, generator=generator))
    return random_model


def rollout_of(model, decoding=DECODING, needs=MIXED, texts=PROMPTS):
    prompts = model.encode_prompts(texts)
    return generate(model, prompts, decoding, row_seeds(len(texts), stream(0, "rows")), needs=needs)


def both_logits(model, tokens_BL, mask_BL, length):
    with torch.no_grad():
        policy = model.completion_logits(tokens_BL, mask_BL, length)
        with model.reference_policy():
            return policy, model.completion_logits(tokens_BL, mask_BL, length)


def test_tokens_are_as_frequent_as_the_softmax_of_the_mixed_logits_says(model):
    rows, decoding = 4000, dataclasses.replace(DECODING, completion_length=1, block_length=1, num_steps=1)
    rollout = rollout_of(model, decoding, texts=["ab"] * rows)
    tokens_BL = rollout.state_at(torch.zeros(rows, dtype=torch.long))[0]
    policy_BCV, reference_BCV = both_logits(model, tokens_BL[:1], None, 1)
    frequency_V = torch.bincount(rollout.completion_ids_BC[:, 0], minlength=policy_BCV.shape[2]) / rows

    def distance(logits_BCV):
        logits_BCV[..., model.special.mask_id] = -torch.inf
        return (frequency_V - logits_BCV[0, 0].softmax(0)).abs().sum() / 2

    mixed = distance(0.6 * policy_BCV + 0.4 * reference_BCV)
    assert mixed < 0.06
    assert min(distance(policy_BCV), distance(reference_BCV)) > 3 * mixed


def test_the_behaviour_record_is_of_the_mixture_and_the_rest_of_the_policy(model):
    rollout = rollout_of(model)
    assert rollout.reference_weight == 0.4
    for step in range(4):
        step_B = torch.full((len(PROMPTS),), step)
        policy, reference = both_logits(model, *rollout.state_at(step_B), 8)
        revealed = rollout.revealed_at(step_B)
        own = policy.log_softmax(-1)
        mixed = (0.6 * policy + 0.4 * reference).log_softmax(-1)
        chosen = rollout.completion_ids_BC[:, :, None]
        for record, logprob in ((rollout.logprob_BC, own), (rollout.behaviour_logprob_BC, mixed)):
            torch.testing.assert_close(record[revealed], logprob.gather(2, chosen)[..., 0][revealed], atol=1e-4, rtol=0)
        entropy = -(own.exp() * own).sum(-1)
        torch.testing.assert_close(rollout.entropy_BC[revealed], entropy[revealed], atol=1e-4, rtol=0)


def test_an_end_token_that_is_never_generated_is_no_part_of_either_record(model):
    decoding = dataclasses.replace(DECODING, num_steps=2, eos_policy="forbid")
    rollout = rollout_of(model, decoding)
    policy, reference = both_logits(model, *rollout.state_at(torch.zeros(len(PROMPTS), dtype=torch.long)), 8)
    mixed = 0.6 * policy + 0.4 * reference
    for record, logits in ((rollout.logprob_BC, policy), (rollout.behaviour_logprob_BC, mixed)):
        logits[..., model.special.end_ids[0]] = -torch.inf
        expected = logits.log_softmax(-1).gather(2, rollout.completion_ids_BC[:, :, None])[:, :4, 0]
        torch.testing.assert_close(record[:, :4], expected[:, :4], atol=1e-4, rtol=0)


def test_weight_0_changes_nothing_and_weight_1_is_the_reference_policy(model):
    plain = rollout_of(model, needs=RolloutNeeds())
    whole = rollout_of(model, needs=RolloutNeeds(reference_weight=1.0))
    with model.reference_policy():
        reference = rollout_of(model, needs=RolloutNeeds())
    assert torch.equal(whole.completion_ids_BC, reference.completion_ids_BC)
    assert not torch.equal(plain.completion_ids_BC, reference.completion_ids_BC)
    assert not torch.equal(rollout_of(model).completion_ids_BC, plain.completion_ids_BC)


@pytest.mark.parametrize("rank", [0, 2])
def test_passes_of_both_policies_are_counted_and_planned(random_model, rank):
    if rank:
        random_model.add_lora(LoraConfig(rank=rank), 0)
    random_model.keep_reference()
    with random_model.meter.measure() as cost:
        rollout = rollout_of(random_model)
    assert rollout.forwards_B.tolist() == [8, 8, 8]
    planned = rollout_flops(random_model.shape, DECODING, MIXED, rows=3, prompt_length=rollout.prompts.ids_BP.shape[1])
    assert cost.forward_flops == planned == rollout.flops


@pytest.mark.parametrize(
    "options", [{"cache": "dual"}, {"threshold": 0.9}, {"entropy_bound": 0.1}, {"guidance_scale": 0.5}], ids=str
)
def test_decodings_that_cannot_mix_are_refused_in_one_sentence(model, options):
    with pytest.raises(UserError, match=r"^A mixture with 0.4 of the reference policy cannot .*switch these off\.$"):
        rollout_of(model, dataclasses.replace(DECODING, **options))


def test_models_that_attend_by_blocks_and_sharded_ones_are_refused(model, monkeypatch):
    attention = Attention(block_length=4, blocks_from=SEQUENCE)
    blocks = DiffusionLM(
        model.predictor.transformer, model.tokenizer, model.special, name="blocks", attention=attention
    )
    with pytest.raises(UserError, match="attends by blocks"):
        rollout_of(blocks, texts=["1234"])
    monkeypatch.setattr(DiffusionLM, "is_sharded", True)
    with pytest.raises(UserError, match=r"execution\.sharding=fsdp2"):
        rollout_of(model)


def test_a_row_is_completed_alike_in_every_batch(model):
    together, seed_B = rollout_of(model), row_seeds(len(PROMPTS), stream(0, "rows"))
    for row in range(len(PROMPTS)):
        prompts = model.encode_prompts(PROMPTS[row : row + 1])
        alone = generate(model, prompts, DECODING, seed_B[row : row + 1], needs=MIXED)
        assert torch.equal(alone.completion_ids_BC[0], together.completion_ids_BC[row])
