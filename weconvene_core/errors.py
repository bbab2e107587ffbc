"""The one family of failures that a user may see."""

from __future__ import annotations


class WeconveneError(ValueError):
    """A failure that the user can act on: one sentence that says what failed, why, and what to do."""


class CorruptFileError(WeconveneError, OSError):
    """A compressed file that is truncated, altered, foreign, or made by another model.

    It is an OSError as well: programs that open pictures through Pillow expect one from a damaged file.
    """
