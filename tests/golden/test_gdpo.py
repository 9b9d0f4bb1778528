"""GDPO against NeMo-RL's estimator and loss: times, weights, ELBOs, ratios, loss, gradients."""

import sys

import pytest
import torch

from harness.registry import get_method
from harness.rl.sequence_level import ScoredInputs, new_score

module = sys.modules[get_method("gdpo").__module__]
CONFIGS = [
    "gauss3",
    "gauss3_sum_ratio",
    "simpson",
    "gauss2_mc2_clip002",
    "gauss3_prompt_mask",
    "gauss3_zero_variance",
    "gauss5_clip_low_high",
    "mc4",
]


@pytest.fixture(scope="module")
def trainer(official_trainer):
    return official_trainer("gdpo")


def gdpo(official):
    """Our method with an official configuration."""
    same = ("quadrature", "mc_samples", "ratio", "p_mask_prompt")
    config = module.GdpoConfig(
        inner_updates=official["num_iterations"],
        clip_low=official["clip_min"],
        clip_high=official["clip_max"],
        **{name: official[name] for name in same},
    )
    return module.Gdpo(config=config)


def official_draws(trainer, name):
    """The draws of the golden file; tokens behind the first end token are masked too where the prompt is."""
    is_masked_BUDL = trainer.masks(name).permute(2, 0, 1, 3)
    length = trainer.meta["prompt_len"]
    return module.Draws(
        is_masked_BUDC=is_masked_BUDL[..., length:],
        is_masked_BUDP=is_masked_BUDL[..., :length],
        time_UD=trainer.expected(name)["time"].double(),
    )


def test_every_configuration_of_the_golden_file_is_tested(trainer):
    assert [config["name"] for config in trainer.meta["configs"]] == CONFIGS


@pytest.mark.parametrize("name", [f"gauss-{size}" for size in range(1, 6)] + ["simpson"])
def test_nodes_and_weights_are_those_of_the_official_tables(trainer, name):
    found = module.nodes(module.GdpoConfig(quadrature=name))
    expected = torch.tensor(trainer.meta["quadrature_tables"][name], dtype=torch.float64)
    torch.testing.assert_close(torch.stack(found), expected, atol=1e-15, rtol=0)


@pytest.mark.parametrize("name", CONFIGS)
def test_elbos_losses_and_gradients_are_the_official_ones(name, trainer, golden_model, gradients):
    method, expected, model = gdpo(trainer.options(name)), trainer.expected(name), golden_model("llada_tiny")
    old = golden_model("llada_tiny_old")
    prepared = method.prepare(trainer.scored(name), old, None, official_draws(trainer, name))
    torch.testing.assert_close(prepared.advantages.float(), expected["advantages"], atol=1e-6, rtol=0)
    for index, update in enumerate(prepared.updates):
        (part,) = update.parts
        assert torch.equal(part.tokens_BDL, expected["perturbed_ids"][index].transpose(0, 1))
        weight_DBC = expected["masked"][index] * expected["coefficient"][index, :, None, None]
        torch.testing.assert_close(part.weight_BDC.transpose(0, 1), weight_DBC, atol=1e-6, rtol=0)
        torch.testing.assert_close(part.old_score_BS[:, 0], expected["old_elbo"][index], atol=3e-4, rtol=0)
        with torch.no_grad():
            torch.testing.assert_close(new_score(model, part)[:, 0], expected["new_elbo"][index], atol=3e-4, rtol=0)
        model.predictor.zero_grad()
        loss, values = method.loss(model, part)
        loss.backward()
        torch.testing.assert_close(loss.detach(), expected["loss"][index], atol=3e-5, rtol=0)
        torch.testing.assert_close(values["ratio"], expected["ratio"][index], atol=0, rtol=5e-5)
        found = gradients(model)
        torch.testing.assert_close(found["norm"], expected["grad_norm"][index], atol=1e-12, rtol=1e-4)
        torch.testing.assert_close(found["ln_f"], expected["grad_ln_f"][index], atol=5e-5, rtol=0)
        if index == 0:
            torch.testing.assert_close(found["q_proj"], expected["grad_block1_q_proj_it0"], atol=5e-5, rtol=0)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_pure_loss_is_the_official_one_in_float64(name, trainer):
    method, expected = gdpo(trainer.options(name)), trainer.expected(name, double=True)
    completion_BC = trainer.scored(name).rollout.completion_ids_BC
    length_B = module.until_first_end(completion_BC == trainer.meta["eos_token_id"]).sum(1)
    for index, new_B in enumerate(expected["new_elbo"]):
        part = ScoredInputs(
            tokens_BDL=completion_BC[:, None],
            mask_BL=None,
            target_BC=completion_BC,
            weight_BDC=torch.zeros(6, 1, 16),
            old_score_BS=expected["old_elbo"][index, :, None],
            advantage_B=expected["advantages"],
            length_B=length_B.double(),
            normaliser=6,
        )
        loss, clipped = module.sequence_loss(new_B[:, None], part, method.config)
        # The official denominators have 1e-8 added to them.
        torch.testing.assert_close(loss, expected["loss"][index], atol=1e-8, rtol=0)
        torch.testing.assert_close(clipped.ratio[:, 0], expected["ratio"][index], atol=1e-8, rtol=1e-8)
