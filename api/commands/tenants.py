"""A workspace as people name it: by its id or by its name."""

from typing import Any, NamedTuple

from psycopg import Connection

from domain.codec import decode_fact
from domain.errors import NotFound
from domain.workspace.workspace import WorkspaceCreated, workspace_stream

BY_ID = "SELECT topic, state FROM events WHERE originator_id = %s AND originator_version = 1"
ALL = "SELECT topic, state FROM events WHERE kind = 'WorkspaceCreated' ORDER BY notification_id"


class Tenant(NamedTuple):
    """A workspace's id and name."""

    workspace_id: str
    name: str


def find_tenant(connection: Connection[Any], given: str) -> Tenant:
    """The workspace with this id, or the only one with this name; from the events themselves.

    :raises NotFound: there is none, or there are several of that name.
    """
    row = connection.execute(BY_ID, (workspace_stream(given),)).fetchone()
    if row is not None:
        return _tenant(row)
    named = [tenant for tenant in tenants(connection) if tenant.name == given]
    if len(named) == 1:
        return named[0]
    if named:
        ids = ", ".join(tenant.workspace_id for tenant in named)
        raise NotFound("single workspace called", f"{given} ({ids})")
    raise NotFound("workspace", given)


def tenants(connection: Connection[Any]) -> list[Tenant]:
    """Every workspace, oldest first."""
    return [_tenant(row) for row in connection.execute(ALL).fetchall()]


def _tenant(row: tuple[Any, ...]) -> Tenant:
    fact = decode_fact(*row)
    assert isinstance(fact, WorkspaceCreated)
    return Tenant(fact.workspace_id, fact.name)
