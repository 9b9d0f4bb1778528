import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.diffusion.truncation import truncate

PROBABILITIES = [0.4, 0.3, 0.2, 0.1]
MASK = 9


def support(probabilities=PROBABILITIES, temperature=1.0, top_k=0, top_p=1.0, keep_crossing=True, mask_id=MASK):
    logits = torch.tensor([probabilities], dtype=torch.float64).log()
    return truncate(
        logits, temperature=temperature, top_k=top_k, top_p=top_p, keep_crossing=keep_crossing, mask_id=mask_id
    )


def kept(found):
    ids, logprob = found.ids_Nk[0].tolist(), found.logprob_Nk[0]
    return {token: value.exp().item() for token, value in zip(ids, logprob, strict=True) if token >= 0}


def test_top_k_keeps_the_most_probable_and_renormalises():
    assert kept(support(top_k=2)) == pytest.approx({0: 4 / 7, 1: 3 / 7})


@pytest.mark.parametrize(
    ("top_p", "keep_crossing", "tokens"),
    [
        (0.6, True, {0, 1}),
        (0.6, False, {0}),
        (0.75, True, {0, 1, 2}),
        (0.75, False, {0, 1}),
        (0.1, True, {0}),
        (0.1, False, {0}),
        (1.0, True, {0, 1, 2, 3}),
    ],
)
def test_the_token_that_crosses_p_stays_or_goes(top_p, keep_crossing, tokens):
    assert set(kept(support(top_p=top_p, keep_crossing=keep_crossing))) == tokens


def test_top_p_is_taken_of_the_tempered_distribution():
    assert set(kept(support(top_p=0.55, temperature=0.5))) == {0, 1}
    assert set(kept(support(top_p=0.5, temperature=0.5))) == {0}


def test_the_mask_token_stays_in_the_record_and_one_other_token_always_does():
    found = kept(support(probabilities=[0.05, 0.9, 0.04, 0.01], top_k=1, mask_id=1))
    assert found == pytest.approx({1: 0.9 / 0.95, 0: 0.05 / 0.95})
    assert set(kept(support(probabilities=[0.05, 0.9, 0.04, 0.01], top_p=0.5, mask_id=1))) == {0, 1}


def test_forbidden_tokens_are_in_no_support():
    logits = torch.tensor([[0.0, -math.inf, 1.0]])
    found = truncate(logits, temperature=1.0, top_k=0, top_p=1.0, keep_crossing=True, mask_id=MASK)
    assert found.ids_Nk.tolist() == [[2, 0, -1]]


@given(
    st.lists(st.floats(-8, 8), min_size=2, max_size=12),
    st.integers(0, 12),
    st.floats(0.01, 1.0),
    st.booleans(),
    st.floats(0.1, 3.0),
)
def test_a_support_is_normalised_and_keeps_the_most_probable_tokens(logits, top_k, top_p, keep, temperature):
    found = truncate(
        torch.tensor([logits], dtype=torch.float64),
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        keep_crossing=keep,
        mask_id=MASK + 10,
    )
    chosen = kept(found)
    assert sum(chosen.values()) == pytest.approx(1.0)
    assert 1 <= len(chosen) <= (min(top_k, len(logits)) if top_k else len(logits))
    worst = min(logits[token] for token in chosen)
    left_out = [value for token, value in enumerate(logits) if token not in chosen]
    assert all(value <= worst for value in left_out)
