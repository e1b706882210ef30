"""Tables for people, made to fit 80 columns; what does not fit into a column (reasons) follows as sentences."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from rich import box
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from .names import whole_name
from .shapes import Application, Cluster, Event, Instance, Node, Runtime, Service

_COLOURS = {
    **dict.fromkeys(("RUNNING", "COMPLETED", "verified", "online", "active"), "green"),
    **dict.fromkeys(("FAILED", "DEAD", "failed", "offline", "gone"), "red"),
    **dict.fromkeys(("REQUESTED", "CLUSTER_SCHEDULED", "NODE_SCHEDULED", "CREATING", "CREATED"), "cyan"),
    "UNDEPLOYED": "dim",
}
_WAITING = "yellow"
"""Every other status: it waits for a machine."""

NONE_YET = "none"


def coloured(status: str) -> Text:
    """A status in the colour of its kind."""
    return Text(status, _COLOURS.get(status, _WAITING))


def table(title: str, *columns: str, right: Sequence[str] = ()) -> Table:
    """An empty table with these columns; those in `right` hold numbers. Long words are folded, never cut off."""
    made = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        made.add_column(name, justify="right" if name in right else "left", overflow="fold", no_wrap=name in right)
    return made


def clusters_table(clusters: Sequence[Cluster]) -> Table:
    """Clusters, what is free in them, and what they can run."""
    made = table(
        "Clusters",
        "cluster",
        "state",
        "nodes",
        "CPUs free",
        "GB free",
        "verified",
        right=("nodes", "CPUs free", "GB free"),
    )
    for one in clusters:
        made.add_row(
            one.name,
            coloured("active" if one.active else "offline"),
            str(one.active_nodes),
            f"{one.vcpus:g} of {one.total_cpu_cores:g}",
            _of(one.memory, one.memory_in_mb),
            ", ".join(one.virtualization) or NONE_YET,
        )
    return made


def nodes_table(nodes: Sequence[Node]) -> Table:
    """Nodes, what is free on them, and what they can run."""
    columns = ("node", "cluster", "state", "arch", "CPUs free", "GB free", "runs", "verified")
    made = table("Nodes", *columns, right=("runs", "CPUs free", "GB free"))
    for one in nodes:
        free_cpu = (one.capacity.cpu_milli - one.reserved.cpu_milli) / 1000
        memory = one.capacity.memory_mib
        made.add_row(
            one.name,
            one.cluster,
            coloured("online" if one.online else "offline"),
            one.arch,
            f"{free_cpu:g} of {one.capacity.cpu_milli / 1000:g}",
            _of(memory - one.reserved.memory_mib, memory),
            str(one.instances),
            ", ".join(r.name for r in one.runtimes if r.state == "verified") or NONE_YET,
        )
    return made


def node_notes(nodes: Iterable[Node]) -> list[Padding]:
    """What keeps whole drivers of nodes from working."""
    return [_note(one.name, problem) for one in nodes for problem in one.problems]


def runtimes_table(nodes: Sequence[Node]) -> Table:
    """Every runtime of every node: verified, or failed."""
    columns = ("runtime", "node", "state", "kind", "version", "start", "")
    made = table("Runtimes", *columns, right=("start",))
    for node, one in _runtimes(nodes):
        started = f"{one.start_ms:.0f} ms" if one.state == "verified" else ""
        mark = "default" if one.default else ""
        made.add_row(one.name, node.name, coloured(one.state), one.kind, one.version, started, mark)
    return made


def runtime_notes(nodes: Sequence[Node]) -> list[Padding]:
    """Why runtimes failed, in their own words, and what mends it where that is known."""
    notes = []
    for node, one in _runtimes(nodes):
        if one.state != "verified":
            mend = f" → {one.hint}" if one.hint else ""
            notes.append(_note(f"{one.name} on {node.name}", f"{one.reason}{mend}"))
    return notes


def services_table(applications: Sequence[Application], services: Sequence[Service]) -> Table:
    """Applications with their services: how many instances run of those that are wanted."""
    columns = ("application", "service", "status", "running", "runs as")
    made = table("Applications", *columns, right=("running",))
    of = {service.id: service for service in services}
    for one in applications:
        own = [of[id] for id in one.microservices if id in of]
        for service in own:
            running = sum(instance.status == "RUNNING" for instance in service.instances)
            made.add_row(
                whole_name(one),
                f"{service.name}.{service.namespace}",
                coloured(service.status),
                f"{running}/{service.replicas}",
                service.virtualization,
            )
        if not own:
            made.add_row(whole_name(one), "(no services)", "", "", "")
    return made


def service_notes(services: Iterable[Service]) -> list[Padding]:
    """Why services do not run, in words."""
    return [_note(one.job_name, one.detail) for one in services if one.detail and one.status != "RUNNING"]


def instances_table(services: Sequence[Service]) -> Table:
    """Every instance: where it is, and what it really runs on."""
    columns = ("service", "no.", "status", "runtime", "node", "address", "restarts")
    made = table("Instances", *columns, right=("no.", "restarts"))
    for service in services:
        for one in service.instances:
            made.add_row(
                f"{service.app_name}.{service.app_ns} {service.name}",
                str(one.number),
                coloured(one.status),
                one.runtime,
                one.node_name,
                one.address,
                str(one.restarts),
            )
    return made


def instance_notes(services: Iterable[Service]) -> list[Padding]:
    """What is known in words about instances that do not run."""
    return [
        _note(f"{service.job_name} {one.number}", one.detail)
        for service in services
        for one in service.instances
        if one.detail and one.status != "RUNNING"
    ]


def event_line(event: Event) -> Text:
    """A lifecycle event on one line: the time, whose it is, what happened, and why."""
    data = event.data
    about = str(data.get("job_name") or data.get("node_name") or data.get("cluster") or event.subject)
    if "instance" in data:
        about += f" {data['instance']}"
    if "runtime" in data and event.type.startswith("spinney.runtime."):
        about = f"{data['runtime']} on {about}"
    what = str(data.get("status") or event.type.rpartition(".")[2])
    why = plain(str(data.get("status_detail") or data.get("reason") or ""))
    kind = event.type.split(".")[1] if event.type.count(".") > 1 else event.type
    return Text.assemble(
        (event.time[11:23], "dim"), f" {kind} {about} ", coloured(what), f": {why}" if why else "", overflow="fold"
    )


def progress_words(service: Service) -> str:
    """How far a service is, in a few words: ``1 of 3 run; 2 CREATING: starting on runc``."""
    waiting = [one for one in service.instances if one.status != "RUNNING"]
    counts = Counter(one.status for one in waiting)
    words = f"{len(service.instances) - len(waiting)} of {service.replicas} run"
    if waiting:
        words += "; " + ", ".join(f"{count} {status}" for status, count in counts.items())
    return ": ".join([words, *[plain(one.detail) for one in waiting if one.detail][:1]])


def plain(words: str) -> str:
    """The words without what could steer a terminal: they may come from a program that somebody else wrote."""
    return "".join(letter if letter.isprintable() else " " for letter in words)


def seconds(duration_s: float) -> str:
    """A duration for people: 0.084 → ``84 ms``, 12.34 → ``12.3 s``."""
    if duration_s < 1:
        return f"{math.ceil(duration_s * 1000)} ms"
    return f"{duration_s:.1f} s" if duration_s >= 10 else f"{duration_s:.2f} s"


def instance_where(one: Instance) -> str:
    """Where an instance is and what it runs on, in words."""
    return f"on {one.node_name} by {one.runtime}, address {one.address or 'unknown'}"


def _of(free_mib: int, all_mib: int) -> str:
    """GB for people: 512 and 24103 MiB → ``0.5 of 23.5``."""
    return f"{free_mib / 1024:.1f} of {all_mib / 1024:.1f}"


def _runtimes(nodes: Sequence[Node]) -> list[tuple[Node, Runtime]]:
    pairs = [(node, one) for node in nodes for one in node.runtimes]
    return sorted(pairs, key=lambda pair: (pair[1].state != "verified", pair[1].name, pair[0].name))


def _note(about: str, words: str) -> Padding:
    return Padding(Text.assemble((about, "bold"), f": {plain(words)}", overflow="fold"), (0, 0, 0, 2), expand=False)
