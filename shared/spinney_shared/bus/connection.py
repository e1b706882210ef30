"""One MQTT connection that can be entered again: aiomqtt, with what we need mended and made fast.

aiomqtt turns every message into tasks and futures, which halves what one core can carry, and forgets to reset its
futures when a lost connection is entered again: it would then not wait for the broker's answer, and miss a refusal.
Both are mended here by overriding callbacks and futures of aiomqtt 2.5 that are not public. The contract suite of the
bus exercises each of them against a real broker, so that an update which changes them fails there.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from typing import Literal

import aiomqtt
import anyio
from paho.mqtt.client import MQTT_CLEAN_START_FIRST_ONLY, ConnectFlags, MQTTMessage
from paho.mqtt.client import Client as PahoClient
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from ..config import MqttSettings, TlsSettings
from . import Incoming, Outgoing, Will

GOODBYE_S = 2.0
"""How long an orderly end may take before the socket is simply closed."""

IN_FLIGHT = 100
"""Publishes without an answer yet: more gain nothing on one connection, fewer cost throughput."""

NODELAY = (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
"""Without it a small message waits up to 44 ms for the acknowledgement of the one before."""

SUBSCRIBE_CHUNK = 100
"""Topic filters in one request; brokers limit the size of a packet."""

_log = logging.getLogger(__name__)
_AT_LEAST_ONCE = SubscribeOptions(qos=1)
_YES = (b"", b"\x00", b"\x10")
"""What may follow the number in a PUBACK: nothing, success, nobody subscribes to that topic."""
_PLAIN_YES = ReasonCode(PacketTypes.PUBACK)
_NO_PROPERTIES = Properties(PacketTypes.PUBACK)


class Connection(aiomqtt.Client):
    """An MQTT v5 connection. Enter it, `request` subscriptions, `post`, wait for `lost`; then enter it again.

    Messages that were posted but not acknowledged are sent again, in their order, when the connection is re-entered.
    """

    def __init__(
        self,
        settings: MqttSettings,
        client_id: str,
        *,
        will: Will | None,
        resume: bool,
        session_expiry_s: int,
        on_message: Callable[[Incoming], None],
        on_acknowledged: Callable[[], None],
        on_subscribed: Callable[[], None],
    ) -> None:
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = session_expiry_s
        super().__init__(
            settings.host,
            settings.port,
            username=settings.username or None,
            password=settings.password.reveal() or None,
            identifier=client_id,
            protocol=aiomqtt.ProtocolVersion.V5,
            will=aiomqtt.Will(will.topic, will.payload, qos=1, retain=True) if will else None,
            clean_start=False if resume else MQTT_CLEAN_START_FIRST_ONLY,
            keepalive=settings.keepalive_s,
            properties=properties,
            max_inflight_messages=0,  # ours is the limit: paho loses its own on a reconnect
            tls_params=_tls(settings.tls),
            socket_options=[NODELAY],
        )
        self._client.disable_logger()  # paho formats a line per packet: a tenth of its time, for what we log ourselves
        self.in_flight = 0
        self.in_flight_limit = IN_FLIGHT
        self._message_came = on_message
        self._acknowledged = on_acknowledged
        self._subscribed = on_subscribed
        self._requested: dict[int, Sequence[str]] = {}
        self._any_puback = self._client._handle_pubackcomp
        self._client._handle_pubackcomp = self._plain_puback

    async def __aenter__(self) -> Connection:
        """Connect and wait for the broker's yes; raises aiomqtt.MqttError.

        The socket is opened in a thread that nothing can cancel; a cancelled connect waits for it and closes it.
        """
        self._requested.clear()
        if self._connected.done():
            self._connected = asyncio.get_running_loop().create_future()
        entering = asyncio.ensure_future(super().__aenter__())
        try:
            await asyncio.shield(entering)
        except asyncio.CancelledError:
            with anyio.CancelScope(shield=True):
                await asyncio.wait({entering})
                if entering.exception() is None:
                    await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Say goodbye if there is still someone to say it to."""
        with anyio.move_on_after(GOODBYE_S, shield=True):
            await super().__aexit__(None, None, None)

    async def lost(self) -> str:
        """Wait until the connection is gone; the reason in words. What a callback raised is raised here."""
        if self._client.is_connected() and self._client.socket() is not None:
            await asyncio.wait({self._disconnected})
        why = self._disconnected.exception() if self._disconnected.done() else None
        if why is not None and not isinstance(why, (aiomqtt.MqttError, OSError)):
            raise why
        return str(why or "the connection was closed")

    def request(self, filters: Sequence[str]) -> None:
        """Ask for subscriptions; `on_subscribed` follows when nothing that was asked for is unanswered."""
        for start in range(0, len(filters), SUBSCRIBE_CHUNK):
            chunk = filters[start : start + SUBSCRIBE_CHUNK]
            _, mid = self._client.subscribe([(topic_filter, _AT_LEAST_ONCE) for topic_filter in chunk])
            if mid is not None:  # none: the connection is gone, and all is asked for again when it is back
                self._requested[mid] = chunk
        if not filters:
            self._subscribed()

    def post(self, message: Outgoing) -> None:
        """Send a message without waiting; `on_acknowledged` follows. Raises ValueError for an impossible topic."""
        properties = None
        if message.response_topic or message.correlation:
            properties = Properties(PacketTypes.PUBLISH)
            if message.response_topic:
                properties.ResponseTopic = message.response_topic
            if message.correlation:
                properties.CorrelationData = message.correlation
        self._client.publish(message.topic, message.payload, 1, message.retain, properties)
        self.in_flight += 1

    def _on_connect(
        self,
        client: PahoClient,
        userdata: object,
        flags: ConnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        """The broker answered; it may allow fewer messages in flight than we would like."""
        self.in_flight_limit = min(IN_FLIGHT, getattr(properties, "ReceiveMaximum", IN_FLIGHT))
        super()._on_connect(client, userdata, flags, reason_code, properties)

    def _on_subscribe(
        self,
        client: PahoClient,
        userdata: object,
        mid: int,
        reason_codes: list[ReasonCode],
        properties: Properties | None = None,
    ) -> None:
        """Yes or no to each filter of one request; a no is a matter for the broker's operator."""
        for topic_filter, code in zip(self._requested.pop(mid, ()), reason_codes, strict=False):
            if code.is_failure:
                _log.error("the broker refused the subscription to %s: %s", topic_filter, code)
        if not self._requested:
            self._subscribed()

    def _on_message(self, client: PahoClient, userdata: object, message: MQTTMessage) -> None:
        """Straight from the parser to the receiver: no queue, no task."""
        properties = message.properties
        try:
            topic = message.topic
        except UnicodeDecodeError:
            _log.warning("dropped a message whose topic is not UTF-8")
            return
        self._message_came(
            Incoming(
                topic,
                bytes(message.payload),
                message.retain,
                getattr(properties, "ResponseTopic", ""),
                getattr(properties, "CorrelationData", b""),
            )
        )

    def _plain_puback(self, cmd: Literal["PUBACK", "PUBCOMP"]) -> MQTTErrorCode:
        """The most frequent packet of all, for which paho builds a table of reasons and one of properties each time.

        A yes without more to say (to nobody listening, too) needs neither; anything else is left to paho.
        """
        packet = self._client._in_packet["packet"]
        if cmd != "PUBACK" or len(packet) > 3 or packet[2:] not in _YES:
            return self._any_puback(cmd)
        mid = int.from_bytes(packet[:2], "big")
        if mid in self._client._out_messages:
            return self._client._do_on_publish(mid, _PLAIN_YES, _NO_PROPERTIES)
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _on_publish(
        self, client: PahoClient, userdata: object, mid: int, reason_code: ReasonCode, properties: Properties
    ) -> None:
        """The broker has the message, or says why it does not want it."""
        self.in_flight -= 1
        if reason_code.is_failure:
            _log.error("the broker refused a message: %s", reason_code)
        self._acknowledged()


def _tls(settings: TlsSettings | None) -> aiomqtt.TLSParameters | None:
    if settings is None:
        return None
    return aiomqtt.TLSParameters(settings.ca or None, settings.cert or None, settings.key or None)
