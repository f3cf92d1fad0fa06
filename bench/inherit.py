"""What a process takes over from its parent, put in order: see inherit.h."""

import atexit
import os
import signal
import sys

NO_READER = 128 + signal.SIGPIPE    # as a shell tells of what that signal ends


def end_with_reader():
    """When the reader of stdout has seen enough (head, less), the program ends
    without a word; where stdout takes no more (a full disk) it ends with one.
    SIGPIPE would do the first too, but also end a program that writes to a
    process or a socket which is gone."""
    out = sys.stdout
    if out is not sys.__stdout__ or "write" in vars(out):
        return      # a test's, or done before

    def guarded(call):
        def guard(*words):
            try:
                return call(*words)
            except BrokenPipeError:
                leave()
                raise SystemExit(NO_READER) from None
            except OSError as err:
                leave()
                raise SystemExit(f"stdout: {err.strerror}") from None
        return guard

    def leave():
        """What is still to be written goes nowhere."""
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, out.fileno())
        os.close(null)

    def last():
        try:
            plain_flush()
        except BrokenPipeError:
            leave()
        except ValueError:      # closed
            pass

    plain_flush = out.flush
    out.write, out.flush = guarded(out.write), guarded(out.flush)
    atexit.register(last)


def clean():
    """First of all in main(): closed standard descriptors become /dev/null,
    no signal is blocked, and SIGTERM, SIGCHLD do what they do by default.
    With SIGCHLD ignored the exit status of every child would read as 0.  The
    end of stdout's reader is an end of the program, and no error."""
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
    end_with_reader()
