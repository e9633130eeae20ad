"""A recogniser for redaction, a judge for guardrails and a scorer of answers, to begin with:
`proto/callouts.proto` on grpcio. It knows a name where a title stands before it; put your own model
in the place of `find`.

    python envoy/recogniser.py unix:/run/recogniser.sock      # or 127.0.0.1:50051
"""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from dragoman.extproc.pb.callouts_pb2 import (
    VERDICT_ALLOW,
    VERDICT_REFUSE,
    Entity,
    Findings,
    JudgeRequest,
    JudgeResponse,
    RecogniseRequest,
    RecogniseResponse,
    ScoreRequest,
    ScoreResponse,
)

PACKAGE = "dragoman.callouts.v1"
NAME = re.compile(r"\b(?:Mrs|Ms|Mr|Dr)\.? (\w+(?: \w+)?)")
FORBIDDEN = re.compile(r"\bpoison\b", re.IGNORECASE)
UNSURE = re.compile(r"\bI (?:do not|don't) know\b", re.IGNORECASE)
MAX_MESSAGE_BYTES = 64 << 20
"""grpcio's own limit, 4 MB, is less than a request may have."""


def find(text: str) -> Iterator[Entity]:
    """What is found in one text, by its characters."""
    for match in NAME.finditer(text):
        yield Entity(type="PERSON", start=match.start(1), end=match.end(1), score=0.9)


def recognise(request: RecogniseRequest, context: grpc.ServicerContext) -> RecogniseResponse:
    """All texts of a request at once; one list of findings for each."""
    del context
    findings = [Findings(entities=find(text.text)) for text in request.texts]
    return RecogniseResponse(findings=findings)


def judge(request: JudgeRequest, context: grpc.ServicerContext) -> JudgeResponse:
    """Whether a request, or an answer, may go on."""
    del context
    if any(FORBIDDEN.search(text.text) for text in request.texts):
        return JudgeResponse(verdict=VERDICT_REFUSE, reason="poison", score=0.8)
    return JudgeResponse(verdict=VERDICT_ALLOW)


def score(request: ScoreRequest, context: grpc.ServicerContext) -> ScoreResponse:
    """What an answer is worth."""
    del context
    is_unsure = any(UNSURE.search(text.text) for text in request.answer)
    return ScoreResponse(score=0.2 if is_unsure else 1.0)


def serve(address: str) -> grpc.Server:
    """A server at `address` that answers all of them."""
    server = grpc.server(
        ThreadPoolExecutor(4), options=[("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)]
    )
    for service, method, behave, read in (
        ("Recogniser", "Recognise", recognise, RecogniseRequest.FromString),
        ("Judge", "Judge", judge, JudgeRequest.FromString),
        ("Scorer", "Score", score, ScoreRequest.FromString),
    ):
        handler: grpc.RpcMethodHandler[Any, Any] = grpc.unary_unary_rpc_method_handler(
            behave,
            request_deserializer=read,
            response_serializer=lambda response: response.SerializeToString(),
        )
        generic = grpc.method_handlers_generic_handler(f"{PACKAGE}.{service}", {method: handler})
        server.add_generic_rpc_handlers((generic,))
    server.add_insecure_port(address)
    server.start()
    return server


if __name__ == "__main__":
    serving = serve(sys.argv[1])
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serving.stop(1).wait()
