"""spanhouse: the telemetry pipeline for AI agents that a team owns itself."""

__version__ = "0.1.0"
