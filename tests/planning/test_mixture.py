"""A mixture of experts is not planned: only a pass knows what its experts get."""

import pytest

from harness.app.plan import RunRequest, plan
from harness.errors import UserError
from harness.models.families.lladamoe import LLaDAMoEConfig
from harness.models.layouts import LAYOUTS
from harness.planning.memory import Spread, predict


def test_the_memory_of_a_mixture_of_experts_is_refused_in_one_sentence(tmp_path):
    planned = plan(RunRequest(method="egspo-sa", task="sudoku", runs=tmp_path))
    config, shape = planned.resolved.config, LLaDAMoEConfig(num_hidden_layers=1)
    with pytest.raises(UserError, match="The memory of 'tiny' cannot be planned: how many tokens each of its experts"):
        predict(config, planned.method, LAYOUTS["lladamoe"], shape, prompt_length=8, spread=Spread())
