"""A file that one process holds at a time, so that two that were started by mistake do not spoil each other's work."""

import errno
import fcntl
import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

log = logging.getLogger(__name__)

WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
"""What a file system that has no locks answers."""


@contextmanager
def held(path: Path, wait: bool = False) -> Iterator[None]:
    """Hold a file while the block runs. The kernel lets go of it when the process ends, however it ends: a killed one
    leaves nothing to be cleaned up. The file stays, and says who held it last.

    Nothing holds it on a file system without locks; that is a warning.

    Args:
        path: the file, which is made with its folder.
        wait: whether to wait for another process that holds it.

    Raises:
        ValueError: another process, or another thread of this one, holds it, and `wait` is not set.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:  # which does not empty the file of who holds it
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"{path.parent} is being written by {_holder(file)}: wait until it has ended, or stop it, and run the "
                "command again."
            ) from None
        except OSError as fault:
            if fault.errno not in WITHOUT_LOCKS:
                raise
            log.warning("%s: the file system has no locks (%s): never start the same twice.", path, fault.strerror)
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
        file.flush()
        yield


def _holder(file: IO[str]) -> str:
    file.seek(0)
    try:
        who = json.loads(file.read())
    except ValueError:  # it has only just begun
        return "another process"
    return f"process {who['pid']} on {who['host']}"
