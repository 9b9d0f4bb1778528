"""A sandbox for programs that a model wrote, judged from outside by tests that the program never sees.

    client.py     in the harness: sends programs with their tests, gets verdicts
    broker.py     a small process without torch: runs jobs, several at a time; tries again where the sandbox failed
    attempt.py    one start of a program: outcomes, clocks, and whose fault an end is
    stage.py, processes.py, mounts.py    starts and ends the processes of judge and programs
    judge.py      in a sandbox of its own: runs the tests, against stubs for the program's functions
    candidate.py  in a fresh sandbox per program: runs the program and answers the stubs' calls over a pipe
    values.py     what may cross that pipe: a closed set of plain values
    job.py        a program with its tests and limits, and the verdict on it
    bubblewrap.py, seccomp.py, packages.py    what the sandboxes allow

Nothing that the program does to its own interpreter (an early exit, a patched `__eq__` or `assert`, a forged
line of output) reaches the tests: all that it can send them is a value.
"""
