"""Fine-tuning a model that attends by blocks: each block is learnt after clean ones, and what was learnt is loaded."""

import pytest
import torch

from harness.app.sft import sft
from harness.config.tree import ModelConfig
from harness.finetuning.batches import masked_batch, masked_loss
from harness.models.checkpoints import load_model


@pytest.mark.parametrize("family", ["sdar", "a2d-qwen3"])
def test_answers_are_learnt_and_the_written_model_attends_by_blocks(published_family, family, tmp_path):
    folder = published_family(family, "blocks", block_size=8)
    config = ModelConfig(name=str(folder))
    pairs = [{"prompt": "2 + 2?", "answer": "It is 4, and always was."}]
    losses = []
    done = sft(
        out=tmp_path / "out",
        model=str(folder),
        pairs=pairs,
        steps=12,
        learning_rate=1e-2,
        device="cpu",
        on_step=lambda step, steps, loss: losses.append(loss),
    )
    assert sum(losses[-4:]) < 0.7 * sum(losses[:4])
    again = load_model(ModelConfig(name=str(done.folder)), task="sudoku", device="cpu")
    assert again.attention == load_model(config, task="sudoku", device="cpu").attention
    assert again.attention.block_length == 8


@torch.no_grad()
def test_the_loss_of_a_block_does_not_depend_on_what_is_masked_in_others(published_family):
    model = load_model(ModelConfig(name=str(published_family("sdar"))), task="sudoku", device="cpu")
    prompts = model.pad_prompts([[5, 80, 13, 201, 7, 44, 9, 3]])
    completion_BC = torch.arange(40, 56)[None]

    def loss_of(*places):
        masked_BC = torch.zeros(1, 16, dtype=torch.bool)
        masked_BC[:, list(places)] = True
        batch = masked_batch(prompts, completion_BC, masked_BC, mask_id=model.special.mask_id)
        return masked_loss(model, batch, num_rows=1) * len(places)

    first, second = (0, 2, 3), (9, 15)
    torch.testing.assert_close(loss_of(*first, *second), loss_of(*first) + loss_of(*second), atol=1e-4, rtol=1e-5)
