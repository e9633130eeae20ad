"""Every error a client, an operator or a provider can act on.

Each class says whose fault it is by its HTTP `status`; a dialect gives it the shape its clients
expect. Anything else that escapes is a bug of ours and is answered as a bare `DragomanError`.
"""

from __future__ import annotations


class DragomanError(Exception):
    """Base of the tree. Its text is shown to the client, so it never holds a secret or a prompt."""

    status = 500
    """HTTP status the client sees."""
    code = "internal_error"
    """Stable machine-readable word, the same in every dialect."""
    denies = False
    """The policy does not let the request, or its answer, through: it is entered in the audit
    trail."""

    def __init__(self, message: str, *, path: str | None = None) -> None:
        message = _writable(message)
        super().__init__(message)
        self.message = message
        self.path = path
        """JSON path in the client's body, such as `$.messages[0].role`; None if no one place is."""

    def move(self, root: str) -> None:
        """Say that what the path begins at stands itself at `root`."""
        if self.path is None or not self.path.startswith("$"):
            return
        path = root + self.path.removeprefix("$")
        self.message = self.message.replace(self.path, path, 1)
        self.path = path
        self.args = (self.message,)


def _writable(text: str) -> str:
    """`text` without half characters, which a header may bring in and no JSON can take out."""
    return text.encode("utf-8", "replace").decode()


class InvalidRequest(DragomanError):
    """The client's body breaks its own dialect at `path`."""

    status = 400
    code = "invalid_request"

    def __init__(self, path: str, expected: str) -> None:
        super().__init__(f"{path}: expected {expected}", path=path)


class InvalidJson(DragomanError):
    """The client's body is not JSON that can be read: syntax, encoding, depth or a wild number."""

    status = 400
    code = "invalid_json"


class Unrepresentable(DragomanError):
    """The upstream's dialect has no way to say what stands at `path`, and it carries meaning."""

    status = 400
    code = "unsupported_by_upstream"

    def __init__(self, path: str, dialect: str, why: str = "") -> None:
        reason = f": {why}" if why else ""
        super().__init__(f"{path}: cannot be expressed in {dialect}{reason}", path=path)
        self.dialect = dialect


class NotTaken(Unrepresentable):
    """The model asked does not take what stands at `path`."""

    def __init__(self, path: str, model: str, why: str) -> None:
        DragomanError.__init__(self, f"{path}: {model} {why}", path=path)


class NotOffered(DragomanError):
    """No upstream of the model has the operation at all."""

    status = 400
    code = "unsupported_by_upstream"


class ContentBlocked(DragomanError):
    """At `path` stands what the policy lets through for nobody; what it is, is never shown."""

    status = 400
    code = "content_blocked"
    denies = True

    def __init__(self, path: str, entity: str) -> None:
        super().__init__(f"{path}: {entity} was found, which may not pass", path=path)
        self.entity = entity


class GuardrailHit(DragomanError):
    """A guardrail refuses the request for what stands at `path`, which is not shown."""

    status = 400
    denies = True

    def __init__(self, path: str, problem: str, findings: dict[str, float]) -> None:
        super().__init__(f"{path}: {problem}", path=path)
        self.findings = findings
        """How often each rule was found, and the score where there is one."""


class ContentDenied(GuardrailHit):
    """On a deny-list."""

    code = "content_denied"

    def __init__(self, path: str, rule: str) -> None:
        super().__init__(path, f"{rule} was found, which no request may say", {rule: 1.0})


class AnswerDenied(DragomanError):
    """The answer says what is on a deny-list; it is not shown. A chat ends instead as its dialect
    ends what a content filter stopped."""

    status = 400
    code = "content_denied"
    denies = True

    def __init__(self, rule: str) -> None:
        super().__init__(f"{rule} was found, which no answer may say")


class AnswerFlagged(AnswerDenied):
    """Whom a guardrail asks about the answer was against it."""

    code = "content_flagged"

    def __init__(self, said: str) -> None:
        DragomanError.__init__(self, said)


class AnswerTooLong(DragomanError):
    """The answer has more characters than the policy lets through. A chat ends there, as one that
    reached its limit of tokens."""

    status = 502
    code = "answer_too_long"

    def __init__(self, most: int) -> None:
        super().__init__(f"The answer is longer than {most} characters.")


class AnswerMisfit(DragomanError):
    """The answer is not the JSON that the request asked for. No failure of the provider's, which
    is not asked again for it."""

    status = 422
    code = "answer_misfit"
    denies = True

    def __init__(self) -> None:
        super().__init__("The answer does not fit the schema that the request gives.")


class PromptInjection(GuardrailHit):
    """It looks like an attack on the model, by heuristics that may be wrong."""

    code = "prompt_injection"

    def __init__(self, path: str, score: float, threshold: float, rules: tuple[str, ...]) -> None:
        why = f"{', '.join(rules)} (score {score}, limit {threshold})"
        findings = {**dict.fromkeys(rules, 1.0), "score": score}
        super().__init__(path, f"looks like prompt injection: {why}", findings)


