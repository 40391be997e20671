"""Writing files whole, from several threads."""

from __future__ import annotations

import os
import sys
import threading

from minires import files


def test_files_written_in_several_threads_are_readable_by_whom_the_user_lets() -> None:
    """To ask for the umask is to set it, and two threads at once could put back another."""
    before, interval = os.umask(0o027), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=ask_for_umask, args=(1000,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
        sys.setswitchinterval(interval)


def ask_for_umask(times: int) -> None:
    for _ in range(times):
        files._umask()
