"""Inside a fresh sandbox: runs one program and answers calls of its functions.

    python candidate.pyc GREETING CALLS REPLIES CPU_SECONDS MEMORY_BYTES FILE_BYTES [PACKAGES]

A byte to GREETING, a socket, says that the sandbox has started: whatever fails before it is no fault of the program's,
which has not arrived yet. CALLS and REPLIES are pipes to the judge. The first frame is the program; each later one is
a call, encoded as (name, arguments, keyword arguments). Every frame is answered by one:

    V<value>   the program is loaded, or the call returned that value
    E<name, message>   it raised
    U<reason>   the call returned something that is not a plain value

PACKAGES is a folder of packages that the program may import beside the standard library.

The program shares this interpreter and may do as it likes with it, also answer in our place: an answer is
nothing but a value, which the judge compares outside.
"""

from __future__ import annotations

import os
import resource
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import frames  # type: ignore[import-not-found]
import values  # type: ignore[import-not-found]

del sys.path[0], sys.modules["frames"], sys.modules["values"]

# A fresh interpreter reads this file for every program, so it imports nothing that costs time.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import types

NO_PACKAGE = "; programs import the standard library and what --allow-packages names"
MESSAGE_LENGTH = 200
LARGEST_CALL = 1 << 30
OPEN_FILES = 64


def main() -> None:
    """Serves until the judge closes its end or the program ends the process."""
    greeting, calls, replies, cpu_seconds, memory, file_size = (int(argument) for argument in sys.argv[1:7])
    sys.path += sys.argv[7:]
    sys.argv = ["program"]
    _limit(cpu_seconds, memory, file_size)
    module = type(sys)("program")
    sys.modules["program"] = module
    os.write(greeting, b"R")
    os.close(greeting)
    source = frames.receive(calls, LARGEST_CALL).decode("utf-8", "surrogatepass")
    frames.send(replies, _load(source, module))
    while True:
        frames.send(replies, _call(frames.receive(calls, LARGEST_CALL), module))


def _limit(cpu_seconds: int, memory: int, file_size: int) -> None:
    # The hard limit kills with SIGKILL; a soft one below it would be ignored by the first process of a namespace.
    for name, value in (
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, file_size),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(name, (value, value))


def _load(source: str, module: types.ModuleType) -> bytes:
    try:
        exec(compile(source, "<program>", "exec", dont_inherit=True), module.__dict__)
    except BaseException as error:  # also SystemExit: an early end is an error like any other
        return _failure(error)
    return b"V" + values.encode(None)


def _call(frame: bytes, module: types.ModuleType) -> bytes:
    name, arguments, keywords = values.decode(frame)
    try:
        if name not in module.__dict__:
            raise NameError(f"name '{name}' is not defined")
        result = module.__dict__[name](*arguments, **keywords)
    except BaseException as error:  # whatever the program raises is an answer
        return _failure(error)
    try:
        return b"V" + values.encode(result)
    except values.NotPlainError as error:
        return b"U" + str(error).encode("utf-8", "surrogatepass")
    except BaseException as error:  # iterators and subclasses run code of the program
        return _failure(error)


def _failure(error: BaseException) -> bytes:
    try:
        message = str(error)[:MESSAGE_LENGTH]
        if isinstance(error, ModuleNotFoundError) and str(error.name).partition(".")[0] not in sys.stdlib_module_names:
            message += NO_PACKAGE
    except BaseException:  # the program's own __str__
        message = ""
    return b"E" + values.encode((type(error).__name__, message))


if __name__ == "__main__":
    try:
        main()
    except frames.ClosedError:
        os._exit(0)
