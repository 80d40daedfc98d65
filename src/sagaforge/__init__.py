"""SagaForge: a self-hosted studio for interactive story worlds, as a bundle of functions on Ray."""

__version__ = "0.1.0"
