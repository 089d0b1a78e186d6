"""Executes its arguments with `prctl(PR_GET_AUXV)` refused, as kernels before 6.4 refuse it.

valgrind hides the kernel's vDSO from what it runs, and shows it an auxiliary vector without it in /proc/self/auxv; that
call, which valgrind 3.19 doesn't know, still tells of it, and rustix reads where nothing is mapped. A seccomp filter
outlives the exec."""

import ctypes
import os
import platform
import struct
import sys

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, PR_GET_AUXV = 38, 22, 0x41555856
SECCOMP_MODE_FILTER, ALLOW, REFUSE = 2, 0x7FFF0000, 0x00050000 | 22  # EINVAL
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
PRCTL = {"x86_64": 157, "aarch64": 167}

# Of `struct seccomp_data`, the call's number lies at 0 and its first argument at 16.
PROGRAM = [
    (LOAD, 0, 0, 0),
    (JUMP_IF_EQUAL, 0, 3, PRCTL.get(platform.machine(), 0)),
    (LOAD, 0, 0, 16),
    (JUMP_IF_EQUAL, 0, 1, PR_GET_AUXV),
    (RETURN, 0, 0, REFUSE),
    (RETURN, 0, 0, ALLOW),
]


class Filter(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def main():
    libc = ctypes.CDLL(None, use_errno=True)
    program = b"".join(struct.pack("HBBI", *instruction) for instruction in PROGRAM)
    words = Filter(len(PROGRAM), program)
    for arguments in ((PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(words))):
        if libc.prctl(*arguments) != 0:
            sys.exit(f"benches/run: prctl{arguments[:2]}: {os.strerror(ctypes.get_errno())}")
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
