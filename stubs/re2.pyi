from collections.abc import Callable

class error(Exception): ...  # noqa: N801, N818 - the library's own name

class Options:
    log_errors: bool
    max_mem: int

class Match:
    def group(self, group: int = 0) -> str: ...

class Pattern:
    def search(self, text: str) -> Match | None: ...
    def sub(self, repl: str | Callable[[Match], str], text: str) -> str: ...

def compile(pattern: str, options: Options = ...) -> Pattern: ...  # noqa: A001 - as above
