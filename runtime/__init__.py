"""Plumbing of every process: settings, logs, traces, failpoints, gc tuning."""
