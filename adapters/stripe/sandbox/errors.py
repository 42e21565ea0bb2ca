"""How the sandbox refuses: with Stripe's statuses, types and codes."""

from __future__ import annotations

from typing import Any, Literal

ErrorType = Literal["api_error", "card_error", "idempotency_error", "invalid_request_error"]


class StripeError(Exception):
    """A refusal as Stripe words it: raised by a handler, answered by the server.

    What was written before it is undone, unless it is `kept`: a declined card leaves its
    PaymentIntent behind, so a card_error is kept if nothing else is said.
    `more` are further fields of the error, such as `payment_intent` or `decline_code`.
    """

    def __init__(
        self,
        status: int,
        type: ErrorType,
        message: str,
        code: str | None = None,
        param: str | None = None,
        *,
        kept: bool | None = None,
        **more: Any,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kept = type == "card_error" if kept is None else kept
        fields = {"code": code, "message": message, "param": param, "type": type, **more}
        self.error = {name: value for name, value in fields.items() if value is not None}
        if code is not None:
            self.error["doc_url"] = f"https://stripe.com/docs/error-codes/{code.replace('_', '-')}"

    def body(self) -> dict[str, Any]:
        """The answer, as JSON."""
        return {"error": self.error}


def invalid(message: str, param: str | None = None, code: str | None = None) -> StripeError:
    """400: the request makes no sense, or not in this state."""
    return StripeError(400, "invalid_request_error", message, code, param)


def missing(object_name: str, object_id: str, param: str = "id") -> StripeError:
    """404: there is no such object."""
    words = object_name.replace("_", " ").replace(".", " ")
    text = f"No such {words}: '{object_id}'"
    return StripeError(404, "invalid_request_error", text, "resource_missing", param)
