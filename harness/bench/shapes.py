"""Random-weight models of the sizes that the benchmarks measure, and what the device can do."""

from __future__ import annotations

import dataclasses
import resource
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import LlamaConfig, PretrainedConfig, Qwen2Config

from harness.models.attention import FULL, Attention
from harness.models.diffusion_lm import DiffusionLM, SpecialTokens
from harness.models.layouts import LAYOUTS
from harness.models.tiny import CharacterTokenizer
from harness.rollout import Prompts


@dataclass(frozen=True, kw_only=True)
class BenchShape:
    """Sizes of a model and of a rollout. kv_heads: 0 for as many as heads. layout: whose checkpoints look like it."""

    name: str
    hidden: int
    layers: int
    heads: int
    intermediate: int
    vocabulary: int
    kv_heads: int = 0
    layout: str = "llada"
    prompt: int = 64
    completion: int = 256
    block: int = 32
    steps: int = 128
    batch: int = 8
    dtype: torch.dtype = torch.float32

    @property
    def mask_id(self) -> int:
        """The last row of the embedding."""
        return self.vocabulary - 1

    @property
    def config(self) -> PretrainedConfig:
        """Of the transformers model."""
        cls = {"llada": LlamaConfig, "Dream": Qwen2Config}[self.layout]
        return cls(
            vocab_size=self.vocabulary,
            hidden_size=self.hidden,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.kv_heads or self.heads,
            intermediate_size=self.intermediate,
            tie_word_embeddings=False,
            use_cache=False,
            is_causal=False,
        )

    def with_completion(self, completion: int) -> BenchShape:
        """The same prompt and as many tokens per step, with a completion of another length."""
        return dataclasses.replace(self, completion=completion, steps=self.steps * completion // self.completion)

    def with_sizes(self, *, batch: int = 0, blocks: int = 0) -> BenchShape:
        """The same with another batch, or with fewer blocks: the same sequence length and work per step; 0 is as it
        is."""
        if not blocks:
            return dataclasses.replace(self, batch=batch or self.batch)
        completion = blocks * self.block
        return dataclasses.replace(
            self,
            batch=batch or self.batch,
            completion=completion,
            steps=self.steps * completion // self.completion,
            prompt=self.prompt + self.completion - completion,
        )


SHAPES = {
    "v126k": BenchShape(name="v126k", hidden=512, layers=16, heads=8, intermediate=1376, vocabulary=126_464),
    "v32k": BenchShape(name="v32k", hidden=512, layers=16, heads=8, intermediate=1376, vocabulary=32_000),
    "c256": BenchShape(
        name="c256", hidden=512, layers=8, heads=8, intermediate=1376, vocabulary=32_000, batch=1,
    ),
    "c512": BenchShape(
        name="c512", hidden=512, layers=8, heads=8, intermediate=1376, vocabulary=32_000, completion=512, steps=256,
    ),
    "llada-256": BenchShape(
        name="llada-256", hidden=256, layers=8, heads=4, intermediate=688, vocabulary=126_464, prompt=80, completion=48,
        block=16, steps=6, batch=4,
    ),
    "dream-192": BenchShape(
        name="dream-192", hidden=192, layers=6, heads=6, kv_heads=2, intermediate=768, vocabulary=126_464,
        layout="Dream", completion=32, block=16, steps=4, batch=4,
    ),
    "tiny": BenchShape(
        name="tiny", hidden=64, layers=4, heads=2, intermediate=160, vocabulary=98, prompt=17, completion=16, block=16,
        steps=4, batch=64,
    ),
    "llada-1b": BenchShape(
        name="llada-1b", hidden=2048, layers=12, heads=16, intermediate=4096, vocabulary=126_464, dtype=torch.bfloat16,
    ),
    "llada-8b": BenchShape(
        name="llada-8b", hidden=4096, layers=32, heads=32, intermediate=12288, vocabulary=126_464, prompt=200, batch=48,
        dtype=torch.bfloat16,
    ),
}  # fmt: skip


def make_model(shape: BenchShape, device: str, attention: Attention = FULL) -> tuple[DiffusionLM, Prompts]:
    """A model with random weights on the device, and random prompts; the same ones each time."""
    layout = LAYOUTS[shape.layout]
    with torch.device(device), torch.random.fork_rng():
        torch.manual_seed(0)
        previous = torch.get_default_dtype()
        torch.set_default_dtype(shape.dtype)
        try:
            network = layout.model_class(shape.config).eval()
        finally:
            torch.set_default_dtype(previous)
    special = SpecialTokens(mask_id=shape.mask_id, pad_id=0, end_ids=(0,))
    tokenizer, shift = CharacterTokenizer(), layout.shift
    model = DiffusionLM(network, tokenizer, special, name=shape.name, shift=shift, attention=attention)
    return model, Prompts(ids_BP=made_up_ids(shape).to(device), mask_BP=None)


def made_up_ids(shape: BenchShape) -> Tensor:
    """Random tokens (batch, prompt), never the mask; the same ones each time."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(1, shape.mask_id, (shape.batch, shape.prompt), generator=generator)


def peak_memory(device: str) -> float:
    """GiB: of the GPU's allocator, or of the process on a CPU."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
