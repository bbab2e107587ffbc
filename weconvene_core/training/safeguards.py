"""What keeps a run's state good: a stop between two updates only, and a guard against values that are not finite."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from weconvene_core.errors import WeconveneError

SLOW_FACTOR = 0.5  # every failure halves the learning rate, until
CALM_STEPS = 100  # so many steps went well
BACK_AFTER = 3  # failures in a row that one unlucky batch does not explain: the weights themselves are bad
GIVE_UP_AFTER = 10  # failures without a calm between


@dataclass
class NonFiniteGuard:
    """Counts the steps that failed; its fields are saved with the state, so that a resumed run goes on as it was.

    A failed batch is skipped before it has changed anything. After ``BACK_AFTER`` failures in a row the weights, their
    average and the optimisers go back to the last saved state; the batches go on.

    Attributes
    ----------
    skipped, failures, in_a_row : failures of the whole run, since the last calm, and without a good step between.
    calm_at : step at which the learning rate is the scheduled one again.
    """

    skipped: int = 0
    failures: int = 0
    in_a_row: int = 0
    calm_at: int = 0

    def rate_factor(self) -> float:
        """Return the share of the scheduled learning rate that is used now."""
        return SLOW_FACTOR**self.failures

    def passed(self, step: int) -> None:
        """Note that a step was finite."""
        self.in_a_row = 0
        if step >= self.calm_at:
            self.failures = 0

    def failed(self, step: int, stage: str) -> bool:
        """Count a failed step; True when the weights must go back to the last saved state.

        Raises
        ------
        WeconveneError
            After ``GIVE_UP_AFTER`` failures without a calm between.
        """
        self.skipped, self.failures, self.in_a_row = self.skipped + 1, self.failures + 1, self.in_a_row + 1
        self.calm_at = step + CALM_STEPS
        if self.failures >= GIVE_UP_AFTER:
            raise WeconveneError(
                f"the loss or its gradient was not finite {self.failures} times, last at step {step}, even after going "
                f"back to the last saved weights at a lower rate; lower the learning rate of stage {stage!r}."
            )
        return self.in_a_row % BACK_AFTER == 0


@contextmanager
def stop_requests(minutes: float | None = None) -> Iterator[Callable[[], bool]]:
    """Give a function that tells whether to stop: Ctrl-C, SIGTERM or the time limit came since the block began.

    The signal is delivered again when the block has ended, after the state was saved at a clean point, so a caller
    still sees ``KeyboardInterrupt`` or the end of the process. A second signal acts at once. Outside the main thread,
    where Python takes no signals, only the time limit counts.
    """
    deadline = math.inf if minutes is None else time.monotonic() + 60 * minutes
    came: list[int] = []
    before: dict[int, Any] = {}

    def note(number: int, frame: FrameType | None) -> None:
        if came:
            restore()
            signal.raise_signal(number)
        came.append(number)

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    if threading.current_thread() is threading.main_thread():
        before |= {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(came) or time.monotonic() >= deadline
    finally:
        restore()
    if came:
        signal.raise_signal(came[0])
