"""Python programs as new processes, without the seconds that imports take.

`run` is `subprocess.run([sys.executable, *arguments], ...)`, but that the
process is a fork of one that has imported Keras and its backend and has used
neither. It is started at the first call, once a backend and worker.
"""

import atexit
import faulthandler
import functools
import gc
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import traceback


def run(arguments, *, cwd=None, env=None, absent=()):
    """What became of a program.

    Args:
        arguments: Those of Python: a script or `-c` with code or `-m` with a
            module, and what follows.
        cwd: Its working directory.
        env: Its environment; `KERAS_BACKEND` there says which backend is
            imported. By default that of the tests.
        absent: Names of packages that are not installed for it. What imports
            them while Keras is imported has them.

    Returns:
        A `subprocess.CompletedProcess` with text of both streams.
    """
    env = dict(os.environ if env is None else env)
    arguments = [str(argument) for argument in arguments]
    server = _server(env.get("KERAS_BACKEND", "tensorflow"))
    with tempfile.TemporaryDirectory() as folder:
        streams = [os.path.join(folder, name) for name in ("out", "err")]
        asked = {
            "arguments": arguments,
            "cwd": str(cwd or os.getcwd()),
            "env": env,
            "absent": list(absent),
            "streams": streams,
        }
        print(json.dumps(asked), file=server.stdin, flush=True)
        code = int(server.stdout.readline())
        out, err = (pathlib.Path(path).read_text() for path in streams)
    return subprocess.CompletedProcess(arguments, code, out, err)


def start(function):
    """Starts a fork of this process, which does one thing.

    Args:
        function: Without arguments; what it returns is the exit code, None 0.

    Returns:
        The number of the process, of which `code_of` waits for the end.
    """
    child = os.fork()
    if child:
        return child
    code = 1
    faulthandler.enable()
    try:
        code = function() or 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        # Not `sys.exit`: the threads of backends may not end.
        os._exit(code)


def code_of(child):
    """The exit code of a process of `start`, when it has ended."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@functools.cache
def _server(backend):
    server = subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "KERAS_BACKEND": backend},
    )

    @atexit.register
    def end():
        server.stdin.close()
        server.wait()

    return server


def _serve():
    """Forks for each line of the standard input; returns in a fork.

    Returns:
        What was asked of it.
    """
    for line in sys.stdin:
        child = os.fork()
        if not child:
            return json.loads(line)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
    return None


def _become(asked):
    """Makes this process what a new one would be."""
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    for descriptor, path in enumerate(asked["streams"], 1):
        opened = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.environ.clear()
    os.environ.update(asked["env"])
    os.chdir(asked["cwd"])
    path = asked["env"].get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:0] = [p for p in path if p and p not in sys.path]
    if asked["absent"]:
        import without

        for name in list(sys.modules):
            if name.partition(".")[0] in asked["absent"]:
                del sys.modules[name]
        without.hide(asked["absent"])


def _run(arguments):
    import runpy

    first, *rest = arguments
    if first == "-c":
        sys.argv = ["-c", *rest[1:]]
        sys.path[0] = ""
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
    elif first == "-m":
        sys.argv = rest
        sys.path[0] = os.getcwd()
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        sys.path[0] = os.path.dirname(os.path.abspath(first))
        runpy.run_path(first, run_name="__main__")


def _spare_what_is_there():
    """Before a fork: keeps collections away from what was imported.

    They would go through a million objects, and so copy the memory of all.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def _import():
    import contextlib

    with contextlib.suppress(ImportError):
        import torch  # noqa: F401, before TensorFlow
    import keras  # noqa: F401
    import numpy  # noqa: F401

    _spare_what_is_there()


if __name__ == "__main__":
    _import()
    _asked = _serve()
    if _asked is not None:
        _become(_asked)
        _run(_asked["arguments"])
