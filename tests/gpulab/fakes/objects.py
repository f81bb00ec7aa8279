"""Objects in Python that NVIDIA's bindings take for TensorRT's own, x86-64 Linux.

A public object of TensorRT is a pointer to its virtual table (two destructors, and nothing else
that the bindings call) and a pointer to an inner object, whose table has all its methods after two
destructors. Where each method lies was learned from the bindings themselves by ``probe.py``. A
method that is not written here gives 0 and is noted in `Library.missing`.
"""

from __future__ import annotations

import ctypes
import functools
import sys
import traceback
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Pointer = ctypes.c_void_p
SLOTS = 160
DIMS = "Dims"
"""As a method's result: a structure that the caller makes room for, and whose address comes first.

References: System V Application Binary Interface, AMD64, 3.2.3, class MEMORY."""

SHAPE = "shape"
"""As a parameter: a structure passed by value by TensorRT 8, and by its address later. The method
gets a tuple."""


class Signature(NamedTuple):
    result: Any
    words: tuple[Any, ...]


def virtual(result: Any, *words: Any) -> Callable[[Any], Any]:
    """Declare the types of a method that C++ calls."""

    def declared(method: Any) -> Any:
        method.signature = Signature(result, words)
        return method

    return declared


class Library:
    """One version: where methods lie, how a shape looks, and what the objects share.

    Parameters
    ----------
    version
        Of the bindings.
    tables
        As ``probe.py`` wrote them.
    """

    def __init__(self, version: str, tables: dict[str, dict[str, int]]) -> None:
        self.version = version
        self.major = int(version.partition(".")[0])
        self.tables = tables
        self.missing: set[str] = set()
        self.defects: list[str] = []
        self.refuse: set[str] = set()
        self.recorder = 0
        self.objects: dict[int, Object] = {}
        self.alive: set[int] = set()
        number = ctypes.c_int32 if self.major == 8 else ctypes.c_int64
        fields = [("count", ctypes.c_int32), ("sizes", number * 8)]
        self.dims = type("Dims", (ctypes.Structure,), {"_fields_": fields})

    def shape(self, given: Any) -> tuple[int, ...]:
        """Return a shape that is given as a structure or as its address."""
        held: Any = given
        if isinstance(given, int):
            held = ctypes.cast(given, ctypes.POINTER(self.dims)).contents
        return tuple(held.sizes[: held.count])

    def put_shape(self, address: int, shape: Sequence[int]) -> int:
        held: Any = ctypes.cast(address, ctypes.POINTER(self.dims)).contents
        held.count = len(shape)
        for index, size in enumerate(shape):
            held.sizes[index] = size
        return address

    def call(self, table: str, method: str, address: int, result: Any, *words: Any) -> Any:
        """Call a method of an object that Python implements; words are pairs of type and value."""
        held = ctypes.cast(address, ctypes.POINTER(ctypes.POINTER(Pointer)))[0]
        kinds = [kind for kind, _ in words]
        function = ctypes.CFUNCTYPE(result, Pointer, *kinds)(held[self.tables[table][method]])
        return function(address, *(value for _, value in words))

    def report(self, code: int, text: str) -> None:
        """Report an error as TensorRT does."""
        if self.recorder:
            self.call(
                "IErrorRecorder", "reportError", self.recorder, ctypes.c_bool,
                (ctypes.c_int, code), (ctypes.c_char_p, text.encode()),
            )  # fmt: skip


class Object:
    """An object of the library; `plain` ones have their methods in the public table."""

    table: ClassVar[str]
    plain: ClassVar[bool] = False

    def __init__(self, library: Library) -> None:
        self.library = library
        slots = {slot: name for name, slot in library.tables[self.table].items()}
        functions = [self._function(slots.get(slot, f"slot {slot}")) for slot in range(SLOTS)]
        self._destroyed = ctypes.CFUNCTYPE(None, Pointer)(self._destroy)
        if not self.plain:
            functions[:2] = [self._destroyed, self._destroyed]
        self._methods = _table(functions)
        self._inner = (Pointer * 1)(ctypes.addressof(self._methods) + 16)
        self._public = _table([self._destroyed, self._destroyed])
        first = self._methods if self.plain else self._public
        self._object = (Pointer * 2)(ctypes.addressof(first) + 16, ctypes.addressof(self._inner))
        self.address = ctypes.addressof(self._object)
        library.objects[self.address] = self  # for ever: whoever has the address may call
        library.alive.add(self.address)

    def _destroy(self, _: int) -> None:
        self.library.alive.discard(self.address)

    def _function(self, name: str) -> Any:
        method = getattr(self, name, None)
        if method is None:
            return ctypes.CFUNCTYPE(Pointer, Pointer)(lambda _: self._not_written(name))
        result, words = method.signature
        if SHAPE in words:
            by_value = self.library.dims if self.library.major == 8 else Pointer
            at = words.index(SHAPE)
            words = (*words[:at], by_value, *words[at + 1 :])
            method = self._with_shape(method, at)
        if result == DIMS:
            return ctypes.CFUNCTYPE(Pointer, Pointer, Pointer, *words)(
                lambda room, _, *given: self.library.put_shape(room, self._safely(method, given))
            )
        return ctypes.CFUNCTYPE(result, Pointer, *words)(
            lambda _, *given: self._safely(method, given)
        )

    def _with_shape(self, method: Any, at: int) -> Any:
        @functools.wraps(method)
        def called(*given: Any) -> Any:
            return method(*given[:at], self.library.shape(given[at]), *given[at + 1 :])

        return called

    def _not_written(self, name: str) -> int:
        self.library.missing.add(f"{self.table}.{name}")
        return 0

    def _safely(self, method: Any, given: tuple[Any, ...]) -> Any:
        name = method.__name__
        if name in self.library.refuse and name != "inferShapes":  # its way to say no is its own
            code = 5 if name.startswith("createExecutionContext") else 2
            self.library.report(code, f"{name} was made to fail")
            return 0
        try:
            done = method(*given)
        except Exception:
            self.library.defects.append(traceback.format_exc())
            sys.stderr.write(self.library.defects[-1])
            return 0
        return done.address if isinstance(done, Object) else done


def _table(functions: list[Any]) -> Any:
    """Return a virtual table: before it stand the offset to the whole object and its type."""
    return (Pointer * (len(functions) + 2))(
        None, None, *[ctypes.cast(function, Pointer) for function in functions]
    )
