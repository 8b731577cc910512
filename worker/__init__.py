"""The worker process and the composition root: settings, engine, clients and plugin wired once."""
