"""Limits that a child puts on itself before it touches a recording's bytes.

No system call here needs a privilege. Those that some kernels or containers refuse (a network
namespace of its own) are best effort; the resource limits are not.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38
_CLONE_NEWUSER: Final = 0x10000000
_CLONE_NEWNET: Final = 0x40000000
_OPEN_FILES: Final = 256


def confine(folder: Path, *, memory_bytes: int, seconds: int, file_bytes: int, parent: int) -> None:
    """Confine the calling process for good.

    Args:
        folder: Its working folder.
        memory_bytes: Address space (RLIMIT_AS).
        seconds: CPU seconds (RLIMIT_CPU).
        file_bytes: Largest file (RLIMIT_FSIZE).
        parent: Process id of the parent; the child does not outlive it.
    """
    os.setsid()
    library = ctypes.CDLL(None, use_errno=True)
    library.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)
    library.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    # Best effort, network only: sources take paths, not addresses.
    library.unshare(_CLONE_NEWUSER | _CLONE_NEWNET)
    os.chdir(folder)
    os.umask(0o077)
    for limit, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_NPROC, 0),
    ):
        hard = resource.getrlimit(limit)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)  # noqa: PLW2901
        resource.setrlimit(limit, (value, value))
