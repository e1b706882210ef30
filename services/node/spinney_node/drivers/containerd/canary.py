"""The canary: the smallest program that proves a runtime runs programs, and that they see the kernel they should.

It is a static ELF file of a few hundred bytes, put together here instruction by instruction, so that no compiler and no
image registry is needed and every byte is accounted for. In C it would read::

    int main(int argc) {
        sigprocmask(SIG_BLOCK, {SIGTERM});               // before the line: who has read it may ask us to end
        uname(&uts);
        write(1, "spinney-canary " uts "\\n", 406);      // uts as the kernel fills it: six fields of 65 bytes
        if (argc > 1) sigtimedwait({SIGTERM}, 0, 0);     // with any argument it stays until it is asked to end
        exit(0);
    }
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from msgspec import Struct

MARK: Final = b"spinney-canary "
_UTS_FIELD: Final = 65
_UTS_BYTES: Final = 6 * _UTS_FIELD
_SIGTERM_SET: Final = 1 << (15 - 1)

_CODE_AT: Final = 0x400000
_DATA_AT: Final = 0x600000
"""The file is mapped twice, once to be run and once to be written to: no page is both."""
_ALIGN: Final = 0x10000
"""The largest page size of the processors below."""

_HEADERS: Final = 64 + 2 * 56
_SET: Final = _DATA_AT + _HEADERS
_LINE: Final = _SET + 8
_UTS: Final = _LINE + len(MARK)
_LINE_BYTES: Final = len(MARK) + _UTS_BYTES + 1
_ENTRY: Final = (_HEADERS + 8 + _LINE_BYTES + 15) // 16 * 16


class _Processor(Struct, frozen=True):
    """How one processor is told things: registers are numbered as the system call's arguments."""

    elf_machine: int
    calls: dict[str, int]
    load: Callable[[int, int], bytes]
    """Argument register `n` := constant below 2³²; -1 is the register that holds the call's number."""
    trap: bytes
    skip_without_arguments: Callable[[int], bytes]
    """Jump over so many bytes when the program was given no argument; runs first-hand on the entry's stack."""


def _amd64_load(register: int, value: int) -> bytes:
    opcode = {-1: b"\xb8", 0: b"\xbf", 1: b"\xbe", 2: b"\xba", 3: b"\x41\xba"}  # mov eax, edi, esi, edx, r10d
    return opcode[register] + struct.pack("<I", value)


def _amd64_skip(size: int) -> bytes:
    return b"\x48\x83\x3c\x24\x01" + b"\x76" + struct.pack("<b", size)  # cmp qword [rsp], 1; jbe +size


def _arm64_load(register: int, value: int) -> bytes:
    number = 8 if register == -1 else register
    low, high = value & 0xFFFF, value >> 16
    movz, movk = 0xD2800000 | low << 5 | number, 0xF2A00000 | high << 5 | number  # movz xN, low; movk xN, high, lsl 16
    return struct.pack("<II", movz, movk)


def _arm64_skip(size: int) -> bytes:
    ldr, cmp = 0xF94003E9, 0xF100053F  # ldr x9, [sp]; cmp x9, 1
    branch = 0x54000009 | (size // 4 + 1) << 5  # b.ls, counted in instructions from itself
    return struct.pack("<III", ldr, cmp, branch)


_PROCESSORS: Final = {
    "amd64": _Processor(
        62,
        {"uname": 63, "write": 1, "sigprocmask": 14, "sigtimedwait": 128, "exit": 60},
        _amd64_load,
        b"\x0f\x05",  # syscall
        _amd64_skip,
    ),
    "arm64": _Processor(
        183,
        {"uname": 160, "write": 64, "sigprocmask": 135, "sigtimedwait": 137, "exit": 93},
        _arm64_load,
        b"\x01\x00\x00\xd4",  # svc 0
        _arm64_skip,
    ),
}

ARCHITECTURES: Final = tuple(_PROCESSORS)
"""GOARCH names the canary exists for."""


class Kernel(Struct, frozen=True):
    """The kernel as a program sees it."""

    release: str
    version: str


def program(arch: str) -> bytes:
    """The canary's ELF file for a GOARCH name; raises KeyError for one that is not in `ARCHITECTURES`."""
    cpu = _PROCESSORS[arch]
    wait = _call(cpu, "sigtimedwait", _SET, 0, 0, 8)
    code = b"".join(
        (
            _call(cpu, "sigprocmask", 0, _SET, 0, 8),
            _call(cpu, "uname", _UTS),
            _call(cpu, "write", 1, _LINE, _LINE_BYTES),
            cpu.skip_without_arguments(len(wait)),
            wait,
            _call(cpu, "exit", 0),
        )
    )
    data = struct.pack("<Q", _SIGTERM_SET) + MARK + bytes(_UTS_BYTES) + b"\n"
    body = data.ljust(_ENTRY - _HEADERS, b"\0") + code
    return _elf_headers(cpu.elf_machine, _HEADERS + len(body)) + body


def kernel_seen(output: bytes) -> Kernel | None:
    """The kernel a canary reported; None when this is not a canary's line."""
    start = output.find(MARK)
    uts = output[start + len(MARK) :]
    if start < 0 or len(uts) < _UTS_BYTES + 1 or uts[_UTS_BYTES : _UTS_BYTES + 1] != b"\n":
        return None
    fields = [uts[at : at + _UTS_FIELD].split(b"\0")[0].decode(errors="replace") for at in range(0, 390, _UTS_FIELD)]
    return Kernel(release=fields[2], version=fields[3])


def _call(cpu: _Processor, name: str, *arguments: int) -> bytes:
    """A system call with constant arguments."""
    loads = [cpu.load(at, value) for at, value in enumerate(arguments)]
    return b"".join((*loads, cpu.load(-1, cpu.calls[name]), cpu.trap))


def _elf_headers(machine: int, size: int) -> bytes:
    """ELF64, little-endian, a static executable with two segments, both the whole file."""
    ident = b"\x7fELF" + bytes((2, 1, 1, 0)) + bytes(8)
    elf = struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, _CODE_AT + _ENTRY, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    read, write, execute = 4, 2, 1
    segments = ((read | execute, _CODE_AT), (read | write, _DATA_AT))
    loads = [struct.pack("<IIQQQQQQ", 1, flags, 0, at, at, size, size, _ALIGN) for flags, at in segments]
    return ident + elf + b"".join(loads)
