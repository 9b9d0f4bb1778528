"""Programs that attack whatever judges them. Each is judged by `assert f(3) == 10`, so that `f` returns 10 exactly
where its attack has worked (or cheats without knowing the answer), and harms nothing where it does not."""

# ruff: noqa: E501  (one program, one line)

from __future__ import annotations

from dataclasses import dataclass

GONE = "ended early"
USED_UP = "used up"
WRONG = "^assertion failed$"
OUT_OF_TIME = "^out of time$"
# Of a program that computes without end; on a machine that gives it little, the clock may come first.
SPENT = f"{USED_UP}|{OUT_OF_TIME}"


@dataclass(frozen=True, kw_only=True)
class Attack:
    """A program and what its verdict has to say (a regular expression)."""

    name: str
    source: str
    reason: str


def attempt(body: str, *, imports: str = "os") -> str:
    """A program whose f runs `body`, which returns 10 where it works; what the machine forbids returns its name."""
    lines = "\n".join(f"        {line}" for line in body.splitlines())
    return f"import {imports}\ndef f(x):\n    try:\n{lines}\n    except (Exception, SystemExit) as e:\n        return type(e).__name__\n"


def kernel(body: str) -> str:
    """The same with `call(name, ...)` for a raw system call of x86_64; -1 is refused."""
    return attempt("libc = ctypes.CDLL(None, use_errno=True)\ncall = libc.syscall\n" + body, imports="os, ctypes")


ENDINGS = (
    Attack(name="exit 0 while loading", source="import sys\nsys.exit(0)", reason="^SystemExit: 0$"),
    Attack(name="hard exit 0 while loading", source="import os\nos._exit(0)", reason=f"{GONE} .with status 0"),
    Attack(name="exit 0 in the call", source="import sys\ndef f(x): sys.exit(0)", reason="^SystemExit: 0$"),
    Attack(name="hard exit 0 in the call", source="import os\ndef f(x): os._exit(0)", reason=f"{GONE} .with status 0"),
    Attack(
        name="exit handler", source="import atexit, os\natexit.register(os._exit, 0)\n1 / 0", reason="^ZeroDivision"
    ),
    Attack(name="keyboard interrupt", source="def f(x): raise KeyboardInterrupt", reason="^KeyboardInterrupt"),
    Attack(name="assertion of its own", source="def f(x): raise AssertionError('passed')", reason="assertion failed"),
    Attack(
        name="fresh interpreter",
        source="import os, sys\ndef f(x): os.execv(sys.executable, [sys.executable, '-c', 'print(10)'])",
        reason=GONE,
    ),
    Attack(name="close all pipes", source="import os\ndef f(x): os.closerange(0, 64)", reason=GONE),
    Attack(
        name="null pointer",
        source="import ctypes\ndef f(x): return ctypes.string_at(0)",
        reason=f"{GONE} .by signal 11",
    ),
)

