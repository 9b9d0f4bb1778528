"""What one process sees is raised in all; what accelerate's environment changes is refused."""

import errno
import pickle
import subprocess
import sys

import pytest

from harness.distributed.processes import UNCHANGED, is_agreed, refuse_other_training
from harness.distributed.shard import ALONE, Shard, is_loss_of_a_process, raise_together
from harness.errors import SandboxError, UserError


def second_of_two(first, *, decided=None):
    """The second process, whose first sees the fault `first`, or none and finds `decided`."""

    def gather(items):
        copied = pickle.loads(pickle.dumps(items))
        return [decided] if not items else [first, *copied]

    return Shard(all_gather_items=gather, index=1, count=2)


@pytest.mark.parametrize(
    "fault", [UserError("no such data"), SandboxError("it is gone"), OSError(errno.ENOSPC, "No space left", "here")]
)
def test_what_another_process_sees_is_raised_here_and_marked_as_agreed(monkeypatch, fault):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(type(fault)) as raised, second_of_two(fault).together():
        pass
    assert str(raised.value) == str(fault)
    assert is_agreed(raised.value)


def test_of_two_faults_all_raise_the_first():
    with pytest.raises(UserError, match="of the first"), second_of_two(UserError("of the first")).together():
        raise UserError("of the second")


def test_a_fault_here_alone_is_raised_as_agreed(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="mine") as raised, second_of_two(None).together():
        raise UserError("mine")
    assert is_agreed(raised.value)
    assert not is_agreed(UserError("not of all"))


def test_a_fault_of_the_program_itself_is_not_agreed_on():
    with pytest.raises(KeyError), second_of_two(UserError("other")).together():
        raise KeyError("a bug")


def test_a_fault_keeps_its_text_on_the_way_to_another_process():
    copied = pickle.loads(pickle.dumps(SandboxError("it is gone")))
    assert str(copied) == "The sandbox has failed, so there is no verdict: it is gone."


def test_the_first_process_decides_and_the_others_do_not_look():
    def look():
        raise AssertionError("only the first looks")

    assert second_of_two(None, decided="newest").decided(look) == "newest"
    assert ALONE.decided(lambda: 3) == 3


def test_a_process_alone_agrees_with_itself():
    with pytest.raises(OSError, match="No space"), ALONE.together():
        raise OSError(errno.ENOSPC, "No space")


def test_a_process_alone_raises_its_own_fault_and_loads_no_torch_for_it():
    code = (
        "import sys\nfrom harness.distributed.shard import raise_together\nfrom harness.errors import UserError\n"
        "try:\n    raise_together(UserError('mine'))\n"
        "except UserError as error:\n    print(error, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "mine False\n"


def test_once_the_processes_have_met_a_fault_of_one_is_its_own(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    with pytest.raises(UserError, match="mine") as raised:
        raise_together(UserError("mine"))
    assert not is_agreed(raised.value)


def test_the_loss_of_a_process_is_told_from_other_errors():
    lost = "[/x/third_party/gloo/gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:22207."
    assert is_loss_of_a_process(RuntimeError(lost))
    assert not is_loss_of_a_process(RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ACCELERATE_MIXED_PRECISION", "bf16"),
        ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4"),
        ("ACCELERATE_USE_FSDP", "true"),
        ("ACCELERATE_DYNAMO_BACKEND", "inductor"),
    ],
)
def test_training_that_the_environment_would_change_is_refused(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=f"{name}={value} would change training .* set it to {UNCHANGED[name]} in"):
        refuse_other_training()


def test_what_accelerate_launch_sets_by_itself_is_accepted(monkeypatch):
    for name, value in UNCHANGED.items():
        monkeypatch.setenv(name, value.upper())
    refuse_other_training()
