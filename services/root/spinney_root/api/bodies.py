"""What REST takes beside SLA documents; unknown fields are refused with the nearest known one."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from ..auth import MAX_PASSWORD
from ..sla.document import Human, Replicas, Short

Password = Annotated[str, Meta(min_length=1, max_length=MAX_PASSWORD)]
NewPassword = Annotated[str, Meta(min_length=8, max_length=MAX_PASSWORD, description="use 8 to 1,000 characters")]
UserName = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9._@-]{1,64}$(?!\n)", description="use 1 to 64 letters, digits or . _ @ -")
]
Role = Literal["Admin", "Organization_Admin", "Application_Provider", "Infrastructure_Provider"]


class Login(Human, frozen=True):
    """Who logs in."""

    username: Short
    password: Password
    organization_name: Short = ""


class Register(Human, frozen=True):
    """A new user."""

    username: UserName
    password: NewPassword
    roles: Annotated[tuple[Role, ...], Meta(max_length=10)] = ()
    organization_name: Short = ""


class ReplicasWanted(Human, frozen=True):
    """How many instances should run."""

    replicas: Replicas


class ApplicationChange(Human, frozen=True):
    """An application as it should be; only the description can change, the rest may be repeated as it is."""

    application_desc: Annotated[str, Meta(max_length=10_000)]
    applicationID: Short = ""
    application_name: Short = ""
    application_namespace: Short = ""
    microservices: tuple[Short, ...] = ()
    owner: Short = ""
