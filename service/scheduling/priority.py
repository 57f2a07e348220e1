"""The event loop first: threads that compute are nicer than the one that answers."""

import os
import sys
import threading

NICENESS = 10


def yield_to_the_event_loop() -> None:
    """Lower the calling thread's priority below the event loop's, where a thread has its own.

    On Linux niceness is a thread's own, and threads inherit it: those that ONNX Runtime starts in
    the calling thread have it too. See setpriority(2), "C library/kernel differences".
    """
    if sys.platform.startswith("linux"):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
