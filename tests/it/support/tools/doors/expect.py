"""What a scenario says when the server did something else."""


class Wrong(Exception):
    """The server did not do what the scenario expects."""


def true(condition, words):
    if not condition:
        raise Wrong(words)


def same(what, got, expected):
    true(got == expected, f"{what}: got {short(got)}, expected {short(expected)}")


def short(value):
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:300]}… ({len(text)} characters)"


def refused(what, exception, call):
    """Calls what must fail, and returns how it did."""
    try:
        value = call()
    except exception as error:
        return error
    raise Wrong(f"{what}: it was done: {short(value)}")