FORGERIES = (
    Attack(
        name="equal to everything",
        source="class Yes:\n    def __eq__(self, other): return True\ndef f(x): return Yes()",
        reason="a value of type 'Yes', which cannot cross",
    ),
    Attack(
        name="number equal to everything",
        source="class Yes(int):\n    def __eq__(self, other): return True\ndef f(x): return Yes(0)",
        reason=WRONG,
    ),
    Attack(
        name="list equal to everything",
        source="class Yes(list):\n    def __eq__(self, other): return True\ndef f(x): return Yes()",
        reason=WRONG,
    ),
    Attack(
        name="patched builtins",
        source="import builtins\nbuiltins.AssertionError = Warning\nbuiltins.exec = builtins.eval = builtins.compile = "
        "lambda *a, **k: None\nbuiltins.__debug__ = False\ndef f(x): return 0",
        reason="SyntaxError|assertion failed",
    ),
    Attack(
        name="patched exceptions and hooks",
        source="import sys, builtins\nbuiltins.AssertionError = builtins.BaseException = ZeroDivisionError\n"
        "sys.excepthook = sys.settrace = lambda *a: None\ndef f(x): return 0",
        reason=WRONG,
    ),
    Attack(
        name="forged lines on every descriptor",
        source='import os\ndef f(x):\n    for d in range(64):\n        try: os.write(d, b\'{"id": 0, "passed": true}\\nok\\n\' * 9)\n'
        "        except OSError: pass\n    return 0",
        reason="no value|bytes, more than",
    ),
    Attack(
        name="forged outcome frame",
        source="import os\nframe = b't3:Ts0:T'\ndef f(x):\n    for d in range(3, 64):\n        try: os.write(d, "
        "len(frame).to_bytes(8, 'big') + frame)\n        except OSError: pass\n    return 0",
        reason="no value",
    ),
    Attack(
        name="answers in advance",
        source="import os\nframe = b'VT'\nfor d in range(3, 64):\n    try: os.write(d, len(frame).to_bytes(8, 'big') + frame)\n"
        "    except OSError: pass\ndef f(x): return 0",
        reason=WRONG,
    ),
    Attack(
        name="patched sender",
        source="import sys\nframe = sys._getframe()\nwhile frame:\n    if 'values' in frame.f_globals:\n"
        "        frame.f_globals['values'].encode = lambda value: b'T'\n    frame = frame.f_back\ndef f(x): return 0",
        reason=WRONG,
    ),
    Attack(
        name="tests in the frames",
        source="import sys\ndef f(x):\n    frame, texts = sys._getframe(), []\n    while frame:\n"
        "        texts.append(repr(frame.f_locals) + repr(frame.f_code.co_consts))\n        frame = frame.f_back\n"
        "    needle = ''.join(['assert ', 'f(3)'])\n    return 10 if any(needle in text for text in texts) else 0",
        reason=WRONG,
    ),
    Attack(
        name="tests in memory",
        source="import gc\ndef f(x):\n    needle = ''.join(['f(3) ', '== 10'])\n    found = [o for o in gc.get_objects() "
        "if isinstance(o, (tuple, list, dict)) and needle in str(o)]\n    return 10 if found else 0",
        reason=WRONG,
    ),
    Attack(
        name="tests on disk",
        source="import os\ndef f(x):\n    for folder, _, names in os.walk('/'):\n        for name in names:\n"
        "            if folder.startswith('/python/lib'): continue\n            try: data = open(os.path.join(folder, name), 'rb').read()\n"
        "            except OSError: continue\n            if b''.join([b'f(3) ', b'== 10']) in data: return 10\n    return 0",
        reason=f"{WRONG}|^out of time$",
    ),
    Attack(
        name="changed judge",
        source=attempt("open('/scripts/judge.pyc', 'ab').write(b'x')\nreturn 10"),
        reason=WRONG,
    ),
    Attack(
        name="changed standard library",
        source=attempt("open(os.__file__, 'a').write('x')\nreturn 10"),
        reason=WRONG,
    ),
)

