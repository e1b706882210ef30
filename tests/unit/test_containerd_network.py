"""The containers' network: what is decided and written without touching the machine."""

import ipaddress
import json

import pytest
from spinney_node.drivers import DriverError
from spinney_node.drivers.containerd import cni, settings
from spinney_node.drivers.containerd.network import masquerade, overlapping
from spinney_shared.model import PortMapping

ROUTES = """Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
spinney0\t00003F0A\t00000000\t0001\t0\t0\t0\t00F0FFFF\t0\t0\t0
"""


@pytest.mark.parametrize(
    ("subnet", "clash"),
    [
        ("10.63.0.0/20", ""),
        ("10.64.0.0/16", ""),
        ("172.17.5.0/24", "172.17.0.0/16 on eth0"),
        ("172.16.0.0/12", "172.17.0.0/16 on eth0"),
    ],
)
def test_a_subnet_in_use_is_found_but_our_own_and_the_default_route_are_none(subnet: str, clash: str) -> None:
    assert overlapping(ROUTES, ipaddress.IPv4Network(subnet), "spinney0") == clash


def test_our_subnet_on_another_bridge_is_a_clash() -> None:
    assert overlapping(ROUTES, ipaddress.IPv4Network("10.63.0.0/20"), "spinney1") == "10.63.0.0/20 on spinney0"


def test_the_masquerade_rules_replace_those_of_before() -> None:
    rules = masquerade("spinney_x", "10.63.0.0/20").splitlines()
    assert rules[:3] == ["add table ip spinney_x", "delete table ip spinney_x", "table ip spinney_x {"]
    assert "    ip saddr 10.63.0.0/20 ip daddr != 10.63.0.0/20 masquerade" in rules


def test_the_plugins_configurations() -> None:
    conf = cni.bridge_conf("spinney0", "10.63.0.0/20", "/run/x")
    assert conf["ipam"]["ranges"] == [[{"subnet": "10.63.0.0/20"}]]
    ports = cni.portmap_conf("spinney0", [PortMapping(80, 8080, "udp")], before={"ips": []})
    mappings = [{"hostPort": 80, "containerPort": 8080, "protocol": "udp"}]
    assert (ports["runtimeConfig"], ports["prevResult"]) == ({"portMappings": mappings}, {"ips": []})


def test_a_plugins_answer_without_an_address_is_an_error() -> None:
    assert cni.address(json.dumps({"ips": [{"address": "10.1.2.3/24"}]}).encode()) == "10.1.2.3"
    for answer in (b"", b"{}", b'{"ips": []}', b"[]"):
        with pytest.raises(DriverError):
            cni.address(answer)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"sockett": "/x"}, "sockett"),
        ({"subnet": "10.0.0.1/24"}, "host bits"),
        ({"subnet": "10.0.0.0/30"}, "/29"),
        ({"subnet": "fd00::/64"}, "IPv4"),
        ({"socket": "run/x"}, "absolute"),
        ({"bridge": "much-too-long-name"}, "bridge"),
        ({"bridge": "a/b"}, "bridge"),
        ({"namespace": "a b"}, "namespace"),
    ],
)
def test_wrong_settings_are_refused_in_words(raw: dict[str, str], words: str) -> None:
    with pytest.raises(DriverError, match=f"settings of the containerd driver.*{words}"):
        settings.parse(raw)
