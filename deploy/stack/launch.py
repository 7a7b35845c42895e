"""Replaces itself with a program, as a child that dies with its parent and never runs PostgreSQL as root.

Run as `python -I -S launch.py PARENT DEATH_SIGNAL UID REACH PROGRAM ARGUMENT…`; standard library only. A separate
program instead of `preexec_fn`, because the stack has threads. UID `-` keeps the user. REACH `1` keeps the one
capability with which another user can enter folders that only root may (a clone in a `mktemp -d`).
"""

import ctypes
import os
import pwd
import sys

PR_SET_PDEATHSIG = 1
PR_CAPBSET_READ = 23
PR_GET_SECUREBITS = 27
PR_SET_SECUREBITS = 28
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
SECBIT_NO_SETUID_FIXUP = 1 << 2  # keeps capabilities over setuid, and lets access(2) see them
CAPABILITY_VERSION_3 = 0x20080522
CAP_DAC_OVERRIDE = 1
CAP_DAC_READ_SEARCH = 2

_libc = ctypes.CDLL(None, use_errno=True)


def main(arguments: list[str]) -> None:
    """The order matters: a change of user clears the death signal, so that is set last."""
    parent, death_signal, user, reach, *command = arguments
    if user != "-":
        become(int(user), reach=reach == "1")
    die_with(int(parent), int(death_signal))
    os.execv(command[0], command)  # noqa: S606  that is its purpose


def die_with(parent: int, death_signal: int) -> None:
    """Sends this process `death_signal` when the parent ends (prctl PR_SET_PDEATHSIG)."""
    _prctl(PR_SET_PDEATHSIG, death_signal)
    if os.getppid() != parent:  # the parent died before the line above
        sys.exit(1)


def become(uid: int, *, reach: bool) -> None:
    """Changes from root to `uid`, keeping at most the capability to enter folders."""
    if reach:
        _prctl(PR_SET_SECUREBITS, _prctl(PR_GET_SECUREBITS) | SECBIT_NO_SETUID_FIXUP)
    gid = pwd.getpwuid(uid).pw_gid
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if reach:
        in_reach = _prctl(PR_CAPBSET_READ, CAP_DAC_READ_SEARCH) == 1
        capability = CAP_DAC_READ_SEARCH if in_reach else CAP_DAC_OVERRIDE
        _keep_only(capability)
        _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability)


def _keep_only(capability: int) -> None:
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    bit = 1 << capability
    data = (ctypes.c_uint32 * 6)(bit, bit, bit, 0, 0, 0)  # effective, permitted, inheritable; then the high half
    _checked(_libc.capset(header, data))


def _prctl(option: int, value: int = 0, more: int = 0) -> int:
    return _checked(_libc.prctl(option, *(ctypes.c_ulong(n) for n in (value, more, 0, 0))))


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


if __name__ == "__main__":
    main(sys.argv[1:])
