"""Golden data: outputs of the official implementations, in tests/golden/data or in the folder named by
HARNESS_GOLDEN."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from harness.models.attention import Attention
from harness.models.checkpoints import open_checkpoint
from harness.models.config_fields import Fields
from harness.models.diffusion_lm import DiffusionLM, SpecialTokens
from harness.models.layouts import layout_of, read_config
from harness.models.predictor import MaskedPredictor
from harness.rollout import Prompts, Rewards, Rollout, ScoredRollouts

GOLDEN = Path(os.environ.get("HARNESS_GOLDEN") or Path(__file__).parent / "data")
END_ID = 509
MASK_ID, PAD_ID = 510, 508
"""Of the families whose config.json leaves them to the tokenizer."""


@pytest.fixture(scope="session")
def golden() -> Callable[[str], dict[str, Tensor]]:
    """Reads `loss/egspo.safetensors` and the like; skips where the folder lacks it."""

    def read(relative: str) -> dict[str, Tensor]:
        return load_file(_existing(relative))

    return read


@pytest.fixture(scope="session")
def golden_json() -> Callable[[str], Any]:
    """Reads `loss/egspo.json` and the like; skips where the folder lacks it."""
    return lambda relative: json.loads(_existing(relative).read_text())


@pytest.fixture(scope="session")
def golden_model() -> Callable[..., DiffusionLM]:
    """Loads a tiny checkpoint; `reference` names the checkpoint of the reference policy; `shift` and `attention` stand
    in for what the checkpoint's family says."""

    def load(
        name: str,
        *,
        end_ids: tuple[int, ...] = (END_ID,),
        reference: str | None = None,
        shift: bool | None = None,
        attention: Attention | None = None,
    ) -> DiffusionLM:
        folder = _existing(f"{name}/config.json").parent
        raw = read_config(folder)
        pad_id = raw.get("pad_token_id", PAD_ID)
        special = SpecialTokens(mask_id=raw.get("mask_token_id", MASK_ID), pad_id=pad_id, end_ids=end_ids)
        network = open_checkpoint(folder, raw).load(torch.float32).eval()
        shift = layout_of(raw).shift if shift is None else shift
        attention = attention or layout_of(raw).attention(Fields(raw, folder), name)
        model = DiffusionLM(
            network, tokenizer=_NoTokenizer(), special=special, name=name, shift=shift, attention=attention
        )
        if reference is not None:
            _existing(f"{reference}/model.safetensors")
            other = open_checkpoint(folder.parent / reference, raw).load(torch.float32).eval()
            model.keep_reference(MaskedPredictor(other, shift=shift))
        return model

    return load


@pytest.fixture(scope="session")
def golden_scored() -> Callable[..., ScoredRollouts]:
    """The completions of a file of the further methods, with rewards (B,) and, where a method asks how they came about,
    the step that revealed each token."""

    return _scored


@pytest.fixture(scope="session")
def golden_rewards() -> Callable[[dict[str, Tensor], Any, str], Tensor]:
    """Rewards (B,) of a file of the further methods under a configuration's table; nothing counts 0."""

    return _rewards


def _scored(
    tensors: Mapping[str, Tensor],
    meta: Mapping[str, Any],
    reward_B: Tensor,
    unmask_step_BC: Tensor | None = None,
    **options: Any,
) -> ScoredRollouts:
    prompt_length, ids_BL = meta["prompt_len"], tensors["prompt_completion_ids"]
    completion_BC = ids_BL[:, prompt_length:]
    step_BC = torch.zeros_like(completion_BC) if unmask_step_BC is None else unmask_step_BC
    num_steps = int(step_BC.max()) + 1
    rollout = Rollout(
        prompts=Prompts(ids_BP=ids_BL[:, :prompt_length], mask_BP=None),
        completion_ids_BC=completion_BC,
        unmask_step_BC=step_BC.to(torch.int16),
        logprob_BC=torch.zeros(completion_BC.shape),
        entropy_BC=torch.zeros(completion_BC.shape),
        num_steps_B=torch.full((len(ids_BL),), num_steps, dtype=torch.int16),
        num_steps=num_steps,
        mask_id=meta["mask_id"],
    )
    grouped = {"group_size": meta["num_generations"], **options}
    return ScoredRollouts(rollout=rollout, rewards=Rewards(total_B=reward_B, parts={}), **grouped)


def _rewards(tensors: Mapping[str, Tensor], meta: Mapping[str, Any], name: str) -> Tensor:
    weight_F = torch.tensor(meta["reward_weights"], dtype=torch.float64)
    return (tensors[f"rewards_per_func_{name}"].nan_to_num() * weight_F).sum(1)


def _existing(relative: str) -> Path:
    path = GOLDEN / relative
    if not path.is_file():
        pytest.skip(f"no {relative} in the golden folder {GOLDEN}")
    return path


@dataclass(frozen=True)
class OfficialTrainer:
    """What an official trainer returned for six completions of two prompts, with end tokens at places of their own.

    meta: hyper-parameters; single, double: its tensors in float32 and recomputed in float64.
    """

    meta: Mapping[str, Any]
    single: Mapping[str, Tensor]
    double: Mapping[str, Tensor]

    def options(self, name: str) -> dict[str, Any]:
        """The official options of a configuration."""
        return next(config for config in self.meta["configs"] if config["name"] == name)

    def expected(self, name: str, *, double: bool = False) -> dict[str, Tensor]:
        """By quantity, what was returned for it."""
        tensors = self.double if double else self.single
        return {key.partition("/")[2]: value for key, value in tensors.items() if key.startswith(f"{name}/")}

    def masks(self, name: str, quantity: str = "perturbed_ids") -> Tensor:
        """Which tokens of its inputs are masked, bool (.., L)."""
        return self.single[f"{name}/{quantity}"] == self.meta["mask_id"]

    def scored(self, name: str) -> ScoredRollouts:
        """The completions with the rewards of a configuration; how they came about is not asked for."""
        official = self.options(name)
        reward_B = _rewards(self.single, self.meta, official["rewards"])
        group_size = official.get("num_generations", self.meta["num_generations"])
        return _scored(self.single, self.meta, reward_B, group_size=group_size)


@pytest.fixture(scope="session")
def official_trainer(
    golden: Callable[[str], dict[str, Tensor]], golden_json: Callable[[str], Any]
) -> Callable[[str], OfficialTrainer]:
    """The golden files of `spg` and the like."""

    def read(name: str) -> OfficialTrainer:
        path = f"loss/{name}"
        return OfficialTrainer(
            golden_json(f"{path}.json"), golden(f"{path}.safetensors"), golden(f"{path}.f64.safetensors")
        )

    return read


@pytest.fixture(scope="session")
def gradients() -> Callable[[DiffusionLM], dict[str, Tensor]]:
    """Of the gradients of a model those that the golden files hold, by the ends of their names there."""

    def read(model: DiffusionLM) -> dict[str, Tensor]:
        found = {name: weight.grad for name, weight in model.predictor.model.named_parameters()}
        return {
            "norm": torch.stack([gradient.double().norm() for gradient in found.values()]).norm(),
            "ln_f": found["model.norm.weight"],
            "q_proj": found["model.layers.1.self_attn.q_proj.weight"],
        }

    return read


class _NoTokenizer:
    def encode(self, text: str) -> list[int]:
        raise AssertionError("golden cases hold token ids")

    def decode(self, ids: Any) -> str:
        raise AssertionError("golden cases hold token ids")
