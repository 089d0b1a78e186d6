"""What a scenario says when the server did something else."""

import threading
import time

import grpc

PATIENCE = 30


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


def codes(value):
    return value if isinstance(value, tuple) else (value,)


def refused(what, code, call):
    """The call must end with `code`, or with one of them."""
    try:
        answer = call()
    except grpc.RpcError as error:
        allowed = [each.name for each in codes(code)]
        true(error.code() in codes(code), f"{what}: {error.code().name} ({error.details()}), expected {allowed}")
        return error
    raise Wrong(f"{what}: answered {short(answer)}, expected {[each.name for each in codes(code)]}")


def works(what, call):
    """The call must end with OK."""
    try:
        return call()
    except grpc.RpcError as error:
        raise Wrong(f"{what}: {error.code().name} ({error.details()}), expected OK") from error


def status(what, got, code):
    """The status of one blob in a batch."""
    allowed = [each.value[0] for each in codes(code)]
    true(got.code in allowed, f"{what}: status {got.code} ({got.message}), expected one of {allowed}")


def eventually(what, condition):
    """Asks until there is an answer."""
    end = time.monotonic() + PATIENCE
    pause = threading.Event()
    while True:
        answer = condition()
        if answer:
            return answer
        true(time.monotonic() < end, f"waited {PATIENCE} s in vain: {what}")
        pause.wait(0.01)
