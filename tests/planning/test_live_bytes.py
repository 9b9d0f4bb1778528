"""What lives at once, in bytes that are counted by hand."""

from __future__ import annotations

import torch
from torch import nn

from harness.planning.live_bytes import LiveBytes
from harness.planning.weightless import fake_mode


def test_only_what_lives_at_once_counts():
    given = torch.zeros(100)
    with LiveBytes(vocabulary=7) as live:
        first = given + 1  # 400 bytes
        second = first * 2  # 800
        del first
        third = second.view(10, 10) + 1  # 800 again: a view is no memory
    assert (live.peak, live.alive, live.logits) == (800, 800, 0)
    assert third.shape == second.view(10, 10).shape


def test_what_was_there_before_does_not_count_even_as_a_view_of_it():
    given = torch.zeros(8, 8)
    with LiveBytes(vocabulary=7) as live:
        turned = given.t()
        assert turned.shape == (8, 8)
    assert live.peak == 0


def test_tensors_over_the_vocabulary_are_logits_and_vectors_are_not():
    with LiveBytes(vocabulary=7) as live:
        logits, other, bias = torch.zeros(3, 7), torch.zeros(7, 3), torch.zeros(7)
    assert (live.peak, live.logits) == (4 * (21 + 21 + 7), 4 * 21)
    assert logits.shape[1] == other.shape[0] == len(bias)


def test_a_backward_pass_counts_though_no_memory_exists():
    fake = fake_mode()
    with fake:
        weight = nn.Parameter(torch.empty(1 << 20, 1 << 10))
        column = torch.empty(1 << 10, 1)
    with LiveBytes(vocabulary=7) as live:
        (weight @ column).sum().backward()
    # The gradient alone is 4 GiB; beside it lie the product and its gradient.
    assert 4 << 30 <= live.peak < (4 << 30) + (32 << 20)
    assert weight.grad.shape == weight.shape
