"""The local stack: everything Spinney needs, on one machine, as processes of its own."""

from .errors import StackError
from .stack import SERVICES, SUPPORT, Stack, end_stack

__all__ = ["SERVICES", "SUPPORT", "Stack", "StackError", "end_stack"]
