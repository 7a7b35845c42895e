"""One idempotent side effect each; a class per capability."""
