"""The local stack: the real engines and Holdfast's own processes, started, watched and stopped as one."""
