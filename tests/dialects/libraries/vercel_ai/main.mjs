// Vercel's AI SDK with its experimental_telemetry.
import { createAmazonBedrock } from '@ai-sdk/amazon-bedrock';
import { createAnthropic } from '@ai-sdk/anthropic';
import { createCohere } from '@ai-sdk/cohere';
import { createGoogleGenerativeAI } from '@ai-sdk/google';
import { createMistral } from '@ai-sdk/mistral';
import { createOpenAI } from '@ai-sdk/openai';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { BatchSpanProcessor, NodeTracerProvider } from '@opentelemetry/sdk-trace-node';
import { embed, generateText, stepCountIs, streamText, tool } from 'ai';
import { z } from 'zod';

const standin = process.env.STANDIN;
const question = 'What is the weather in Paris?';
const system = 'You are a friendly weather assistant.';
const claude = 'us.anthropic.claude-sonnet-4-5-20250929-v1:0';

const provider = new NodeTracerProvider({
  resource: resourceFromAttributes({ 'service.name': process.env.OTEL_SERVICE_NAME }),
  spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter())],
});
provider.register();

const apiKey = 'not-a-key';
const openai = createOpenAI({ apiKey, baseURL: `${standin}/openai/v1` });
const anthropic = createAnthropic({ apiKey, baseURL: `${standin}/anthropic/v1` });
const google = createGoogleGenerativeAI({ apiKey, baseURL: `${standin}/google/v1beta` });
const bedrock = createAmazonBedrock({ region: 'us-east-1', accessKeyId: apiKey, secretAccessKey: apiKey, baseURL: standin });
const mistral = createMistral({ apiKey, baseURL: `${standin}/mistral/v1` });
const cohere = createCohere({ apiKey, baseURL: `${standin}/cohere/v2` });

const weather = tool({
  description: 'Get the weather in a city.',
  inputSchema: z.object({ city: z.string() }),
  execute: async () => '18 degrees and sunny',
});
const asksOnly = tool({ description: 'Get the weather in a city.', inputSchema: z.object({ city: z.string() }) });
const cacheControl = { anthropic: { cacheControl: { type: 'ephemeral' } } };
const base = (model, functionId = 'weather-question') => ({
  model,
  maxRetries: 0,
  messages: [
    { role: 'system', content: system, providerOptions: cacheControl },
    { role: 'user', content: question },
  ],
  experimental_telemetry: { isEnabled: true, functionId },
});
const agentTelemetry = {
  isEnabled: true,
  functionId: 'weather_agent',
  metadata: { sessionId: process.env.DIALECTS_SESSION, userId: process.env.DIALECTS_USER, plan: 'pro' },
};

const chat = (model) => generateText(base(model()));
const stream = async (model) => {
  let failed;
  const result = streamText({ ...base(model()), onError: ({ error }) => (failed = error) });
  for await (const _ of result.textStream);
  if (failed) throw failed;
};
const of = (name, model, toolModel = model) => ({
  [`${name}_chat`]: () => chat(model),
  [`${name}_chat_stream`]: () => stream(model),
  [`${name}_chat_tool`]: () => generateText({ ...base(toolModel()), tools: { get_weather: asksOnly } }),
  [`${name}_error_400`]: () => chat(model),
  [`${name}_error_429`]: () => chat(model),
  [`${name}_error_500`]: () => stream(model),
  [`${name}_timeout`]: () => generateText({ ...base(model()), abortSignal: AbortSignal.timeout(1000) }),
  [`${name}_agent`]: () =>
    generateText({
      ...base(toolModel()),
      tools: { get_weather: weather },
      stopWhen: stepCountIs(5),
      experimental_telemetry: agentTelemetry,
    }),
});
const telemetry = { isEnabled: true, functionId: 'weather-question' };

const scenarios = {
  ...of('openai', () => openai.chat('gpt-4o-mini'), () => openai.chat('gpt-4.1')),
  openai_reasoning: () => chat(() => openai.chat('o4-mini')),
  openai_responses: () => chat(() => openai.responses('gpt-6-luna')),
  openai_responses_stream: () => stream(() => openai.responses('gpt-6-luna')),
  openai_embeddings: () =>
    embed({ model: openai.textEmbeddingModel('text-embedding-3-small'), value: question, experimental_telemetry: telemetry }),
  ...of('anthropic', () => anthropic('claude-sonnet-4-5')),
  ...of('google', () => google('gemini-2.5-flash')),
  ...of('bedrock', () => bedrock(claude)),
  ...of('mistral', () => mistral('mistral-large-latest')),
  ...of('cohere', () => cohere('command-r-plus-08-2024')),
};

const failed = [];
const begin = (name) => fetch(`${standin}/scenario/${name}`, { method: 'POST' });
for (const [name, scenario] of Object.entries(scenarios)) {
  await begin(name);
  try {
    await scenario();
  } catch (error) {
    console.error(name, error);
    if (!name.includes('_error_') && !name.endsWith('_timeout')) failed.push(name);
  }
  await provider.forceFlush();
}
await begin('');
if (failed.length) {
  console.error(`went wrong: ${failed.join(', ')}`);
  process.exit(1);
}
