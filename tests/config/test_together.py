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


@pytest.mark.parametrize(
    ("model", "dropout", "message"),
    [
        (ModelConfig(), False, r"needs adapters to merge; set model\.lora\.rank above 0 or model\.adapter"),
        (ModelConfig(quantization="nf4", lora=LoraConfig(rank=8)), False, r"4-bit weights of model\.quantization=nf4"),
        (
            ModelConfig(lora=LoraConfig(rank=8, dropout=0.1)),
            True,
            r"no dropout to conventions\.dropout_in_rollouts=true",
        ),
        (ModelConfig(adapter="published"), True, r"no dropout to conventions\.dropout_in_rollouts=true"),
    ],
)
def test_adapters_that_cannot_be_merged_are_refused(model, dropout, message):
    config = dataclasses.replace(RUN, model=model, conventions=Conventions(dropout_in_rollouts=dropout))
    check_together(config, Execution())
    with pytest.raises(UserError, match=message):
        check_together(config, Execution(merge_adapters=True))


@pytest.mark.parametrize(
    ("model", "dropout"),
    [
        (ModelConfig(lora=LoraConfig(rank=8, dropout=0.1)), False),
        (ModelConfig(lora=LoraConfig(rank=8)), True),
        (ModelConfig(adapter="published"), False),
    ],
)
def test_adapters_that_can_be_merged_pass(model, dropout):
    config = dataclasses.replace(RUN, model=model, conventions=Conventions(dropout_in_rollouts=dropout))
    check_together(config, Execution(merge_adapters=True))


def test_no_sharding_is_for_one_process():
    check_processes(RUN, Execution(sharding="none"), 1)
    with pytest.raises(UserError, match="sharding=none is for one process, and there are 2"):
        check_processes(RUN, Execution(sharding="none"), 2)


def shared(rows: int, processes: int, **conventions: int) -> None:
    config = dataclasses.replace(RUN, train=TrainConfig(batch_size=rows), conventions=Conventions(**conventions))
    check_processes(config, Execution(), processes)


@pytest.mark.parametrize(("rows", "processes"), [(48, 1), (48, 8), (48, 48), (8, 8)])
def test_equal_shares_are_taken(rows, processes):
    shared(rows, processes)


@pytest.mark.parametrize(
    ("rows", "processes", "choice"), [(48, 32, "start 24 or 48,"), (48, 5, "start 4 or 6,"), (8, 16, "start 8,")]
)
def test_other_numbers_are_refused_with_the_nearest_that_fit(rows, processes, choice):
    with pytest.raises(UserError, match=f"batch_size={rows} rows cannot be shared equally by {processes} ") as refused:
        shared(rows, processes)
    assert choice in str(refused.value)


def test_rows_that_stay_together_are_not_parted():
    shared(48, 8, attended_padding=6)
    with pytest.raises(UserError, match=r"48 rows \(6 at a time stay together\) .* by 16 processes; start 8, or"):
        shared(48, 16, attended_padding=6)


@pytest.mark.parametrize(("sharding", "dropout"), [("fsdp2", False), ("ddp", True)])
def test_passes_that_gather_weights_or_draw_are_not_captured(sharding, dropout):
    config = dataclasses.replace(RUN, conventions=Conventions(dropout_in_rollouts=dropout))
    check_together(config, Execution(sharding=sharding))
    with pytest.raises(UserError, match=r"execution\.cuda_graphs=true goes neither with"):
        check_together(config, Execution(sharding=sharding, cuda_graphs=True))


@pytest.mark.parametrize(
    ("model", "options", "said"),
    [
        (ModelConfig(), {"sharding": "fsdp2"}, r"execution\.sharding=fsdp2, whose layers gather"),
        (ModelConfig(quantization="nf4", lora=LoraConfig(rank=8)), {}, r"model\.quantization=nf4"),
        (ModelConfig(), {"cuda_graphs": True}, r"execution\.cuda_graphs=true, with which it has not been tried"),
    ],
)
def test_layers_that_cannot_be_compiled_are_refused(model, options, said):
    config = dataclasses.replace(RUN, model=model)
    check_together(config, Execution(**options))
    check_together(RUN, Execution(compile=True))
    with pytest.raises(UserError, match=f"execution.compile=true does not go with {said}"):
        check_together(config, Execution(compile=True, **options))


def test_passes_that_neither_gather_nor_draw_may_be_captured():
    check_together(RUN, Execution(sharding="ddp", cuda_graphs=True))
