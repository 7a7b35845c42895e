"""The tests. A package, so that those which some libraries install beside themselves are not taken for ours."""
