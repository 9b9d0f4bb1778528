"""From generation arguments to a Decoding."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.config.decoding import Decoding
from harness.config.recipes import PROTOCOL
from harness.errors import UserError
from harness.lmeval.options import check_model_options, cut, default_decoding, generation

TINY = Decoding(completion_length=16, block_length=16, num_steps=8)


def test_the_default_is_the_published_protocol():
    wanted = generation({"until": ["Q:"]}, {}, PROTOCOL)
    assert wanted.decoding == Decoding(completion_length=256, block_length=32, num_steps=128, temperature=0.0)
    assert (wanted.max_tokens, wanted.until, wanted.is_sampled) == (256, ("Q:",), False)


def test_another_length_keeps_blocks_and_tokens_per_step():
    wanted = generation({"max_gen_toks": 64}, {}, PROTOCOL)
    assert (wanted.decoding.completion_length, wanted.decoding.block_length, wanted.decoding.num_steps) == (64, 32, 32)


def test_a_length_that_is_no_multiple_of_the_block_is_rounded_up_and_the_text_is_not():
    wanted = generation({"max_gen_toks": 100}, {}, PROTOCOL)
    assert (wanted.decoding.completion_length, wanted.decoding.num_steps, wanted.max_tokens) == (128, 64, 100)


def test_a_length_below_a_block_is_one_block():
    wanted = generation({"max_gen_toks": 10}, {}, PROTOCOL)
    assert (wanted.decoding.completion_length, wanted.decoding.block_length, wanted.decoding.num_steps) == (10, 10, 5)


def test_dream_s_schedule_has_one_block():
    assert generation({"max_gen_toks": 48, "schedule": "dream"}, {}, PROTOCOL).decoding.block_length == 48


def test_gen_kwargs_come_before_model_args_and_these_before_the_default():
    model_args = {"num_steps": 32, "block_length": 8, "eos_policy": "run"}
    decoding = generation({"num_steps": 64}, model_args, PROTOCOL).decoding
    assert (decoding.num_steps, decoding.block_length, decoding.eos_policy) == (64, 8, "run")


@pytest.mark.parametrize("name", ["max_gen_toks", "max_new_tokens", "max_tokens", "completion_length"])
def test_every_name_of_the_length_is_known(name):
    assert generation({name: 32}, {"max_gen_toks": 64}, PROTOCOL).max_tokens == 32


def test_sampling_needs_do_sample_where_the_task_says_no(caplog):
    with caplog.at_level(logging.WARNING):
        assert generation({"do_sample": False, "temperature": 0.8}, {}, PROTOCOL).decoding.temperature == 0
    assert "do_sample=True" in caplog.text


def test_a_temperature_alone_samples_and_do_sample_alone_samples_at_one():
    assert generation({"temperature": 0.8}, {}, PROTOCOL).is_sampled
    assert generation({"do_sample": True}, {}, PROTOCOL).decoding.temperature == 1
    assert generation({"do_sample": True}, {"temperature": 0.5}, PROTOCOL).decoding.temperature == 0.5


def test_random_remasking_is_sampled_at_temperature_zero():
    assert generation({"remasking": "random"}, {}, PROTOCOL).is_sampled


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"num_step": 8}, "Did you mean 'gen_kwargs.num_steps'?"),
        ({"num_beams": 4}, "Unknown configuration key 'gen_kwargs.num_beams'"),
        ({"max_gen_toks": 0}, "max_gen_toks=0 must be a whole number above 0"),
        ({"max_gen_toks": "32"}, "max_gen_toks='32' must be"),
        ({"max_gen_toks": 32, "num_steps": 33}, "gen_kwargs.num_steps=33 must lie between"),
        ({"temperature": "warm"}, "gen_kwargs.temperature='warm' is not a number"),
        ({"block_length": 0}, "block_length=0 must be above 0"),
        ({"until": [3]}, "until=[3] must be"),
    ],
)
def test_what_cannot_be_is_refused(kwargs, said):
    with pytest.raises(UserError) as caught:
        generation(kwargs, {}, PROTOCOL)
    assert said in str(caught.value)


def test_beams_of_one_change_nothing():
    assert generation({"num_beams": 1}, {}, PROTOCOL).decoding == generation({}, {}, PROTOCOL).decoding


def test_an_unknown_option_in_model_args_is_refused():
    with pytest.raises(UserError, match=r"Unknown option in model_args 'cach'"):
        check_model_options({"cach": "x"})
    with pytest.raises(UserError, match=r"model_args.num_steps='many'"):
        check_model_options({"num_steps": "many"})


def test_our_tasks_are_evaluated_as_their_recipes_say_and_others_by_the_protocol():
    assert default_decoding("harness_sudoku", "tiny") == TINY
    assert default_decoding("harness_sudoku", "paper") == PROTOCOL
    assert default_decoding("gsm8k", "tiny") == PROTOCOL
    assert default_decoding("harness_nothing", "tiny") == PROTOCOL


def test_the_text_ends_at_the_stop_text_that_comes_first():
    assert cut("12 Q: 3\n\nA", ("\n\n", "Q:")) == "12 "
    assert cut("12 Q 3", ("Q:",)) == "12 Q 3"
    assert cut("12", ()) == "12"


@given(length=st.integers(1, 600), block=st.integers(1, 64))
def test_every_length_fits_every_block(length, block):
    decoding = generation({"max_gen_toks": length, "block_length": block}, {}, PROTOCOL).decoding
    assert decoding.completion_length - length in range(block)
    assert decoding.completion_length % block == 0
