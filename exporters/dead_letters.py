"""What cannot be stored goes to a Kafka topic, with the reason and the place it came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from spanhouse import metrics
from spanhouse.errors import Unavailable
from spanhouse.processing import Processed

_FLUSH_S: Final = 30.0
# The largest message that a broker can be set up for and a consumer could have got.
_MAX_BYTES: Final = 256 << 20


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message, or the spans of it, that cannot be stored.

    Attributes:
        index: of the message in its batch.
        kind: malformed, rejected or failed.
        reason: what was wrong, in words.
        value: a serialized ExportTraceServiceRequest of just these spans, or the message as it came.
    """

    index: int
    kind: str
    reason: str
    value: bytes


def dead_letters(processed: Processed, payloads: Sequence[bytes]) -> list[DeadLetter]:
    """Letters for what of `payloads` (those that `processed` was made of) did not become rows."""
    letters = [DeadLetter(i, "malformed", reason, payloads[i]) for i, reason in processed.malformed.items()]
    rejected = processed.finished.rejected.group_by("payload", maintain_order=True).agg("span", "reject")
    for index, spans, reasons in rejected.iter_rows():
        whole = len(spans) == processed.spans[index]
        value = payloads[index] if whole else _only(payloads[index], set(spans))
        letters.append(DeadLetter(index, "rejected", "; ".join(dict.fromkeys(reasons)), value))
    return letters


def _only(payload: bytes, kept: set[int]) -> bytes:
    """The payload with only those of its spans, by their place in wire order."""
    message = ExportTraceServiceRequest.FromString(payload)
    place = 0
    for resource_spans in message.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            spans = [span for i, span in enumerate(scope_spans.spans, place) if i in kept]
            place += len(scope_spans.spans)
            del scope_spans.spans[:]
            scope_spans.spans.extend(spans)
    return message.SerializeToString()


class DeadLetters:
    """The dead letter topic. Thread-safe.

    Args:
        topic: its name.
        settings: librdkafka's, `bootstrap.servers` at least.
    """

    def __init__(self, topic: str, settings: Mapping[str, Any]) -> None:
        self.topic = topic
        self._producer = Producer(
            {
                **settings,
                "enable.idempotence": True,
                "message.max.bytes": _MAX_BYTES,
                "linger.ms": 5,
                "log_level": 0,  # what goes wrong is told by `send`
            }
        )

    def send(
        self,
        letters: Sequence[DeadLetter],
        topic: str,
        partition: int,
        messages: Mapping[int, tuple[int, bytes]],
    ) -> None:
        """Send letters about messages of a partition; when it returns, Kafka has them.

        Args:
            letters: see `dead_letters`.
            topic: where the messages came from.
            partition: the same.
            messages: (offset, key) by the letters' `index`.

        Raises:
            Unavailable: Kafka did not confirm all of them; some may have been sent.
        """
        failures: list[KafkaError] = []
        too_large: list[DeadLetter] = []

        for letter in letters:
            offset, key = messages[letter.index]

            def confirm(error: KafkaError | None, _: Message, letter: DeadLetter = letter) -> None:
                if error is not None and error.code() == KafkaError.MSG_SIZE_TOO_LARGE and letter.value:
                    too_large.append(letter)
                elif error is not None:
                    failures.append(error)
                else:
                    metrics.DEAD_LETTERS.labels(letter.kind).inc()

            headers: list[tuple[str, str | bytes | None]] = [
                ("reason", f"{letter.kind}: {letter.reason}"),
                ("source.topic", topic),
                ("source.partition", str(partition)),
                ("source.offset", str(offset)),
            ]
            try:
                self._producer.produce(self.topic, letter.value, key, headers=headers, on_delivery=confirm)
            except BufferError as error:
                raise Unavailable(f"the dead letter topic {self.topic} takes nothing more now") from error
            except KafkaException as error:
                confirm(error.args[0], None, letter)  # type: ignore[arg-type]
        if self._producer.flush(_FLUSH_S):
            raise Unavailable(f"Kafka has not confirmed the dead letters for {self.topic} in {_FLUSH_S:g} s")
        if failures:
            raise Unavailable(f"the dead letter topic {self.topic} refused a message: {failures[0]}")
        if too_large:
            # Its place is known, and the message is still there.
            notes = [
                DeadLetter(
                    letter.index,
                    letter.kind,
                    f"{letter.reason} ({len(letter.value)} bytes, too large for this topic: see its source)",
                    b"",
                )
                for letter in too_large
            ]
            self.send(notes, topic, partition, messages)
