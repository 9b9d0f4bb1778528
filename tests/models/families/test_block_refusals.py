"""What does not take models that attend by blocks says so in one sentence, before anything is computed."""

import pytest

from harness.app.plan import RunRequest, plan
from harness.app.preflight import preflight
from harness.cli.main import main
from harness.config.tree import ModelConfig
from harness.errors import UserError
from harness.evaluation.likelihood import LikelihoodOptions, Question, log_likelihoods
from harness.models.checkpoints import load_model


@pytest.fixture
def sdar(published_family):
    return str(published_family("sdar"))


def test_estimates_of_likelihoods(sdar):
    model = load_model(ModelConfig(name=sdar), task="sudoku", device="cpu")
    question = Question(key="q", context_ids=(1, 2), answer_ids=(3,), seed=0)
    with pytest.raises(UserError, match="by blocks of 8 tokens; likelihood estimation supports only"):
        list(log_likelihoods(model, [question], LikelihoodOptions(draws=1)))


@pytest.mark.slow
def test_the_plan_of_a_run_with_blocks_of_another_size(sdar, tmp_path):
    planned = plan(RunRequest(method="agrpo", task="sudoku", model=sdar, data="builtin", runs=tmp_path))
    with pytest.raises(UserError, match=r"attends by blocks of 8 tokens, but block_length=\d+; set it to 8\."):
        preflight(planned)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "attends by blocks of 8 tokens, but block_length="),
        (["--set", "block_length=8", "--set", "cache=dual"], "set cache=none instead of dual"),
    ],
)
def test_an_evaluation_with_blocks_of_another_size_or_an_approximate_cache(sdar, tmp_path, capsys, options, said):
    where = ["--data", "builtin", "--items", "1", "--out", str(tmp_path / "evals"), "--device", "cpu"]
    assert main(["eval", "--model", sdar, "--task", "sudoku", *where, *options]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
