"""Settings that do not go together are refused before a model is loaded."""

import dataclasses

import pytest

from harness.config.conventions import Conventions
from harness.config.together import check_processes, check_together
from harness.config.tree import Execution, LoraConfig, MethodConfig, ModelConfig, RunConfig, TrainConfig
from harness.errors import UserError

RUN = RunConfig(method=MethodConfig(name="egspo"), task="sudoku", train=TrainConfig(batch_size=24, group_size=4))


@pytest.mark.parametrize(
    ("model", "sharding", "message"),
    [
        (ModelConfig(compute_dtype="bfloat16"), "ddp", r"compute_dtype=bfloat16 needs execution\.sharding=fsdp2"),
        (ModelConfig(quantization="nf4", lora=LoraConfig(rank=8)), "fsdp2", "nf4 cannot be sharded"),
    ],
)
def test_what_a_sharding_cannot_do_is_refused(model, sharding, message):
    with pytest.raises(UserError, match=message):
        check_together(dataclasses.replace(RUN, model=model), Execution(sharding=sharding))


@pytest.mark.parametrize(
    ("model", "sharding"),
    [
        (ModelConfig(compute_dtype="bfloat16"), "fsdp2"),
        (ModelConfig(quantization="nf4", lora=LoraConfig(rank=8)), "ddp"),
        (ModelConfig(), "none"),
    ],
)
def test_what_a_sharding_can_do_passes(model, sharding):
    check_together(dataclasses.replace(RUN, model=model), Execution(sharding=sharding))


def test_a_batch_that_the_processes_cannot_share_is_refused():
    for count in (1, 2, 3, 24):
        check_processes(RUN, Execution(), count)
    with pytest.raises(UserError, match="batch_size=24 is not a multiple of the 5 processes"):
        check_processes(RUN, Execution(), 5)
    kept = dataclasses.replace(RUN, conventions=Conventions(attended_padding=6))
    check_processes(kept, Execution(), 4)
    with pytest.raises(UserError, match="has 8 rows, not a multiple of the 6"):
        check_processes(kept, Execution(), 3)


def test_no_sharding_is_for_one_process():
    check_processes(RUN, Execution(sharding="none"), 1)
    with pytest.raises(UserError, match="sharding=none is for one process, and there are 2"):
        check_processes(RUN, Execution(sharding="none"), 2)
