"""What the small commands share: their options, a connection, and how they end."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from flow.errors import Unreachable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flow.client.client import Client

F = TypeVar("F", bound=Callable[..., Any])


def common(function: F) -> F:
    """Add the options every command has."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="One JSON value on stdout."),
        click.option("--coordinator", metavar="ADDR", help="Where the coordinator listens."),
    ):
        function = option(function)
    return function


@contextmanager
def connected(coordinator: str | None) -> Iterator[Client]:
    """Connect to the coordinator; where nobody answers, say what to type."""
    from flow.client.address import explain_unreachable, find
    from flow.client.client import Client

    address = find(coordinator)
    try:
        with Client(address.text) as client:
            yield client
    except Unreachable as e:
        raise explain_unreachable(e, address) from None


def show_changed(changed: Any, *, as_json: bool) -> None:
    """Print what a command changed."""
    from flow.client.output import print_json
    from flow.visible import printable

    if as_json:
        print_json(changed)
    else:
        print(printable(changed.text))
