"""Processes that are asked for times and memory in turn."""

import json
import os
import pathlib
import subprocess
import sys


def resident(peak=False):
    """Resident memory of this process, bytes; at its highest since reset."""
    field = "VmHWM:" if peak else "VmRSS:"
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {field[:-1]}")


def peak_of(call):
    """Highest resident memory during a call, bytes."""
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
    call()
    return resident(peak=True)


def serve(answer_to):
    """Answers the commands on standard input until it closes.

    Args:
        answer_to: from a dictionary, the command, to a dictionary.
    """
    # Libraries write to standard output as well; answers have their own.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        try:
            answer = answer_to(json.loads(line))
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


class Worker:
    """A process that runs `script --worker name` and serves commands.

    Args:
        script: path of a script whose `--worker` calls `serve`.
        name: what it works on, such as a backend.
        **environment: variables of its environment.
    """

    def __init__(self, script, name, **environment):
        environment = {
            **os.environ,
            "TF_CPP_MIN_LOG_LEVEL": "2",
            **environment,
        }
        # All cores, whatever the shell says.
        environment.pop("OMP_NUM_THREADS", None)
        root = str(pathlib.Path(script).resolve().parents[1])
        path = os.environ.get("PYTHONPATH")
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [root, path]))
        self.process = subprocess.Popen(
            [sys.executable, script, "--worker", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            text=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()

    def ask(self, do, **details):
        """The answer to one command, or an "error" in it."""
        try:
            print(
                json.dumps({"do": do, **details}),
                file=self.process.stdin,
                flush=True,
            )
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            return {"error": f"the process ended with {self.process.wait()}"}
        return json.loads(line)
