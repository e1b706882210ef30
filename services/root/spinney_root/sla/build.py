"""From a document without mistakes to the commands' nouns: units converted, words resolved, constraints merged."""

from __future__ import annotations

from functools import reduce
from math import ceil
from typing import Any

import msgspec
from spinney_shared.messages import Problem
from spinney_shared.model import DirectConstraint, MicroserviceSpec, Resources, RestartPolicy

from ..commands import NewApplication, NewMicroservice
from . import checks
from .document import Application, Clusters, Direct, Microservice


def application(
    written: Application, value: dict[str, Any], default_replicas: int, path: str
) -> NewApplication | list[Problem]:
    """The application; `value` is the JSON it was converted from, `path` where that stands in the document."""
    found = microservices(written.microservices, value.get("microservices", []), default_replicas, path)
    if isinstance(found, list):
        return found
    return NewApplication(written.application_name, written.application_namespace, written.application_desc, found)


def microservices(
    written: list[Microservice], values: list[Any], default_replicas: int, path: str
) -> tuple[NewMicroservice, ...] | list[Problem]:
    """The microservices under `path`, or what contradicts itself in them."""
    made = [
        microservice(one, value, default_replicas, f"{path}.microservices[{index}]")
        for index, (one, value) in enumerate(zip(written, values, strict=True))
    ]
    wrong = [one for one in made if isinstance(one, Problem)]
    return wrong or tuple(one for one in made if not isinstance(one, Problem))


def microservice(written: Microservice, value: Any, default_replicas: int, path: str) -> NewMicroservice | Problem:
    """One microservice as the root will keep it, without an id yet."""
    direct = _direct(written)
    if direct is None:
        return Problem(f"{path}.constraints", "the constraints exclude each other: no cluster or node is left")
    return NewMicroservice(
        written.microservice_name,
        written.microservice_namespace,
        _spec(written, direct),
        default_replicas if written.replicas is None else written.replicas,
        msgspec.json.encode(value),
    )


def _spec(written: Microservice, direct: DirectConstraint) -> MicroserviceSpec:
    platform = [checks.architecture_of(written.platform)] if written.platform else []
    return MicroserviceSpec(
        id="",
        generation=0,
        job_name="",
        image=written.code,
        runtime=checks.runtime_of(written.virtualization),
        command=tuple(written.cmd),
        environment=tuple(written.environment),
        resources=_resources(written),
        ports=checks.ports_of(written.port),
        arch=tuple(dict.fromkeys([*written.arch, *platform])),
        one_shot=written.one_shot,
        privileged=written.privileged,
        direct=direct,
        restart=_restart(written),
        labels=dict(written.labels),
        lost_after_s=written.disconnect.lost_after,
    )


def _resources(written: Microservice) -> Resources:
    return Resources(
        memory_mib=written.memory,
        cpu_milli=ceil(round(written.vcpus * 1000, 3)),  # a wish too small to count must not become none
        gpus=written.vgpus,
        tpus=written.vtpus,
        storage_mib=written.storage,
        in_mbit=written.bandwidth_in,
        out_mbit=written.bandwidth_out,
    )


def _restart(written: Microservice) -> RestartPolicy:
    restart, defaults = written.restart, RestartPolicy()
    longest_s = max(restart.backoff, defaults.longest_backoff_s)
    return RestartPolicy(restart.policy, restart.max_attempts, restart.backoff, longest_s)


def _direct(written: Microservice) -> DirectConstraint | None:
    """What every constraint allows at once; None when that is nothing (an empty tuple would mean anything)."""
    clusters: list[tuple[str, ...]] = []
    nodes: list[tuple[str, ...]] = [_names(written.target_node)]
    for constraint in written.constraints:
        match constraint:
            case Direct(cluster=cluster, node=node):
                clusters.append(_names(cluster))
                nodes.append(_names(node))
            case Clusters(allowed=allowed):
                clusters.append(tuple(allowed))
    merged = _allowed_by_all(clusters), _allowed_by_all(nodes)
    return None if merged[0] is None or merged[1] is None else DirectConstraint(merged[0], merged[1])


def _names(written: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in written.split(";") if name.strip()))


def _allowed_by_all(lists: list[tuple[str, ...]]) -> tuple[str, ...] | None:
    given = [names for names in lists if names]
    if not given:
        return ()
    return reduce(lambda left, right: tuple(name for name in left if name in right), given) or None