class ContentFlagged(GuardrailHit):
    """Whom a guardrail asks about the request was against it: against all of it, where `path` is
    None."""

    code = "content_flagged"

    def __init__(
        self, path: str | None, guardrail: str, why: str, findings: dict[str, float]
    ) -> None:
        where = "" if path is None else f"{path}: "
        DragomanError.__init__(self, f"{where}refused by {guardrail}: {why}", path=path)
        self.findings = findings


class ContentTooSensitive(DragomanError):
    """More would have to be hidden, and remembered for the answer, than the policy allows."""

    status = 400
    code = "too_much_to_redact"

    def __init__(self, max_bytes: int) -> None:
        super().__init__(f"What must be hidden in this request is more than {max_bytes} bytes.")


class Unauthenticated(DragomanError):
    """No key, or none that a caller in the policy owns."""

    status = 401
    code = "invalid_api_key"
    denies = True


class InvalidToken(Unauthenticated):
    """A token (JWT) that is not valid here: expired, forged, or for somebody else."""

    code = "invalid_token"


class PermissionDenied(DragomanError):
    """A known caller asked for what its policy does not grant."""

    status = 403
    code = "permission_denied"
    denies = True


class CallerSuspended(PermissionDenied):
    """The caller was found to abuse the service, and is served nothing for a while."""

    code = "caller_suspended"


class ResidencyRefused(PermissionDenied):
    """No upstream that could answer is where the request was declared to stay."""

    code = "residency_not_served"


class NotFound(DragomanError):
    """No such path, or no such model for this caller."""

    status = 404
    code = "not_found"


class ModelNotFound(NotFound):
    """No such model for this caller, whether it is not there or not granted."""

    denies = True


class MethodNotAllowed(DragomanError):
    """The path exists and takes another method; `allow` lists those it takes."""

    status = 405
    code = "method_not_allowed"

    def __init__(self, message: str, *, allow: str) -> None:
        super().__init__(message)
        self.allow = allow


class RequestTooLarge(DragomanError):
    """The body has more bytes than the policy lets the caller send."""

    status = 413
    code = "request_too_large"
    denies = True


class LimitExceeded(DragomanError):
    """What stands at `path` is more than the policy lets the caller ask for."""

    status = 400
    code = "limit_exceeded"
    denies = True

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}", path=path)


class UnsupportedMediaType(DragomanError):
    """The body's content type or content encoding is not one the operation reads."""

    status = 415
    code = "unsupported_media_type"


class QuotaExceeded(DragomanError):
    """A quota of the policy has nothing left for this request until `retry_after_seconds`."""

    status = 429
    code = "rate_limit_exceeded"
    denies = True

    def __init__(self, message: str, *, retry_after_seconds: float) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class CallerThrottled(QuotaExceeded):
    """The caller was found to abuse the service, and is served a part of its requests."""

    code = "caller_throttled"


class UpstreamError(DragomanError):
    """A provider answered with an error: its status, words and retry hint are kept."""

    code = "upstream_error"

    def __init__(
        self,
        message: str,
        *,
        status: int,
        kind: str | None = None,
        code: str | None = None,
        param: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        """The provider's own error type, such as `rate_limit_error`."""
        self.upstream_code = code
        self.param = param


class UpstreamProtocolError(DragomanError):
    """The provider broke its dialect: a bad frame, a truncated stream, a body too long."""

    status = 502
    code = "upstream_protocol_error"


class ServiceUnavailable(DragomanError):
    """The gateway itself cannot serve now; the request may be sent again."""

    status = 503
    code = "service_unavailable"


class WorkerOverloaded(ServiceUnavailable):
    """A worker has more to do than it can: it takes nothing new for a while."""

    code = "worker_overloaded"
    retry_after_seconds = 1.0

    def __init__(self) -> None:
        super().__init__("The gateway has too much to do. Send the request again in a while.")


class StoreUnavailable(ServiceUnavailable):
    """The store cannot be reached, or will not talk."""

    code = "store_unavailable"


class StatisticsUnavailable(ServiceUnavailable):
    """Envoy's admin interface does not answer, or not as it should."""

    code = "statistics_unavailable"


class RedactionFailed(ServiceUnavailable):
    """The request could not be searched for what must not leave: so it does not leave."""

    code = "redaction_failed"


class RecogniserFailed(RedactionFailed):
    """Whom redaction asks gave no answer, and the policy lets nothing go on without one."""

    denies = True

    def __init__(self, fault: str) -> None:
        super().__init__(f"The recogniser failed ({fault}): nothing goes on without it.")


class GuardrailFailed(ServiceUnavailable):
    """What may not be said could not be searched for: so the request, or its answer, does not go
    on."""

    code = "guardrail_failed"


class CalloutFailed(GuardrailFailed):
    """Whom a guardrail asks gave no answer, and the policy lets nothing go on without one."""

    denies = True

    def __init__(self, guardrail: str, fault: str, findings: dict[str, float]) -> None:
        super().__init__(f"The guardrail {guardrail} failed ({fault}): nothing goes on without it.")
        self.findings = findings
        """As a `GuardrailHit` has them."""


class ConfigError(DragomanError):
    """The policy file cannot be used. Names file, path in the file, and what would mend it."""

    code = "invalid_configuration"

    def __init__(self, file: str, path: str, problem: str) -> None:
        super().__init__(f"{file}: {path}: {problem}", path=path)
        self.file = file
