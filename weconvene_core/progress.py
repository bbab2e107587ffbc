"""How long work shows how far it is: not at all, until a program says how."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Any

PROGRESS: ContextVar[Callable[[Any], Iterable[Any]]] = ContextVar("PROGRESS", default=iter)
"""Called with the steps of long work, it yields them one by one; of this thread, as every context variable."""
