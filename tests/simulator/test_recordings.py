"""What the real providers accepted, the simulator accepts too."""

import json
from pathlib import Path

import httpx
import pytest

FOLDER = Path(__file__).parents[3] / "shared" / "recordings"
PATHS = ("/chat/completions", "/v1/messages")


def recorded(provider):
    file = FOLDER / f"{provider}.jsonl"
    if not file.exists():
        pytest.skip(f"no recordings at {file.parent}")
    for line in file.read_text().splitlines():
        exchange = json.loads(line)
        request = exchange["request"]
        path = request["path"].partition("?")[0]
        if path.endswith(PATHS) and exchange["response"]["status"] == 200:
            yield path, request["body"]


@pytest.mark.parametrize("provider", ["openai", "deepseek", "cerebras", "openrouter", "anthropic"])
def test_real_requests_are_accepted(simulator, provider):
    headers = {"authorization": "Bearer k", "anthropic-version": "2023-06-01"}
    refused = []
    accepted = 0
    with httpx.Client(base_url=simulator.url(), headers=headers) as client:
        for path, body in recorded(provider):
            answer = client.post(path, json=body)
            if answer.status_code == 200:
                accepted += 1
            elif "`signature`" not in answer.text:  # issued by the real provider
                refused.append(answer.json()["error"]["message"])
    assert accepted
    foreign = ("video_url", "openrouter:web_search")  # OpenRouter's own
    assert [m for m in refused if not any(name in m for name in foreign)] == []
