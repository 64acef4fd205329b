import static io.opentelemetry.api.common.AttributeKey.booleanArrayKey;
import static io.opentelemetry.api.common.AttributeKey.doubleArrayKey;
import static io.opentelemetry.api.common.AttributeKey.longArrayKey;
import static io.opentelemetry.api.common.AttributeKey.stringArrayKey;
import static java.util.concurrent.TimeUnit.MILLISECONDS;
import static java.util.concurrent.TimeUnit.NANOSECONDS;

import io.opentelemetry.api.common.AttributeKey;
import io.opentelemetry.api.common.Attributes;
import io.opentelemetry.api.trace.Span;
import io.opentelemetry.api.trace.SpanContext;
import io.opentelemetry.api.trace.SpanKind;
import io.opentelemetry.api.trace.StatusCode;
import io.opentelemetry.api.trace.TraceFlags;
import io.opentelemetry.api.trace.TraceState;
import io.opentelemetry.api.trace.Tracer;
import io.opentelemetry.context.Context;
import io.opentelemetry.sdk.OpenTelemetrySdk;
import io.opentelemetry.sdk.autoconfigure.AutoConfiguredOpenTelemetrySdk;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;

/**
 * Sends the known spans of ../expected.py with OpenTelemetry's Java SDK, set up by the environment alone
 * and so for metrics and logs too, and prints their ids.
 *
 * <p>Usage: java Send.java grpc|http/protobuf URL SERVICE START_NS
 */
public class Send {
  private static final long BIG = 9007199254740993L;

  public static void main(String[] args) {
    long start = Long.parseLong(args[3]);
    OpenTelemetrySdk sdk =
        AutoConfiguredOpenTelemetrySdk.builder()
            .disableShutdownHook()
            .addPropertiesSupplier(
                () ->
                    Map.of(
                        "otel.exporter.otlp.protocol", args[0],
                        "otel.exporter.otlp.endpoint", args[1],
                        "otel.exporter.otlp.compression", "gzip",
                        "otel.service.name", args[2]))
            .addResourceCustomizer(
                (resource, config) ->
                    resource.toBuilder()
                        .put("res.string", "ünïcode ✓")
                        .put("res.int", BIG)
                        .put("res.bool", true)
                        .build())
            .build()
            .getOpenTelemetrySdk();
    sdk.getMeter("known-metrics").counterBuilder("calls").build().add(1);
    sdk.getLogsBridge().get("known-logs").logRecordBuilder().setBody("hello").emit();
    Tracer tracer = sdk.getTracerProvider().tracerBuilder("known-spans").setInstrumentationVersion("1.2.3").build();

    Span parent =
        tracer
            .spanBuilder("parent ✓")
            .setNoParent()
            .setSpanKind(SpanKind.SERVER)
            .setStartTimestamp(start, NANOSECONDS)
            .startSpan();
    SpanContext linked =
        SpanContext.create(
            "0a" + "00".repeat(14) + "0b", "0c" + "00".repeat(6) + "0d", TraceFlags.getDefault(), TraceState.getDefault());
    Span child =
        tracer
            .spanBuilder("child")
            .setParent(Context.root().with(parent))
            .setSpanKind(SpanKind.CLIENT)
            .setStartTimestamp(start + MILLISECONDS.toNanos(1), NANOSECONDS)
            .addLink(linked, Attributes.builder().put("link.string", "λ").put("link.int", 3).build())
            .startSpan();
    child.setAttribute("s.string", "héllo wörld 🚀 \"quoted\" \\ back\n");
    child.setAttribute("s.empty", "");
    child.setAttribute("s.true", true);
    child.setAttribute("s.false", false);
    child.setAttribute("s.int", 42);
    child.setAttribute("s.negative", -7);
    child.setAttribute("s.big", BIG);
    child.setAttribute("s.double", 1.5);
    child.setAttribute("s.whole", 3.0);
    child.setAttribute("s.small", 1e-300);
    child.setAttribute(stringArrayKey("s.strings"), List.of("a", "β"));
    child.setAttribute(longArrayKey("s.ints"), List.of(1L, -2L, BIG));
    child.setAttribute(doubleArrayKey("s.doubles"), List.of(0.5, -1.25));
    child.setAttribute(booleanArrayKey("s.bools"), List.of(true, false));
    child.addEvent(
        "event ✓",
        Attributes.of(
            AttributeKey.stringKey("e.string"), "ε",
            AttributeKey.longKey("e.int"), 7L,
            stringArrayKey("e.strings"), List.of("x", "y")),
        start + MILLISECONDS.toNanos(2),
        NANOSECONDS);
    child.setStatus(StatusCode.ERROR, "it broke ✗");
    child.end(start + MILLISECONDS.toNanos(250), NANOSECONDS);
    parent.setStatus(StatusCode.OK);
    parent.end(start + MILLISECONDS.toNanos(1000), NANOSECONDS);
    sdk.close();
    System.out.printf(
        "{\"trace\": \"%s\", \"parent\": \"%s\", \"child\": \"%s\"}%n",
        child.getSpanContext().getTraceId(), parent.getSpanContext().getSpanId(), child.getSpanContext().getSpanId());
  }
}
