"""harness doctor: what this machine supports, and what to install for the rest."""

from __future__ import annotations

MISSING = 1


def doctor() -> int:
    """Say what this machine supports and what to install. Exit code 1 where something is missing."""
    from harness.app.doctor import examine
    from harness.cli.terminal.feedback import echo
    from harness.cli.terminal.tables import show_table

    findings = list(examine())
    rows = [(finding.name, finding.state, finding.fix or "ok") for finding in findings]
    show_table("This machine", ("What", "State", "To do"), rows, numeric=(False, False, False))
    missing = sum(bool(finding.fix) for finding in findings)
    echo(f"{missing} to fix; everything else works." if missing else "Nothing is missing.")
    return MISSING if missing else 0
