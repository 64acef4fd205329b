// Sends the known spans of ../expected.py with OpenTelemetry's Go SDK and prints their ids.
//
// Usage: send grpc|http URL SERVICE START_NS
package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"strconv"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

const big = 9007199254740993

func main() {
	if err := run(context.Background()); err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	protocol, url, service := os.Args[1], os.Args[2], os.Args[3]
	startNs, err := strconv.ParseInt(os.Args[4], 10, 64)
	if err != nil {
		return err
	}
	var failed error
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { failed = errors.Join(failed, err) }))

	var exporter *otlptrace.Exporter
	if protocol == "grpc" {
		exporter, err = otlptracegrpc.New(ctx, otlptracegrpc.WithEndpointURL(url), otlptracegrpc.WithCompressor("gzip"))
	} else {
		exporter, err = otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(url+"/v1/traces"),
			otlptracehttp.WithCompression(otlptracehttp.GzipCompression))
	}
	if err != nil {
		return err
	}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(exporter),
		sdktrace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", service),
			attribute.String("res.string", "ünïcode ✓"),
			attribute.Int64("res.int", big),
			attribute.Bool("res.bool", true),
		)),
	)
	tracer := provider.Tracer("known-spans",
		trace.WithInstrumentationVersion("1.2.3"),
		trace.WithInstrumentationAttributes(attribute.String("scope.string", "σ"), attribute.Int("scope.int", 5)),
	)

	at := func(offset time.Duration) time.Time { return time.Unix(0, startNs).Add(offset) }
	ctx, parent := tracer.Start(ctx, "parent ✓", trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(at(0)))
	_, child := tracer.Start(ctx, "child", trace.WithSpanKind(trace.SpanKindClient), trace.WithTimestamp(at(time.Millisecond)),
		trace.WithLinks(trace.Link{
			SpanContext: trace.NewSpanContext(trace.SpanContextConfig{
				TraceID: trace.TraceID{0: 0x0a, 15: 0x0b}, SpanID: trace.SpanID{0: 0x0c, 7: 0x0d},
			}),
			Attributes: []attribute.KeyValue{attribute.String("link.string", "λ"), attribute.Int("link.int", 3)},
		}),
		trace.WithAttributes(
			attribute.String("s.string", "héllo wörld 🚀 \"quoted\" \\ back\n"),
			attribute.String("s.empty", ""),
			attribute.Bool("s.true", true),
			attribute.Bool("s.false", false),
			attribute.Int("s.int", 42),
			attribute.Int("s.negative", -7),
			attribute.Int64("s.big", big),
			attribute.Float64("s.double", 1.5),
			attribute.Float64("s.whole", 3),
			attribute.Float64("s.small", 1e-300),
			attribute.StringSlice("s.strings", []string{"a", "β"}),
			attribute.Int64Slice("s.ints", []int64{1, -2, big}),
			attribute.Float64Slice("s.doubles", []float64{0.5, -1.25}),
			attribute.BoolSlice("s.bools", []bool{true, false}),
		))
	child.AddEvent("event ✓", trace.WithTimestamp(at(2*time.Millisecond)), trace.WithAttributes(
		attribute.String("e.string", "ε"), attribute.Int("e.int", 7), attribute.StringSlice("e.strings", []string{"x", "y"})))
	child.SetStatus(codes.Error, "it broke ✗")
	child.End(trace.WithTimestamp(at(250 * time.Millisecond)))
	parent.SetStatus(codes.Ok, "")
	parent.End(trace.WithTimestamp(at(time.Second)))
	if err := provider.Shutdown(ctx); err != nil {
		return err
	}
	if failed != nil {
		return failed
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]string{
		"trace":  child.SpanContext().TraceID().String(),
		"parent": parent.SpanContext().SpanID().String(),
		"child":  child.SpanContext().SpanID().String(),
	})
}
