"""Errors that a receiver turns into its protocol's own, and those a person sees on the command line."""

from __future__ import annotations


class UserError(Exception):
    """Something the user can mend; the text says what. The command line prints it and exits with 1."""


def port_taken(flag: str, address: object, error: Exception) -> UserError:
    """What to say where a server cannot listen at the address of a flag."""
    return UserError(
        f"--{flag} {address}: the port cannot be opened ({error}); "
        f"stop what listens there, or choose another with --{flag} HOST:PORT"
    )


class Malformed(Exception):  # noqa: N818
    """The payload cannot be decoded: INVALID_ARGUMENT or 400; sending it again does not help."""


class Overloaded(Exception):  # noqa: N818
    """No room for the payload now: RESOURCE_EXHAUSTED with RetryInfo, or 429 with Retry-After.

    Attributes:
        retry_after_s: seconds after which the sender should try again.
    """

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Unavailable(Exception):  # noqa: N818
    """The payload was not stored for a reason that may pass: UNAVAILABLE or 503, both retryable."""
