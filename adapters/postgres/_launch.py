"""Becomes the given program: drops root, ties its life to its parent's, then execs.

Run by path as a script of its own, never imported. A fresh interpreter has no other threads, so
nothing here can deadlock as code between fork and exec of a threaded program can.

Arguments: parent pid, uid, gid ("-" to stay as we are), lifeline file descriptor ("-" for
Linux's parent-death signal), then the program and its arguments.
"""

import ctypes
import os
import select
import signal
import sys

PR_SET_PDEATHSIG = 1
KEEP = "-"


def main(arguments: list[str]) -> None:
    """Never returns: this process is the program from here on."""
    # Python would only note an interrupt, and forget it in the exec: it has to end us right here.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent, uid, gid, lifeline, *command = arguments
    libc = ctypes.CDLL(None, use_errno=True)
    if uid != KEEP:
        os.setgroups([])
        os.setgid(int(gid))
        os.setuid(int(uid))
    if lifeline == KEEP:
        # After setuid: a change of credentials clears the request.
        if libc.prctl(PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
        if os.getppid() != int(parent):
            os._exit(0)  # The parent died before we asked to be told.
    else:
        _watch(int(lifeline))
    os.execv(command[0], command)


def _watch(lifeline: int) -> None:
    """Leave a watcher behind that asks this process to stop when the lifeline closes."""
    program = os.getpid()
    if os.fork() == 0:
        # Forked twice, so that the program never finds a child it did not make.
        if os.fork() != 0:
            os._exit(0)
        while True:
            closed, _, _ = select.select([lifeline], [], [], 1.0)
            try:
                os.kill(program, signal.SIGINT if closed else 0)
            except ProcessLookupError:
                os._exit(0)
            if closed:
                os._exit(0)
    os.wait()
    os.close(lifeline)


if __name__ == "__main__":
    main(sys.argv[1:])
