"""What people and other systems can ask of the root: imperative commands, one closed union.

REST handlers and deploy events make the same commands; `spinney_root.decide` answers each with an `EventResult` that is
given out only after the change is durable. Documents have been validated (`spinney_root.sla`) before a command exists.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct
from spinney_shared.model import MicroserviceSpec

from .state import User

ADMIN: Final = "Admin"
"""The role that may do everything, and the name of the first user."""


class NewMicroservice(Struct, frozen=True):
    """A microservice as it was asked for; ``spec.id``, ``generation`` and ``job_name`` are filled in by the root."""

    name: str
    namespace: str
    spec: MicroserviceSpec
    replicas: int
    document: bytes
    """The user's own JSON of this microservice, to give back as it came."""


class NewApplication(Struct, frozen=True):
    """An application with its microservices, none of which has an id yet."""

    name: str
    namespace: str
    description: str
    microservices: tuple[NewMicroservice, ...]


class Command(Struct, frozen=True, kw_only=True):
    """What every command carries."""

    event: str = ""
    """The sender's own id; the same id again gets the same answer and changes nothing. Empty = not idempotent."""
    user: str = ""
    """Who asks: the owner of what is created."""
    admin: bool = True
    """May touch what others own."""


class Deploy(Command, frozen=True, kw_only=True):
    """Register applications; one of the same name and namespace of the same owner is refused."""

    applications: tuple[NewApplication, ...]


class AddMicroservices(Command, frozen=True, kw_only=True):
    """Add microservices to an application that exists."""

    application: str
    microservices: tuple[NewMicroservice, ...]


class UpdateApplication(Command, frozen=True, kw_only=True):
    """Change the description of an application."""

    application: str
    description: str


class UpdateMicroservice(Command, frozen=True, kw_only=True):
    """Replace a microservice's specification by a new generation; its instances follow."""

    microservice: str
    replacement: NewMicroservice


class Undeploy(Command, frozen=True, kw_only=True):
    """End an application or one microservice with all its instances. Exactly one of the two is given.

    Each is an id, or a name: ``name.namespace`` of an application, the job name of a microservice.
    """

    application: str = ""
    microservice: str = ""


class Scale(Command, frozen=True, kw_only=True):
    """Run exactly this many instances; `microservice` is an id or a job name."""

    microservice: str
    replicas: int


class AddInstance(Command, frozen=True, kw_only=True):
    """One more instance."""

    microservice: str


class RemoveInstance(Command, frozen=True, kw_only=True):
    """End one instance by its number, or all (-1)."""

    microservice: str
    number: int


class SaveUser(Command, frozen=True, kw_only=True):
    """Add a user, or replace the one of this name; `spinney_root.auth` has hashed the password."""

    account: User
    new: bool = False
    """Refuse when there is a user of this name."""


class ForgetUser(Command, frozen=True, kw_only=True):
    """Remove a user, but never the last admin; what they own stays, for admins to see."""

    name: str


AnyCommand = (
    Deploy
    | AddMicroservices
    | UpdateApplication
    | UpdateMicroservice
    | Undeploy
    | Scale
    | AddInstance
    | RemoveInstance
    | SaveUser
    | ForgetUser
)
