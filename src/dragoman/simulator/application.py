"""From a request to its answer: log, script, directives, and the provider that speaks."""

import time
from functools import lru_cache
from http import HTTPStatus
from urllib.parse import unquote

import msgspec

from dragoman.simulator.delivery import dress, needs_playing, render
from dragoman.simulator.messages import JsonObject, ProviderError, ReceivedRequest, Reply, is_object
from dragoman.simulator.providers.protocol import BenchMaker, BenchReplies, Context, Endpoint
from dragoman.simulator.providers.registry import find_endpoint, guess_provider
from dragoman.simulator.request_log import LogEntry, RequestLog
from dragoman.simulator.script import Directives, Script, Then, read_directives
from dragoman.simulator.tokens import PrefixCache

MAX_BENCH_WORDS = 100_000
MAX_BENCH_BYTES = 32 * 1024 * 1024


class _Peek(msgspec.Struct, gc=False):
    """The few fields that are needed before the whole body is read."""

    model: str | None = None
    stream: bool | None = None
    stream_options: dict[str, object] | None = None


_PEEK = msgspec.json.Decoder(_Peek)
_EMPTY_PEEK = _Peek()


class Outgoing(msgspec.Struct, frozen=True):
    """An answer, either as bytes to write at once or to be played."""

    status: int
    data: bytes = b""
    play: tuple[Reply, Then] | None = None


class Application:
    """One simulator: what all its ports share."""

    def __init__(self, log: RequestLog, keyless: frozenset[str] = frozenset()) -> None:
        """`keyless` names the listeners that ask for no key, as self-hosted providers do."""
        self.log = log
        self.script = Script()
        self.prefix_cache = PrefixCache()
        self._keyless = keyless

    def reset(self) -> None:
        """Forget requests, rules and cached prompts."""
        self.log.clear()
        self.script.clear()
        self.prefix_cache.clear()

    def answer(self, request: ReceivedRequest, entry: LogEntry) -> Outgoing:
        """The answer to a logged request."""
        peek = _peek(request)
        model = peek.model or _model_in_path(request.path)
        directives = read_directives(model) if model else Directives()
        then = self.script.take(request, model)
        if then is None and directives is not None:
            then = directives.then
        if then is None and directives and _is_bench(directives):
            outgoing = self._answer_bench(request, peek, directives)
            if outgoing is not None:
                return outgoing
        reply = self._reply(request, entry.number, directives, then)
        if then is not None:
            reply = dress(reply, then)
        if then is not None and needs_playing(then):
            return Outgoing(reply.status, play=(reply, then))
        return Outgoing(reply.status, render(reply))

    def _reply(
        self,
        request: ReceivedRequest,
        number: int,
        directives: Directives | None,
        then: Then | None,
    ) -> Reply:
        provider = guess_provider(request)
        try:
            endpoint = find_endpoint(request)
            provider = endpoint.provider
            provider.check_access(request, keyless=request.listener in self._keyless)
            _raise_scripted(then)
            reply = self._speak(endpoint, request, number, directives)
        except ProviderError as error:
            return provider.render_error(error)
        if then is not None and then.stream_error_after is not None and reply.streamed:
            broken = provider.render_stream_error(ProviderError(500, then.message or ""))
            pieces = (*reply.pieces[: then.stream_error_after], broken)
            return msgspec.structs.replace(reply, pieces=pieces)
        return reply

    def _speak(
        self,
        endpoint: Endpoint,
        request: ReceivedRequest,
        number: int,
        directives: Directives | None,
    ) -> Reply:
        if directives is None:
            raise ProviderError(404, "model: not found", code="model_not_found")
        context = Context(
            number=number,
            directives=directives,
            prefix_cache=self.prefix_cache,
            created=int(time.time()),
        )
        body = _read_body(request.body) if endpoint.method == "POST" else {}
        if _is_bench(directives) and endpoint.make_bench is not None:
            peek = _peek(request)
            size = _bench_size(directives)
            return _bench_replies(endpoint.make_bench, peek.model or "", size)[_bench_kind(peek)]
        try:
            return endpoint.handle(request, body, context)
        except (AttributeError, KeyError, TypeError) as error:
            # The rules look as deep as the real providers' known messages; below that a value of
            # the wrong type shows only when it is used.
            raise ProviderError(
                400, f"Invalid value in the body of your request: {error!r}"
            ) from error

    def _answer_bench(
        self, request: ReceivedRequest, peek: _Peek, directives: Directives
    ) -> Outgoing | None:
        """Precomputed bytes; `None` where only the long way gives the right answer."""
        try:
            endpoint = find_endpoint(request)
            endpoint.provider.check_access(request, keyless=request.listener in self._keyless)
        except ProviderError:
            return None
        if endpoint.make_bench is None or peek.model is None:
            return None
        size = _bench_size(directives)
        return Outgoing(200, _bench_bytes(endpoint.make_bench, peek.model, size, _bench_kind(peek)))


def _raise_scripted(then: Then | None) -> None:
    """Fail as scripted; a scripted body replaces the error's afterwards."""
    status = 0 if then is None else then.status or 0
    if then is not None and status >= HTTPStatus.BAD_REQUEST:
        raise ProviderError(status, then.message or "")


def _peek(request: ReceivedRequest) -> _Peek:
    try:
        return _PEEK.decode(request.body) if request.body else _EMPTY_PEEK
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return _EMPTY_PEEK


def _model_in_path(path: str) -> str | None:
    deployment = path.partition("/deployments/")[2].partition("/")[0]
    gemini = path.partition("/models/")[2].rpartition(":")[0]
    bedrock = path.partition("/model/")[2].rpartition("/")[0]
    return deployment or unquote(gemini or bedrock) or None


def _read_body(body: bytes) -> JsonObject:
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        message = f"We could not parse the JSON body of your request. ({error})"
        raise ProviderError(400, message) from None
    if not is_object(decoded):
        raise ProviderError(400, "The body of your request is not a JSON object.")
    return decoded


def _is_bench(directives: Directives) -> bool:
    return directives.bench_chunks is not None or directives.bench_bytes is not None


def _bench_kind(peek: _Peek) -> int:
    """0 for a body, 1 for a stream, 2 for a stream with usage."""
    if not peek.stream:
        return 0
    return 2 if (peek.stream_options or {}).get("include_usage") else 1


def _bench_size(directives: Directives) -> tuple[int, int]:
    """Words, and bytes of each."""
    words = max(1, min(directives.bench_chunks or 1, MAX_BENCH_WORDS))
    size = min(directives.bench_bytes or 4 * words, MAX_BENCH_BYTES)
    return words, max(size // words, 1)


@lru_cache(maxsize=16)
def _bench_replies(make: BenchMaker, model: str, size: tuple[int, int]) -> BenchReplies:
    return make(model, *size)


@lru_cache(maxsize=16)
def _bench_bytes(make: BenchMaker, model: str, size: tuple[int, int], kind: int) -> bytes:
    return render(_bench_replies(make, model, size)[kind])
