"""Every error the bundle raises on purpose.

    SagaForgeError              500  internal
    ├── BadRequest              400  bad_request        the request can't be understood
    │   ├── InvalidInput        422  invalid_input      it is understood, and a value in it is wrong
    │   └── ContextOverflow     400  context_overflow   the prompt does not fit the model
    ├── Unauthorized            401  unauthorized
    ├── Forbidden               403  forbidden
    ├── NotFound                404  not_found
    ├── Conflict                409  conflict           somebody else was first; the detail says what to do
    │   └── InFlight            409  in_flight          the same idempotency key is being worked on
    ├── TooLarge                413  too_large
    ├── UnsupportedType         415  unsupported_type
    ├── Misdirected             421  misdirected        under a host name that is not the bundle's
    ├── KeyReused               422  idempotency_key_reused
    ├── ModelAnswerInvalid  502  model_answer_invalid    the language model said nothing that can be shown
    ├── Overloaded              429  overloaded         back-pressure: try again after retry_after_s
    ├── Unavailable             503  unavailable        a part is down or still starting
    │   └── StorageUnavailable  503  storage_unavailable
    └── DeadlineExceeded        504  deadline_exceeded

An error takes exactly one positional message: Ray rebuilds exceptions from their arguments when they cross a
process, and loses the type of those that need more. The message is shown to the caller, except for 500s.
"""

from __future__ import annotations

from typing import Self


class SagaForgeError(Exception):
    status: int = 500
    code: str = "internal"
    title: str = "Internal error"
    retry_after_s: int | None = None
    field: str | None = None  # of the request, where one is at fault

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail

    def about(self, field: str | None) -> Self:
        """The same error, with the field of the request that it is about."""
        self.field = field
        return self


class BadRequest(SagaForgeError):
    status, code, title = 400, "bad_request", "Bad request"


class InvalidInput(BadRequest):
    status, code, title = 422, "invalid_input", "Invalid input"


class ContextOverflow(BadRequest):
    code, title = "context_overflow", "Too long for the model"


class Unauthorized(SagaForgeError):
    status, code, title = 401, "unauthorized", "Unauthorized"


class Forbidden(SagaForgeError):
    status, code, title = 403, "forbidden", "Forbidden"


class NotFound(SagaForgeError):
    status, code, title = 404, "not_found", "Not found"


class Conflict(SagaForgeError):
    status, code, title = 409, "conflict", "Conflict"


class InFlight(Conflict):
    code, title, retry_after_s = "in_flight", "Already being worked on", 1


class TooLarge(SagaForgeError):
    status, code, title = 413, "too_large", "Too large"


class UnsupportedType(SagaForgeError):
    status, code, title = 415, "unsupported_type", "Unsupported type"


class Misdirected(SagaForgeError):
    status, code, title = 421, "misdirected", "Misdirected request"


class KeyReused(SagaForgeError):
    status, code, title = 422, "idempotency_key_reused", "Idempotency key reused with another body"


class Overloaded(SagaForgeError):
    status, code, title, retry_after_s = 429, "overloaded", "Overloaded", 1


class ModelAnswerInvalid(SagaForgeError):
    """The language model answered with nothing that can be shown."""

    status, code, title = 502, "model_answer_invalid", "The model's answer can't be used"


class Unavailable(SagaForgeError):
    status, code, title, retry_after_s = 503, "unavailable", "Unavailable", 2


class StorageUnavailable(Unavailable):
    code, title = "storage_unavailable", "Storage unavailable"


class DeadlineExceeded(SagaForgeError):
    status, code, title = 504, "deadline_exceeded", "Deadline exceeded"
