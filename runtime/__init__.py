"""What every process needs beside its work: settings, logs, traces, failpoints, gc tuning."""
