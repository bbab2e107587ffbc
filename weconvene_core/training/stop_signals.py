"""Ctrl-C, SIGTERM and a time limit as one request to stop, which the training loop honours between two updates."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """Inside this context a first signal only sets ``wanted``; on leaving, the signal is delivered again, for real.

    So the state can be saved at a clean point, and a caller still sees ``KeyboardInterrupt`` or the end of the process.
    A second signal acts at once. Outside the main thread, where Python takes no signals, only the time limit counts.
    """

    def __init__(self, minutes: float | None = None) -> None:
        self.deadline = float("inf") if minutes is None else time.monotonic() + 60 * minutes
        self.signal: int | None = None
        self._before: dict[int, signal.Handlers | object] = {}

    @property
    def wanted(self) -> bool:
        """Whether to stop at the next clean point."""
        return self.signal is not None or time.monotonic() >= self.deadline

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self._restore()
        if kind is None and self.signal is not None:
            signal.raise_signal(self.signal)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            self._restore()
            signal.raise_signal(number)
        self.signal = number

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
