"""Carrying out commands: each is checked against what exists, then done whole or not at all.

The answer is data (`EventResult`); it is given out by the shell after the changes are durable.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace
from spinney_shared import lifecycle
from spinney_shared.bounding import size
from spinney_shared.deciding import Now
from spinney_shared.messages import EventResult, Problem
from spinney_shared.model import InstanceKey, MicroserviceSpec

from . import commands as c
from .assign import assign
from .state import Answered, Application, Instance, Microservice, State

MAX_REPLICAS = 100_000
"""Of one microservice: a typing error must not fill the database."""

MAX_SPEC_BYTES = 128 * 1024
"""Of one microservice as nodes are told of it: it must fit into one message, with room for the rest of it."""


class Refused(Exception):
    """A command cannot be carried out; nothing was changed."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(message)
        self.problem = Problem(path, message)


def carry_out(state: State, command: c.AnyCommand, cause: str, now: Now) -> EventResult:
    """Do what is asked and say what came of it; the same event id gets the same answer and changes nothing."""
    event = command.event or cause
    if command.event and command.event in state.answered:
        return state.answered[command.event].result
    try:
        done = _do(state, command, event, now)
    except Refused as refused:
        return EventResult(event=event, status="rejected", errors=(refused.problem,))
    result = EventResult(
        event=event,
        status="accepted",
        applications={a.name: a.id for a in done if isinstance(a, Application)},
        microservices={m.spec.job_name: m.id for m in done if isinstance(m, Microservice)},
        details={m.spec.job_name: why for m in done if isinstance(m, Microservice) and (why := _waiting(state, m))},
    )
    if command.event:
        state.put(Answered(result, now.wall))
    return result


def _do(state: State, command: c.AnyCommand, cause: str, now: Now) -> list[Application | Microservice]:
    """What was made or changed; raises Refused before anything is."""
    match command:
        case c.Deploy():
            return _deploy(state, command, cause, now)
        case c.AddMicroservices():
            application = _application(state, command.application, command)
            _check_names(state, application, command.microservices)
            _check_sizes(command.microservices, "$")
            return [_add(state, application, new, cause) for new in command.microservices]
        case c.UpdateApplication():
            application = replace(_application(state, command.application, command), description=command.description)
            state.put(application)
            return [application]
        case c.UpdateMicroservice():
            return [_update(state, _microservice(state, command.microservice, command), command.replacement, cause)]
        case c.Undeploy():
            return _undeploy(state, command)
        case c.Scale():
            microservice = _microservice(state, command.microservice, command)
            return [_scale(state, microservice, command.replicas, cause)]
        case c.AddInstance():
            microservice = _microservice(state, command.microservice, command)
            return [_scale(state, microservice, len(live(state, microservice.id)) + 1, cause)]
        case c.RemoveInstance():
            return _remove_instance(state, command)
        case c.SaveUser():
            if command.new and command.account.name in state.users:
                raise Refused("$.username", f"there is a user {command.account.name!r} already")
            state.put(command.account)
        case c.ForgetUser():
            _forget_user(state, command.name)
    return []


def _deploy(state: State, command: c.Deploy, cause: str, now: Now) -> list[Application | Microservice]:
    taken = {(a.owner, a.name, a.namespace): a.id for a in state.applications.values()}
    for index, new in enumerate(command.applications):
        if (command.user, new.name, new.namespace) in taken:
            id = taken[command.user, new.name, new.namespace]
            raise Refused(
                f"$.applications[{index}].application_name",
                f"{new.name!r} in namespace {new.namespace!r} is there already (id {id}); undeploy it first",
            )
        _check_sizes(new.microservices, f"$.applications[{index}]")
    made: list[Application | Microservice] = []
    for new in command.applications:
        application = Application(state.ids(), new.name, new.namespace, new.description, command.user, now.wall)
        state.put(application)
        made.append(application)
        made += [_add(state, application, below, cause) for below in new.microservices]
    return made


def _check_names(state: State, application: Application, news: Iterable[c.NewMicroservice]) -> None:
    microservices = (state.microservices[id] for id in state.by_application.get(application.id, ()))
    there = {(m.name, m.namespace) for m in microservices}
    for index, new in enumerate(news):
        if (new.name, new.namespace) in there:
            raise Refused(f"$.microservices[{index}].microservice_name", f"{new.name!r} is there already; update it")


def _check_sizes(news: Iterable[c.NewMicroservice], path: str) -> None:
    for index, new in enumerate(news):
        if (bytes_ := size(new.spec)) > MAX_SPEC_BYTES:
            what = f"{new.name!r} takes {bytes_:,} bytes; at most {MAX_SPEC_BYTES:,} can be sent to a node"
            raise Refused(f"{path}.microservices[{index}]", what)
        if not 0 <= new.replicas <= MAX_REPLICAS:
            what = f"{new.replicas} is not between 0 and {MAX_REPLICAS}"
            raise Refused(f"{path}.microservices[{index}].replicas", what)


def _add(state: State, application: Application, new: c.NewMicroservice, cause: str) -> Microservice:
    id = state.ids()
    job_name = f"{application.name}.{application.namespace}.{new.name}.{new.namespace}"
    spec = replace(new.spec, id=id, generation=1, job_name=job_name)
    microservice = Microservice(id, application.id, new.name, new.namespace, spec, new.document)
    state.put(microservice)
    return _scale(state, microservice, new.replicas, cause)


def _forget_user(state: State, name: str) -> None:
    if name not in state.users:
        raise Refused("$.name", f"no user {name!r}")
    if [user.name for user in state.users.values() if c.ADMIN in user.roles] == [name]:
        raise Refused("$.name", f"{name!r} is the last admin")
    state.drop(state.users[name])


