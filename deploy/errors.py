"""Expected failures of the stack, reported in one line: what failed and what to do."""


class StackError(Exception):
    """`str(error)` is the line for the operator."""

    def __init__(self, failed: str, remedy: str) -> None:
        super().__init__(f"{failed}: {remedy}")
        self.failed = failed
        self.remedy = remedy
