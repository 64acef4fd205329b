// Sends the known spans of ../expected.py with OpenTelemetry's Node.js SDK and prints their ids.
//
// Usage: node send.mjs grpc|json|protobuf URL SERVICE START_NS
import { context, ROOT_CONTEXT, SpanKind, SpanStatusCode, trace, TraceFlags } from '@opentelemetry/api';
import { OTLPTraceExporter as Grpc } from '@opentelemetry/exporter-trace-otlp-grpc';
import { OTLPTraceExporter as Json } from '@opentelemetry/exporter-trace-otlp-http';
import { OTLPTraceExporter as Protobuf } from '@opentelemetry/exporter-trace-otlp-proto';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { BasicTracerProvider, BatchSpanProcessor } from '@opentelemetry/sdk-trace-base';

const [protocol, url, service, startNs] = process.argv.slice(2);
const Exporter = { grpc: Grpc, json: Json, protobuf: Protobuf }[protocol];
const exporter = new Exporter({ url: protocol === 'grpc' ? url : `${url}/v1/traces`, compression: 'gzip' });
const provider = new BasicTracerProvider({
  resource: resourceFromAttributes({
    'service.name': service,
    'res.string': 'ünïcode ✓',
    'res.int': Number.MAX_SAFE_INTEGER,
    'res.bool': true,
  }),
  spanProcessors: [new BatchSpanProcessor(exporter)],
});
const tracer = provider.getTracer('known-spans', '1.2.3');

function at(offsetMs) {
  const ns = BigInt(startNs) + BigInt(offsetMs) * 1_000_000n;
  return [Number(ns / 1_000_000_000n), Number(ns % 1_000_000_000n)];
}

const parent = tracer.startSpan('parent ✓', { kind: SpanKind.SERVER, startTime: at(0) }, ROOT_CONTEXT);
const linked = { traceId: `0a${'00'.repeat(14)}0b`, spanId: `0c${'00'.repeat(6)}0d`, traceFlags: TraceFlags.NONE };
const child = tracer.startSpan(
  'child',
  {
    kind: SpanKind.CLIENT,
    startTime: at(1),
    links: [{ context: linked, attributes: { 'link.string': 'λ', 'link.int': 3 } }],
    attributes: {
      's.string': 'héllo wörld 🚀 "quoted" \\ back\n',
      's.empty': '',
      's.true': true,
      's.false': false,
      's.int': 42,
      's.negative': -7,
      's.big': Number.MAX_SAFE_INTEGER,
      's.double': 1.5,
      's.small': 1e-300,
      's.strings': ['a', 'β'],
      's.ints': [1, -2, Number.MAX_SAFE_INTEGER],
      's.doubles': [0.5, -1.25],
      's.bools': [true, false],
    },
  },
  trace.setSpan(context.active(), parent),
);
child.addEvent('event ✓', { 'e.string': 'ε', 'e.int': 7, 'e.strings': ['x', 'y'] }, at(2));
child.setStatus({ code: SpanStatusCode.ERROR, message: 'it broke ✗' });
child.end(at(250));
parent.setStatus({ code: SpanStatusCode.OK });
parent.end(at(1000));
await provider.forceFlush(); // rejects if the exporter failed
await provider.shutdown();
console.log(
  JSON.stringify({
    trace: child.spanContext().traceId,
    parent: parent.spanContext().spanId,
    child: child.spanContext().spanId,
  }),
);
