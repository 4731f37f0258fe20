"""Runs scripts/run.py in a process of its own, as a user would.

Where processes can be forked, it is forked from one that has loaded torch and Hydra, and has read
the configuration: to load them anew takes longer than most commands. tests/cli/test_wheel.py runs
commands in fresh processes.
"""

import atexit
import json
import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from conftest import NARROW, ROOT

QUICK = ["rounds=2", "local.tau=1", "runtime.threads=1", *NARROW, "fusion.dim=16"]
SCRIPT = str(ROOT / "scripts" / "run.py")
SERVER = """
import atexit, gc, json, os, runpy, sys, threading, traceback
import ifl.cli.build, ifl.cli.run, ifl.federation.runner
import ifl.data.readers.embedded, ifl.methods.ifl
from hydra.core.plugins import Plugins
Plugins.instance()
sys.path.insert(0, sys.argv.pop())
import read_once
del sys.path[0]
read_once.install()
read_once.read(ifl.cli.run.CONF)
gc.freeze()
for line in sys.stdin:
    asked = json.loads(line)
    child = asked.get("wait") or os.fork()
    if child == 0:
        break
    beside = asked.get("beside")  # say its number at once, and wait when asked to
    print(child if beside else os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
else:
    os._exit(0)
for number, path in enumerate((os.devnull, asked["out"], asked["err"])):
    os.dup2(os.open(path, os.O_RDWR), number)
os.chdir(asked["folder"])
os.environ.clear()
os.environ.update(asked["environment"])
sys.argv = asked["typed"]
own = asked["environment"].get("PYTHONPATH", "").split(os.pathsep)
sys.path[:0] = [os.path.dirname(sys.argv[0]), *filter(None, own)]
code = 0
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as end:
    code = end.code or 0
    if not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
except BaseException:
    traceback.print_exc()
    code = 1
threading._shutdown()
atexit._run_exitfuncs()
sys.stdout.flush()
sys.stderr.flush()
os._exit(code)  # to take down all that was loaded would take longer than the command
"""

Ended = subprocess.CompletedProcess[str]


def command(tmp_path: Path, *arguments: str, data: str = "nowhere", fresh: bool = False) -> Ended:
    """Run a command; fresh: in a process that loads all that it needs itself."""
    environment = {**os.environ, "IFL_DATA": data, "OMP_NUM_THREADS": "1"}
    typed = [SCRIPT, *arguments, f"outputs={tmp_path}"]
    if sys.platform == "linux" and not fresh:
        return forked(typed, environment)
    return subprocess.run([sys.executable, *typed], capture_output=True, text=True, env=environment)


def forked(typed: list[str], environment: dict[str, str]) -> Ended:
    """Run a script with these arguments in a process that has loaded its modules already."""
    with tempfile.NamedTemporaryFile() as out, tempfile.NamedTemporaryFile() as err:
        asked = {"typed": typed, "environment": environment, "folder": os.getcwd()}
        code = told({**asked, "out": out.name, "err": err.name})
        said = [Path(file.name).read_text(encoding="utf-8") for file in (out, err)]
    return subprocess.CompletedProcess(typed, code, *said)


def told(asked: dict[str, object]) -> int:
    """Tell the process that others are forked from what to do; return the number that it says."""
    warm = server()
    assert warm.stdin is not None
    assert warm.stdout is not None
    warm.stdin.write(json.dumps(asked) + "\n")
    warm.stdin.flush()
    return int(warm.stdout.readline())


class Beside:
    """A command in such a process, while this one goes on.

    Args:
        typed: a script and its arguments.
        log: takes what it says.
    """

    def __init__(self, typed: list[str], log: Path) -> None:
        log.touch()
        self.log = log
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        asked: dict[str, object] = {"typed": typed, "environment": environment}
        said = str(log.absolute())  # the process that it is forked from stands elsewhere
        asked |= {"folder": os.getcwd(), "out": said, "err": said, "beside": True}
        self.pid = told(asked)

    def wait(self) -> int:
        """Return its exit code once it has ended."""
        return told({"wait": self.pid})


@cache
def server() -> subprocess.Popen[str]:
    """Start the process that others are forked from; it ends with this one."""
    own = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    program = [sys.executable, "-c", SERVER, str(Path(__file__).parent)]
    warm = subprocess.Popen(program, stdin=pipe, stdout=pipe, text=True, env=own)
    atexit.register(warm.communicate)
    return warm


def only_run(tmp_path: Path) -> Path:
    (found,) = [path.parent for path in tmp_path.rglob("run.json")]
    return found
