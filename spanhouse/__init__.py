"""spanhouse: the telemetry pipeline for AI agents that a team owns itself."""

import os

__version__ = "0.1.0"

# Batches are worked on by one thread each, and cores are used by more workers and by the engine: polars' own
# threads would take a fifth more CPU. It reads this when it is first imported.
os.environ.setdefault("POLARS_MAX_THREADS", "1")
