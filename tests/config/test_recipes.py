"""How a task is evaluated where nobody says otherwise."""

from harness.config.decoding import Decoding
from harness.config.recipes import PROTOCOL, evaluation_decoding


def test_the_tiny_model_is_evaluated_as_its_recipe_says():
    assert evaluation_decoding("countdown", tiny=True) == Decoding(completion_length=8, block_length=2, num_steps=8)


def test_a_large_model_has_256_tokens_in_blocks_of_32_and_two_per_step():
    assert evaluation_decoding("sudoku", tiny=False) == PROTOCOL
    assert (PROTOCOL.completion_length, PROTOCOL.block_length, PROTOCOL.num_steps) == (256, 32, 128)


def test_a_task_without_a_recipe_has_the_defaults():
    assert evaluation_decoding("one of my own", tiny=True) == Decoding()
    assert evaluation_decoding("one of my own", tiny=False) == PROTOCOL
