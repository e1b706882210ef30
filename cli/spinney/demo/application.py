"""What the demonstration deploys, as the events that any other system could publish."""

from __future__ import annotations

from typing import Any

import msgspec

NAME, NAMESPACE, SERVICE = "trial", "demo", "web"
"""Names that a user is unlikely to give to something of their own: what an earlier run left is undeployed by name."""
WHOLE_NAME = f"{NAME}.{NAMESPACE}"
REPLICAS = 3
"""How many instances it is scaled to."""


def sla(image: str) -> dict[str, Any]:
    """The SLA document: one application with one HTTP server."""
    service = {
        "microservice_name": SERVICE,
        "microservice_namespace": NAMESPACE,
        "virtualization": "container",
        "code": image,
        "memory": 32,
        "vcpus": 0.1,
    }
    application = {"application_name": NAME, "application_namespace": NAMESPACE, "microservices": [service]}
    return {"sla_version": "v2.0", "customerID": "demo", "applications": [application]}


def cloud_event(id: str, kind: str, data: dict[str, Any]) -> bytes:
    """A CloudEvent (structured JSON) of type ``spinney.KIND``; the id makes its repetition harmless."""
    event = {"specversion": "1.0", "id": id, "source": "/spinney/demo", "type": f"spinney.{kind}", "data": data}
    return msgspec.json.encode(event)
