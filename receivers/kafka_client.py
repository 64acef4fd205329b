"""How Kafka is reached, and what its brokers are asked."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from spanhouse.config import KafkaSettings
from spanhouse.errors import Unavailable, UserError

log = logging.getLogger(__name__)

# Seconds that a broker has for an answer.
ASK_S: Final = 5.0
NO_TOPIC: Final = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC)

# librdkafka tries to connect all the time and says so every time, in its log and to `error_cb`.
_librdkafka = logging.getLogger(f"{__name__}.librdkafka")
_librdkafka.addFilter(lambda record: not record.getMessage().startswith("FAIL "))


def connection(settings: KafkaSettings) -> dict[str, Any]:
    """What every Kafka client of ours is configured with."""
    return {
        "client.id": "spanhouse",
        "logger": _librdkafka,
        **settings.options,
        "bootstrap.servers": settings.brokers,
    }


def check(settings: KafkaSettings) -> None:
    """See that librdkafka takes the settings; nothing is asked of a broker.

    Raises:
        UserError: it does not.
    """
    try:
        Consumer({**connection(settings), "group.id": settings.group, "log_level": 0}).close()
    except KafkaException as error:
        raise UserError(f"receivers.kafka.options: {error.args[0].str()}") from error


def committed_offsets(consumer: Consumer, partitions: list[TopicPartition]) -> list[TopicPartition]:
    """Committed offsets with their metadata; brokers that are just restarting get some time."""
    deadline = time.monotonic() + 60
    while True:
        try:
            found = consumer.committed(partitions, timeout=10)
            failed = [where.error for where in found if where.error is not None]
            if not failed:
                return found
            error: object = failed[0]
        except KafkaException as failure:
            error = failure
        if time.monotonic() > deadline:
            raise Unavailable(f"Kafka does not tell the group's committed offsets: {error}")
        log.warning("asking again for the committed offsets: %s", error)
        time.sleep(0.5)


class Brokers:
    """A client for questions: a consumer that waits for messages lets no other thread in."""

    def __init__(self, settings: KafkaSettings) -> None:
        # It hands its log lines over only when it is polled, which nobody does.
        self._admin = AdminClient({**connection(settings), "log_level": 0})

    def topic_id(self, topic: str) -> str:
        """Kafka's id of a topic, which is another one when it is made anew; '' if there is no such topic.

        Raises:
            KafkaException: no broker tells.
        """
        asked = self._admin.describe_topics(TopicCollection([topic]), request_timeout=ASK_S)
        try:
            return str(asked[topic].result().topic_id)
        except KafkaException as error:
            if error.args[0].code() in NO_TOPIC:
                return ""
            raise

    def ends(self, partitions: Sequence[TopicPartition]) -> list[tuple[int, int]]:
        """The first offset that each partition has, and the one that its next message gets.

        Raises:
            KafkaException: no broker tells.
        """
        lows, highs = (
            self._admin.list_offsets(dict.fromkeys(partitions, spec), request_timeout=ASK_S)
            for spec in (OffsetSpec.earliest(), OffsetSpec.latest())  # type: ignore[no-untyped-call]
        )
        return [(lows[at].result().offset, highs[at].result().offset) for at in partitions]
