"""What a process takes over from its parent, put in order: see inherit.h."""

import os
import signal
import sys


def clean():
    """First of all in main(): closed standard descriptors become /dev/null,
    no signal is blocked, and SIGTERM, SIGCHLD do what they do by default.
    With SIGCHLD ignored the exit status of every child would read as 0."""
    for fd, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"),
                           (2, "stderr", "w")):
        try:
            os.fstat(fd)
        except OSError:
            # From 0 up, so that this is the number that is missing.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(fd, mode, encoding="utf-8",
                                    closefd=False))
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
