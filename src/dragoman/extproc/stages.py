"""The three stages as stream machines: which message comes, which action goes back.

Each is a `transports.StreamMachine`. Grammar of what Envoy sends:

    decide     request_body+ | request_headers
    translate  request_body answer?
    respond    answer
    answer     response_headers response_body* response_trailers?
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import msgspec

from dragoman import metadata as names
from dragoman.actions import Action, Mutate, Respond, join_chunks
from dragoman.config.policy import Policy
from dragoman.dialects import AnyDialect
from dragoman.dialects.registry import client_dialect
from dragoman.errors import DragomanError, InvalidRequest, WorkerOverloaded
from dragoman.exchange.answers import refuse
from dragoman.exchange.decide import Decide
from dragoman.exchange.guard import Consulting
from dragoman.exchange.heads import Asking, RequestHead, Steps, client_of
from dragoman.exchange.reserve import Pending
from dragoman.exchange.respond import RespondStage
from dragoman.exchange.translate import Translate
from dragoman.extproc import messages
from dragoman.extproc.lag import Lag
from dragoman.extproc.transports import Message
from dragoman.stores.keeper import QuotaKeeper
from dragoman.wire.form_stream import FormSplitter

if TYPE_CHECKING:
    from dragoman.extproc.callouts import Callouts
    from dragoman.policies.guard.guard import Guards
    from dragoman.policies.redact.profiles import Redactors


class UnexpectedMessage(DragomanError):
    """Envoy sent what the stage's processing mode does not allow: its configuration is wrong."""

    code = "unexpected_message"


def _decided(action: Mutate | Respond) -> bytes:
    return messages.decide_reply(action, "request_body")


def _behind(passed: bytes, action: Mutate | Respond, fields: bytes) -> bytes:
    """The reply to a form's last piece: behind what goes on of it, its fields.

    Envoy clears the route only after the piece went on, when the router has begun with it, and
    then it crashes: a filter clears it instead (`envoyconf.filters`).
    """
    if isinstance(action, Mutate):
        told = passed + (fields if action.body is None else action.body)
        action = msgspec.structs.replace(action, body=told, clear_route_cache=False)
    return _decided(action)


_MAX_FIELD_BYTES = 1 << 20
"""Of a form whose files are not held: all that is not a file."""


class DecideStream:
    """One request: one message in, one out, and the stream ends.

    A form may come in pieces instead. Its files go on as they come; behind the last of them stand
    its fields, as what was decided on them wants them.
    """

    def __init__(
        self,
        decide: Decide,
        keeper: QuotaKeeper | None = None,
        callouts: Callouts | None = None,
        lag: Lag | None = None,
    ) -> None:
        """`keeper` is there where the policy has quotas, `callouts` where it has those; `lag` None:
        nothing is turned away."""
        self._lag = lag
        self._decide = decide
        self._keeper = keeper
        self._callouts = callouts
        self._head: RequestHead | None = None
        self._form: FormSplitter | None = None
        self._form_bytes = 0
        self.finished = False

    def feed(self, message: Message, *, more: bool = False) -> list[bytes] | Awaitable[list[bytes]]:
        del more
        request = messages.read_message(message)
        if self._form is not None and self._head is not None:
            return self._piece(request, self._head, self._form)
        head = self._head = messages.request_head(request.attributes, request.token)
        if (late := self._find_late(head)) is not None:
            return self._end(late)
        if request.in_pieces:
            self._form = FormSplitter(_MAX_FIELD_BYTES)
            refusal = self._decide.on_form(head)
            return self._end(refusal) if refusal else self._piece(request, head, self._form)
        if request.kind == "request_body":
            return self._end(self._decide.on_request(head, request.body))
        if request.kind == "request_headers":
            action = self._decide.on_request(head, None)
            return self._end(action, lambda found: messages.decide_reply(found, "request_headers"))
        raise UnexpectedMessage(f"the decide stage got {request.kind}")

    def _find_late(self, head: RequestHead) -> Respond | None:
        """The refusal of a request that nobody has looked at yet, where this worker is too late for
        any."""
        if self._lag is None:
            return None
        try:
            self._lag.check(self._decide.most_urgent)
        except WorkerOverloaded as error:
            return refuse(error, head.client.dialect)
        return None

    def _piece(
        self, request: messages.Incoming, head: RequestHead, form: FormSplitter
    ) -> list[bytes] | Awaitable[list[bytes]]:
        try:
            if request.kind != "request_body":  # then no more of the body can be written
                raise InvalidRequest("$", "a form without trailers")
            self._form_bytes += len(request.body)
            passed = form.feed(request.body)
            if not request.end_of_stream:
                return [messages.piece_reply(None if passed is request.body else passed)]
            fields = form.close()
        except DragomanError as error:
            return self._end(refuse(error, head.client.dialect))
        action = self._decide.on_request(head, fields, self._form_bytes)
        return self._end(action, lambda found: _behind(passed, found, fields))

    def _end(
        self,
        action: Mutate | Respond | Pending | Consulting,
        write: Callable[[Mutate | Respond], bytes] = _decided,
    ) -> list[bytes] | Awaitable[list[bytes]]:
        self.finished = True
        if isinstance(action, Mutate | Respond):
            return [write(action)]
        return self._resume(action, write)

    async def _resume(
        self, waits: Pending | Consulting, write: Callable[[Mutate | Respond], bytes]
    ) -> list[bytes]:
        """The reply once callouts have answered, first a recogniser's, and the store has said what
        may be spent: of one provider after the other, where the quotas of some are."""
        action: Mutate | Respond | Pending | Consulting = waits
        while not isinstance(action, Mutate | Respond):
            if isinstance(action, Consulting):
                action = await self._consult(action)
            elif self._keeper is None:
                raise UnexpectedMessage("a quota, and nobody keeps it")
            else:
                action = await _acquire(self._keeper, action)
        return [write(action)]

    async def _consult(self, waits: Consulting) -> Mutate | Respond | Pending | Consulting:
        if self._callouts is None:
            raise UnexpectedMessage("a callout, and nobody carries it")
        return waits.resume(await self._callouts.ask(waits.questions))

    def close(self) -> list[bytes]:
        return []

    def fail(self) -> list[bytes]:
        head = self._head
        return _internal_error(head.client.dialect if head else None)


