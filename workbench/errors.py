"""What every error of the user's input is: one line with the fact, the rule and the remedy."""

from __future__ import annotations


class WorkbenchError(ValueError):
    """Wrong input.  The command line prints it as one line and ends with exit code 2."""
