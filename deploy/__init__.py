"""The local stack, the command line, the crash test, the checks of the code and the demo shop."""
