"""Runs a program and notes how it ended: `python watched.py NOTE PROGRAM …` writes its exit code and its peak memory.

A process is charged with the memory of the one that started it, up to the moment when it becomes its own program. The
test runner is large; this is small.
"""

import os
import subprocess
import sys

process = subprocess.Popen(sys.argv[2:])
_, status, usage = os.wait4(process.pid, 0)
with open(sys.argv[1], "w") as note:
    note.write(f"{os.waitstatus_to_exitcode(status)} {usage.ru_maxrss}")
