#!/usr/bin/env python3
"""stop_thread.py PID NAME SECONDS: stops one thread of a process, as a hang in a driver would.

SIGSTOP stops a whole process; a debugger (ptrace) stops one thread of it.
"""

import ctypes
import os
import pathlib
import sys
import time

PTRACE_SEIZE, PTRACE_INTERRUPT = 0x4206, 0x4207

pid, name, seconds = int(sys.argv[1]), sys.argv[2], float(sys.argv[3])
tasks = pathlib.Path(f"/proc/{pid}/task")
tid = next(int(t.name) for t in tasks.iterdir() if (t / "comm").read_text().strip() == name)
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
for request in (PTRACE_SEIZE, PTRACE_INTERRUPT):
    if libc.ptrace(request, tid, None, None) != 0:
        sys.exit(f"ptrace: {os.strerror(ctypes.get_errno())}")
print(f"thread {name} ({tid}) stopped", flush=True)
# Until it is killed: a dead thread that its tracer has not waited for keeps its process from ending.
WALL = 0x40000000
end = time.monotonic() + seconds
while time.monotonic() < end:
    try:
        who, status = os.waitpid(tid, WALL | os.WNOHANG)
    except ChildProcessError:
        break
    if who and (os.WIFEXITED(status) or os.WIFSIGNALED(status)):
        break
    time.sleep(0.05)
