"""The respond stage: edits an answer in the client's own dialect.

It runs only where the decide stage asked for it: to put back what redaction hid in the request, to
redact what the model wrote, to look at it by guardrails, and, with Envoy's native filters switched
off, to read an answer's usage and take out the usage frame of a stream whose client did not ask for
one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from dragoman import metadata as names
from dragoman.actions import Action, Chunk, Metadata, Mutate, Respond, amend
from dragoman.config.policy import Policy
from dragoman.dialects import CHAT, StreamDecoder, read_answer
from dragoman.errors import (
    AnswerDenied,
    AnswerTooLong,
    DragomanError,
    ServiceUnavailable,
    UpstreamProtocolError,
)
from dragoman.exchange.answers import refuse, tell_denied
from dragoman.exchange.heads import Asking, Steps, client_of, stream_options
from dragoman.exchange.translate import DROPPED_HEADER
from dragoman.exchange.usage import tell_broken, usage_metadata
from dragoman.ir import Response, Usage
from dragoman.ir.events import Event, UsageUpdate
from dragoman.wire.content_encoding import ContentDecoder, content_decoder
from dragoman.wire.sse import SseDecoder, SseEvent, encode_sse

if TYPE_CHECKING:
    from dragoman.config.guardrails import GuardProfile
    from dragoman.exchange.answer_limit import AnswerLimit, StreamLimit
    from dragoman.exchange.disclaimer import DisclaimedStream, Disclaimer
    from dragoman.exchange.filtered import StreamEnding
    from dragoman.exchange.judging import Judging, StreamWindow
    from dragoman.exchange.stream_edit import StreamEditor
    from dragoman.exchange.treat import Guarding, Treatment
    from dragoman.policies.guard.guard import Guards
    from dragoman.policies.questions import Fault, Text
    from dragoman.policies.redact.profiles import Redactors

_ERROR_STATUS = 400
Passes = Callable[[bytes], list[Action]]
"""Sends on what was judged."""
Fails = Callable[[DragomanError, bytes], list[Action]]
"""Ends the answer with an error, a stream behind what may still go out of it."""


class RespondStage:
    """One answer. Bytes that need no edit go on as they came, at once."""

    def __init__(
        self,
        policy: Policy,
        metadata: Mapping[str, str],
        cluster: str = "",
        redactors: Redactors | None = None,
        guards: Guards | None = None,
        *,
        request_id: str = "",
    ) -> None:
        """`cluster` is the one that answered; where it was translated, its usage is known."""
        self._request_id = request_id
        self._client = client_of(metadata)
        provider = policy.providers.get(cluster)
        self._counts = provider is None or self._client.name in provider.endpoints
        self._streams = metadata.get(names.STREAM) == names.FLAG
        self._strips = self._streams and metadata.get(names.INCLUDE_USAGE) != names.FLAG
        self._max_bytes = policy.limits.response_body_bytes
        self._facts = metadata
        self._options = stream_options(metadata)
        self._redactors = redactors
        self._guards = guards
        self._treatment: Treatment | None = None
        self._editor: StreamEditor | None = None
        self._ending: StreamEnding | None = None
        """Where guardrails may have to end the stream."""
        self._disclaimed: DisclaimedStream | None = None
        """Writes the stream with the text that it must have."""
        self._window: StreamWindow | None = None
        """Holds back what callouts have not judged."""
        self._is_begun = False
        """Something of the stream went out."""
        self._encoding: ContentDecoder | None = None
        self._dropped = ""
        """What the translate stage said of its own."""
        self._kind = ""
        self._status = 0
        self._ended = False
        self._decoder: StreamDecoder | None = None
        self._frames = SseDecoder(self._max_bytes)
        self._body = bytearray()
        self._usage: Usage | None = None
        self._broken: Metadata = {}
        self._response: object = None
        """The answer in one piece, where it is one."""
        self._is_whole = False
        """The answer came to its end, so that its usage is all of it."""

    def on_headers(self, headers: Mapping[str, str], *, end_of_stream: bool) -> list[Action]:
        self._kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        self._status = int(headers.get(":status", "200"))
        self._dropped = headers.get(DROPPED_HEADER, "")
        try:
            self._treatment = open_treatment(
                self._facts, self._redactors, self._guards, self._request_id
            )
            if self._treatment is not None:
                encoding = headers.get("content-encoding", "")
                self._encoding = content_decoder(encoding, self._max_bytes)
        except DragomanError as error:
            self._ended = True
            return [refuse(error, self._client)]
        if self._streams and self._kind in self._client.stream_types:
            return self._start_stream()
        if self._treatment is not None and not end_of_stream:
            return []
        return [Mutate()]

    def _start_stream(self) -> list[Action]:
        if self._treatment is not None:
            if self._status >= _ERROR_STATUS:
                return []
            from dragoman.exchange.stream_edit import StreamEditor  # noqa: PLC0415 - seldom wanted
            from dragoman.wire.frames import framing_of  # noqa: PLC0415 - as above

            framing = framing_of(self._kind, self._max_bytes)
            limit = self._stream_limit(self._treatment)
            self._editor = StreamEditor(framing, self._treatment, limit)
            if self._treatment.disclaimer is not None:
                from dragoman.exchange.disclaimer import DisclaimedStream  # noqa: PLC0415 - as above

                self._disclaimed = DisclaimedStream(
                    self._treatment.disclaimer, self._client, self._options
                )
            judging = self._treatment.judging
            if judging is not None:
                from dragoman.exchange.judging import StreamWindow  # noqa: PLC0415 - as above

                self._window = StreamWindow(self._client, judging.window)
            if self._treatment.guard is not None or limit is not None or judging is not None:
                from dragoman.exchange.filtered import StreamEnding  # noqa: PLC0415 - as above

                self._ending = StreamEnding(self._client, self._options)
        self._decoder = self._client.stream_decoder()
        return [Mutate(remove_headers=("content-length", "content-encoding"))]

    def _stream_limit(self, treatment: Treatment) -> StreamLimit | None:
        if treatment.limit is None:
            return None
        from dragoman.exchange.answer_limit import StreamLimit  # noqa: PLC0415 - seldom wanted
        from dragoman.wire.frames import framing_of  # noqa: PLC0415 - as above

        framing = framing_of(self._kind, self._max_bytes)
        return StreamLimit(treatment.limit, self._client, framing)

    def on_body(self, data: bytes, *, end_of_stream: bool) -> Steps:
        return self._advance(data, closes=end_of_stream, ends_stream=end_of_stream)

    def on_trailers(self) -> Steps:
        return self._advance(b"", closes=True, ends_stream=False)

    def _advance(self, data: bytes, *, closes: bool, ends_stream: bool) -> Steps:
        if self._ended:
            return []
        fails = partial(self._fail, ends_stream=ends_stream or not closes)
        treated = b""
        try:
            treated = self._edit(self._decoded(data, closes=closes))
            treated += self._close() if closes else b""
        except DragomanError as error:
            return self._stop(error, treated, fails)
        passes = partial(self._pass, closes=closes, ends_stream=ends_stream)
        return self._judge(treated, passes, fails, closes=closes)

    def _judge(self, treated: bytes, passes: Passes, fails: Fails, *, closes: bool) -> Steps:
        """What becomes of `treated` once callouts, if any are asked, have answered."""
        judging = self._treatment.judging if self._treatment is not None else None
        if judging is None:
            return passes(treated)
        try:
            consulted = judging.consult(self._texts(treated, closes=closes))
        except DragomanError as error:
            return fails(error, b"")
        window = self._window

        def resume(answers: Sequence[bytes | Fault]) -> Steps:
            try:
                judging.hear(consulted, answers)
            except DragomanError as error:
                return fails(error, b"")
            return passes(treated if window is None else window.release())

        questions = consulted.questions
        return Asking(questions, resume) if questions else resume(())

    def _texts(self, treated: bytes, *, closes: bool) -> list[Text]:
        """Those that callouts judge now."""
        if self._window is not None:
            return self._window.take(treated, closes=closes)
        if not closes or self._status >= _ERROR_STATUS:
            return []
        from dragoman.exchange.judging import whole_texts  # noqa: PLC0415 - seldom wanted

        try:
            return whole_texts(self._decode(treated), treated)
        except DragomanError:
            return whole_texts(None, treated)

    def _stop(self, error: DragomanError, treated: bytes, fails: Fails) -> Steps:
        """What came before `error`, `treated` first, as far as it may go out, and then that."""
        if self._editor is None or not self._is_ending(error):
            return fails(error, b"")
        rest = treated + self._editor.leave()
        return self._judge(rest, lambda told: fails(error, told), fails, closes=True)

    def _is_ending(self, error: DragomanError) -> bool:
        """Whether a stream ends with it as a model's own would, not in an error."""
        return self._ending is not None and isinstance(error, AnswerDenied | AnswerTooLong)

    def _pass(self, treated: bytes, *, closes: bool, ends_stream: bool) -> list[Action]:
        try:
            out = self._finish(treated, closes=closes)
        except DragomanError as error:
            return self._fail(error, b"", ends_stream=ends_stream or not closes)
        if not closes:
            return [Chunk(body=out)] if out else []
        held: list[Action] = []
        if self._holds_headers:
            told = {"content-length": str(len(out)), **self._dropped_header()}
            held = [Mutate(set_headers=told, remove_headers=("content-encoding",))]
        return [*held, Chunk(body=out, end_of_stream=ends_stream, metadata=self._metadata())]

    def _dropped_header(self) -> dict[str, str]:
        paths = self._dropped_paths()
        return {DROPPED_HEADER: ", ".join(filter(None, (self._dropped, *paths)))} if paths else {}

    def _dropped_paths(self) -> list[str]:
        dropped = self._treatment.dropped if self._treatment is not None else ()
        return [f"$..{name}" for name in sorted(dropped)]

    @property
    def _holds_headers(self) -> bool:
        """The length of an answer in one piece is known when it was treated."""
        return self._treatment is not None and self._editor is None

    def _decoded(self, data: bytes, *, closes: bool) -> bytes:
        if self._encoding is None:
            return data
        data = self._encoding.feed(data)
        return data + self._encoding.close() if closes else data

    def _edit(self, data: bytes) -> bytes:
        if self._decoder is None:
            return self._keep(data)
        self._observe(partial(self._decoder.feed, data))
        return data if self._editor is None else self._editor.feed(data)

    def _finish(self, treated: bytes, *, closes: bool) -> bytes:
        """`treated`, and at the end what follows it, as the client gets it."""
        if self._decoder is None:
            disclaimer = self._treatment.disclaimer if self._treatment is not None else None
            return self._disclaim(treated, disclaimer) if closes else treated
        out = self._send(treated)
        if closes:
            rest = self._disclaimed.close() if self._disclaimed is not None else b""
            out += self._strip(rest) + (self._write(self._frames.close()) if self._strips else b"")
        return out

    def _send(self, data: bytes) -> bytes:
        """`data` as the client gets it."""
        self._is_begun = self._is_begun or bool(data)
        if self._ending is not None:
            self._ending.follow(data)
        if self._disclaimed is not None:
            data = self._disclaimed.feed(data)
        return self._strip(data)

    def _strip(self, data: bytes) -> bytes:
        return self._write(self._frames.feed(data)) if self._strips else data

    def _write(self, frames: list[SseEvent]) -> bytes:
        """`frames` but for those with nothing but usage."""
        kept = [frame for frame in frames if not self._client.is_usage_frame(frame.data)]
        return b"".join(encode_sse(frame.data.encode(), frame.event) for frame in kept)

    def _keep(self, data: bytes) -> bytes:
        """Hold a body in one piece for its usage, unless it is too large to be worth it.

        It goes on only with its end: a client that has every byte may hang up, and what is said
        of a request after that is lost.
        """
        self._body += data
        if len(self._body) <= self._max_bytes:
            return b""
        if self._treatment is not None:
            raise UpstreamProtocolError("the upstream's answer is larger than the limit")
        out = bytes(self._body)
        self._body.clear()
        return out

    def _observe(self, read: Callable[[list[Event]], None]) -> bool:
        """Read usage on the way past; False where it cannot: the client gets the answer still."""
        events: list[Event] = []
        is_read = True
        try:
            read(events)
        except DragomanError as error:
            is_read = False
            self._broken = tell_broken(error)
        if self._ending is not None:
            self._ending.arrive(events)
        for event in events:
            if isinstance(event, UsageUpdate):
                self._usage = event.usage
        return is_read

    def _close(self) -> bytes:
        """What is still held back at the end of the answer."""
        if self._decoder is not None:
            self._is_whole = self._observe(self._decoder.close)
            return self._editor.close() if self._editor is not None else b""
        body = bytes(self._body)
        try:
            self._response = self._decode(body)
            self._is_whole = True
        except DragomanError:
            self._response = None
        self._usage = getattr(self._response, "usage", None)
        if self._treatment is None:
            return body
        return self._treatment.answer(self._cut(body, self._treatment.limit), self._kind)

    def _decode(self, body: bytes) -> Any:
        framing = self._options.framing
        return self._client.decode_response(read_answer(self._client, body, framing))

    def _disclaim(self, body: bytes, disclaimer: Disclaimer | None) -> bytes:
        """The answer in one piece, with the text that it must have."""
        if disclaimer is None or self._status >= _ERROR_STATUS:
            return body
        said = disclaimer.add(self._decode(body))
        if said is None:
            return body
        from dragoman.exchange.filtered import write  # noqa: PLC0415 - seldom wanted

        return write(said, self._client, self._options.framing)

    def _cut(self, body: bytes, limit: AnswerLimit | None) -> bytes:
        """The answer in one piece, as long as it may be."""
        if limit is None or self._status >= _ERROR_STATUS:
            return body
        if not isinstance(self._response, Response):
            limit.take(len(body))
            return body
        short = limit.cut(self._response)
        if short is None:
            return body
        from dragoman.exchange.filtered import write  # noqa: PLC0415 - seldom wanted

        return write(short, self._client, self._options.framing)

    def _fail(self, error: DragomanError, rest: bytes, *, ends_stream: bool) -> list[Action]:
        """End the answer: with a status while nothing went out, else as a stream reports it,
        behind `rest`.

        At trailers it is they that end the stream (`ends_stream`).
        """
        self._ended = True
        metadata = {**self._metadata(), **tell_denied(error)}
        if not self._holds_headers:
            told = self._fail_stream(error, rest)
            return [Chunk(body=told, end_of_stream=ends_stream, metadata=metadata)]
        answer = self._refuse(error)
        size = str(len(answer.body))
        headers = {**answer.headers, ":status": str(answer.status), "content-length": size}
        return [
            Mutate(set_headers=headers, remove_headers=("content-encoding",)),
            Chunk(body=answer.body, end_of_stream=ends_stream, metadata=metadata),
        ]

    def _fail_stream(self, error: DragomanError, rest: bytes) -> bytes:
        if self._ending is None or not self._is_ending(error):
            if self._disclaimed is not None:
                return self._disclaimed.fail(error)
            return self._framed(self._client.stream_encoder(self._options).fail(error))
        told = self._send(rest)
        is_long = isinstance(error, AnswerTooLong)
        ending = self._ending.stop(self._usage, "length" if is_long else "content_filter")
        ending = self._framed(ending)
        if self._disclaimed is not None:
            ending = self._disclaimed.feed(ending) + self._disclaimed.close()
        return told + ending

    def _framed(self, ending: bytes) -> bytes:
        """`ending` behind what went out, if anything did."""
        if self._editor is None or not self._is_begun:
            return ending
        return self._editor.finish(ending)

    def _refuse(self, error: DragomanError) -> Respond:
        if not isinstance(error, AnswerDenied) or not isinstance(self._response, Response):
            return refuse(error, self._client)
        from dragoman.exchange.filtered import without_content  # noqa: PLC0415 - seldom wanted

        return without_content(self._response, self._client, self._options.framing)

    def _metadata(self) -> Metadata:
        usage: Metadata = {}
        if self._counts:
            usage = usage_metadata(self._usage, exact=self._is_whole)
        usage = amend(usage, self._broken)
        if self._editor is not None and (paths := self._dropped_paths()):
            usage = amend(usage, {names.USAGE_NAMESPACE: {"withheld": ", ".join(paths)}})
        return {**usage, **(self._treatment.tell() if self._treatment is not None else {})}


