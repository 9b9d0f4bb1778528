import math
import sys

import pytest
import torch

from harness.config.decoding import Decoding
from harness.errors import UserError
from harness.registry import get_method
from harness.rl.token_level import MaskedTokens, token_loss

module = sys.modules[get_method("d1").__module__]


def test_both_names_are_one_method():
    assert get_method("d1") is get_method("diffu-grpo")


def part_of(old, counted, advantage):
    return MaskedTokens(
        tokens_BDL=torch.zeros(1, 1, 4, dtype=torch.long),
        mask_BL=None,
        target_BC=torch.zeros(1, 3, dtype=torch.long),
        counted_Nn=torch.tensor([counted]),
        old_logprob_Nn=torch.tensor([old]),
        advantage_N=torch.tensor([advantage]),
        weight_N=torch.ones(1),
        normaliser=float(sum(counted)),
    )


def test_the_loss_is_a_mean_over_counted_tokens():
    part = part_of([-1.0, -1.0, -1.0], [True, True, False], 2.0)
    new = torch.tensor([[-1.0, -1.0 + torch.tensor(1.4).log(), 5.0]])
    reference = new + torch.tensor([[2.0, 0.5, 9.0]]).log()
    loss, values = token_loss(new, lambda: reference, part, clip_low=0.2, clip_high=0.2, beta=0.1)
    # k3 of a ratio x is x - log(x) - 1; the third token is not counted.
    first, second = 2 - math.log(2) - 1, 0.5 + math.log(2) - 1
    assert float(loss) == pytest.approx((-2.0 + 0.1 * first - 2.4 + 0.1 * second) / 2)
    assert values["kl"].tolist() == pytest.approx([first, second])
    assert values["clip_high"].tolist() == [False, True]


def test_without_a_weight_the_reference_policy_is_not_asked():
    part = part_of([-1.0, -1.0, -1.0], [True, True, True], 1.0)
    loss, values = token_loss(
        torch.full((1, 3), -1.0), lambda: pytest.fail("asked"), part, clip_low=0, clip_high=0, beta=0
    )
    assert (float(loss), values["kl"].tolist()) == (-1.0, [0.0, 0.0, 0.0])


def test_the_whole_completion_is_hidden_and_the_prompt_in_part(random_model, scored, score):
    config = module.DiffuGrpoConfig(inner_updates=3, p_mask_prompt=0.5, beta=0.0)
    method = module.DiffuGrpo(config=config)
    draws = method.draw(scored, random_model, torch.Generator().manual_seed(0))
    prepared = method.prepare(scored, random_model, score, draws)
    mask_id = random_model.special.mask_id
    prompt_BP = scored.rollout.prompts.ids_BP
    for update in prepared.updates:
        (part,) = update.parts
        assert (part.tokens_BDL[:, 0][:, prompt_BP.shape[1] :] == mask_id).all()
        kept_BP = part.tokens_BDL[:, 0][:, : prompt_BP.shape[1]] != mask_id
        assert torch.equal(part.tokens_BDL[:, 0][:, : prompt_BP.shape[1]][kept_BP], prompt_BP[kept_BP])
        assert 0.2 < float(kept_BP.double().mean()) < 0.9
    assert (prompt_BP != mask_id).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inner_updates": 0}, "method.inner_updates=0"),
        ({"p_mask_prompt": 1.5}, "method.p_mask_prompt=1.5"),
        ({"p_mask_prompt": -0.1}, "method.p_mask_prompt=-0.1"),
    ],
)
def test_options_out_of_range_are_named(options, message):
    with pytest.raises(UserError, match=message):
        module.DiffuGrpo(config=module.DiffuGrpoConfig(**options)).check(Decoding())


def test_the_defaults_are_legal():
    module.DiffuGrpo().check(Decoding())
    assert module.DiffuGrpo().needs_reference
    assert not module.DiffuGrpo(config=module.DiffuGrpoConfig(beta=0.0)).needs_reference


@pytest.mark.parametrize("name", ["agrpo", "egspo", "egspo-sa", "espo", "d1", "gdsd"])
def test_a_method_asks_for_the_reference_policy_where_its_kl_term_has_a_weight(name: str) -> None:
    method = get_method(name)
    assert [method(config=method.Config(beta=beta)).needs_reference for beta in (0.0, 0.01)] == [False, True]