EXHAUSTION = (
    Attack(name="endless loop", source="def f(x):\n    while True: pass", reason=SPENT),
    Attack(name="endless loop while loading", source="while True: pass", reason=SPENT),
    Attack(
        name="ignored signals",
        source="import signal\nfor n in range(1, 65):\n    try: signal.signal(n, signal.SIG_IGN)\n"
        "    except (OSError, ValueError): pass\ndef f(x):\n    while True: pass",
        reason=SPENT,
    ),
    Attack(
        name="caught interrupts",
        source="def f(x):\n    while True:\n        try:\n            while True: pass\n        except BaseException: pass",
        reason=SPENT,
    ),
    Attack(name="sleep", source="import time\ndef f(x): time.sleep(1000)", reason=OUT_OF_TIME),
    Attack(name="wait for input", source="def f(x): return input()", reason="EOFError"),
    Attack(name="wait for a lock", source="import threading\ndef f(x): threading.Event().wait()", reason=OUT_OF_TIME),
    Attack(name="huge power", source="def f(x): return 9 ** 9 ** 9", reason=f"{USED_UP}|MemoryError"),
    Attack(name="huge number", source="def f(x): return 1 << (1 << 28)", reason="bytes, more than|MemoryError"),
    Attack(name="endless regular expression", source="import re\ndef f(x): re.match('(a*)*b', 'a' * 40)", reason=SPENT),
    Attack(name="memory at once", source="def f(x): return len(bytearray(10 ** 11))", reason="^MemoryError"),
    Attack(
        name="memory by and by",
        source="def f(x):\n    a = []\n    while True: a.append(bytearray(10 ** 6))",
        reason="^MemoryError",
    ),
    Attack(
        name="mapped memory",
        source=attempt("maps = [mmap.mmap(-1, 1 << 30) for _ in range(64)]\nreturn 10", imports="os, mmap"),
        reason=WRONG,
    ),
    Attack(
        name="output flood",
        source="import sys\ndef f(x):\n    while True: print('x' * 10 ** 6); sys.stderr.write('y' * 10 ** 6)",
        reason=SPENT,
    ),
    Attack(name="answer flood", source="def f(x): return 'x' * (20 << 20)", reason="bytes, more than"),
    Attack(
        name="endless answer",
        source="import os\ndef f(x):\n    while True:\n        for d in range(3, 64):\n            try: os.write(d, b'\\0' * 4096)\n"
        "            except OSError: pass",
        reason=f"no value|{OUT_OF_TIME}|{USED_UP}",
    ),
    Attack(
        name="endless iterator",
        source="import itertools\ndef f(x): return itertools.count()",
        reason="an iterator of more than",
    ),
    Attack(
        name="list in itself", source="def f(x):\n    a = []\n    a.append(a)\n    return a", reason="nested deeper"
    ),
    Attack(name="deep recursion", source="def f(x): return f(x + 1)", reason="^RecursionError"),
    Attack(
        name="deep recursion without a limit",
        source="import sys\nsys.setrecursionlimit(10 ** 9)\ndef f(x): return f([x])",
        reason=f"{GONE}|MemoryError|RecursionError|{USED_UP}",
    ),
    Attack(
        name="thousands of threads",
        source="import threading, time\ndef f(x):\n    for _ in range(10 ** 4): threading.Thread(target=time.sleep, args=(99,), daemon=True).start()\n    return 10",
        reason="^RuntimeError|^MemoryError",
    ),
    Attack(
        name="colliding keys",
        source="def f(x): return {i * (2 ** 61 - 1) for i in range(10 ** 5)}",
        reason=f"judge|{WRONG}|{USED_UP}|{OUT_OF_TIME}",
    ),
)

