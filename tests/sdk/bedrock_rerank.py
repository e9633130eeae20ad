"""Rerank as `boto3` reads it."""

from __future__ import annotations

import functools
import io
from typing import Any

import boto3
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.sdk import Said, Wire

UNSAID = ("input_tokens",)
_TEXT = {"type": "TEXT", "textQuery": {"text": "x"}}
_SOURCE = {
    "type": "INLINE",
    "inlineDocumentSource": {"type": "TEXT", "textDocument": {"text": "x"}},
}
_MODEL = {"modelConfiguration": {"modelArn": "m"}}
_CONFIG = {"type": "BEDROCK_RERANKING_MODEL", "bedrockRerankingConfiguration": _MODEL}


class _Raw(io.BytesIO):
    def stream(self, _size: int = 1024) -> Any:
        yield self.read()


_WIRE: list[Wire] = []


@functools.cache
def _client() -> Any:
    client = boto3.client(
        "bedrock-agent-runtime",
        region_name="us-east-1",
        endpoint_url="http://gateway",
        aws_access_key_id="k",
        aws_secret_access_key="k",
        config=Config(retries={"total_max_attempts": 1}),
    )
    client.meta.events.register("before-send.bedrock-agent-runtime.*", _answer)
    return client


def _answer(request: Any, **_: Any) -> AWSResponse:
    wire = _WIRE[-1]
    return AWSResponse(request.url, wire.status, {"content-type": wire.kind}, _Raw(wire.body))


def read_error(wire: Wire) -> tuple[int, str]:
    try:
        read(wire)
    except ClientError as error:
        found: Any = error.response
        return found["ResponseMetadata"]["HTTPStatusCode"], found["Error"]["Message"]
    raise AssertionError("no error")


def read(wire: Wire) -> Said:
    _WIRE[:] = [wire]
    answer = _client().rerank(queries=[_TEXT], sources=[_SOURCE], rerankingConfiguration=_CONFIG)
    return Said(ranking=tuple((one["index"], one["relevanceScore"]) for one in answer["results"]))
