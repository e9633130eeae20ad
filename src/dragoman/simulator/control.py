"""The control API under `/_sim/`, on every port: scripts in, received requests out."""

from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import msgspec

from dragoman.simulator.application import Application
from dragoman.simulator.messages import ReceivedRequest, Reply, json_reply
from dragoman.simulator.request_log import list_entry
from dragoman.simulator.script import Rule

CONTROL_PREFIX = "/_sim/"


class RuleCount(msgspec.Struct, frozen=True):
    """A rule and how many requests it has matched."""

    rule: Rule
    matched: int


def answer_control(application: Application, request: ReceivedRequest) -> Reply:
    """One call of the control API; these are never logged."""
    name = request.path.removeprefix(CONTROL_PREFIX)
    action = _ACTIONS.get((request.method, name))
    if action is not None:
        return action(application, request)
    if request.method == "GET" and name.startswith("requests/") and name.endswith("/body"):
        return _show_body(application, name.split("/")[1])
    return json_reply({"error": f"no {request.method} {request.path}"}, status=404)


def _add_rules(application: Application, request: ReceivedRequest) -> Reply:
    """One rule, or a list of them."""
    try:
        rules = msgspec.json.decode(request.body, type=Rule | list[Rule])
    except msgspec.MsgspecError as error:
        return json_reply({"error": str(error)}, status=400)
    application.script.add([rules] if isinstance(rules, Rule) else rules)
    return _list_rules(application, request)


def _list_rules(application: Application, request: ReceivedRequest) -> Reply:
    del request
    return json_reply([RuleCount(rule, count) for rule, count in application.script.counts()])


def _clear_rules(application: Application, request: ReceivedRequest) -> Reply:
    del request
    application.script.clear()
    return json_reply({})


def _list_requests(application: Application, request: ReceivedRequest) -> Reply:
    """Those after number `since`, of one `listener` if named."""
    query = parse_qs(urlsplit(request.target).query)
    since = int(query.get("since", ["0"])[0])
    listeners = query.get("listener")
    entries = [
        list_entry(entry)
        for entry in application.log
        if entry.number > since and (listeners is None or entry.request.listener in listeners)
    ]
    return json_reply(entries)


def _clear_requests(application: Application, request: ReceivedRequest) -> Reply:
    del request
    application.log.clear()
    return json_reply({})


def _show_body(application: Application, number: str) -> Reply:
    entry = application.log.find(int(number)) if number.isdecimal() else None
    if entry is None or entry.forgotten_sha256 is not None:
        return json_reply({"error": f"no body of request {number}"}, status=404)
    return Reply(content_type="application/octet-stream", pieces=(entry.request.body,))


def _show_state(application: Application, request: ReceivedRequest) -> Reply:
    del request
    return json_reply({"requests_total": application.log.total})


def _reset(application: Application, request: ReceivedRequest) -> Reply:
    del request
    application.reset()
    return json_reply({})


_ACTIONS: dict[tuple[str, str], Callable[[Application, ReceivedRequest], Reply]] = {
    ("POST", "script"): _add_rules,
    ("GET", "script"): _list_rules,
    ("DELETE", "script"): _clear_rules,
    ("GET", "requests"): _list_requests,
    ("DELETE", "requests"): _clear_requests,
    ("GET", "state"): _show_state,
    ("DELETE", "state"): _reset,
}
