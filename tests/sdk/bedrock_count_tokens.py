"""A count of tokens as `boto3` reads it."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError

from tests.sdk import Said, Wire
from tests.sdk.bedrock_converse import connect

_ASKED: Any = {"converse": {"messages": [{"role": "user", "content": [{"text": "x"}]}]}}


def read(wire: Wire) -> Said:
    answer = connect(wire).count_tokens(modelId="m", input=_ASKED)
    return Said(input_tokens=answer["inputTokens"])


def read_error(wire: Wire) -> tuple[int, str]:
    try:
        read(wire)
    except ClientError as error:
        found: Any = error.response
        return found["ResponseMetadata"]["HTTPStatusCode"], found["Error"]["Message"]
    raise AssertionError("no error")
