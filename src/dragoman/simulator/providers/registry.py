"""Which provider's operation a request is for, by its path."""

from dragoman.simulator.messages import ProviderError, ReceivedRequest
from dragoman.simulator.providers import anthropic_messages, openai_chat, translated, unary
from dragoman.simulator.providers.protocol import Endpoint, Provider

ENDPOINTS: tuple[Endpoint, ...] = (
    *openai_chat.ENDPOINTS,
    *anthropic_messages.ENDPOINTS,
    *translated.ENDPOINTS,
    *unary.ENDPOINTS,
)


def guess_provider(request: ReceivedRequest) -> Provider:
    """Whose error shape an unknown path gets; `anthropic-version` tells the two apart."""
    told = request.header("anthropic-version") is not None or "/v1/messages" in request.path
    return anthropic_messages.ANTHROPIC if told else openai_chat.OPENAI


def find_endpoint(request: ReceivedRequest) -> Endpoint:
    """The operation, or `ProviderError` 404 or 405."""
    fitting = [endpoint for endpoint in ENDPOINTS if endpoint.fits(request.path)]
    named = [endpoint for endpoint in fitting if endpoint.method == request.method]
    most = max((endpoint.narrowness for endpoint in named), default=0)
    named = [endpoint for endpoint in named if endpoint.narrowness == most]
    if len(named) > 1:
        provider = guess_provider(request)
        named = [endpoint for endpoint in named if endpoint.provider is provider]
    if named:
        return named[0]
    if fitting:
        message = f"Not allowed to {request.method} on {request.path}."
        raise ProviderError(405, message, code="method_not_allowed")
    raise ProviderError(404, f"Invalid URL ({request.method} {request.path})")
