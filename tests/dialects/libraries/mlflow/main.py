"""MLflow's tracing, exported by OTLP with MLflow's own attributes."""

from mlflow_scenarios import main

main()