def live(state: State, microservice: str) -> list[Instance]:
    """The instances of a microservice that should run."""
    numbers = state.by_microservice.get(microservice, set())
    found = (state.instances[InstanceKey(microservice, number)] for number in sorted(numbers))
    return [instance for instance in found if not instance.removing]


def _scale(state: State, microservice: Microservice, replicas: int, cause: str) -> Microservice:
    if not 0 <= replicas <= MAX_REPLICAS:
        raise Refused("$.replicas", f"{replicas} is not between 0 and {MAX_REPLICAS}")
    there = live(state, microservice.id)
    if replicas < len(there):
        # those that do not run go first, then the youngest
        spare = sorted(there, key=lambda i: (i.status == lifecycle.RUNNING, -i.number))
        for instance in spare[: len(there) - replicas]:
            remove_instance(state, instance)
        return microservice
    first = microservice.next_number
    numbers = range(first, first + replicas - len(there))
    for number in numbers:
        state.put(Instance(microservice.id, number, microservice.spec.generation, cause=cause))
    if numbers:
        microservice = replace(microservice, next_number=numbers.stop)
        state.put(microservice)
        assign(state, [InstanceKey(microservice.id, number) for number in numbers])
    return microservice


def _update(state: State, old: Microservice, new: c.NewMicroservice, cause: str) -> Microservice:
    if (new.name, new.namespace) != (old.name, old.namespace):
        raise Refused("$.microservice_name", f"the name cannot change (it is {old.name!r} in {old.namespace!r})")
    _check_sizes([new], "$")
    spec = replace(new.spec, id=old.id, generation=old.spec.generation + 1, job_name=old.spec.job_name)
    microservice = replace(old, spec=spec, document=new.document)
    state.put(microservice)
    for instance in live(state, old.id):
        state.put(_renewed(instance, spec, cause))
    assign(state, [i.at for i in live(state, old.id) if not i.cluster])
    return microservice


def _renewed(instance: Instance, spec: MicroserviceSpec, cause: str) -> Instance:
    """The instance in the specification's generation, on its cluster if that is still allowed."""
    stays = instance.cluster and (not spec.direct.clusters or instance.cluster in spec.direct.clusters)
    after = lifecycle.CLUSTER_SCHEDULED if stays else lifecycle.REQUESTED
    return replace(
        instance,
        generation=spec.generation,
        cluster=instance.cluster if stays else "",
        status=lifecycle.advance(instance.status, after),
        detail="",
        seen=None,
        tried=(),
        cause=cause,
    )


def _undeploy(state: State, command: c.Undeploy) -> list[Application | Microservice]:
    if command.microservice:
        microservice = _microservice(state, command.microservice, command)
        _end(state, microservice)
        return [microservice]
    application = _application(state, command.application, command)
    microservices = [state.microservices[id] for id in sorted(state.by_application.get(application.id, ()))]
    for microservice in microservices:
        _end(state, microservice)
    state.drop(application)
    return [application, *microservices]


def _end(state: State, microservice: Microservice) -> None:
    state.put(replace(microservice, deleted=True))
    for instance in live(state, microservice.id):
        remove_instance(state, instance)
    _drop_if_empty(state, microservice.id)


def _remove_instance(state: State, command: c.RemoveInstance) -> list[Application | Microservice]:
    microservice = _microservice(state, command.microservice, command)
    there = live(state, microservice.id)
    chosen = [i for i in there if command.number in (-1, i.number)]
    if not chosen and command.number != -1:
        have = ", ".join(str(i.number) for i in there[:20]) or "none"
        raise Refused("$.instance", f"{microservice.spec.job_name} has no instance {command.number} (it has: {have})")
    for instance in chosen:
        remove_instance(state, instance)
    return [microservice]


def remove_instance(state: State, instance: Instance) -> None:
    """End an instance: at once when no cluster has it, else when its cluster says that it is gone."""
    if instance.cluster:
        state.put(replace(instance, removing=True))
    else:
        drop_instance(state, instance)


def drop_instance(state: State, instance: Instance) -> None:
    """Nothing of the instance is left anywhere."""
    state.drop(instance)
    _drop_if_empty(state, instance.microservice)


def _drop_if_empty(state: State, id: str) -> None:
    microservice = state.microservices.get(id)
    if microservice and microservice.deleted and not state.by_microservice.get(id):
        state.drop(microservice)


def _waiting(state: State, microservice: Microservice) -> str:
    """Why instances of it found no place at once, or an empty string."""
    details = (i.detail for i in live(state, microservice.id) if i.status in lifecycle.UNSCHEDULABLE)
    return next(details, "")


def _application(state: State, name: str, command: c.Command) -> Application:
    """By id, or by ``name.namespace`` among the caller's (for admins: all)."""
    found = [
        a
        for a in ([state.applications[name]] if name in state.applications else state.applications.values())
        if name in (a.id, f"{a.name}.{a.namespace}") and (command.admin or a.owner == command.user)
    ]
    if len(found) != 1:
        raise Refused("$.application", f"{'more than one' if found else 'no'} application {name!r}; use its id")
    return found[0]


def _microservice(state: State, name: str, command: c.Command) -> Microservice:
    """By id, or by job name among the caller's (for admins: all)."""
    known = state.microservices.get(name)
    found = [
        m
        for m in ([known] if known else state.microservices.values())
        if name in (m.id, m.spec.job_name) and not m.deleted and _may(state, m, command)
    ]
    if len(found) != 1:
        raise Refused("$.microservice", f"{'more than one' if found else 'no'} microservice {name!r}; use its id")
    return found[0]


def _may(state: State, microservice: Microservice, command: c.Command) -> bool:
    application = state.applications.get(microservice.application)
    return application is not None and (command.admin or application.owner == command.user)