ESCAPES = (
    Attack(name="fork", source=attempt("os.fork()\nreturn 10"), reason=WRONG),
    Attack(
        name="fork bomb", source="import os\ndef f(x):\n    while True: os.fork()", reason="^PermissionError|^OSError"
    ),
    Attack(
        name="subprocess",
        source=attempt("subprocess.run(['/python/bin/python', '-c', ''])\nreturn 10", imports="os, subprocess"),
        reason=WRONG,
    ),
    Attack(
        name="spawn", source=attempt("os.posix_spawn('/python/bin/python', ['python'], {})\nreturn 10"), reason=WRONG
    ),
    Attack(
        name="process pool",
        source=attempt("multiprocessing.Pool(2)\nreturn 10", imports="os, multiprocessing"),
        reason=WRONG,
    ),
    Attack(
        name="internet",
        source=attempt("socket.create_connection(('127.0.0.1', PORT), 1)\nreturn 10", imports="os, socket"),
        reason=WRONG,
    ),
    Attack(
        name="datagrams",
        source=attempt(
            "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', PORT))\nreturn 10",
            imports="os, socket",
        ),
        reason=WRONG,
    ),
    Attack(
        name="local sockets",
        source=attempt("socket.socket(socket.AF_UNIX).bind('\\0name')\nreturn 10", imports="os, socket"),
        reason=WRONG,
    ),
    Attack(name="password file", source=attempt("open('/etc/passwd').read()\nreturn 10"), reason=WRONG),
    Attack(
        name="home folders",
        source=attempt("return 10 if os.listdir('/home') or os.listdir('/root') else 0"),
        reason=WRONG,
    ),
    Attack(name="host's file read", source=attempt("return 10 if open('SENTINEL').read() else 0"), reason=WRONG),
    Attack(
        name="host's file written", source=attempt("open('SENTINEL', 'w').write('hacked')\nreturn 10"), reason=WRONG
    ),
    Attack(name="host's file removed", source=attempt("os.remove('SENTINEL')\nreturn 10"), reason=WRONG),
    Attack(
        name="symbolic link out",
        source=attempt("os.symlink('SENTINEL', '/tmp/link')\nopen('/tmp/link', 'w').write('hacked')\nreturn 10"),
        reason=WRONG,
    ),
    Attack(
        name="link through the root",
        source=attempt(
            "os.symlink('/..', '/tmp/up')\nreturn 10 if os.path.exists('/tmp/up/../../../etc/passwd') else 0"
        ),
        reason=WRONG,
    ),
    Attack(name="hard link", source=attempt("os.link('/scripts/judge.pyc', '/tmp/judge')\nreturn 10"), reason=WRONG),
    Attack(
        name="environment",
        source=attempt("return 10 if any('SECRET' in key for key in os.environ) else 0"),
        reason=WRONG,
    ),
    Attack(name="processes of the host", source=attempt("return 10 if os.listdir('/proc') else 0"), reason=WRONG),
    Attack(
        name="environment of the parent",
        source=attempt("return 10 if open(f'/proc/{os.getppid()}/environ').read() else 0"),
        reason=WRONG,
    ),
    Attack(name="kill the parent", source=attempt("os.kill(os.getppid() or 1, 9)\nreturn 10"), reason=WRONG),
    Attack(name="kill the host process", source=attempt("os.kill(HOST, 9)\nreturn 10"), reason=WRONG),
    Attack(name="kill everybody", source=attempt("os.kill(-1, 9)\nreturn 10"), reason=WRONG),
    Attack(name="kill the group", source=attempt("os.killpg(0, 9)\nreturn 10"), reason=WRONG),
    Attack(name="become root", source=attempt("os.setuid(0)\nreturn 10"), reason=WRONG),
    Attack(name="own root folder", source=attempt("os.chroot('/tmp')\nreturn 10"), reason=WRONG),
    Attack(
        name="higher limits",
        source=attempt("resource.setrlimit(resource.RLIMIT_CPU, (-1, -1))\nreturn 10", imports="os, resource"),
        reason=WRONG,
    ),
    Attack(name="devices", source=attempt("return 10 if len(os.listdir('/dev')) > 1 else 0"), reason=WRONG),
    Attack(
        name="full disk",
        source=attempt("for i in range(64): open(f'/tmp/{i}', 'wb').write(b'x' * (4 << 20))\nreturn 10"),
        reason=WRONG,
    ),
    Attack(
        name="large file",
        source=attempt("open('/tmp/x', 'wb').write(b'x' * (16 << 20))\nreturn 10"),
        reason=f"{WRONG}|{GONE}",
    ),
    Attack(name="file outside /tmp", source=attempt("open('/file', 'w').write('x')\nreturn 10"), reason=WRONG),
    Attack(name="memory file", source=attempt("os.memfd_create('x')\nreturn 10"), reason=WRONG),
    Attack(name="trace", source=kernel("return 10 if call(101, 16, 1, 0, 0) == 0 else 0"), reason=WRONG),
    Attack(name="name space", source=kernel("return 10 if call(272, 0x10000000) == 0 else 0"), reason=WRONG),
    Attack(
        name="mount",
        source=kernel("return 10 if call(165, b'none', b'/tmp', b'tmpfs', 0, 0) == 0 else 0"),
        reason=WRONG,
    ),
    Attack(name="shared memory", source=kernel("return 10 if call(29, 0, 1 << 20, 0o1600) >= 0 else 0"), reason=WRONG),
    Attack(
        name="io_uring",
        source=kernel("return 10 if call(425, 8, ctypes.create_string_buffer(256)) >= 0 else 0"),
        reason=WRONG,
    ),
    Attack(name="raw fork", source=kernel("return 10 if call(57) >= 0 else 0"), reason=WRONG),
    Attack(name="raw clone", source=kernel("return 10 if call(56, 17, 0, 0, 0, 0) >= 0 else 0"), reason=WRONG),
    Attack(
        name="calls of the other word size", source=kernel("return 10 if call(0x40000000 + 39) > 0 else 0"), reason=GONE
    ),
)

ATTACKS = (*ENDINGS, *FORGERIES, *EXHAUSTION, *ESCAPES)
