"""Activation checkpointing: the same gradients to the bit, and little that lives until the backward pass."""

import pytest
import torch
from transformers import LlamaConfig, Qwen2Config

from harness.config.tree import LoraConfig
from harness.models.diffusion_lm import DiffusionLM, SpecialTokens
from harness.models.layouts import LAYOUTS
from harness.models.memory import keep_no_activations
from harness.models.tiny import CharacterTokenizer, tiny_config

ROWS, LENGTH, ASKED = 3, 40, 6
SIZES = {
    "vocab_size": 98,
    "hidden_size": 48,
    "num_hidden_layers": 24,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "tie_word_embeddings": False,
    "use_cache": False,
    "is_causal": False,
}
CONFIGS = {
    "llama": tiny_config(),
    "llada": LlamaConfig(**SIZES, num_key_value_heads=4),
    "Dream": Qwen2Config(**SIZES, num_key_value_heads=2),
}


def random_lm(layout, rank):
    """In training mode, as updates are; on adapters of that rank there is dropout too."""
    torch.manual_seed(3)
    network = LAYOUTS[layout].model_class(CONFIGS[layout]).eval()
    special = SpecialTokens(mask_id=97, pad_id=0, end_ids=(0,))
    lm = DiffusionLM(network, CharacterTokenizer(), special, name=layout, shift=LAYOUTS[layout].shift)
    if rank:
        lm.add_lora(LoraConfig(rank=rank, dropout=0.1), seed=0)
        with torch.no_grad():
            for name, weight in lm.predictor.named_parameters():
                if "lora_B" in name:
                    weight.normal_(std=0.1)
    lm.network.train()
    return lm


def loss_of(lm):
    """A log-likelihood at some positions of padded rows; dropout is drawn from the same seed."""
    torch.manual_seed(11)
    tokens_BL = torch.randint(1, 97, (ROWS, LENGTH))
    mask_BL = torch.arange(LENGTH) >= torch.tensor([[0], [7], [12]])
    positions_Bn = torch.arange(LENGTH - ASKED, LENGTH).expand(ROWS, -1)
    return -lm.logits(tokens_BL, mask_BL, positions_Bn).log_softmax(-1)[:, :, 5].mean()


def gradients(lm):
    lm.predictor.zero_grad()
    loss = loss_of(lm)
    loss.backward()
    return loss.item(), {name: one.grad for name, one in lm.predictor.named_parameters() if one.requires_grad}


def saved_bytes(lm):
    """Of the storages, each counted once, that the backward pass finds beside the weights."""
    weights = {weight.untyped_storage().data_ptr() for weight in lm.predictor.parameters()}
    found = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            found[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss_of(lm)
    return sum(size for size, _ in found.values())


@pytest.mark.parametrize("rank", [0, 4])
@pytest.mark.parametrize("layout", CONFIGS)
def test_checkpointed_gradients_are_the_same_to_the_bit(layout, rank):
    lm = random_lm(layout, rank)
    loss, kept = gradients(lm)
    keep_no_activations(lm.predictor.transformer.model.layers)
    again, recomputed = gradients(lm)
    assert again == loss
    assert kept.keys() == recomputed.keys()
    assert all(kept[name].abs().max() > 0 and torch.equal(kept[name], recomputed[name]) for name in kept)


@pytest.mark.parametrize("rank", [0, 4])
@pytest.mark.parametrize("layout", ["llada", "Dream"])
def test_checkpointing_saves_at_most_an_eighth_of_the_activations(layout, rank):
    lm = random_lm(layout, rank)
    kept = saved_bytes(lm)
    keep_no_activations(lm.predictor.transformer.model.layers)
    inputs = saved_bytes(lm)
    block_inputs = SIZES["num_hidden_layers"] * ROWS * LENGTH * SIZES["hidden_size"] * 4
    assert block_inputs <= inputs < 2 * block_inputs
    assert kept >= 8 * inputs
