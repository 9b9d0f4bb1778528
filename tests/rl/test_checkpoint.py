"""Checkpoints on disk: which one a run goes on from, and which stay."""

import pytest
import torch

from harness.config.keep import parse_keep
from harness.errors import UserError
from harness.rl import checkpoint
from harness.rl.ledger import Progress


def saved(folder, *updates):
    for update in updates:
        checkpoint.save(folder, {"weight": torch.full((3,), float(update))}, {"step": update}, Progress(update=update))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def tear(folder, update, name=checkpoint.WEIGHTS):
    path = folder / f"update-{update:06d}" / name
    path.write_bytes(path.read_bytes()[:-9])


def test_a_run_goes_on_from_the_newest_checkpoint(tmp_path):
    saved(tmp_path, 2, 4)
    place, progress = checkpoint.last_whole(tmp_path)
    assert (place.name, progress.update) == ("update-000004", 4)


@pytest.mark.parametrize("name", [checkpoint.WEIGHTS, checkpoint.OPTIMIZER, checkpoint.STATE])
def test_where_the_newest_is_torn_it_is_removed_and_the_older_used(tmp_path, name):
    saved(tmp_path, 2, 4, 6)
    tear(tmp_path, 6, name)
    place, progress = checkpoint.last_whole(tmp_path)
    assert (place.name, progress.update) == ("update-000004", 4)
    assert names(tmp_path) == ["update-000002", "update-000004"]


def test_where_all_are_torn_that_is_said_and_nothing_removed(tmp_path):
    saved(tmp_path, 2, 4)
    tear(tmp_path, 2)
    tear(tmp_path, 4)
    with pytest.raises(UserError, match=r"update-000002.*corrupt.*--fresh"):
        checkpoint.last_whole(tmp_path)
    assert names(tmp_path) == ["update-000002", "update-000004"]


def test_without_checkpoints_there_is_none(tmp_path):
    assert checkpoint.last_whole(tmp_path / "none") is None


@pytest.mark.parametrize(("spare", "stay"), [(True, ["update-000004", "update-000006"]), (False, ["update-000006"])])
def test_while_a_run_trains_the_last_but_one_stays_too(tmp_path, spare, stay):
    saved(tmp_path, 2, 4, 6)
    (tmp_path / ".update-000008.tmp").mkdir()
    checkpoint.prune(tmp_path, parse_keep("last"), best=None, updates_per_step=1, spare=spare)
    assert names(tmp_path) == stay
