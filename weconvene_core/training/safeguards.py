"""What keeps a run's state good: a stop between two updates only, and a guard against values that are not finite."""

from __future__ import annotations

import signal
import threading
import time
from dataclasses import dataclass
from types import FrameType

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


class StopSignals:
    """Ctrl-C, SIGTERM and a time limit: inside this context the first only sets ``wanted``.

    The signal is delivered again on leaving, after the state was saved at a clean point, so a caller still sees
    ``KeyboardInterrupt`` or the end of the process. A second signal acts at once. Outside the main thread, where Python
    takes no signals, only the time limit counts.
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
            self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
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
