"""One process of a job that torchrun started; one of them sends itself a signal, once: `struck.py MARK SIGSTOP 1 40 run
...`. The file MARK says that it has, and how; 1 is its rank, 40 the number of the call before which it comes."""

import itertools
import os
import signal
import sys
from pathlib import Path

from campaign import each_call

from harness.cli.main import main

if __name__ == "__main__":
    mark, name, rank, call, *arguments = sys.argv[1:]
    calls = itertools.count(1)

    def act() -> None:
        if next(calls) == int(call) and os.environ["RANK"] == rank and not Path(mark).exists():
            Path(mark).write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.Signals[name])

    each_call(act)
    sys.exit(main(arguments))
