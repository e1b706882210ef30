"""Documents that users bring, as they bring them."""

from __future__ import annotations

import copy
from typing import Any

SEED: dict[str, Any] = {
    "sla_version": "v2.0",
    "customerID": "Admin",
    "applications": [
        {
            "applicationID": "",
            "application_name": "clientsrvr",
            "application_namespace": "test",
            "application_desc": "Simple demo with curl client and Nginx server",
            "microservices": [
                {
                    "microserviceID": "",
                    "microservice_name": "nginx",
                    "microservice_namespace": "test",
                    "virtualization": "runsc",
                    "cmd": [],
                    "memory": 100,
                    "vcpus": 1,
                    "vgpus": 0,
                    "vtpus": 0,
                    "bandwidth_in": 0,
                    "bandwidth_out": 0,
                    "storage": 0,
                    "code": "docker.io/library/nginx:latest",
                    "state": "",
                    "port": "",
                    "addresses": {"rr_ip": "10.30.55.55", "rr_ip_v6": "fdff:2000::55:55"},
                    "added_files": [],
                }
            ],
        }
    ],
}
"""An existing user's document: nginx on gVisor."""


def changed(**fields: Any) -> dict[str, Any]:
    """The users' document with fields of its microservice changed."""
    document = copy.deepcopy(SEED)
    document["applications"][0]["microservices"][0].update(fields)
    return document
