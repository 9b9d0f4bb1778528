"""Signals that ask for an end: noted where a pause is near, an interruption where it is not."""

import math
import os
import signal

import pytest

from harness.distributed.signals import ASKING, Signals
from harness.errors import Interruption


@pytest.mark.parametrize("number", ASKING)
def test_a_signal_before_a_pause_within_the_grace_is_noted(number):
    with Signals(grace_seconds=60) as signals:
        signals.pause_in(1)
        os.kill(os.getpid(), number)
        assert signals.received == number


@pytest.mark.parametrize(("seconds", "grace"), [(3600, 60), (math.inf, 60), (1, 0)])
def test_where_the_pause_is_further_away_the_work_is_interrupted_at_once(seconds, grace):
    with Signals(grace_seconds=grace) as signals:
        signals.pause_in(seconds)
        with pytest.raises(Interruption) as asked:
            os.kill(os.getpid(), signal.SIGTERM)
    assert asked.value.number == signal.SIGTERM


def test_before_anything_is_known_of_a_pause_the_work_is_interrupted():
    with pytest.raises(Interruption), Signals(grace_seconds=60):
        os.kill(os.getpid(), signal.SIGUSR1)


def test_the_first_of_several_signals_counts():
    with Signals(grace_seconds=60) as signals:
        signals.pause_in(1)
        os.kill(os.getpid(), signal.SIGINT)
        signals.pause_in(math.inf)
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.received == signal.SIGINT


def test_afterwards_signals_do_what_they_did_before():
    before = [signal.getsignal(number) for number in ASKING]
    with Signals():
        assert [signal.getsignal(number) for number in ASKING] != before
    assert [signal.getsignal(number) for number in ASKING] == before


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGUSR1, 143), (signal.SIGINT, 130)])
def test_an_interruption_says_which_signal_it_was_and_how_to_go_on(number, code):
    asked = Interruption(number)
    assert asked.exit_code == code
    assert str(asked) == f"interrupted by {number.name}; the same command goes on from the last checkpoint"
