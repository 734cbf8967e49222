"""What goes wrong with a request, as one line and an HTTP status."""


class ApiError(Exception):
    """A refusal that the caller is told: its text is the whole answer."""

    def __init__(self, status: int, message: str, *, retry_after: int = 0) -> None:
        super().__init__(message)
        self.status, self.message = status, message
        self.retry_after = retry_after  # seconds; 0: it makes no sense to try again


def not_found(what: str) -> ApiError:
    return ApiError(404, what)


def conflict(what: str) -> ApiError:
    return ApiError(409, what)


def busy(what: str) -> ApiError:
    return ApiError(503, what, retry_after=1)
