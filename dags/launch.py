"""Become a command that ends when the process that asked for it ends, in whatever way that ended.

    python -I -S launch.py PARENT COMMAND…

A task that the kernel kills (memory, a lost worker) can end nothing any more; its command would
work on beside the next try. The kernel keeps this promise instead, across `exec`. A file of its
own that imports nothing of ours: between fork and exec of a process with threads, no Python may
run.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
NOT_FOUND: Final = 127


def main(parent: int, words: list[str]) -> int:
    """Ask the kernel, then become the command; returns only where there is none.

    Args:
        parent: Process id of who asked; it may have ended already.
        words: The command.

    Returns:
        The exit code of shells for it.
    """
    # SIGKILL: jobs are safe against a crash at any point, and this one cannot be missed.
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        return 1
    try:
        os.execvp(words[0], words)  # noqa: S606 - an operator's own command, no shell
    except OSError as error:
        sys.stderr.write(f"{words[0]}: {error.strerror}\n")
    return NOT_FOUND


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
