"""A run shows that it is alive."""

import time

from harness.app import heartbeat
from harness.records.run_folder import read_status
from harness.records.schema import RunStatus


def test_the_status_follows_a_run_that_says_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(heartbeat, "SECONDS", 0.01)
    counts = iter([(1, 8), (2, 16)])
    with heartbeat.Heartbeat(tmp_path, lambda: next(counts, (3, 24))):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            status = read_status(tmp_path)
            if status is not None and status.updates == 3:
                break
            time.sleep(0.01)
    assert status == RunStatus(state="running", updates=3, samples=24, heartbeat=status.heartbeat)
    assert heartbeat.is_alive(status)


def test_a_disk_without_room_ends_no_heartbeat(tmp_path, monkeypatch):
    tried = []

    def full(folder, status):
        tried.append(status)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(heartbeat, "SECONDS", 0.01)
    monkeypatch.setattr(heartbeat, "write_status", full)
    with heartbeat.Heartbeat(tmp_path, lambda: (0, 0)):
        deadline = time.monotonic() + 60
        while len(tried) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert len(tried) >= 2


def test_a_run_without_a_sign_of_life_for_a_minute_or_without_any_is_dead():
    assert not heartbeat.is_alive(RunStatus(state="running", updates=3, samples=24))
    assert not heartbeat.is_alive(RunStatus(state="running", updates=3, samples=24, heartbeat=time.time() - 61))
    assert heartbeat.is_alive(RunStatus(state="running", updates=3, samples=24, heartbeat=time.time() - 20))
