"""Where the resident courier begins, in an interpreter that has loaded next to nothing."""

from agent.linux.courier.children import Children
from agent.linux.courier.orders import BrokerPlace, from_words
from agent.linux.courier.process import Courier
from agent.linux.mqtt_session import MqttSession


def main(words: list[str]) -> None:
    """Serve until told to stop."""
    orders = from_words(words)
    place = BrokerPlace(
        orders.host,
        orders.port,
        orders.authority,
        orders.certificate,
        orders.key,
        orders.keepalive_s,
    )
    Courier(orders, MqttSession(place, orders.device), Children(orders)).run()
