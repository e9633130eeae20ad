"""`dragoman explain`: what became of a request, out of the ledger, or what would become of one."""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, BinaryIO

import click
import msgspec

from dragoman.cli.exits import fail
from dragoman.cli.ledger_files import find_ledger, open_lines, printable, report_broken
from dragoman.config.load import load
from dragoman.errors import ConfigError, DragomanError

if TYPE_CHECKING:
    from dragoman.telemetry.ledger_lines import Broken
    from dragoman.telemetry.recorded import Recorded


@click.command()
@click.argument("past", nargs=-1, metavar="[ID [LEDGER]...]")
@click.option("-c", "--config", metavar="FILE", help="policy file; none: the defaults")
@click.option("--json", "as_json", is_flag=True, help="of a request ID, as JSON")
@click.option("--as", "caller", help="a caller of the policy file")
@click.option("--claims", type=click.File("rb"), help="or a token's payload as JSON, `-`: stdin")
@click.option("--model", help="a public model")
@click.option("--dialect", default="openai_chat", show_default=True)
@click.option("--operation", default="chat", show_default=True)
@click.option("--feature", "features", multiple=True, help="streaming, tools, media, ...")
def explain(  # noqa: PLR0917 - one an option
    past: tuple[str, ...],
    config: str | None,
    caller: str | None,
    claims: BinaryIO | None,
    model: str | None,
    dialect: str,
    operation: str,
    features: tuple[str, ...],
    *,
    as_json: bool,
) -> None:
    """Say what became of the request ID, and of its copy where a shadow was asked too, and why,
    out of LEDGER files (gzip too; `-` is standard input), or the policy's own. An answer's header
    x-dragoman-request-id has the ID. Ends with 1 where there is no such entry.

    With --model and --as or --claims: say whether a caller may ask this, why, and which upstreams
    would be asked.
    """
    if past:
        if caller is not None or claims is not None or model is not None:
            raise click.UsageError("give an ID, or --model with --as or --claims")
        _explain_past(past[0], past[1:], config, as_json=as_json)
        return
    if as_json:
        raise click.UsageError("--json goes with an ID")
    if model is None or (caller is None) == (claims is None):
        raise click.UsageError("give an ID, or --model with --as or --claims")
    _explain_wish(config, caller, claims, (operation, dialect, model, features))


def _explain_wish(
    config: str | None,
    caller: str | None,
    claims: BinaryIO | None,
    wish: tuple[str, str, str, tuple[str, ...]],
) -> None:
    """What would become of a `Wish`."""
    from dragoman.policies.authorize import Wish  # noqa: PLC0415 - only this command
    from dragoman.policies.explain import claimant  # noqa: PLC0415
    from dragoman.policies.explain import explain as explained  # noqa: PLC0415

    try:
        policy = load(config)
    except ConfigError as error:
        fail(str(error))
    try:
        who = claimant(policy, claims.read()) if claims else policy.callers.by_name[caller or ""]
    except KeyError:
        fail(f"no caller {caller} in {policy.source}")
    except DragomanError as error:
        click.echo(f"refused: {error.message}")
        sys.exit(1)
    found = explained(policy, who, Wish(*wish))
    click.echo("\n".join(found.lines))
    if not found.allowed:
        sys.exit(1)


def _explain_past(
    request_id: str, files: tuple[str, ...], config: str | None, *, as_json: bool
) -> None:
    from dragoman.policies.account import give_account  # noqa: PLC0415
    from dragoman.policies.account_lines import describe_account  # noqa: PLC0415
    from dragoman.telemetry.ledger import FEEDBACK, REQUEST, SHADOW  # noqa: PLC0415
    from dragoman.telemetry.ledger_lines import Broken  # noqa: PLC0415

    broken = Broken()
    try:
        files = files or (find_ledger(config),)
        found = _find(request_id, files, broken)
    except (DragomanError, OSError, EOFError) as error:
        fail(str(error))
    said = [entry for entry in found if entry.event == FEEDBACK]
    accounts = [give_account(entry, said) for entry in found if entry.event == REQUEST]
    accounts += [give_account(entry) for entry in found if entry.event == SHADOW]
    for i, account in enumerate(accounts):
        if as_json:
            click.echo(msgspec.json.encode(account))
        else:
            lines = [*([""] if i else []), *describe_account(account)]
            click.echo("\n".join(map(printable, lines)))
    report_broken(broken)
    if not accounts:
        click.echo(f"dragoman: no entry of {request_id} in {', '.join(files)}", err=True)
        sys.exit(1)


def _find(request_id: str, files: tuple[str, ...], broken: Broken) -> list[Recorded]:
    from dragoman.telemetry.recorded import find_entries  # noqa: PLC0415 - only this command

    found: list[Recorded] = []
    for name in files:
        with open_lines(name) as lines:
            found += find_entries(lines, request_id, functools.partial(broken.add, name))
    return found
