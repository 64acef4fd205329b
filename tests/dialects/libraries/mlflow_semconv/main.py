"""MLflow's tracing, exported by OTLP with OpenTelemetry's GenAI attributes."""

import os

os.environ["MLFLOW_ENABLE_OTEL_GENAI_SEMCONV"] = "true"

from mlflow_scenarios import main

main()