async def _acquire(keeper: QuotaKeeper, waits: Pending) -> Mutate | Respond | Pending:
    try:
        found = await keeper.acquire(waits.demands)
    except DragomanError as error:
        return waits.resume(error)
    return waits.resume(found)


class _Answer:
    """The answer phase that translate and respond share.

    Pieces of a body that are read together go on as one: where the reader is behind, a stream costs
    fewer and larger steps.
    """

    def __init__(self, callouts: Callouts | None = None) -> None:
        self._callouts = callouts
        self.released = False
        """Something of the answer has gone to the client."""
        self._held: list[Action] = []
        """What goes on with the message at hand."""

    def feed(
        self, editor: Translate | RespondStage, request: messages.Incoming, *, more: bool
    ) -> list[bytes] | Awaitable[list[bytes]]:
        steps: Steps
        behind: list[bytes] = []
        match request.kind:
            case "response_headers":
                headers = messages.read_headers(request)
                ended = request.end_of_stream
                steps = editor.on_headers(headers, end_of_stream=ended)
                if ended:
                    self.released = True
                    return [messages.bodiless_answer_reply(steps)]
            case "response_body":
                steps = editor.on_body(request.body, end_of_stream=request.end_of_stream)
            case "response_trailers":
                steps, more = editor.on_trailers(), False
                behind = [messages.trailers_reply()]
            case kind:
                raise UnexpectedMessage(f"the answer phase got {kind}")
        if isinstance(steps, Asking):
            return self._consult(steps, behind)
        if more:
            self._held += steps
            return []
        return [*self._release(steps), *behind]

    async def _consult(self, waits: Asking, behind: list[bytes]) -> list[bytes]:
        """The replies once callouts have answered."""
        if self._callouts is None:
            raise UnexpectedMessage("a callout, and nobody carries it")
        steps: Steps = waits
        while isinstance(steps, Asking):
            steps = steps.resume(await self._callouts.ask(steps.questions))
        return [*self._release(steps), *behind]

    def _release(self, actions: list[Action]) -> list[bytes]:
        if self._held:
            actions, self._held = join_chunks([*self._held, *actions]), []
        self.released = self.released or bool(actions)
        return messages.answer_replies(actions)


class TranslateStream:
    """One attempt: its whole request in one message, then its answer."""

    def __init__(
        self, policy: Policy, secret: bytes = b"", callouts: Callouts | None = None
    ) -> None:
        """`secret` is what all workers share, where answers are to be compared; `callouts` is there
        where the policy has those."""
        self._policy = policy
        self._secret = secret
        self._attributes = messages.NO_ATTRIBUTES
        self._attempt: Translate | None = None
        self._answer = _Answer(callouts)
        self.finished = False

    def feed(self, message: Message, *, more: bool = False) -> list[bytes] | Awaitable[list[bytes]]:
        request = messages.read_message(message)
        if self._attempt is not None:
            return self._answer.feed(self._attempt, request, more=more)
        if request.kind != "request_body":
            raise UnexpectedMessage("the translate stage got no request body first")
        self._attributes = request.attributes
        return self._start(request.body)

    def close(self) -> list[bytes]:
        return []

    def fail(self) -> list[bytes]:
        if self._answer.released:
            return []
        return _internal_error(client_of(messages.stage_metadata(self._attributes)))

    def _start(self, body: bytes) -> list[bytes]:
        head = messages.attempt_head(self._attributes)
        attempt = Translate(self._policy, head, secret=self._secret)
        action = attempt.on_request(body)
        self._attempt = attempt
        self.finished = attempt.passes_response
        return [messages.attempt_reply(action)]


class RespondStream:
    """One answer in the client's dialect."""

    def __init__(
        self,
        policy: Policy,
        redactors: Redactors | None = None,
        guards: Guards | None = None,
        callouts: Callouts | None = None,
    ) -> None:
        """`callouts` is there where the policy has those."""
        self._policy = policy
        self._redactors = redactors
        self._guards = guards
        self._metadata: dict[str, str] = {}
        self._stage: RespondStage | None = None
        self._answer = _Answer(callouts)
        self.finished = False

    def feed(self, message: Message, *, more: bool = False) -> list[bytes] | Awaitable[list[bytes]]:
        request = messages.read_message(message)
        if self._stage is None:
            attributes = request.attributes
            self._metadata = messages.stage_metadata(attributes)
            cluster = attributes.get("xds.cluster_name", "")
            self._stage = RespondStage(
                self._policy,
                self._metadata,
                cluster,
                self._redactors,
                self._guards,
                request_id=attributes.get(names.REQUEST_ID_ATTRIBUTE, ""),
            )
        return self._answer.feed(self._stage, request, more=more)

    def close(self) -> list[bytes]:
        return []

    def fail(self) -> list[bytes]:
        if self._answer.released:
            return []
        return _internal_error(client_of(self._metadata))


def _internal_error(dialect: AnyDialect | None) -> list[bytes]:
    """What the client sees of a bug of ours: that it is ours, and nothing of it."""
    error = DragomanError("The gateway failed on this request. The failure was logged.")
    refused = refuse(error, dialect or client_dialect(""))
    return [messages.decide_reply(refused, "request_headers")]
