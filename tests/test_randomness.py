import torch
from scipy.stats import kstest

from harness.randomness import row_seeds, stream, uniforms


def many(seed_B, steps, positions):
    place = torch.arange(positions).expand(len(seed_B), -1)
    return torch.stack([uniforms(seed_B, step, place, 0) for step in range(steps)])


def test_the_same_seed_step_and_position_give_the_same_uniform_in_any_batch():
    seeds = row_seeds(5, stream(0, "rows"))
    place = torch.arange(7).expand(5, -1)
    whole = uniforms(seeds, 3, place, 0)
    assert torch.equal(uniforms(seeds[[4, 1]], 3, place[:2], 0), whole[[4, 1]])
    assert torch.equal(uniforms(seeds, 3, place[:, [6, 2]], 0), whole[:, [6, 2]])


def test_rows_steps_positions_and_kinds_have_different_uniforms():
    seeds = row_seeds(64, stream(0, "rows"))
    values = many(seeds, 8, 32)
    assert values.unique().numel() == values.numel()
    assert not torch.equal(values[0], uniforms(seeds, 0, torch.arange(32).expand(64, -1), 1))


def test_uniforms_are_uniform_and_neighbours_are_unrelated():
    values = many(row_seeds(100, stream(1, "rows")), 10, 100)
    assert values.min() >= 0
    assert values.max() < 1
    assert kstest(values.flatten().numpy(), "uniform").pvalue > 1e-3
    for a, b in ((values[:-1], values[1:]), (values[:, :-1], values[:, 1:]), (values[:, :, :-1], values[:, :, 1:])):
        correlation = torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1]
        assert abs(correlation) < 4 / a.numel() ** 0.5


def test_consecutive_small_seeds_give_unrelated_rows():
    values = many(torch.arange(200), 1, 200)[0]
    assert kstest(values[:, 0].numpy(), "uniform").pvalue > 1e-3
    correlation = torch.corrcoef(torch.stack([values[:-1].flatten(), values[1:].flatten()]))[0, 1]
    assert abs(correlation) < 4 / values.numel() ** 0.5


def test_streams_differ_by_name_and_leave_the_global_generator_alone():
    state = torch.random.get_rng_state()
    assert torch.rand(1, generator=stream(0, "a")) != torch.rand(1, generator=stream(0, "b"))
    assert torch.rand(1, generator=stream(0, "a", 1)) != torch.rand(1, generator=stream(0, "a", 2))
    assert torch.rand(1, generator=stream(3, "a")) == torch.rand(1, generator=stream(3, "a"))
    assert torch.equal(state, torch.random.get_rng_state())