def open_treatment(
    facts: Mapping[str, str],
    redactors: Redactors | None,
    guards: Guards | None = None,
    request_id: str = "",
) -> Treatment | None:
    """What the decide stage said is to be done to the answer's texts; None where nothing.

    Raises `ServiceUnavailable` where it can no longer be done.
    """
    guarding = _open_guard(facts, guards, request_id)
    sealed, profile = facts.get(names.SEALED), facts.get(names.REDACTION)
    if not sealed and not profile and guarding is None:
        return None
    redactor = redactors.named(profile) if redactors is not None and profile else None
    if (sealed and redactors is None) or (profile and redactor is None):
        raise ServiceUnavailable("The answer cannot be redacted: its policy is gone.")
    from dragoman.exchange.treat import Treatment  # noqa: PLC0415 - seldom wanted

    caller = facts.get(names.CALLER, "")
    originals = redactors.keys.open(sealed, caller) if sealed and redactors is not None else {}
    return Treatment(originals, redactor, caller, guarding)


def _open_guard(
    facts: Mapping[str, str], guards: Guards | None, request_id: str
) -> Guarding | None:
    """Raises as `open_treatment`."""
    profile = facts.get(names.GUARDRAILS)
    if not profile:
        return None
    guard = guards.named(profile) if guards is not None else None
    if guard is None:
        raise ServiceUnavailable("The answer cannot be looked at: its guardrails are gone.")
    from dragoman.exchange.answer_guard import AnswerGuard  # noqa: PLC0415 - seldom wanted
    from dragoman.exchange.answer_limit import AnswerLimit  # noqa: PLC0415 - as above
    from dragoman.exchange.disclaimer import Disclaimer  # noqa: PLC0415 - as above
    from dragoman.exchange.treat import Guarding  # noqa: PLC0415 - as above

    most, disclaimer = guard.profile.max_answer_characters, guard.profile.disclaimer
    is_chat = client_of(facts).operation == CHAT
    may_add = is_chat and names.JSON_WANTED not in facts
    return Guarding(
        AnswerGuard(guard.answers) if guard.answers is not None else None,
        AnswerLimit(most) if most is not None and is_chat else None,
        Disclaimer(disclaimer) if disclaimer is not None and may_add else None,
        _open_judging(facts, guard.profile, request_id, guards),
    )


def _open_judging(
    facts: Mapping[str, str], profile: GuardProfile, request_id: str, guards: Guards | None
) -> Judging | None:
    if guards is None or not profile.callouts_of("answer"):
        return None
    from dragoman.exchange.judging import Judging  # noqa: PLC0415 - seldom wanted
    from dragoman.policies.questions import About  # noqa: PLC0415 - as above

    about = About(facts.get(names.CALLER, ""), facts.get(names.MODEL, ""), request_id)
    return Judging(profile, about, guards.verdicts)
